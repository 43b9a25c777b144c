/*
 * The sysfs that is mounted on /sys shows the network namespace of whoever mounted it, which need not be
 * ours: an interface of the same name there would be somebody else's. So a sysfs of our own is made, as a
 * mount that is attached nowhere (fsopen(2), fsmount(2), Linux 5.2), and dropped again.
 */
#include "sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(SYS_fsopen) && defined(SYS_fsconfig) && defined(SYS_fsmount)

/* linux/mount.h, which older headers lack. */
#define OPEN_CLOEXEC 1
#define CONFIG_CREATE 6
#define MOUNT_CLOEXEC 1

/* A descriptor of a sysfs for this thread's network namespace. */
static int open_sysfs(void) {
  int context = (int)syscall(SYS_fsopen, "sysfs", OPEN_CLOEXEC);
  if (context < 0) return -errno;
  int root = -1;
  if (syscall(SYS_fsconfig, context, CONFIG_CREATE, NULL, NULL, 0) == 0) {
    root = (int)syscall(SYS_fsmount, context, MOUNT_CLOEXEC, 0);
  }
  int error = errno;
  close(context);
  return root < 0 ? -error : root;
}

#else

static int open_sysfs(void) {
  return -ENOSYS;
}

#endif

int sysfs_set(const char *interface, const char *attribute, const char *value) {
  char path[128];
  snprintf(path, sizeof path, "class/net/%s/%s", interface, attribute);
  int root = open_sysfs();
  if (root < 0) return root;
  int result = 0;
  int fd = openat(root, path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, value, strlen(value)) < 0) result = -errno;
  if (fd >= 0) close(fd);
  close(root);
  return result;
}
