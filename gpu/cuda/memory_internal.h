/* SPDX-License-Identifier: MIT */
/* What the files that get device memory share. */
#ifndef RK_GPU_CUDA_MEMORY_INTERNAL_H
#define RK_GPU_CUDA_MEMORY_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "gpu/cuda/device.h"
#include "gpu/cuda/rings.h"
#include "runtime/base/thread.h"

/*
 * account.c: the account of device memory: how much is held, and how much may be. It is kept by the
 * two files that get memory, gpu/cuda/memory.c and gpu/cuda/memory_async.c.
 */

struct rk_cuda_account {
	struct rk_cuda_device *device;
	struct rk_rings *rings;
	uint64_t limit;	      /* memory_limit_bytes; UINT64_MAX = none */
	pthread_mutex_t lock; /* guards held, and what memory.c and memory_async.c say */
	uint64_t held;	      /* at most limit */
};

/* Bring gpu_memory_bytes and gpu_memory_peak_bytes of the shared page up to date with held. */
void rk_account_publish_locked(struct rk_cuda_account *account);

/* rk_rings_pause and rk_rings_resume, unless the caller has @paused already. Without the lock. */
void rk_account_pause(struct rk_cuda_account *account, bool paused);
void rk_account_resume(struct rk_cuda_account *account, bool paused);

/*
 * Describe what does not fit: @who needs @bytes, where @in_use is what the limit counts. Returns
 * -ENOMEM.
 */
int rk_account_over_limit(const struct rk_cuda_account *account, uint64_t bytes, uint64_t in_use,
			  const char *who, struct rk_error *err);

/* The same where the driver refuses with @result. Returns as rk_cuda_fail. */
int rk_account_refused(struct rk_cuda_account *account, CUresult result, uint64_t bytes,
		       const char *who, struct rk_error *err);

/*
 * pool.c: parts of chunks of memory, by address alone: nothing here touches the memory or the
 * driver. The first part that is large enough is taken, and neighbours that are free are joined.
 * The caller locks.
 */

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

/*
 * memory_async.c: device memory from a pool of the driver's, in the order of a stream:
 * cuMemAllocFromPoolAsync.
 */

struct rk_memory_async {
	struct rk_cuda_account *account; /* borrowed */
	CUstream stream;		 /* the memory's, for those who have none; borrowed */
	bool keeps;			 /* what is freed stays, for the next one */
	CUmemoryPool pool;		 /* NULL: none */
	uint64_t used; /* guarded by the account's lock: bytes of what is allocated, as it was asked
			  for */
};

/*
 * Make the pool, with @initial bytes where it keeps what it has. account, stream and keeps are set
 * already. *@fits is false where the pool cannot be used within the limit; it is destroyed then.
 * Returns 0, or fails as rk_cuda_fail does, and leaves what there is for stop.
 */
int rk_memory_async_start(struct rk_memory_async *m, uint64_t initial, bool *fits,
			  struct rk_error *err);

/* Without a pool it does nothing. */
void rk_memory_async_stop(struct rk_memory_async *m);

/* As rk_cuda_memory_alloc and rk_cuda_memory_free, with a stream. */
int rk_memory_async_alloc(struct rk_memory_async *m, CUstream stream, bool paused, uint64_t bytes,
			  const char *who, CUdeviceptr *at, struct rk_error *err);
void rk_memory_async_free(struct rk_memory_async *m, CUstream stream, CUdeviceptr at,
			  uint64_t bytes);

#endif
