/* SPDX-License-Identifier: MIT */
/*
 * What a program inherits from whoever started it, and must not depend on: closed descriptors,
 * limits, signals, the umask. Before any thread and any other open descriptor. No locks.
 */
#ifndef RKFS_MOUNT_INHERIT_H
#define RKFS_MOUNT_INHERIT_H

#include "runtime/base/error.h"

/*
 * Fill those of the descriptors 0, 1 and 2 that are closed, so that nothing that is opened later
 * gets such a number. Reading what stands in for 0, and writing to the others, is EBADF as
 * before. Returns 0 or the errno of /dev/null.
 */
int rkfs_inherit_stdio(struct rk_error *err);

/*
 * For the daemon, and with it for its workers. The limits of a shell that can kill or maim it
 * (file size, CPU time) are lifted where that is permitted; others are raised as far as they may
 * be. Ignored or blocked signals that it needs are reset; SIGINT, SIGTERM and SIGHUP keep what
 * nohup and shells make of them. A file gets the mode that it is created with, but for writing by
 * others. Returns 0 or a negative errno.
 */
int rkfs_inherit_daemon(struct rk_error *err);

#endif
