/*
 * Life of a device: /dev/net/tun, its ioctls (linux/if_tun.h; Documentation/networking/tuntap.rst), the
 * libuv handle, and the hook that closes it when its JavaScript environment ends first.
 */
#include "tun.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>

static int fail(struct environment *environment, int error, const char *call) {
  environment->failed_call = call;
  return -error;
}

/* The lowest free id, or -ENOMEM. */
static int reserve_id(struct environment *environment) {
  for (int id = 0; id < environment->capacity; id++) {
    if (environment->devices[id] == NULL) return id;
  }
  int capacity = environment->capacity == 0 ? 4 : environment->capacity * 2;
  struct device **devices = realloc(environment->devices, (size_t)capacity * sizeof *devices);
  if (devices == NULL) return -ENOMEM;
  memset(devices + environment->capacity, 0, (size_t)(capacity - environment->capacity) * sizeof *devices);
  int id = environment->capacity;
  environment->devices = devices;
  environment->capacity = capacity;
  return id;
}

static void close_for_environment(napi_async_cleanup_hook_handle handle, void *data) {
  (void)handle;
  tun_close(data);
}

/* A descriptor of the device with this name, non-blocking. On success `ifr` holds the name it got. */
static int open_descriptor(struct environment *environment, struct ifreq *ifr) {
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return fail(environment, errno, "open");
  int header_size = sizeof(struct virtio_net_hdr);
  const char *call = NULL;
  if (ioctl(fd, TUNSETIFF, ifr) < 0) {
    call = "ioctl(TUNSETIFF)";
  } else if (ioctl(fd, TUNSETVNETHDRSZ, &header_size) < 0) {
    call = "ioctl(TUNSETVNETHDRSZ)";
  }
  if (call != NULL) {
    int error = errno;
    close(fd);
    return fail(environment, error, call);
  }
  return fd;
}

int tun_open(struct environment *environment, const char *name, unsigned flags) {
  struct ifreq ifr;
  memset(&ifr, 0, sizeof ifr);
  strncpy(ifr.ifr_name, name, IFNAMSIZ - 1);
  ifr.ifr_flags = (short)(IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | flags);

  int id = reserve_id(environment);
  if (id < 0) return fail(environment, -id, "malloc");
  struct device *device = calloc(1, sizeof *device);
  if (device == NULL) return fail(environment, ENOMEM, "malloc");

  int fd = open_descriptor(environment, &ifr);
  int error = fd < 0 ? fd : uv_poll_init(environment->loop, &device->poll, fd);
  if (error < 0) {
    if (fd >= 0) {
      close(fd);
      fail(environment, -error, "uv_poll_init");
    }
    free(device);
    return error;
  }
  uv_unref((uv_handle_t *)&device->poll);
  device->poll.data = device;
  device->environment = environment;
  device->id = id;
  device->fd = fd;
  device->ifindex = (int)if_nametoindex(ifr.ifr_name);
  environment->devices[id] = device;
  if (napi_add_async_cleanup_hook(environment->napi, close_for_environment, device, &device->cleanup) != napi_ok) {
    tun_close(device);
    return fail(environment, ENOMEM, "napi_add_async_cleanup_hook");
  }
  return id;
}

static void on_closed(uv_handle_t *handle) {
  struct device *device = handle->data;
  if (device->cleanup != NULL) napi_remove_async_cleanup_hook(device->cleanup);
  free(device);
}

static void drop_reference(napi_env env, napi_ref reference) {
  if (reference != NULL) napi_delete_reference(env, reference);
}

void tun_close(struct device *device) {
  if (device->closing) return;
  device->closing = true;
  napi_env env = device->environment->napi;
  device->environment->devices[device->id] = NULL;
  drop_reference(env, device->callback);
  drop_reference(env, device->memory_ref);
  drop_reference(env, device->meta_ref);
  drop_reference(env, device->shared_ref);
  drop_reference(env, device->packets_ref);
  drop_reference(env, device->pieces_ref);
  if (device->async_context != NULL) napi_async_destroy(env, device->async_context);
  uv_close((uv_handle_t *)&device->poll, on_closed);
  /* uv_close() has taken the descriptor out of epoll. A device that is not persistent vanishes here. */
  close(device->fd);
  device->fd = -1;
}

int tun_set_offload(struct device *device, unsigned bits) {
  if (ioctl(device->fd, TUNSETOFFLOAD, (unsigned long)bits) < 0) {
    return fail(device->environment, errno, "ioctl(TUNSETOFFLOAD)");
  }
  device->finish_checksums = (bits & TUN_F_CSUM) == 0;
  return 0;
}

int tun_set_persist(struct device *device, bool persist) {
  if (ioctl(device->fd, TUNSETPERSIST, (unsigned long)persist) < 0) {
    return fail(device->environment, errno, "ioctl(TUNSETPERSIST)");
  }
  return 0;
}

int tun_set_send_buffer(struct device *device, int bytes) {
  if (ioctl(device->fd, TUNSETSNDBUF, &bytes) < 0) return fail(device->environment, errno, "ioctl(TUNSETSNDBUF)");
  return 0;
}
