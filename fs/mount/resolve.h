/* SPDX-License-Identifier: MIT */
/* The path that a mount has. No locks. */
#ifndef RKFS_MOUNT_RESOLVE_H
#define RKFS_MOUNT_RESOLVE_H

#include "runtime/base/error.h"

/*
 * The absolute path of @dir without ".", ".." and symbolic links. No mount point is looked at, only
 * what mountinfo (@mountinfo: RKFS_MOUNTINFO, or another for tests) says of it, so @dir may be
 * a dead or stopped rkfs. *@path is owned by the caller: free(). -EINVAL for an empty @dir, -EBUSY
 * where @dir lies inside an rkfs, -ENOENT, -ENOTDIR, -ELOOP, -ENAMETOOLONG, -EACCES, those of
 * rkfs_mounts_read.
 */
int rkfs_resolve(const char *dir, const char *mountinfo, char **path, struct rk_error *err);

#endif
