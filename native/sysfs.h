/* Interface attributes that can be set through sysfs only. */
#ifndef TCPU_SYSFS_H
#define TCPU_SYSFS_H

/*
 * Writes `value` to /sys/class/net/<interface>/<attribute> of this thread's network namespace. Returns 0
 * or a negative errno; -EPERM without CAP_SYS_ADMIN.
 */
int sysfs_set(const char *interface, const char *attribute, const char *value);

#endif
