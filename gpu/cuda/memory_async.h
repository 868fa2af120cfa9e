/* SPDX-License-Identifier: MIT */
/* Device memory from a pool of the driver's, in the order of a stream: cuMemAllocFromPoolAsync. */
#ifndef RK_GPU_CUDA_MEMORY_ASYNC_H
#define RK_GPU_CUDA_MEMORY_ASYNC_H

#include <stdbool.h>
#include <stdint.h>

#include "gpu/cuda/account.h"

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
