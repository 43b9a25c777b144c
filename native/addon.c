/*
 * The Node-API face of the addon: functions over small integer ids, one table of devices per JavaScript
 * environment (main thread or worker). Calls that configure return 0 or a negative errno and leave the
 * name of the failed system call to `failedCall()`; lib/link/tun.ts turns that into sentences.
 * lib/link/native.ts has the types. What processes share has its own face, channel.c.
 */
#include "tun.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>

#include "channel.h"
#include "netlink.h"
#include "sysfs.h"

#define MAX_ARGUMENTS 7

/* One call from JavaScript: whose it is, on which device, with what. */
struct call {
  napi_env env;
  struct environment *environment;
  /* The first argument's device; NULL when there is no such id (any more). */
  struct device *device;
  napi_value arguments[MAX_ARGUMENTS];
};

static struct environment *begin_call(napi_env env, napi_callback_info info, struct call *call) {
  size_t count = MAX_ARGUMENTS;
  void *environment = NULL;
  napi_get_cb_info(env, info, &count, call->arguments, NULL, &environment);
  call->env = env;
  call->environment = environment;
  call->device = NULL;
  return environment;
}

static int32_t int_argument(const struct call *call, int index) {
  int32_t value = 0;
  napi_get_value_int32(call->env, call->arguments[index], &value);
  return value;
}

/* Begins a call whose first argument is a device id. */
static struct device *begin_device_call(napi_env env, napi_callback_info info, struct call *call) {
  struct environment *environment = begin_call(env, info, call);
  int32_t id = int_argument(call, 0);
  if (id >= 0 && id < environment->capacity) call->device = environment->devices[id];
  return call->device;
}

static napi_value int_result(napi_env env, int32_t value) {
  napi_value result = NULL;
  napi_create_int32(env, value, &result);
  return result;
}

/* The answer of a netlink request. */
static napi_value netlink_result(const struct call *call, int result, const char *name) {
  if (result < 0) call->environment->failed_call = name;
  return int_result(call->env, result);
}

static napi_value no_device(const struct call *call) {
  return netlink_result(call, -EBADF, "");
}

static void set_int(napi_env env, napi_value object, const char *key, int32_t value) {
  napi_set_named_property(env, object, key, int_result(env, value));
}

static void set_string(napi_env env, napi_value object, const char *key, const char *value) {
  napi_value string = NULL;
  napi_create_string_utf8(env, value, NAPI_AUTO_LENGTH, &string);
  napi_set_named_property(env, object, key, string);
}

/* Life. */

static napi_value open_device(napi_env env, napi_callback_info info) {
  struct call call;
  struct environment *environment = begin_call(env, info, &call);
  char name[64] = "";
  napi_get_value_string_utf8(env, call.arguments[0], name, sizeof name, NULL);
  return int_result(env, tun_open(environment, name, (unsigned)int_argument(&call, 1)));
}

static napi_value close_device(napi_env env, napi_callback_info info) {
  struct call call;
  if (begin_device_call(env, info, &call) != NULL) tun_close(call.device);
  return NULL;
}

static napi_value ref_device(napi_env env, napi_callback_info info) {
  struct call call;
  if (begin_device_call(env, info, &call) != NULL) uv_ref((uv_handle_t *)&call.device->poll);
  return NULL;
}

static napi_value unref_device(napi_env env, napi_callback_info info) {
  struct call call;
  if (begin_device_call(env, info, &call) != NULL) uv_unref((uv_handle_t *)&call.device->poll);
  return NULL;
}

static napi_value failed_call(napi_env env, napi_callback_info info) {
  struct call call;
  napi_value result = NULL;
  struct environment *environment = begin_call(env, info, &call);
  napi_create_string_utf8(env, environment->failed_call, NAPI_AUTO_LENGTH, &result);
  return result;
}

/* interfaceIndex(name) → 0 when there is no such interface */
static napi_value interface_index(napi_env env, napi_callback_info info) {
  struct call call;
  char name[64] = "";
  begin_call(env, info, &call);
  napi_get_value_string_utf8(env, call.arguments[0], name, sizeof name, NULL);
  return int_result(env, (int32_t)if_nametoindex(name));
}

/* Configuration. */

static napi_value set_offload(napi_env env, napi_callback_info info) {
  struct call call;
  struct device *device = begin_device_call(env, info, &call);
  if (device == NULL) return no_device(&call);
  return int_result(env, tun_set_offload(device, (unsigned)int_argument(&call, 1)));
}

static napi_value set_persist(napi_env env, napi_callback_info info) {
  struct call call;
  struct device *device = begin_device_call(env, info, &call);
  if (device == NULL) return no_device(&call);
  return int_result(env, tun_set_persist(device, int_argument(&call, 1) != 0));
}

static napi_value set_send_buffer(napi_env env, napi_callback_info info) {
  struct call call;
  struct device *device = begin_device_call(env, info, &call);
  if (device == NULL) return no_device(&call);
  return int_result(env, tun_set_send_buffer(device, int_argument(&call, 1)));
}

/* setThreaded(id): a kernel thread takes what is written (only with IFF_NAPI) */
static napi_value set_threaded(napi_env env, napi_callback_info info) {
  struct call call;
  struct link_state state;
  struct device *device = begin_device_call(env, info, &call);
  if (device == NULL) return no_device(&call);
  int error = netlink_get_link(device->ifindex, &state);
  if (error < 0) return netlink_result(&call, error, "RTM_GETLINK");
  return netlink_result(&call, sysfs_set(state.name, "threaded", "1"), "write");
}

static napi_value set_mtu(napi_env env, napi_callback_info info) {
  struct call call;
  struct device *device = begin_device_call(env, info, &call);
  if (device == NULL) return no_device(&call);
  return netlink_result(&call, netlink_set_mtu(device->ifindex, (uint32_t)int_argument(&call, 1)), "RTM_NEWLINK");
}

static napi_value set_queue_length(napi_env env, napi_callback_info info) {
  struct call call;
  struct device *device = begin_device_call(env, info, &call);
  if (device == NULL) return no_device(&call);
  return netlink_result(&call, netlink_set_queue_length(device->ifindex, (uint32_t)int_argument(&call, 1)), "RTM_NEWLINK");
}

static napi_value set_up(napi_env env, napi_callback_info info) {
  struct call call;
  struct device *device = begin_device_call(env, info, &call);
  if (device == NULL) return no_device(&call);
  return netlink_result(&call, netlink_set_up(device->ifindex, int_argument(&call, 1) != 0), "RTM_NEWLINK");
}

static napi_value disable_link_local(napi_env env, napi_callback_info info) {
  struct call call;
  struct device *device = begin_device_call(env, info, &call);
  if (device == NULL) return no_device(&call);
  return netlink_result(&call, netlink_disable_link_local(device->ifindex), "RTM_NEWLINK");
}

/* Reads (…, address as text, prefix length). Returns false when it is no address. */
static bool prefix_argument(const struct call *call, struct ip_prefix *prefix) {
  char text[INET6_ADDRSTRLEN] = "";
  napi_get_value_string_utf8(call->env, call->arguments[1], text, sizeof text, NULL);
  memset(prefix, 0, sizeof *prefix);
  prefix->family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET;
  prefix->length = (uint8_t)int_argument(call, 2);
  return inet_pton(prefix->family, text, prefix->bytes) == 1;
}

typedef int (*prefix_request)(int ifindex, const struct ip_prefix *prefix);

static napi_value request_with_prefix(napi_env env, napi_callback_info info, prefix_request request, const char *name) {
  struct call call;
  struct ip_prefix prefix;
  struct device *device = begin_device_call(env, info, &call);
  if (device == NULL) return no_device(&call);
  return netlink_result(&call, prefix_argument(&call, &prefix) ? request(device->ifindex, &prefix) : -EINVAL, name);
}

static napi_value add_address(napi_env env, napi_callback_info info) {
  return request_with_prefix(env, info, netlink_add_address, "RTM_NEWADDR");
}

static napi_value remove_address(napi_env env, napi_callback_info info) {
  return request_with_prefix(env, info, netlink_remove_address, "RTM_DELADDR");
}

static napi_value add_route(napi_env env, napi_callback_info info) {
  return request_with_prefix(env, info, netlink_add_route, "RTM_NEWROUTE");
}

static napi_value get_link(napi_env env, napi_callback_info info) {
  struct call call;
  struct link_state state;
  struct device *device = begin_device_call(env, info, &call);
  if (device == NULL) return no_device(&call);
  int error = netlink_get_link(device->ifindex, &state);
  if (error < 0) return netlink_result(&call, error, "RTM_GETLINK");
  napi_value result = NULL;
  napi_create_object(env, &result);
  set_string(env, result, "name", state.name);
  set_int(env, result, "index", device->ifindex);
  set_int(env, result, "mtu", (int32_t)state.mtu);
  set_int(env, result, "queueLength", (int32_t)state.queue_length);
  set_int(env, result, "flags", (int32_t)state.flags);
  return result;
}

struct address_list {
  napi_env env;
  napi_value array;
  uint32_t count;
};

static void list_address(void *context, int ifindex, const struct ip_prefix *address) {
  struct address_list *list = context;
  char text[INET6_ADDRSTRLEN];
  napi_value entry = NULL;
  if (inet_ntop(address->family, address->bytes, text, sizeof text) == NULL) return;
  napi_create_object(list->env, &entry);
  set_int(list->env, entry, "index", ifindex);
  set_string(list->env, entry, "address", text);
  set_int(list->env, entry, "prefixLength", address->length);
  napi_set_element(list->env, list->array, list->count++, entry);
}

static napi_value get_addresses(napi_env env, napi_callback_info info) {
  struct call call;
  struct address_list list = {.env = env};
  begin_call(env, info, &call);
  napi_create_array(env, &list.array);
  int error = netlink_visit_addresses(list_address, &list);
  return error < 0 ? netlink_result(&call, error, "RTM_GETADDR") : list.array;
}

/* Packets. */

/* Keeps a typed array of this type alive, and returns its elements; NULL when it is something else. */
static void *hold_array(const struct call *call, int index, napi_typedarray_type type, napi_ref *reference, int *length) {
  napi_typedarray_type actual;
  size_t elements = 0;
  void *data = NULL;
  if (napi_get_typedarray_info(call->env, call->arguments[index], &actual, &elements, &data, NULL, NULL) != napi_ok) return NULL;
  if (actual != type || napi_create_reference(call->env, call->arguments[index], 1, reference) != napi_ok) return NULL;
  *length = (int)elements;
  return data;
}

/* attach(id, memory, rxBytes, meta, shared, busyPollUs, callback) */
static napi_value attach(napi_env env, napi_callback_info info) {
  struct call call;
  struct device *device = begin_device_call(env, info, &call);
  if (device == NULL) return no_device(&call);
  if (device->attached) return int_result(env, -EALREADY);
  void *memory = NULL;
  int slots = 0;
  napi_value resource_name = NULL;
  if (napi_get_arraybuffer_info(env, call.arguments[1], &memory, &device->memory_size) != napi_ok) goto invalid;
  if (napi_create_reference(env, call.arguments[1], 1, &device->memory_ref) != napi_ok) goto invalid;
  device->memory = memory;
  device->rx_size = (size_t)int_argument(&call, 2);
  device->meta = hold_array(&call, 3, napi_int32_array, &device->meta_ref, &device->meta_capacity);
  device->meta_capacity /= RX_STRIDE;
  device->shared = hold_array(&call, 4, napi_float64_array, &device->shared_ref, &slots);
  device->busy_poll_us = (uint32_t)int_argument(&call, 5);
  if (device->rx_size > device->memory_size || device->meta == NULL || slots < SHARED_SLOTS) goto invalid;
  if (napi_create_reference(env, call.arguments[6], 1, &device->callback) != napi_ok) goto invalid;
  napi_create_string_utf8(env, "TCPU_TUN", NAPI_AUTO_LENGTH, &resource_name);
  if (napi_async_init(env, NULL, resource_name, &device->async_context) != napi_ok) goto invalid;
  device->attached = true;
  return int_result(env, tun_watch(device));
invalid:
  return int_result(env, -EINVAL);
}

/* bind(id, packets, pieces): the transmit queue that send() takes from. */
static napi_value bind_queue(napi_env env, napi_callback_info info) {
  struct call call;
  struct device *device = begin_device_call(env, info, &call);
  if (device == NULL) return no_device(&call);
  napi_ref packets_ref = NULL;
  napi_ref pieces_ref = NULL;
  int packets_length = 0;
  int pieces_length = 0;
  void *packets = hold_array(&call, 1, napi_int32_array, &packets_ref, &packets_length);
  void *pieces = hold_array(&call, 2, napi_int32_array, &pieces_ref, &pieces_length);
  napi_ref old_packets = packets != NULL && pieces != NULL ? device->packets_ref : packets_ref;
  napi_ref old_pieces = packets != NULL && pieces != NULL ? device->pieces_ref : pieces_ref;
  if (old_packets != NULL) napi_delete_reference(env, old_packets);
  if (old_pieces != NULL) napi_delete_reference(env, old_pieces);
  if (packets == NULL || pieces == NULL) return int_result(env, -EINVAL);
  device->packets_ref = packets_ref;
  device->packets = packets;
  device->packets_capacity = packets_length / TX_STRIDE;
  device->pieces_ref = pieces_ref;
  device->pieces = pieces;
  device->pieces_capacity = pieces_length / 2;
  return int_result(env, 0);
}

/* send(id, head, tail) → the first packet that was not taken */
static napi_value send_packets(napi_env env, napi_callback_info info) {
  struct call call;
  struct device *device = begin_device_call(env, info, &call);
  int32_t head = int_argument(&call, 1);
  int32_t tail = int_argument(&call, 2);
  if (device == NULL || !device->attached || device->packets == NULL) return int_result(env, tail);
  return int_result(env, tun_send(device, head, tail));
}

/* Set-up. */

static void free_environment(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  struct environment *environment = data;
  free(environment->devices);
  free(environment->watches);
  free(environment);
}

NAPI_MODULE_INIT() {
  static const struct {
    const char *name;
    napi_callback function;
  } functions[] = {
    {"open", open_device},
    {"close", close_device},
    {"ref", ref_device},
    {"unref", unref_device},
    {"failedCall", failed_call},
    {"interfaceIndex", interface_index},
    {"setOffload", set_offload},
    {"setPersist", set_persist},
    {"setSendBuffer", set_send_buffer},
    {"setThreaded", set_threaded},
    {"setMtu", set_mtu},
    {"setQueueLength", set_queue_length},
    {"setUp", set_up},
    {"disableLinkLocal", disable_link_local},
    {"addAddress", add_address},
    {"removeAddress", remove_address},
    {"addRoute", add_route},
    {"link", get_link},
    {"addresses", get_addresses},
    {"attach", attach},
    {"bind", bind_queue},
    {"send", send_packets},
  };
  struct environment *environment = calloc(1, sizeof *environment);
  if (environment == NULL) return NULL;
  environment->napi = env;
  environment->failed_call = "";
  if (napi_get_uv_event_loop(env, &environment->loop) != napi_ok ||
      napi_set_instance_data(env, environment, free_environment, NULL) != napi_ok) {
    free(environment);
    return NULL;
  }
  for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
    napi_value function = NULL;
    napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].function, environment, &function);
    napi_set_named_property(env, exports, functions[i].name, function);
  }
  channel_register(environment, exports);
  return exports;
}
