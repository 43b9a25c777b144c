/*
 * Unix sockets (unix(7)) that keep messages apart (SOCK_SEQPACKET), carry descriptors (SCM_RIGHTS) and
 * tell who is on the other side (SO_PEERCRED). All are non-blocking; only unix_call() waits, at first
 * awake: two processors that both go to sleep between question and answer make it four times as long.
 */
#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG 4096
/* How long unix_call() stays awake for the answer, giving way to whoever wants the processor. */
#define AWAKE_NS 40000

/* Room for the control message with the descriptors, aligned for its header. */
union control {
  struct cmsghdr header;
  char bytes[CMSG_SPACE(MAX_DESCRIPTORS * sizeof(int))];
};

/* Returns a socket, and the address of `path`. */
static int open_socket(const char *path, struct sockaddr_un *address) {
  size_t length = strlen(path);
  if (length == 0) return -EINVAL;
  if (length >= sizeof address->sun_path) return -ENAMETOOLONG;
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  memcpy(address->sun_path, path, length + 1);
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  return fd < 0 ? -errno : fd;
}

/*
 * bind(2) gives the path the permissions of the socket's own inode, less the umask; so no moment exists at
 * which it is more open than asked. (Changing the umask would change it for other threads' files too.)
 * What the umask took is added before anybody can connect, which is from listen(2) on.
 */
static int bind_with_mode(int fd, const struct sockaddr_un *address, mode_t mode) {
  struct stat status;
  if (fchmod(fd, mode) < 0) return -errno;
  if (bind(fd, (const struct sockaddr *)address, sizeof *address) < 0) return -errno;
  if (lstat(address->sun_path, &status) == 0 &&
      ((status.st_mode & 07777) == mode || fchmodat(AT_FDCWD, address->sun_path, mode, AT_SYMLINK_NOFOLLOW) == 0) &&
      listen(fd, BACKLOG) == 0) {
    return 0;
  }
  int error = -errno;
  unlink(address->sun_path);
  return error;
}

int unix_listen(const char *path, mode_t mode) {
  struct sockaddr_un address;
  int fd = open_socket(path, &address);
  if (fd < 0) return fd;
  int error = bind_with_mode(fd, &address, mode);
  if (error == 0) return fd;
  close(fd);
  return error;
}

int unix_accept(int fd) {
  for (;;) {
    int connection = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (connection >= 0) return connection;
    if (errno != EINTR) return -errno;
  }
}

int unix_connect(const char *path) {
  struct sockaddr_un address;
  int fd = open_socket(path, &address);
  if (fd < 0) return fd;
  if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0) return fd;
  int error = -errno;
  close(fd);
  return error;
}

int unix_peer(int fd, struct ucred *peer) {
  socklen_t length = sizeof *peer;
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, peer, &length) < 0 ? -errno : 0;
}

int unix_send(int fd, const void *bytes, size_t length, const int *descriptors, int count) {
  union control control;
  struct iovec piece = {.iov_base = (void *)bytes, .iov_len = length};
  struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
  /* An empty message would look like the end. */
  if (length == 0 || count < 0 || count > MAX_DESCRIPTORS) return -EINVAL;
  if (count > 0) {
    memset(&control, 0, sizeof control);
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
    memcpy(CMSG_DATA(&control.header), descriptors, (size_t)count * sizeof(int));
  }
  for (;;) {
    ssize_t sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) return (int)sent;
    if (errno != EINTR) return -errno;
  }
}

/* Takes the descriptors out of a message that has arrived. Returns how many. */
static int take_descriptors(struct msghdr *message, int *descriptors, int room) {
  int count = 0;
  for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL; header = CMSG_NXTHDR(message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    int here = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    for (int i = 0; i < here; i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(header) + (size_t)i * sizeof fd, sizeof fd);
      if (count < room) descriptors[count++] = fd;
      else close(fd);
    }
  }
  return count;
}

int unix_receive(int fd, void *into, size_t size, int *descriptors, int *count) {
  union control control;
  struct iovec piece = {.iov_base = into, .iov_len = size};
  struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
  int room = *count;
  *count = 0;
  /* With less room the kernel lets go of the descriptors that do not fit; with none, of all. */
  if (room > 0) {
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_LEN((size_t)room * sizeof(int));
  }
  ssize_t length;
  do {
    length = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (length < 0 && errno == EINTR);
  /* The other side has closed without reading all that it was sent. */
  if (length < 0) return errno == ECONNRESET ? 0 : -errno;
  if (room > 0) *count = take_descriptors(&message, descriptors, room);
  if (message.msg_flags & MSG_TRUNC) {
    while (*count > 0) close(descriptors[--*count]);
    return -EMSGSIZE;
  }
  return (int)length;
}

static int64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Waits for the socket. Returns 0, or -ETIMEDOUT. */
static int wait_until(int fd, short events, int64_t deadline) {
  struct pollfd entry = {.fd = fd, .events = events};
  for (;;) {
    int64_t left = deadline - now_ns();
    if (left < 0) left = 0;
    struct timespec timeout = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
    int ready = ppoll(&entry, 1, &timeout, NULL);
    if (ready > 0) return 0;
    if (ready == 0) return -ETIMEDOUT;
    if (errno != EINTR) return -errno;
  }
}

int unix_call(int fd, void *message, size_t size, size_t send_bytes, int64_t timeout_ms) {
  int64_t deadline = now_ns() + timeout_ms * 1000000;
  int result;
  while ((result = unix_send(fd, message, send_bytes, NULL, 0)) == -EAGAIN) {
    int error = wait_until(fd, POLLOUT, deadline);
    if (error < 0) return error;
  }
  if (result == -EPIPE || result == -ECONNRESET) return 0;
  if (result < 0) return result;
  int64_t awake_until = now_ns() + AWAKE_NS;
  for (;;) {
    int none = 0;
    result = unix_receive(fd, message, size, NULL, &none);
    if (result != -EAGAIN) return result;
    if (now_ns() < awake_until) {
      sched_yield();
      continue;
    }
    int error = wait_until(fd, POLLIN, deadline);
    if (error < 0) return error;
  }
}
