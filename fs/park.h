/* SPDX-License-Identifier: MIT */
/*
 * Requests that wait. A read or write that must wait keeps its fuse_req_t here and is answered by
 * whoever wakes the file's wait queue; it costs no thread. INTERRUPT (a signal at the reader)
 * answers EINTR. A poll keeps the file's newest poll handle until the queue is woken.
 *
 * libfuse holds a request's own lock in the interrupt callback, so it is never called with
 * parking.lock or a wait queue's held; doc/ARCHITECTURE.md has the order of locks.
 */
#ifndef RKFS_PARK_H
#define RKFS_PARK_H

#include <fuse_lowlevel.h>

#include "fs/node.h"

struct rkfs_parking;

/* *@parking is the caller's. 0 or a negative errno. */
int rkfs_parking_create(struct rkfs_parking **parking);
/*
 * Answer all that wait with ENOTCONN and free @parking. Blocks until requests that are being
 * answered now have been. The session must still exist, its loop must have ended.
 */
void rkfs_parking_destroy(struct rkfs_parking *parking);

/*
 * Answer @req with a read of @file now, or when it can be (O_NONBLOCK in @flags: EAGAIN). The
 * caller's reference to @file stays the caller's; one more is held while parked.
 */
void rkfs_park_read(struct rkfs_parking *parking, fuse_req_t req, struct rkfs_file *file,
		    const struct rk_caller *caller, uint64_t offset, size_t size, int flags);

/* The same for a write of @size bytes at @buf, which waits under O_NONBLOCK too. */
void rkfs_park_write(struct rkfs_parking *parking, fuse_req_t req, struct rkfs_file *file,
		     const struct rk_caller *caller, const char *buf, size_t size);

/* Answer @req with the events that hold; with @ph (owned), tell the kernel when to ask again. */
void rkfs_park_poll(struct rkfs_parking *parking, fuse_req_t req, struct rkfs_file *file,
		    struct fuse_pollhandle *ph);

/* Drop the file's poll handle: at its RELEASE, before the reference is given up. */
void rkfs_park_release(struct rkfs_parking *parking, struct rkfs_file *file);

#endif
