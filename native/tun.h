/*
 * A TUN device as this addon sees it: a descriptor watched by libuv, memory shared with JavaScript, and
 * what was cached of both. The addon moves packets; the only thing that it knows of their inside is
 * the Internet checksum.
 */
#ifndef TCPU_TUN_H
#define TCPU_TUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <node_api.h>
#include <uv.h>

/* Fields of a packet in a batch: RX_… of lib/link/link.ts. */
enum { RX_OFFSET, RX_LENGTH, RX_FLAGS, RX_GSO_TYPE, RX_GSO_SIZE, RX_HEADER_LENGTH, RX_CSUM, RX_CSUM_OFFSET, RX_STRIDE };
enum { RX_CSUM_PARTIAL = 1, RX_CSUM_VALID = 2, RX_CSUM_COMPLETE = 4 };

/* Fields of a packet in a transmit queue: TX_… of lib/buffer/transmit-queue.ts. */
enum { TX_FIRST_PIECE, TX_PIECES, TX_LENGTH, TX_FLAGS, TX_GSO_TYPE, TX_GSO_SIZE, TX_HEADER_LENGTH, TX_CSUM, TX_STRIDE };
enum { TX_CSUM_PARTIAL = 1 };

/* What the callback is told: (event, value). Known to lib/link/tun.ts. */
enum {
  /* value: packets in the batch */
  EVENT_PACKETS,
  /* value: 0 */
  EVENT_WRITABLE,
  /* value: errno; the device is gone */
  EVENT_DOWN,
};

/* Slots of the Float64Array shared with JavaScript. Known to lib/link/tun.ts. */
enum {
  /* When the batch was read: µs of CLOCK_MONOTONIC. */
  SHARED_TIME,
  RX_PACKETS,
  RX_BYTES,
  RX_BATCHES,
  /* Reads that gave no whole packet, or failed. */
  RX_ERRORS,
  TX_PACKETS,
  TX_BYTES,
  TX_CALLS,
  /* Times that the device took no more for now (EAGAIN). */
  TX_BLOCKED,
  /* Dropped: the interface is down (EIO) or gone (EBADFD). */
  TX_DOWN,
  /* Dropped: refused by the kernel (EINVAL, EMSGSIZE …), or a descriptor that makes no sense. */
  TX_INVALID,
  /* Dropped: no memory in the kernel (ENOMEM, ENOBUFS). */
  TX_NO_MEMORY,
  SHARED_SLOTS
};

/* Most iovecs that writev(2) takes (UIO_MAXIOV); one of them carries the virtio header. */
#define MAX_IOVECS 1024

/* One addon instance: the main thread's, or a worker's. */
struct environment {
  napi_env napi;
  uv_loop_t *loop;
  /* Devices by id; NULL when closed. */
  struct device **devices;
  int capacity;
  /* The system call or ioctl that failed last. */
  const char *failed_call;
  /* Watches by place, NULL when closed, and the number of those opened so far (watch.c). */
  struct watch **watches;
  int watch_capacity;
  int watch_serial;
};

struct device {
  uv_poll_t poll;
  struct environment *environment;
  napi_async_cleanup_hook_handle cleanup;
  int id;
  int fd;
  int ifindex;
  bool closing;
  /* Reading has begun: attached to a stack. */
  bool attached;
  /* send() met EAGAIN; waiting for room. */
  bool blocked;
  /* send() wrote something since the last read. */
  bool wrote;
  /* The kernel refused TUN_F_CSUM: finish checksums here. */
  bool finish_checksums;
  /* How long to go on looking for packets after a batch before sleeping, µs. */
  uint32_t busy_poll_us;

  /* JavaScript's side; pointers into the references. */
  napi_async_context async_context;
  napi_ref callback;
  napi_ref memory_ref;
  uint8_t *memory;
  size_t memory_size;
  size_t rx_size;
  napi_ref meta_ref;
  int32_t *meta;
  int meta_capacity;
  napi_ref shared_ref;
  double *shared;
  napi_ref packets_ref;
  int32_t *packets;
  int packets_capacity;
  napi_ref pieces_ref;
  const int32_t *pieces;
  int pieces_capacity;

  struct iovec iovecs[MAX_IOVECS];
};

/* tun-device.c */

/* Opens (or takes over) a device. Returns its id, or a negative errno with `failed_call` set. */
int tun_open(struct environment *environment, const char *name, unsigned flags);
/* Closes the descriptor at once; the rest is freed when libuv lets go of the handle. Safe in callbacks. */
void tun_close(struct device *device);
/* Each returns 0 or a negative errno with `failed_call` set. */
/* TUN_F_… : what may come in unfinished or merged. Without TUN_F_CSUM the addon finishes checksums. */
int tun_set_offload(struct device *device, unsigned bits);
/* Whether the device outlives its descriptor. */
int tun_set_persist(struct device *device, bool persist);
/* Bytes that may be under way in the kernel before writes give EAGAIN. */
int tun_set_send_buffer(struct device *device, int bytes);

/* tun-io.c */

/* Watches for packets, and for room to write while `blocked`. Returns 0 or a negative errno. */
int tun_watch(struct device *device);
/* Writes packets head … tail - 1 of the bound queue. Returns the first that was not taken. */
int tun_send(struct device *device, int head, int tail);

#endif
