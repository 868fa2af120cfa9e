/* SPDX-License-Identifier: MIT */
/* What gpu/cuda/memory.c and gpu/cuda/memory_async.c share. */
#ifndef RK_GPU_CUDA_MEMORY_INTERNAL_H
#define RK_GPU_CUDA_MEMORY_INTERNAL_H

#include <pthread.h>

#include "gpu/cuda/internal.h"
#include "gpu/cuda/memory.h"
#include "gpu/cuda/pool.h"

enum rk_memory_source {
	RK_FROM_DRIVER_POOL,
	RK_FROM_CHUNKS,
	RK_FROM_CALLS, /* a call of the driver for each allocation */
};

struct rk_cuda_memory {
	struct rk_cuda_device *device;
	enum rk_memory_source source;
	bool managed;
	bool keeps;	/* what is freed stays, for the next one */
	uint64_t limit; /* UINT64_MAX = none */
	double growth;
	CUmemoryPool pool; /* RK_FROM_DRIVER_POOL */
	CUstream stream;   /* for who has none */

	pthread_mutex_t lock; /* guards all below */
	struct rk_pool chunks;
	uint64_t last_chunk; /* bytes of the one that came last */
	uint64_t used; /* RK_FROM_DRIVER_POOL: by allocations that live, as they were asked for */
	uint64_t held; /* at most limit */
};

/* Bring the shared page up to date with held. */
void rk_memory_publish_locked(struct rk_cuda_memory *m);

void rk_memory_pause(struct rk_cuda_memory *m, bool paused);
void rk_memory_resume(struct rk_cuda_memory *m, bool paused);

/* The sentence for what does not fit, @in_use being what the limit counts; -ENOMEM. */
int rk_memory_over_limit(struct rk_cuda_memory *m, uint64_t bytes, uint64_t in_use, const char *who,
			 struct rk_error *err);

/* The same where the driver says no: as rk_cuda_fail. */
int rk_memory_refused(struct rk_cuda_memory *m, CUresult result, uint64_t bytes, const char *who,
		      struct rk_error *err);

/*
 * The driver's pool, gpu/cuda/memory_async.c. Start: *@fits is false where it cannot be used within
 * the limit, and there is none then. The others as in gpu/cuda/memory.h, with a stream.
 */
int rk_memory_async_start(struct rk_cuda_memory *m, uint64_t initial, bool *fits,
			  struct rk_error *err);
void rk_memory_async_stop(struct rk_cuda_memory *m);
int rk_memory_async_alloc(struct rk_cuda_memory *m, CUstream stream, bool paused, uint64_t bytes,
			  const char *who, CUdeviceptr *at, struct rk_error *err);
void rk_memory_async_free(struct rk_cuda_memory *m, CUstream stream, CUdeviceptr at,
			  uint64_t bytes);

#endif
