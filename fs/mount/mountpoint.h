/* SPDX-License-Identifier: MIT */
/*
 * DIR before the mount: is it a place to mount at? mountinfo is asked before DIR is touched,
 * and DIR is then first touched by a child, because a stopped FUSE daemon there would hang whoever
 * does. For a process with one thread (it forks). No locks.
 */
#ifndef RKFS_MOUNT_MOUNTPOINT_H
#define RKFS_MOUNT_MOUNTPOINT_H

#include <stdbool.h>

#include "runtime/base/error.h"

/* Where to mount. */
struct rkfs_mountpoint {
	char *path; /* absolute */
	int fd; /* of the directory that was checked, close-on-exec; -1: a dead mount is there */
};

/*
 * Resolve @dir and see that rkfs can be mounted there: an existing, empty directory. A dead
 * rkfs mount ("Transport endpoint is not connected") is detached first, through fusermount3
 * where that is not permitted; with @fake it is left and counts as free. Nothing else is
 * unmounted. *@point is owned by the caller: rkfs_mountpoint_free.
 * Fails as rkfs_resolve, and with -EBUSY (an rkfs is mounted there and answers),
 * -ETIMEDOUT (a mount there does not answer within RKFS_PROBE_MS), -ENOTCONN (a dead mount of
 * another type), -ENOTEMPTY (the sentence names what is there), -ENOMEM, those of rkfs_detach,
 * fork, pipe and opendir.
 */
int rkfs_mountpoint_prepare(const char *dir, const char *mountinfo, bool fake,
			    struct rkfs_mountpoint *point, struct rk_error *err);
void rkfs_mountpoint_free(struct rkfs_mountpoint *point);

/*
 * Enter the mount namespace @ns: the path of a namespace file, or a process id (mount -N).
 * The working directory is that namespace's root afterwards. The errno of open and setns.
 */
int rkfs_mountpoint_enter_ns(const char *ns, struct rk_error *err);

#endif
