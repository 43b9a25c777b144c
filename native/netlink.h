/*
 * The few requests of rtnetlink(7) that configure a TUN device. Each opens a socket of its own, asks,
 * waits for the kernel's answer and returns 0 or a negative errno; they are for configuration time.
 */
#ifndef TCPU_NETLINK_H
#define TCPU_NETLINK_H

#include <stdbool.h>
#include <stdint.h>

#include <net/if.h>
#include <netinet/in.h>

struct link_state {
  char name[IF_NAMESIZE];
  uint32_t mtu;
  uint32_t queue_length;
  /* IFF_… of net/if.h */
  uint32_t flags;
};

/* An IP address or network with its prefix length. */
struct ip_prefix {
  /* AF_INET or AF_INET6 */
  uint8_t family;
  uint8_t length;
  /* 4 or 16 bytes in network order */
  uint8_t bytes[16];
};

/* Called for each address of a dump. */
typedef void (*address_visitor)(void *context, int ifindex, const struct ip_prefix *address);

int netlink_get_link(int ifindex, struct link_state *state);
int netlink_set_mtu(int ifindex, uint32_t mtu);
int netlink_set_queue_length(int ifindex, uint32_t packets);
int netlink_set_up(int ifindex, bool up);

/*
 * No IPv6 link-local address of the kernel's own making (IN6_ADDR_GEN_MODE_NONE). Without one it
 * sends no router solicitations (RFC 4861 6.3.7) and no multicast listener reports into the device.
 */
int netlink_disable_link_local(int ifindex);

/*
 * Adds an address; IPv6 without duplicate address detection (IFA_F_NODAD). On an interface that is up it
 * is usable when this returns.
 */
int netlink_add_address(int ifindex, const struct ip_prefix *address);
int netlink_remove_address(int ifindex, const struct ip_prefix *address);
int netlink_visit_addresses(address_visitor visit, void *context);

/* Adds a route through the device to the main table. 0 also when it is there already. */
int netlink_add_route(int ifindex, const struct ip_prefix *destination);

#endif
