/*
 * Watches: a descriptor, libuv's handle for it, and the JavaScript function to call when it is readable.
 *
 * An id has a place in the environment's table in its low bits and a serial number above, so that
 * an id that is used after its end meets nobody else. A watch may be closed at any time, in its own
 * callback too: the descriptor is out of epoll at once, the memory is freed when libuv has let go of the
 * handle. The environment's end closes what is left.
 */
#include "channel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "tun.h"

#define PLACE_BITS 16
#define MAX_PLACES (1 << PLACE_BITS)
#define MAX_SERIAL 0x7fff

struct watch {
  uv_poll_t poll;
  struct environment *environment;
  napi_async_cleanup_hook_handle cleanup;
  napi_async_context async_context;
  napi_ref callback;
  int id;
  int fd;
  bool is_doorbell;
  bool closing;
};

/* The lowest free place of the table, or a negative errno. */
static int reserve_place(struct environment *environment) {
  int capacity = environment->watch_capacity;
  for (int place = 0; place < capacity; place++) {
    if (environment->watches[place] == NULL) return place;
  }
  if (capacity == MAX_PLACES) return -EMFILE;
  int larger = capacity == 0 ? 8 : capacity * 2;
  struct watch **watches = realloc(environment->watches, (size_t)larger * sizeof *watches);
  if (watches == NULL) return -ENOMEM;
  memset(watches + capacity, 0, (size_t)(larger - capacity) * sizeof *watches);
  environment->watches = watches;
  environment->watch_capacity = larger;
  return capacity;
}

static struct watch *find(const struct environment *environment, int id) {
  int place = id & (MAX_PLACES - 1);
  if (id < 0 || place >= environment->watch_capacity) return NULL;
  struct watch *watch = environment->watches[place];
  return watch != NULL && watch->id == id ? watch : NULL;
}

/* Calls JavaScript. An exception of the callback becomes the process's (or worker's) uncaught exception. */
static void emit(const struct watch *watch) {
  napi_env env = watch->environment->napi;
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_value callback;
  napi_value receiver;
  napi_value exception;
  if (napi_get_reference_value(env, watch->callback, &callback) == napi_ok && napi_get_global(env, &receiver) == napi_ok) {
    napi_status status = napi_make_callback(env, watch->async_context, receiver, callback, 0, NULL, NULL);
    if (status == napi_pending_exception && napi_get_and_clear_last_exception(env, &exception) == napi_ok) {
      napi_fatal_exception(env, exception);
    }
  }
  napi_close_handle_scope(env, scope);
}

static void on_readable(uv_poll_t *poll, int status, int events) {
  struct watch *watch = poll->data;
  (void)events;
  /*
   * libuv stops watching at EPOLLERR. A socket has it when the other side closed with messages unread, an
   * eventfd when it has counted too far; reading tells the one and clears the other.
   */
  if (status < 0) uv_poll_start(poll, UV_READABLE, on_readable);
  if (watch->is_doorbell && !doorbell_answer(watch->fd)) return;
  emit(watch);
}

static void on_closed(uv_handle_t *handle) {
  struct watch *watch = handle->data;
  if (watch->cleanup != NULL) napi_remove_async_cleanup_hook(watch->cleanup);
  free(watch);
}

static void close_watch(struct watch *watch) {
  if (watch->closing) return;
  watch->closing = true;
  struct environment *environment = watch->environment;
  environment->watches[watch->id & (MAX_PLACES - 1)] = NULL;
  if (watch->callback != NULL) napi_delete_reference(environment->napi, watch->callback);
  if (watch->async_context != NULL) napi_async_destroy(environment->napi, watch->async_context);
  uv_close((uv_handle_t *)&watch->poll, on_closed);
}

static void close_for_environment(napi_async_cleanup_hook_handle handle, void *data) {
  (void)handle;
  close_watch(data);
}

int watch_open(struct environment *environment, int fd, bool is_doorbell, napi_value callback) {
  napi_env env = environment->napi;
  napi_value name = NULL;
  int place = reserve_place(environment);
  if (place < 0) return place;
  struct watch *watch = calloc(1, sizeof *watch);
  if (watch == NULL) return -ENOMEM;
  int error = uv_poll_init(environment->loop, &watch->poll, fd);
  if (error < 0) {
    free(watch);
    return error;
  }
  environment->watch_serial = (environment->watch_serial + 1) & MAX_SERIAL;
  watch->poll.data = watch;
  watch->environment = environment;
  watch->id = environment->watch_serial << PLACE_BITS | place;
  watch->fd = fd;
  watch->is_doorbell = is_doorbell;
  environment->watches[place] = watch;
  napi_create_string_utf8(env, "TCPU_WATCH", NAPI_AUTO_LENGTH, &name);
  error = -ENOMEM;
  if (napi_add_async_cleanup_hook(env, close_for_environment, watch, &watch->cleanup) != napi_ok ||
      napi_create_reference(env, callback, 1, &watch->callback) != napi_ok ||
      napi_async_init(env, NULL, name, &watch->async_context) != napi_ok ||
      (error = uv_poll_start(&watch->poll, UV_READABLE, on_readable)) < 0) {
    close_watch(watch);
    return error;
  }
  return watch->id;
}

void watch_close(struct environment *environment, int id) {
  struct watch *watch = find(environment, id);
  if (watch != NULL) close_watch(watch);
}

void watch_close_descriptor(struct environment *environment, int fd) {
  for (int place = 0; place < environment->watch_capacity; place++) {
    struct watch *watch = environment->watches[place];
    if (watch != NULL && watch->fd == fd) close_watch(watch);
  }
}

void watch_keep_alive(struct environment *environment, int id, bool on) {
  struct watch *watch = find(environment, id);
  if (watch == NULL) return;
  if (on) uv_ref((uv_handle_t *)&watch->poll);
  else uv_unref((uv_handle_t *)&watch->poll);
}
