/* SPDX-License-Identifier: MIT */
/*
 * Parts of chunks of memory, by address alone: nothing here touches the memory or the driver. The
 * first part that is large enough is taken, and neighbours that are free are joined. The caller
 * locks.
 */
#ifndef RK_GPU_CUDA_POOL_H
#define RK_GPU_CUDA_POOL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#define RK_POOL_ALIGN 256 /* of every part, as of what cuMemAlloc gives */

struct rk_pool_part {
	TAILQ_ENTRY(rk_pool_part) link; /* in the order of addresses */
	uint64_t at, bytes;
	bool taken;
};

struct rk_pool_chunk {
	TAILQ_ENTRY(rk_pool_chunk) link;
	uint64_t at, bytes;
	TAILQ_HEAD(rk_pool_parts, rk_pool_part) parts; /* all of the chunk, without gaps */
};

struct rk_pool {
	TAILQ_HEAD(, rk_pool_chunk) chunks; /* oldest first */
};

void rk_pool_init(struct rk_pool *pool);

/*
 * Add a chunk of @bytes at @at. Both are multiples of RK_POOL_ALIGN and not 0. Returns 0 or
 * -ENOMEM.
 */
int rk_pool_add(struct rk_pool *pool, uint64_t at, uint64_t bytes);

/* Take @bytes (not 0). Returns 0; -ENOSPC: no chunk has so much in one piece; -ENOMEM. */
int rk_pool_take(struct rk_pool *pool, uint64_t bytes, uint64_t *at);

/* Give back what was taken at @at. False where nothing was. */
bool rk_pool_give(struct rk_pool *pool, uint64_t at);

/* Remove a chunk of which nothing is taken. False where there is none. */
bool rk_pool_remove_idle(struct rk_pool *pool, uint64_t *at, uint64_t *bytes);

#endif
