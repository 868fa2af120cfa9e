/* SPDX-License-Identifier: MIT */
/*
 * The account of device memory: how much is held, and how much may be. It is kept by the two files
 * that get memory, gpu/cuda/memory.c and gpu/cuda/memory_async.c.
 */
#ifndef RK_GPU_CUDA_ACCOUNT_H
#define RK_GPU_CUDA_ACCOUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "gpu/cuda/device.h"
#include "gpu/cuda/rings.h"
#include "runtime/base/thread.h"

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

#endif
