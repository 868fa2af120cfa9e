/* SPDX-License-Identifier: MIT */
/* Whether a mount answers, asked so that one that does not can hang nobody. No locks. */
#ifndef RKFS_MOUNT_PROBE_H
#define RKFS_MOUNT_PROBE_H

#include <stdbool.h>

#include "runtime/base/error.h"

#define RKFS_PROBE_MS 2000 /* how long a mount may take to answer */

/*
 * What statfs says of the mount at @path, in a child: 0 or a positive errno in *@code, ETIMEDOUT
 * where it does not answer within RKFS_PROBE_MS. Blocks so long. SIGCHLD must not be ignored. The
 * errno of fork and pipe.
 */
int rkfs_probe(const char *path, int *code, struct rk_error *err);

/* Whether @code is that of a mount whose daemon is gone. */
bool rkfs_probe_is_dead(int code);

#endif
