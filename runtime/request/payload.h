/* SPDX-License-Identifier: MIT */
/*
 * Payload memory: one memfd, mapped by the daemon and by its worker, sealed
 * against shrinking (a truncated one would be a SIGBUS in the daemon). Blocks come
 * from a buddy allocator over a sparse file: rounding up costs address space only.
 * A freed block of 64 KiB or more is given back by punching a hole, a smaller one is zeroed: nobody
 * finds there what a request of somebody else has left.
 *
 * The pool also accounts for what is buffered elsewhere (half-written requests,
 * unread answers), so that max_buffered_bytes bounds all of it.
 * All functions are thread-safe. None blocks.
 */
#ifndef RK_RUNTIME_REQUEST_PAYLOAD_H
#define RK_RUNTIME_REQUEST_PAYLOAD_H

#include <stdint.h>
#include <sys/types.h>

#include "runtime/base/error.h"

struct rk_payload;

/* A piece of payload memory; all zero = none. */
struct rk_block {
	struct rk_payload *pool; /* a reference is held */
	void *data;		 /* in the daemon */
	uint64_t offset;	 /* in the memfd */
	uint64_t bytes;		 /* as asked for */
	uid_t uid;		 /* who holds it */
};

/*
 * A pool that holds at most @limit bytes, of which one user, other than root and the effective one,
 * may hold @share percent. *@pool has one reference. Returns 0 or a negative errno.
 */
int rk_payload_create(uint64_t limit, unsigned int share, struct rk_payload **pool,
		      struct rk_error *err);

/* A pool lives as long as a reference to it or one of its blocks or charges does. */
struct rk_payload *rk_payload_ref(struct rk_payload *pool);
void rk_payload_unref(struct rk_payload *pool); /* NULL is allowed */

/* The memfd (owned by the pool) and its size in bytes. */
int rk_payload_fd(const struct rk_payload *pool);
uint64_t rk_payload_size(const struct rk_payload *pool);

/*
 * Allocate @bytes (at least 1), page-aligned and zero, for @uid. -ENOMEM where the limit or the
 * user's share would be exceeded (the sentence names limit and use) or memory is short.
 */
int rk_payload_alloc(struct rk_payload *pool, uid_t uid, uint64_t bytes, struct rk_block *block,
		     struct rk_error *err);

/*
 * Make *@block @bytes large (at least 1), keeping what it holds as far as it fits; bytes gained are
 * zero, or what it has held before. In place where the space behind it is free, else it moves and
 * is copied: a block that grows piece by piece is copied a logarithmic number of times. The block
 * is the caller's alone: nobody else may use it meanwhile. Fails as rk_payload_alloc does, *@block
 * unchanged.
 */
int rk_payload_resize(struct rk_block *block, uint64_t bytes, struct rk_error *err);

/* Free and zero *@block; a zero block is allowed. */
void rk_payload_free(struct rk_block *block);

/* Account for @bytes held elsewhere for @uid. Returns 0 or -ENOMEM as above; each charge is undone
 * by uncharge. */
int rk_payload_charge(struct rk_payload *pool, uid_t uid, uint64_t bytes, struct rk_error *err);
void rk_payload_uncharge(struct rk_payload *pool, uid_t uid, uint64_t bytes);

#endif
