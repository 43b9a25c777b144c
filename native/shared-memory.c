/*
 * Memory that is reserved, mapped, and shared between processes; doorbells (eventfd(2)); and waiting awake.
 *
 * Only files whose size is sealed are mapped: if another process could shrink the file, touching what is
 * gone would end this one (SIGBUS).
 *
 * A doorbell's file description may be shared with a process that means harm and clears O_NONBLOCK. So
 * it is read with RWF_NOWAIT, which looks at the call only, and written after a look whether there is
 * room. To whom that small race is still too much: doorbell_listen() gives a descriptor that is no
 * eventfd at all.
 */
#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* For headers older than Linux 6.3 and 4.14. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x00000008
#endif

size_t memory_page(void) {
  return (size_t)sysconf(_SC_PAGESIZE);
}

static void *map_anonymous(void *at, size_t bytes, int flags) {
  return mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
}

void *memory_reserve(size_t bytes) {
  void *memory = map_anonymous(NULL, bytes, 0);
  return memory == MAP_FAILED ? NULL : memory;
}

/* Whether `bytes` of this file will be there for as long as it is mapped. Returns 0 or a negative errno. */
static int check_file(int fd, size_t bytes) {
  struct stat status;
  if (fstat(fd, &status) < 0) return -errno;
  int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 || !(seals & F_SEAL_SHRINK)) return -EPERM;
  return status.st_size < 0 || (size_t)status.st_size < bytes ? -EINVAL : 0;
}

void *memory_map(int fd, size_t bytes) {
  int error = check_file(fd, bytes);
  if (error < 0) {
    errno = -error;
    return NULL;
  }
  void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  return memory == MAP_FAILED ? NULL : memory;
}

void memory_release(void *memory, size_t bytes) {
  munmap(memory, bytes);
}

int memory_cover(uint8_t *at, size_t bytes, int fd) {
  int error = check_file(fd, bytes);
  if (error < 0) return error;
  if (mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED) return 0;
  error = -errno;
  /* What lay there may be gone even so (mmap(2)); leave no hole. */
  memory_uncover(at, bytes);
  return error;
}

int memory_uncover(uint8_t *at, size_t bytes) {
  return map_anonymous(at, bytes, MAP_FIXED) == MAP_FAILED ? -errno : 0;
}

int memory_file(const char *name, size_t bytes) {
  int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
  if (fd < 0 && errno == EINVAL) fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return -errno;
  if (ftruncate(fd, (off_t)bytes) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
    int error = -errno;
    close(fd);
    return error;
  }
  return fd;
}

/* Doorbells. */

int doorbell_open(void) {
  int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

/*
 * An epoll(7) instance that has the doorbell as its only member, edge triggered: readable from a ring to
 * the next epoll_wait(2). Who has it can neither write, read nor reconfigure the doorbell itself.
 */
int doorbell_listen(int doorbell) {
  /* Before a new descriptor gets the number of one that is closed. */
  if (fcntl(doorbell, F_GETFD) < 0) return -errno;
  int fd = epoll_create1(EPOLL_CLOEXEC);
  if (fd < 0) return -errno;
  struct epoll_event event = {.events = EPOLLIN | EPOLLET};
  if (epoll_ctl(fd, EPOLL_CTL_ADD, doorbell, &event) < 0) {
    int error = -errno;
    close(fd);
    return error;
  }
  return fd;
}

int doorbell_ring(int doorbell) {
  uint64_t one = 1;
  struct pollfd room = {.fd = doorbell, .events = POLLOUT};
  /* poll(2) skips these. */
  if (doorbell < 0) return -EBADF;
  if (poll(&room, 1, 0) == 0) return 0;
  if (write(doorbell, &one, sizeof one) == sizeof one || errno == EAGAIN) return 0;
  return -errno;
}

bool doorbell_answer(int doorbell) {
  uint64_t count;
  struct iovec piece = {.iov_base = &count, .iov_len = sizeof count};
  /* Through syscall(2): not every C library has preadv2(). Position -1: none. */
  if (syscall(SYS_preadv2, doorbell, &piece, 1, -1L, -1L, RWF_NOWAIT) == sizeof count) return true;
  if (errno == EOPNOTSUPP || errno == ENOSYS) return read(doorbell, &count, sizeof count) == sizeof count;
  struct epoll_event event;
  return errno == EINVAL && epoll_wait(doorbell, &event, 1, 0) > 0;
}

int word_await(const int32_t *word, int32_t value, int us) {
  struct timespec begin;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  for (;;) {
    if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value) return 1;
    sched_yield();
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t passed_ns = (int64_t)(now.tv_sec - begin.tv_sec) * 1000000000 + (now.tv_nsec - begin.tv_nsec);
    if (passed_ns >= (int64_t)us * 1000) return __atomic_load_n(word, __ATOMIC_ACQUIRE) != value;
  }
}
