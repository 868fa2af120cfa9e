/* SPDX-License-Identifier: MIT */
/*
 * What is mounted where, from /proc/self/mountinfo alone: no path is looked at, so a dead or
 * stopped FUSE daemon cannot make any of this fail or hang. No locks.
 */
#ifndef RKFS_MOUNT_MOUNTINFO_H
#define RKFS_MOUNT_MOUNTINFO_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "runtime/base/error.h"

#define RKFS_MOUNTINFO "/proc/self/mountinfo"
#define RKFS_FSTYPE    "fuse.rkfs"

/* A path in a sentence, which shall not be cut before it says what is wrong. */
#define RKFS_PATH "%.200s"

/* One mount. */
struct rkfs_mount {
	int id, parent;
	bool top;  /* its parent is not in the table */
	dev_t dev; /* st_dev of everything in it; never shared by two FUSE mounts made apart */
	char *dir; /* absolute, unescaped */
	char *type;
	uid_t owner; /* of a FUSE mount: whose it is */
	bool shared; /* of a FUSE mount: others may enter it, too */
};

struct rkfs_mounts {
	struct rkfs_mount *rows; /* in the order of the file */
	size_t count;
};

/*
 * Read the table from @file (RKFS_MOUNTINFO, or another for tests). *@mounts is owned by the
 * caller: rkfs_mounts_free(). The errno of opening or reading, -EINVAL for a malformed line,
 * -ENOMEM.
 */
int rkfs_mounts_read(struct rkfs_mounts *mounts, const char *file, struct rk_error *err);
void rkfs_mounts_free(struct rkfs_mounts *mounts);

/*
 * The mount that one reaches at @path (absolute, without ".", ".." and symbolic links) if it is
 * a mount point, the topmost where several lie on each other; else NULL. A mount that is hidden
 * by one further up the path is not found. Borrowed from @mounts.
 */
const struct rkfs_mount *rkfs_mounts_find(const struct rkfs_mounts *mounts, const char *path);

/* The mount with that id, or NULL. Borrowed from @mounts. */
const struct rkfs_mount *rkfs_mounts_by_id(const struct rkfs_mounts *mounts, int id);

/* Whether @mount (NULL is allowed) is an rkfs. */
bool rkfs_mount_is_rkfs(const struct rkfs_mount *mount);

/*
 * Wait until no mount of @dev is left in this mount namespace, also where umount -l took it away
 * while files are open (FUSE tells the daemon nothing then), or until @stop_fd is readable or
 * hung up (-1: never), or @timeout_ms have passed (negative: never). @file is RKFS_MOUNTINFO, whose
 * descriptor polls as changed when it changes. Blocks. Returns 0 when the mount is gone, 1 when
 * stopped, or a negative errno.
 */
int rkfs_mounts_wait_gone(dev_t dev, int stop_fd, int timeout_ms, const char *file,
			  struct rk_error *err);

#endif
