/* SPDX-License-Identifier: MIT */
/*
 * How the filesystem gets into the tree of mounts, and out of it. A mount is known by its device,
 * never by its path alone: a directory on the way may be renamed, the mount moved, and others may
 * lie on top. No locks.
 */
#ifndef RKFS_MOUNT_ATTACH_H
#define RKFS_MOUNT_ATTACH_H

#include <sys/types.h>

#include "runtime/base/error.h"

/* What is to be mounted where. All borrowed. */
struct rkfs_attach_params {
	const char *path; /* absolute; for fusermount3, and for sentences */
	int dir;	  /* the directory there, as it was checked */
	const char *source;
	const char *options;	   /* comma-separated, of rkfs_options.fuse_options */
	const char *const *labels; /* "context=LABEL" and its family, NULL-terminated; NULL: none */
};

struct rkfs_attachment {
	int fuse;  /* the connection to the kernel, close-on-exec */
	dev_t dev; /* of the mount */
};

/*
 * Mount, and see that no other rkfs lies below: of several that are mounted at one directory at
 * once all but the first back out, with -EBUSY. Through fusermount3 where the process may not
 * mount. default_permissions is always added, allow_other for root, nosuid and nodev. Labels are
 * left out where the kernel has no SELinux, nosymfollow before Linux 5.14. *@a is written on
 * success: requests queue up in its connection, which is the caller's. The errno of what failed.
 */
int rkfs_attach(const struct rkfs_attach_params *params, struct rkfs_attachment *a,
		struct rk_error *err);

/*
 * Detach every dead mount of the device @dev that this mount namespace has, wherever it is by now,
 * or those at the path @at alone (NULL: all); none is success. One that is covered by another rkfs
 * on its way out is waited for, up to two seconds. -EBUSY where another filesystem covers it.
 * One that answers is another's, which has got the number of a device that is gone: it is left.
 * @mountinfo is RKFS_MOUNTINFO, or another for tests.
 */
int rkfs_detach(dev_t dev, const char *at, const char *mountinfo, struct rk_error *err);

#endif
