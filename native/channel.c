/*
 * The Node-API face of what processes share. It checks everything that comes from JavaScript, so that a
 * mistake there is an errno here.
 */
#include "channel.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "tun.h"

#define MAX_ARGUMENTS 5

/* Marks the ArrayBuffers of arena(): only over these may be mapped. */
static const napi_type_tag arena_tag = {0x3d0b2d3d7c9f4c11, 0x9a2e6fd1b0c84e57};

struct call {
  napi_env env;
  struct environment *environment;
  napi_value arguments[MAX_ARGUMENTS];
};

static void begin_call(napi_env env, napi_callback_info info, struct call *call) {
  size_t count = MAX_ARGUMENTS;
  void *environment = NULL;
  napi_get_cb_info(env, info, &count, call->arguments, NULL, &environment);
  call->env = env;
  call->environment = environment;
}

/* A size or an offset. Returns false when it is no whole number from 0 to 2^53. */
static bool size_argument(const struct call *call, int index, size_t *size) {
  double value = -1;
  if (napi_get_value_double(call->env, call->arguments[index], &value) != napi_ok) return false;
  if (!(value >= 0 && value <= 9007199254740992.0) || value != (double)(size_t)value) return false;
  *size = (size_t)value;
  return true;
}

/* A descriptor, a watch or a small number; -1, which is none of these, when it is something else. */
static int int_argument(const struct call *call, int index) {
  size_t value = 0;
  return size_argument(call, index, &value) && value <= INT_MAX ? (int)value : -1;
}

/* Text of at most `size - 1` bytes, without zeros inside. Returns 0, -EINVAL or -ENAMETOOLONG. */
static int text_argument(const struct call *call, int index, char *text, size_t size) {
  size_t length = 0;
  if (napi_get_value_string_utf8(call->env, call->arguments[index], NULL, 0, &length) != napi_ok) return -EINVAL;
  if (length >= size) return -ENAMETOOLONG;
  if (napi_get_value_string_utf8(call->env, call->arguments[index], text, size, &length) != napi_ok) return -EINVAL;
  return strlen(text) == length ? 0 : -EINVAL;
}

/* The elements of a typed array of this type, or NULL. */
static void *array_argument(const struct call *call, int index, napi_typedarray_type type, size_t *elements) {
  napi_typedarray_type actual;
  void *data = NULL;
  if (napi_get_typedarray_info(call->env, call->arguments[index], &actual, elements, &data, NULL, NULL) != napi_ok) return NULL;
  return actual == type ? data : NULL;
}

static bool is_nothing(const struct call *call, int index) {
  napi_valuetype type = napi_undefined;
  napi_typeof(call->env, call->arguments[index], &type);
  return type == napi_undefined || type == napi_null;
}

static napi_value int_result(napi_env env, int32_t value) {
  napi_value result = NULL;
  napi_create_int32(env, value, &result);
  return result;
}

/* Memory. */

static void release(napi_env env, void *data, void *hint) {
  (void)env;
  memory_release(data, (size_t)(uintptr_t)hint);
}

/* An ArrayBuffer over mapped memory, which is released with it. NULL when it cannot be made. */
static napi_value mapped_buffer(napi_env env, void *memory, size_t bytes) {
  napi_value buffer = NULL;
  if (napi_create_external_arraybuffer(env, memory, bytes, release, (void *)(uintptr_t)bytes, &buffer) == napi_ok) return buffer;
  memory_release(memory, bytes);
  return NULL;
}

/* arena(bytes) */
static napi_value reserve_arena(napi_env env, napi_callback_info info) {
  struct call call;
  size_t bytes = 0;
  begin_call(env, info, &call);
  if (!size_argument(&call, 0, &bytes) || bytes == 0 || bytes % memory_page() != 0) {
    napi_throw_range_error(env, "EINVAL", "the size of an arena must be a multiple of the page size");
    return NULL;
  }
  void *memory = memory_reserve(bytes);
  napi_value buffer = memory == NULL ? NULL : mapped_buffer(env, memory, bytes);
  if (buffer != NULL && napi_type_tag_object(env, buffer, &arena_tag) == napi_ok) return buffer;
  /* Node has thrown its own error when it does not allow external buffers, or this long ones. */
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (!pending) napi_throw_error(env, "ENOMEM", "no address space for the arena, or Node allows no external buffers");
  return NULL;
}

/* Where the pages (…, arena, offset, length) begin; NULL when these are not pages of an arena. */
static uint8_t *arena_pages(const struct call *call, size_t *length) {
  bool is_arena = false;
  void *memory = NULL;
  size_t size = 0;
  size_t offset = 0;
  size_t page = memory_page();
  bool is_buffer = false;
  napi_is_arraybuffer(call->env, call->arguments[0], &is_buffer);
  if (!is_buffer) return NULL;
  if (napi_check_object_type_tag(call->env, call->arguments[0], &arena_tag, &is_arena) != napi_ok || !is_arena) return NULL;
  if (napi_get_arraybuffer_info(call->env, call->arguments[0], &memory, &size) != napi_ok) return NULL;
  if (!size_argument(call, 1, &offset) || !size_argument(call, 2, length)) return NULL;
  if (offset % page != 0 || *length % page != 0 || *length == 0) return NULL;
  if (offset > size || *length > size - offset) return NULL;
  return (uint8_t *)memory + offset;
}

/* arenaMap(arena, offset, length, fd) */
static napi_value arena_map(napi_env env, napi_callback_info info) {
  struct call call;
  size_t length = 0;
  begin_call(env, info, &call);
  uint8_t *pages = arena_pages(&call, &length);
  return int_result(env, pages == NULL ? -EINVAL : memory_cover(pages, length, int_argument(&call, 3)));
}

/* arenaUnmap(arena, offset, length) */
static napi_value arena_unmap(napi_env env, napi_callback_info info) {
  struct call call;
  size_t length = 0;
  begin_call(env, info, &call);
  uint8_t *pages = arena_pages(&call, &length);
  return int_result(env, pages == NULL ? -EINVAL : memory_uncover(pages, length));
}

/* memfd(name, bytes) */
static napi_value open_memfd(napi_env env, napi_callback_info info) {
  struct call call;
  char name[250];
  size_t bytes = 0;
  begin_call(env, info, &call);
  int error = text_argument(&call, 0, name, sizeof name);
  if (error == 0 && (!size_argument(&call, 1, &bytes) || bytes == 0)) error = -EINVAL;
  return int_result(env, error < 0 ? error : memory_file(name, bytes));
}

/* map(fd, bytes) → null when it failed */
static napi_value map_file(napi_env env, napi_callback_info info) {
  struct call call;
  size_t bytes = 0;
  napi_value result = NULL;
  begin_call(env, info, &call);
  void *memory = size_argument(&call, 1, &bytes) && bytes > 0 ? memory_map(int_argument(&call, 0), bytes) : NULL;
  if (memory != NULL) result = mapped_buffer(env, memory, bytes);
  if (result == NULL) napi_get_null(env, &result);
  return result;
}

/* Doorbells. */

static napi_value open_eventfd(napi_env env, napi_callback_info info) {
  (void)info;
  return int_result(env, doorbell_open());
}

/* eventfdListen(fd) */
static napi_value eventfd_listen(napi_env env, napi_callback_info info) {
  struct call call;
  begin_call(env, info, &call);
  return int_result(env, doorbell_listen(int_argument(&call, 0)));
}

/* eventfdWrite(fd) */
static napi_value eventfd_write_one(napi_env env, napi_callback_info info) {
  struct call call;
  begin_call(env, info, &call);
  return int_result(env, doorbell_ring(int_argument(&call, 0)));
}

/* awaitChange(words, index, value, us) */
static napi_value await_change(napi_env env, napi_callback_info info) {
  struct call call;
  size_t count = 0;
  begin_call(env, info, &call);
  const int32_t *words = array_argument(&call, 0, napi_int32_array, &count);
  int index = int_argument(&call, 1);
  int32_t value = 0;
  int us = int_argument(&call, 3);
  if (words == NULL || index < 0 || (size_t)index >= count || us < 0 ||
      napi_get_value_int32(env, call.arguments[2], &value) != napi_ok) {
    return int_result(env, -EINVAL);
  }
  return int_result(env, word_await(words + index, value, us));
}

/* Unix sockets. */

/* unixListen(path, mode) */
static napi_value listen_on(napi_env env, napi_callback_info info) {
  struct call call;
  char path[PATH_MAX];
  begin_call(env, info, &call);
  int error = text_argument(&call, 0, path, sizeof path);
  int mode = int_argument(&call, 1);
  if (error == 0 && (mode < 0 || mode > 0777)) error = -EINVAL;
  return int_result(env, error < 0 ? error : unix_listen(path, (mode_t)mode));
}

/* unixAccept(fd) */
static napi_value accept_from(napi_env env, napi_callback_info info) {
  struct call call;
  begin_call(env, info, &call);
  return int_result(env, unix_accept(int_argument(&call, 0)));
}

/* unixConnect(path) */
static napi_value connect_to(napi_env env, napi_callback_info info) {
  struct call call;
  char path[PATH_MAX];
  begin_call(env, info, &call);
  int error = text_argument(&call, 0, path, sizeof path);
  return int_result(env, error < 0 ? error : unix_connect(path));
}

static void set_uint(napi_env env, napi_value object, const char *key, uint32_t value) {
  napi_value number = NULL;
  napi_create_uint32(env, value, &number);
  napi_set_named_property(env, object, key, number);
}

/* unixPeer(fd) → { pid, uid, gid } */
static napi_value peer_of(napi_env env, napi_callback_info info) {
  struct call call;
  struct ucred peer;
  napi_value result = NULL;
  begin_call(env, info, &call);
  int error = unix_peer(int_argument(&call, 0), &peer);
  if (error < 0) return int_result(env, error);
  napi_create_object(env, &result);
  set_uint(env, result, "pid", (uint32_t)peer.pid);
  set_uint(env, result, "uid", peer.uid);
  set_uint(env, result, "gid", peer.gid);
  return result;
}

/* Reads an array of descriptors, or null. Returns how many, or -EINVAL. */
static int descriptors_argument(const struct call *call, int index, int *descriptors) {
  uint32_t count = 0;
  if (is_nothing(call, index)) return 0;
  if (napi_get_array_length(call->env, call->arguments[index], &count) != napi_ok || count > MAX_DESCRIPTORS) return -EINVAL;
  for (uint32_t i = 0; i < count; i++) {
    napi_value element = NULL;
    if (napi_get_element(call->env, call->arguments[index], i, &element) != napi_ok ||
        napi_get_value_int32(call->env, element, &descriptors[i]) != napi_ok) {
      return -EINVAL;
    }
  }
  return (int)count;
}

/* unixSend(fd, bytes, offset, length, fds) */
static napi_value send_to(napi_env env, napi_callback_info info) {
  struct call call;
  int descriptors[MAX_DESCRIPTORS];
  size_t size = 0;
  size_t offset = 0;
  size_t length = 0;
  begin_call(env, info, &call);
  const uint8_t *bytes = array_argument(&call, 1, napi_uint8_array, &size);
  int count = descriptors_argument(&call, 4, descriptors);
  if (bytes == NULL || count < 0 || !size_argument(&call, 2, &offset) || !size_argument(&call, 3, &length) ||
      offset > size || length > size - offset) {
    return int_result(env, -EINVAL);
  }
  return int_result(env, unix_send(int_argument(&call, 0), bytes + offset, length, descriptors, count));
}

/* unixReceive(fd, into, fds) */
static napi_value receive_from(napi_env env, napi_callback_info info) {
  struct call call;
  int32_t *list = NULL;
  size_t size = 0;
  size_t slots = 0;
  int descriptors[MAX_DESCRIPTORS];
  int count = 0;
  begin_call(env, info, &call);
  void *into = array_argument(&call, 1, napi_uint8_array, &size);
  if (into == NULL || size == 0) return int_result(env, -EINVAL);
  if (!is_nothing(&call, 2)) {
    list = array_argument(&call, 2, napi_int32_array, &slots);
    if (list == NULL || slots == 0) return int_result(env, -EINVAL);
    count = slots - 1 < MAX_DESCRIPTORS ? (int)(slots - 1) : MAX_DESCRIPTORS;
  }
  int result = unix_receive(int_argument(&call, 0), into, size, descriptors, &count);
  if (list != NULL) {
    list[0] = count;
    for (int i = 0; i < count; i++) list[1 + i] = descriptors[i];
  }
  return int_result(env, result);
}

/* unixCall(fd, words, sendBytes, timeoutMs) */
static napi_value call_over(napi_env env, napi_callback_info info) {
  struct call call;
  size_t words = 0;
  begin_call(env, info, &call);
  void *message = array_argument(&call, 1, napi_int32_array, &words);
  int send_bytes = int_argument(&call, 2);
  int timeout_ms = int_argument(&call, 3);
  if (message == NULL || send_bytes < 1 || (size_t)send_bytes > words * sizeof(int32_t) || timeout_ms < 0) {
    return int_result(env, -EINVAL);
  }
  return int_result(env, unix_call(int_argument(&call, 0), message, words * sizeof(int32_t), (size_t)send_bytes, timeout_ms));
}

/* Watches. */

/* watch(fd, isEventfd, callback) */
static napi_value open_watch(napi_env env, napi_callback_info info) {
  struct call call;
  bool is_eventfd = false;
  napi_valuetype type = napi_undefined;
  begin_call(env, info, &call);
  int fd = int_argument(&call, 0);
  napi_get_value_bool(env, call.arguments[1], &is_eventfd);
  napi_typeof(env, call.arguments[2], &type);
  if (type != napi_function) return int_result(env, -EINVAL);
  return int_result(env, fd < 0 ? -EBADF : watch_open(call.environment, fd, is_eventfd, call.arguments[2]));
}

static napi_value ref_watch(napi_env env, napi_callback_info info) {
  struct call call;
  begin_call(env, info, &call);
  watch_keep_alive(call.environment, int_argument(&call, 0), true);
  return NULL;
}

static napi_value unref_watch(napi_env env, napi_callback_info info) {
  struct call call;
  begin_call(env, info, &call);
  watch_keep_alive(call.environment, int_argument(&call, 0), false);
  return NULL;
}

static napi_value close_watch(napi_env env, napi_callback_info info) {
  struct call call;
  begin_call(env, info, &call);
  watch_close(call.environment, int_argument(&call, 0));
  return NULL;
}

/* closeFd(fd): its watch goes first, as libuv must not watch a number that the next open file gets. */
static napi_value close_descriptor(napi_env env, napi_callback_info info) {
  struct call call;
  begin_call(env, info, &call);
  int fd = int_argument(&call, 0);
  if (fd < 0) return NULL;
  watch_close_descriptor(call.environment, fd);
  close(fd);
  return NULL;
}

void channel_register(struct environment *environment, napi_value exports) {
  static const struct {
    const char *name;
    napi_callback function;
  } functions[] = {
    {"arena", reserve_arena},
    {"arenaMap", arena_map},
    {"arenaUnmap", arena_unmap},
    {"memfd", open_memfd},
    {"map", map_file},
    {"eventfd", open_eventfd},
    {"eventfdListen", eventfd_listen},
    {"eventfdWrite", eventfd_write_one},
    {"awaitChange", await_change},
    {"unixListen", listen_on},
    {"unixAccept", accept_from},
    {"unixConnect", connect_to},
    {"unixPeer", peer_of},
    {"unixSend", send_to},
    {"unixReceive", receive_from},
    {"unixCall", call_over},
    {"watch", open_watch},
    {"watchRef", ref_watch},
    {"watchUnref", unref_watch},
    {"unwatch", close_watch},
    {"closeFd", close_descriptor},
  };
  napi_env env = environment->napi;
  for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
    napi_value function = NULL;
    napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].function, environment, &function);
    napi_set_named_property(env, exports, functions[i].name, function);
  }
}
