/* SPDX-License-Identifier: MIT */
/* The FUSE session: mounts, turns low-level operations into calls of fs/node.h, ends. */
#ifndef RKFS_SESSION_H
#define RKFS_SESSION_H

#include "fs/node.h"
#include "runtime/base/error.h"

struct rkfs_session;

/*
 * Serve @fs through @fuse, the connection of a mount (fs/mount/internal.h), which is the session's
 * on success. @only_root: requests of users other than root and the owner are refused. Starts no
 * thread: the process may fork before the loop. Fails with an errno and a sentence.
 */
int rkfs_session_create(struct rkfs *fs, int fuse, bool only_root, struct rkfs_session **session,
			struct rk_error *err);

/*
 * Whether the system has a limit on how long a FUSE request may take, past which the kernel ends
 * the connection: a sentence of at most @size bytes in @why names the sysctl.
 */
bool rkfs_session_limit(char *why, size_t size);

/* Call @fn once the kernel has talked to us (INIT), from a FUSE thread. Set before the loop. */
void rkfs_session_on_ready(struct rkfs_session *session, void (*fn)(void *ctx), void *ctx);

/*
 * Serve until the filesystem is unmounted or rkfs_session_exit; blocks. Call it once. SIGUSR2 is
 * used to wake the calling thread; its handler does nothing. Returns 0 or a negative errno.
 */
int rkfs_session_loop(struct rkfs_session *session);

/* Make the loop return soon, also one that has not begun. From any thread, until
 * rkfs_session_destroy. */
void rkfs_session_exit(struct rkfs_session *session);

/*
 * Answer or drop parked requests, close the connection, so that the mount is dead if it is there
 * still, close the files that are still open, and free. After the loop, or instead of it; before
 * rk_runtime_destroy.
 */
void rkfs_session_destroy(struct rkfs_session *session);

#endif
