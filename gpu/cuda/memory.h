/* SPDX-License-Identifier: MIT */
/*
 * Device memory for messages and for the state of ring kernels. What [backend] says makes one of
 * these of it:
 *
 *   cuda_unified_memory  async_memory  memory_pooling   memory comes from
 *   no                   yes           yes              a pool of the driver's that keeps what was
 *                                                       freed (cuMemAllocFromPoolAsync); it has
 *                                                       pool_initial_bytes from the start and
 *                                                       grows as the driver likes:
 *                                                       pool_growth_factor has no effect
 *   no                   yes           no               the same pool, which gives all back that
 *                                                       is free when a message has ended; it
 *                                                       starts empty
 *   no                   no            yes              a pool of our own, of chunks from
 *                                                       cuMemAlloc: the first has
 *                                                       pool_initial_bytes, each further one
 *                                                       pool_growth_factor times the one before,
 *                                                       or what a message needs if that is more
 *   no                   no            no               cuMemAlloc for each message, cuMemFree
 *                                                       after it: both wait for the whole device
 *   yes                  any           yes              our own pool, of chunks of managed memory
 *                                                       (cuMemAllocManaged)
 *   yes                  any           no               cuMemAllocManaged for each message
 *
 * memory_limit_bytes bounds what is held, pools as they are reserved. A pool that is at the limit
 * first gives back what is free; what still does not fit is ENOMEM. pool_initial_bytes and growth
 * stay within it. A driver or device without pools, or whose pool takes more at once than the
 * limit allows: as with async_memory = no, with a warning.
 *
 * gpu_memory_bytes and gpu_memory_peak_bytes of the shared page are kept here: what is held, pools
 * as reserved, without the context's and the modules' own.
 *
 * Thread-safe; the context is current. @paused says that the caller is between rk_rings_pause and
 * rk_rings_resume; otherwise these functions pause themselves where they must, and so may block as
 * long as a message of a ring kernel takes.
 */
#ifndef RK_GPU_CUDA_MEMORY_H
#define RK_GPU_CUDA_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "gpu/cuda/device.h"
#include "gpu/cuda/rings.h"

struct rk_cuda_memory;

/*
 * Reserves pool_initial_bytes. @device and @rings are borrowed. Returns 0 or a negative errno;
 * -ENOTSUP where managed memory is wanted and there is none.
 */
int rk_cuda_memory_create(struct rk_cuda_memory **memory, struct rk_cuda_device *device,
			  struct rk_rings *rings, const struct rk_wire_device_settings *settings,
			  struct rk_error *err);

/* Free all of it; gpu_memory_bytes is 0 afterwards. NULL is fine. */
void rk_cuda_memory_destroy(struct rk_cuda_memory *memory);

/*
 * Allocate @bytes (not 0) for work on @stream, or on any stream where that is NULL, aligned to 256
 * at least. The sentence of a failure begins with @who. Returns 0; -ENOMEM: over the limit, or the
 * device has no more; -EIO.
 */
int rk_cuda_memory_alloc(struct rk_cuda_memory *memory, CUstream stream, bool paused,
			 uint64_t bytes, const char *who, CUdeviceptr *at, struct rk_error *err);

/* Give it back, with the same @stream and @bytes. The work on the stream has ended. */
void rk_cuda_memory_free(struct rk_cuda_memory *memory, CUstream stream, bool paused,
			 CUdeviceptr at, uint64_t bytes);

#endif
