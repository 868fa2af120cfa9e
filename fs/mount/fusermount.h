/* SPDX-License-Identifier: MIT */
/*
 * fusermount3, libfuse's setuid helper, for whoever may not mount himself. Found in PATH. Blocks
 * until it has ended; SIGCHLD must not be ignored. No locks.
 */
#ifndef RKFS_MOUNT_FUSERMOUNT_H
#define RKFS_MOUNT_FUSERMOUNT_H

#include "runtime/base/error.h"

/*
 * Mount at @path with @options, its -o. *@fd is the connection to the kernel, close-on-exec, and
 * the caller's. -EPERM with its own reason where it refuses, -ENOENT where it is not installed,
 * or the errno of what else failed.
 */
int rkfs_fusermount_mount(const char *path, const char *options, int *fd, struct rk_error *err);

/* Detach the mount at @path (umount -l). Fails likewise. */
int rkfs_fusermount_unmount(const char *path, struct rk_error *err);

#endif
