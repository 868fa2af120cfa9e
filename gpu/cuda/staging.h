/* SPDX-License-Identifier: MIT */
/*
 * Pinned host memory that data passes through on its way to the device and back: blocks of equal
 * size, shared by all executor threads. Making one waits for the device, so what all threads need
 * is made at the start; more are made when they are first needed, up to a bound. Thread-safe; the
 * context is current.
 */
#ifndef RK_GPU_CUDA_STAGING_H
#define RK_GPU_CUDA_STAGING_H

#include <stdint.h>

#include "gpu/cuda/device.h"
#include "gpu/cuda/rings.h"

#define RK_STAGING_BYTES (1U << 20) /* of a block */

struct rk_cuda_staging;

struct rk_cuda_block {
	uint8_t *host;
	CUevent done; /* for the holder to record behind a copy; it notes no time */
	struct rk_cuda_block *next;
};

/*
 * With @first blocks (not 0), and at most @max. @device and @rings are borrowed. Returns 0 or a
 * negative errno.
 */
int rk_cuda_staging_create(struct rk_cuda_staging **staging, struct rk_cuda_device *device,
			   struct rk_rings *rings, unsigned int first, unsigned int max,
			   struct rk_error *err);

/* Every block has been given back; NULL is fine. */
void rk_cuda_staging_destroy(struct rk_cuda_staging *staging);

/*
 * Take @want blocks into @blocks, all at once and in the order of the callers, so that threads that
 * want several do not wait for each other for ever. Waits where all are taken, and pauses the rings
 * where one more is to be made; the caller holds no block. Returns how many it took: fewer than
 * @want, but at least one, where so many cannot be had at all.
 */
unsigned int rk_cuda_staging_take(struct rk_cuda_staging *staging, unsigned int want,
				  struct rk_cuda_block **blocks);

/* Give @count of them back, with no copy under way. */
void rk_cuda_staging_give(struct rk_cuda_staging *staging, struct rk_cuda_block **blocks,
			  unsigned int count);

#endif
