/*
 * rtnetlink(7): link attributes, addresses and routes of one device. See netlink.h.
 * Messages are built in a fixed buffer; every answer of the kernel is waited for, since it handles a
 * request before sendto(2) returns.
 */
#include "netlink.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

struct request {
  struct nlmsghdr header;
  /* The fixed part (ifinfomsg, ifaddrmsg or rtmsg) and the attributes. */
  char body[256];
};

/* Receives what the kernel answers to a dump or get. */
typedef void (*message_visitor)(void *context, const struct nlmsghdr *message);

/* Starts a message with a zeroed fixed part of `size` bytes, and returns that. */
static void *begin(struct request *request, uint16_t type, uint16_t flags, size_t size) {
  memset(request, 0, sizeof *request);
  request->header.nlmsg_type = type;
  request->header.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
  request->header.nlmsg_len = (uint32_t)NLMSG_LENGTH(size);
  request->header.nlmsg_seq = 1;
  return NLMSG_DATA(&request->header);
}

static struct rtattr *add_attribute(struct request *request, uint16_t type, const void *data, size_t size) {
  struct rtattr *attribute = (struct rtattr *)((char *)request + NLMSG_ALIGN(request->header.nlmsg_len));
  attribute->rta_type = type;
  attribute->rta_len = (uint16_t)RTA_LENGTH(size);
  if (size > 0) memcpy(RTA_DATA(attribute), data, size);
  request->header.nlmsg_len = NLMSG_ALIGN(request->header.nlmsg_len) + RTA_ALIGN(attribute->rta_len);
  return attribute;
}

static void end_nested(const struct request *request, struct rtattr *attribute) {
  attribute->rta_len = (uint16_t)((const char *)request + request->header.nlmsg_len - (const char *)attribute);
}

/* Reads answers until the acknowledgement, the end of the dump, or an error. */
static int receive(int fd, message_visitor visit, void *context) {
  union {
    struct nlmsghdr header;
    char bytes[16384];
  } answer;
  for (;;) {
    ssize_t received = recv(fd, &answer, sizeof answer, 0);
    if (received < 0) {
      if (errno == EINTR) continue;
      return -errno;
    }
    size_t left = (size_t)received;
    for (struct nlmsghdr *message = &answer.header; NLMSG_OK(message, left); message = NLMSG_NEXT(message, left)) {
      if (message->nlmsg_type == NLMSG_DONE) return 0;
      if (message->nlmsg_type == NLMSG_ERROR) return ((struct nlmsgerr *)NLMSG_DATA(message))->error;
      if (visit != NULL) visit(context, message);
    }
  }
}

static int transact(struct request *request, message_visitor visit, void *context) {
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return -errno;
  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  int result = 0;
  if (sendto(fd, request, request->header.nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0) {
    result = -errno;
  } else {
    result = receive(fd, visit, context);
  }
  close(fd);
  return result;
}

static size_t address_size(const struct ip_prefix *address) {
  return address->family == AF_INET ? 4 : 16;
}

/* Link. */

static void visit_link(void *context, const struct nlmsghdr *message) {
  struct link_state *state = context;
  if (message->nlmsg_type != RTM_NEWLINK) return;
  const struct ifinfomsg *info = NLMSG_DATA(message);
  state->flags = info->ifi_flags;
  size_t left = IFLA_PAYLOAD(message);
  for (struct rtattr *a = IFLA_RTA(info); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
    if (a->rta_type == IFLA_MTU) memcpy(&state->mtu, RTA_DATA(a), 4);
    if (a->rta_type == IFLA_TXQLEN) memcpy(&state->queue_length, RTA_DATA(a), 4);
    if (a->rta_type == IFLA_IFNAME) strncpy(state->name, RTA_DATA(a), sizeof state->name - 1);
  }
}

int netlink_get_link(int ifindex, struct link_state *state) {
  struct request request;
  memset(state, 0, sizeof *state);
  struct ifinfomsg *info = begin(&request, RTM_GETLINK, NLM_F_ACK, sizeof *info);
  info->ifi_index = ifindex;
  return transact(&request, visit_link, state);
}

static int set_link_u32(int ifindex, uint16_t type, uint32_t value) {
  struct request request;
  struct ifinfomsg *info = begin(&request, RTM_NEWLINK, NLM_F_ACK, sizeof *info);
  info->ifi_index = ifindex;
  add_attribute(&request, type, &value, sizeof value);
  return transact(&request, NULL, NULL);
}

int netlink_set_mtu(int ifindex, uint32_t mtu) {
  return set_link_u32(ifindex, IFLA_MTU, mtu);
}

int netlink_set_queue_length(int ifindex, uint32_t packets) {
  return set_link_u32(ifindex, IFLA_TXQLEN, packets);
}

int netlink_set_up(int ifindex, bool up) {
  struct request request;
  struct ifinfomsg *info = begin(&request, RTM_NEWLINK, NLM_F_ACK, sizeof *info);
  info->ifi_index = ifindex;
  info->ifi_flags = up ? IFF_UP : 0;
  info->ifi_change = IFF_UP;
  return transact(&request, NULL, NULL);
}

int netlink_disable_link_local(int ifindex) {
  struct request request;
  uint8_t mode = IN6_ADDR_GEN_MODE_NONE;
  struct ifinfomsg *info = begin(&request, RTM_NEWLINK, NLM_F_ACK, sizeof *info);
  info->ifi_index = ifindex;
  struct rtattr *families = add_attribute(&request, IFLA_AF_SPEC, NULL, 0);
  struct rtattr *inet6 = add_attribute(&request, AF_INET6, NULL, 0);
  add_attribute(&request, IFLA_INET6_ADDR_GEN_MODE, &mode, sizeof mode);
  end_nested(&request, inet6);
  end_nested(&request, families);
  return transact(&request, NULL, NULL);
}

/* Addresses. */

static int change_address(uint16_t type, uint16_t flags, int ifindex, const struct ip_prefix *address) {
  struct request request;
  struct ifaddrmsg *info = begin(&request, type, (uint16_t)(NLM_F_ACK | flags), sizeof *info);
  info->ifa_family = address->family;
  info->ifa_prefixlen = address->length;
  info->ifa_flags = address->family == AF_INET6 ? IFA_F_NODAD : 0;
  info->ifa_index = (uint32_t)ifindex;
  add_attribute(&request, IFA_LOCAL, address->bytes, address_size(address));
  add_attribute(&request, IFA_ADDRESS, address->bytes, address_size(address));
  return transact(&request, NULL, NULL);
}

static void visit_lookup(void *context, const struct nlmsghdr *message) {
  bool *local = context;
  const struct rtmsg *info = NLMSG_DATA(message);
  if (message->nlmsg_type == RTM_NEWROUTE && info->rtm_type == RTN_LOCAL) *local = true;
}

/*
 * Waits until packets to this IPv6 address are delivered. Linux puts the local route of an address
 * without duplicate address detection in place from a work queue (addrconf_dad_work), a moment after
 * RTM_NEWADDR was answered. Gives up after 100 ms.
 */
static void await_local_route(const struct ip_prefix *address) {
  const struct timespec pause = {.tv_nsec = 200 * 1000};
  bool local = false;
  for (int i = 0; i < 500 && !local; i++) {
    struct request request;
    if (i > 0) nanosleep(&pause, NULL);
    struct rtmsg *info = begin(&request, RTM_GETROUTE, NLM_F_ACK, sizeof *info);
    info->rtm_family = address->family;
    info->rtm_dst_len = 128;
    add_attribute(&request, RTA_DST, address->bytes, address_size(address));
    transact(&request, visit_lookup, &local);
  }
}

int netlink_add_address(int ifindex, const struct ip_prefix *address) {
  int result = change_address(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, ifindex, address);
  struct link_state state;
  if (result == 0 && address->family == AF_INET6 && netlink_get_link(ifindex, &state) == 0 && (state.flags & IFF_UP)) {
    await_local_route(address);
  }
  return result;
}

int netlink_remove_address(int ifindex, const struct ip_prefix *address) {
  return change_address(RTM_DELADDR, 0, ifindex, address);
}

struct address_dump {
  address_visitor visit;
  void *context;
};

static void visit_address(void *context, const struct nlmsghdr *message) {
  const struct address_dump *dump = context;
  if (message->nlmsg_type != RTM_NEWADDR) return;
  const struct ifaddrmsg *info = NLMSG_DATA(message);
  if (info->ifa_family != AF_INET && info->ifa_family != AF_INET6) return;
  struct ip_prefix address = {.family = info->ifa_family, .length = info->ifa_prefixlen};
  bool local = false;
  size_t left = IFA_PAYLOAD(message);
  for (struct rtattr *a = IFA_RTA(info); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
    /* On a point-to-point device IFA_ADDRESS may be the peer's; IFA_LOCAL is ours when it is there. */
    if (a->rta_type == IFA_LOCAL || (a->rta_type == IFA_ADDRESS && !local)) {
      memcpy(address.bytes, RTA_DATA(a), address_size(&address));
      local = a->rta_type == IFA_LOCAL;
    }
  }
  dump->visit(dump->context, (int)info->ifa_index, &address);
}

int netlink_visit_addresses(address_visitor visit, void *context) {
  struct request request;
  struct address_dump dump = {.visit = visit, .context = context};
  struct ifaddrmsg *info = begin(&request, RTM_GETADDR, NLM_F_DUMP, sizeof *info);
  info->ifa_family = AF_UNSPEC;
  return transact(&request, visit_address, &dump);
}

/* Routes. */

struct route_search {
  int ifindex;
  const struct ip_prefix *destination;
  bool found;
};

static void visit_route(void *context, const struct nlmsghdr *message) {
  struct route_search *search = context;
  if (message->nlmsg_type != RTM_NEWROUTE) return;
  const struct rtmsg *info = NLMSG_DATA(message);
  if (info->rtm_table != RT_TABLE_MAIN || info->rtm_dst_len != search->destination->length) return;
  uint8_t bytes[16] = {0};
  int output = 0;
  size_t left = RTM_PAYLOAD(message);
  for (struct rtattr *a = RTM_RTA(info); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
    if (a->rta_type == RTA_DST) memcpy(bytes, RTA_DATA(a), address_size(search->destination));
    if (a->rta_type == RTA_OIF) memcpy(&output, RTA_DATA(a), sizeof output);
  }
  if (output == search->ifindex && memcmp(bytes, search->destination->bytes, sizeof bytes) == 0) search->found = true;
}

static bool has_route(int ifindex, const struct ip_prefix *destination) {
  struct request request;
  struct route_search search = {.ifindex = ifindex, .destination = destination};
  struct rtmsg *info = begin(&request, RTM_GETROUTE, NLM_F_DUMP, sizeof *info);
  info->rtm_family = destination->family;
  return transact(&request, visit_route, &search) == 0 && search.found;
}

int netlink_add_route(int ifindex, const struct ip_prefix *destination) {
  struct request request;
  struct rtmsg *info = begin(&request, RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, sizeof *info);
  info->rtm_family = destination->family;
  info->rtm_dst_len = destination->length;
  info->rtm_table = RT_TABLE_MAIN;
  info->rtm_protocol = RTPROT_STATIC;
  info->rtm_scope = destination->family == AF_INET ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  info->rtm_type = RTN_UNICAST;
  if (destination->length > 0) add_attribute(&request, RTA_DST, destination->bytes, address_size(destination));
  add_attribute(&request, RTA_OIF, &ifindex, sizeof ifindex);
  int result = transact(&request, NULL, NULL);
  return result == -EEXIST && has_route(ifindex, destination) ? 0 : result;
}
