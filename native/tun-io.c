/*
 * Moving packets, many per call.
 *
 * In: when the descriptor is readable, packets are read one after the other into the receive slab, each
 * with its virtio header (linux/virtio_net.h) in the gap in front of it, so that one read(2) takes both:
 *
 *     | gap (6) | virtio header (10) | packet, at a multiple of 16 | padding | gap …
 *
 * and JavaScript is called once for the batch. What it does may make more arrive at once (a write runs
 * Linux's receive path inside the call), so some rounds follow before the event loop goes on.
 *
 * Out: one writev(2) per packet gathers the virtio header and the pieces. EAGAIN ends the call and the
 * rest stays queued; any other error costs the one packet it belongs to, and is counted.
 */
#include "tun.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <linux/virtio_net.h>

#include "checksum.h"

#define ALIGNMENT 16
#define VIRTIO_SIZE sizeof(struct virtio_net_hdr)
/* The longest packet: IPv6 with a full payload length, 40 + 65535, rounded up. */
#define MAX_PACKET 65600
/* Rounds, and µs, after which the event loop gets its turn. */
#define MAX_ROUNDS 8
#define MAX_TURN_US 2000

static int64_t now_us(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

/*
 * Calls JavaScript. An exception of the callback becomes the process's (or worker's) uncaught exception,
 * as it does for Node's own handles. The device may be closing when this returns.
 */
static void emit(struct device *device, int event, int value) {
  napi_env env = device->environment->napi;
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_value callback;
  napi_value receiver;
  napi_value arguments[2];
  napi_value exception;
  if (napi_get_reference_value(env, device->callback, &callback) == napi_ok && napi_get_global(env, &receiver) == napi_ok &&
      napi_create_int32(env, event, &arguments[0]) == napi_ok && napi_create_int32(env, value, &arguments[1]) == napi_ok) {
    napi_status status = napi_make_callback(env, device->async_context, receiver, callback, 2, arguments, NULL);
    if (status == napi_pending_exception && napi_get_and_clear_last_exception(env, &exception) == napi_ok) {
      napi_fatal_exception(env, exception);
    }
  }
  napi_close_handle_scope(env, scope);
}

/* In. */

static void describe(const struct device *device, int32_t *meta, size_t offset, size_t length) {
  struct virtio_net_hdr header;
  const uint8_t *packet = device->memory + offset;
  memcpy(&header, packet - VIRTIO_SIZE, sizeof header);
  meta[RX_OFFSET] = (int32_t)offset;
  meta[RX_LENGTH] = (int32_t)length;
  meta[RX_GSO_TYPE] = header.gso_type;
  meta[RX_GSO_SIZE] = header.gso_size;
  meta[RX_HEADER_LENGTH] = header.hdr_len;
  if (header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
    meta[RX_FLAGS] = RX_CSUM_PARTIAL;
    meta[RX_CSUM] = header.csum_start;
    meta[RX_CSUM_OFFSET] = header.csum_offset;
  } else if (header.flags & VIRTIO_NET_HDR_F_DATA_VALID) {
    meta[RX_FLAGS] = RX_CSUM_VALID;
    meta[RX_CSUM] = 0;
    meta[RX_CSUM_OFFSET] = 0;
  } else {
    meta[RX_FLAGS] = RX_CSUM_COMPLETE;
    meta[RX_CSUM] = checksum_big_endian(checksum_fold(checksum_add(packet, length)));
    meta[RX_CSUM_OFFSET] = 0;
  }
}

/*
 * Reads what is there and fits. Returns the number of packets, and in `error` why it stopped: 0 when the
 * batch is full, EAGAIN when nothing is left, or what read(2) failed with.
 */
static int read_batch(struct device *device, int64_t time, int *error) {
  double *shared = device->shared;
  size_t offset = ALIGNMENT;
  int count = 0;
  double bytes = 0;
  *error = 0;
  while (count < device->meta_capacity && offset + MAX_PACKET <= device->rx_size) {
    ssize_t length = read(device->fd, device->memory + offset - VIRTIO_SIZE, VIRTIO_SIZE + MAX_PACKET);
    if (length < 0) {
      if (errno == EINTR) continue;
      *error = errno;
      break;
    }
    length -= (ssize_t)VIRTIO_SIZE;
    if (length <= 0) {
      shared[RX_ERRORS]++;
      continue;
    }
    describe(device, device->meta + count * RX_STRIDE, offset, (size_t)length);
    bytes += (double)length;
    count++;
    offset = (offset + (size_t)length + VIRTIO_SIZE + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
  }
  if (count > 0) {
    shared[SHARED_TIME] = (double)time;
    shared[RX_PACKETS] += count;
    shared[RX_BYTES] += bytes;
    shared[RX_BATCHES]++;
  }
  return count;
}

/* The interface is gone for good: tells JavaScript, once. */
static void go_down(struct device *device, int error) {
  uv_poll_stop(&device->poll);
  emit(device, EVENT_DOWN, error);
}

/*
 * Reads and delivers, round after round, until nothing is left and JavaScript has not written since
 * (so nothing new can have been caused), or the turn has been long enough. With busy polling it goes
 * on looking for a while after each batch.
 */
static void drain(struct device *device) {
  int64_t start = now_us();
  int64_t time = start;
  int64_t poll_until = 0;
  int rounds = 0;
  while (rounds < MAX_ROUNDS && time - start < MAX_TURN_US) {
    int error;
    device->wrote = false;
    int count = read_batch(device, time, &error);
    if (count > 0) {
      rounds++;
      emit(device, EVENT_PACKETS, count);
      if (device->closing) return;
    }
    if (error != 0 && error != EAGAIN) {
      device->shared[RX_ERRORS]++;
      /* The interface was deleted; other errors concern one packet, and epoll will call again. */
      if (error == EBADFD) go_down(device, error);
      return;
    }
    time = now_us();
    if (count > 0) poll_until = time + device->busy_poll_us;
    if (error == EAGAIN && !(count > 0 && device->wrote) && time >= poll_until) return;
  }
}

/* libuv reports EPOLLERR, and stops watching, when the interface was deleted. */
static void on_error(struct device *device) {
  struct virtio_net_hdr nothing;
  if (read(device->fd, &nothing, 0) < 0 && errno == EBADFD) {
    go_down(device, EBADFD);
  } else {
    tun_watch(device);
  }
}

static void on_poll(uv_poll_t *poll, int status, int events) {
  struct device *device = poll->data;
  if (status < 0) {
    on_error(device);
    return;
  }
  if ((events & UV_WRITABLE) && device->blocked) {
    device->blocked = false;
    tun_watch(device);
    emit(device, EVENT_WRITABLE, 0);
    if (device->closing) return;
  }
  if (events & UV_READABLE) drain(device);
}

int tun_watch(struct device *device) {
  return uv_poll_start(&device->poll, device->blocked ? UV_READABLE | UV_WRITABLE : UV_READABLE, on_poll);
}

/* Out. */

/*
 * Computes the checksum that was left to us over the pieces, from `start` of the packet to its end, and
 * stores its complement `field` bytes after `start`, in the first piece. Returns whether the numbers
 * made sense. A piece that begins at an odd place has its sum swapped (RFC 1071 section 2 B).
 */
static bool finish_checksum(const struct iovec *piece, int pieces, size_t start, size_t field) {
  if (start + field + 2 > piece[0].iov_len) return false;
  uint64_t sum = 0;
  size_t position = 0;
  for (int i = 0; i < pieces; i++) {
    size_t skip = i == 0 ? start : 0;
    size_t length = piece[i].iov_len - skip;
    uint16_t part = checksum_fold(checksum_add((const uint8_t *)piece[i].iov_base + skip, length));
    sum += (position & 1) ? checksum_swap(part) : part;
    position += length;
  }
  uint16_t checksum = (uint16_t)~checksum_fold(sum);
  /* Zero would mean "no checksum" in UDP (RFC 768), which alone has its checksum at offset 6. */
  if (checksum == 0 && field == 6) checksum = 0xffff;
  memcpy((uint8_t *)piece[0].iov_base + start + field, &checksum, 2);
  return true;
}

/* Points `iovecs[1…]` at the packet's pieces. Returns how many there are, or 0 when they make no sense. */
static int gather(struct device *device, const int32_t *packet) {
  int first = packet[TX_FIRST_PIECE];
  int pieces = packet[TX_PIECES];
  if (pieces < 1 || pieces >= MAX_IOVECS || first < 0 || first > device->pieces_capacity - pieces) return 0;
  const int32_t *piece = device->pieces + 2 * first;
  for (int i = 1; i <= pieces; i++, piece += 2) {
    size_t offset = (uint32_t)piece[0];
    size_t length = (uint32_t)piece[1];
    if (offset + length > device->memory_size) return 0;
    device->iovecs[i].iov_base = device->memory + offset;
    device->iovecs[i].iov_len = length;
  }
  return pieces;
}

/* Writes one packet. Returns 0 or the errno. */
static int write_packet(struct device *device, int32_t *packet) {
  int pieces = gather(device, packet);
  if (pieces == 0) return EINVAL;
  struct virtio_net_hdr header = {
    .gso_type = (uint8_t)packet[TX_GSO_TYPE],
    .gso_size = (uint16_t)packet[TX_GSO_SIZE],
    .hdr_len = (uint16_t)packet[TX_HEADER_LENGTH],
  };
  if (packet[TX_FLAGS] & TX_CSUM_PARTIAL) {
    uint16_t start = (uint16_t)packet[TX_CSUM];
    uint16_t field = (uint16_t)((uint32_t)packet[TX_CSUM] >> 16);
    if (device->finish_checksums) {
      if (!finish_checksum(device->iovecs + 1, pieces, start, field)) return EINVAL;
      /* Done for good: after EAGAIN the packet comes here again. */
      packet[TX_FLAGS] &= ~TX_CSUM_PARTIAL;
    } else {
      header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
      header.csum_start = start;
      header.csum_offset = field;
    }
  }
  device->iovecs[0].iov_base = &header;
  device->iovecs[0].iov_len = sizeof header;
  for (;;) {
    if (writev(device->fd, device->iovecs, pieces + 1) >= 0) return 0;
    if (errno != EINTR) return errno;
  }
}

int tun_send(struct device *device, int head, int tail) {
  double *shared = device->shared;
  double packets = 0;
  double bytes = 0;
  if (head < 0 || tail > device->packets_capacity) return tail;
  for (; head < tail; head++) {
    int32_t *packet = device->packets + head * TX_STRIDE;
    int error = write_packet(device, packet);
    if (error == 0) {
      packets++;
      bytes += packet[TX_LENGTH];
    } else if (error == EAGAIN) {
      shared[TX_BLOCKED]++;
      device->blocked = true;
      tun_watch(device);
      break;
    } else if (error == EIO || error == EBADFD) {
      shared[TX_DOWN]++;
    } else if (error == ENOMEM || error == ENOBUFS) {
      shared[TX_NO_MEMORY]++;
    } else {
      shared[TX_INVALID]++;
    }
  }
  shared[TX_CALLS]++;
  shared[TX_PACKETS] += packets;
  shared[TX_BYTES] += bytes;
  if (packets > 0) device->wrote = true;
  return head;
}
