/* SPDX-License-Identifier: MIT */
/*
 * The whole backend, and a kernel of it, for the files at its top.
 *
 * The order of locks, of which rk_rings_pause is one too, is in doc/ARCHITECTURE.md.
 */
#ifndef RK_GPU_CUDA_INTERNAL_H
#define RK_GPU_CUDA_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "gpu/base/backend.h"
#include "gpu/cuda/device.h"
#include "gpu/cuda/memory.h"
#include "gpu/cuda/module.h"
#include "gpu/cuda/ring.h"
#include "gpu/cuda/rings.h"
#include "gpu/cuda/staging.h"
#include "gpu/cuda/stream.h"
#include "gpu/cuda/touch.h"

struct rk_cuda {
	struct rk_cuda_device device;
	struct rk_rings *rings;
	struct rk_cuda_memory *memory;
	struct rk_cuda_staging *staging;
	struct rk_cuda_modules *modules;
	struct rk_cuda_streams *streams;
	struct rk_cuda_touch touch;
	/*
	 * Blocks of a cooperative kernel wait for each other, so all must find room at once.
	 * Resident kernels take a multiprocessor each at most; a cooperative one gets the others.
	 * The lock is held for reading while one runs, and for writing where a resident kernel is
	 * added.
	 */
	pthread_rwlock_t cooperative;
	unsigned int nrings; /* guarded by cooperative */
	/*
	 * Bytes of local memory per thread that the context is known to have. A launch that needs
	 * more makes the driver wait for the whole context.
	 */
	atomic_int local_bytes;
};

struct rk_cuda_kernel {
	struct rk_cuda *cuda;
	char id[2 * RK_WIRE_NAME_MAX];
	struct rk_cuda_module *module; /* NULL: built in */
	CUfunction function;
	uint32_t nparams;
	struct rk_wire_param params[RK_WIRE_ARGS_MAX];
	uint32_t block[RK_WIRE_AXES];
	uint32_t shared_bytes;
	int local_bytes;
	unsigned int resident;	   /* cooperative: blocks that fit a multiprocessor; else 0 */
	struct rk_cuda_ring *ring; /* NULL: batch */
};

/* open.c: struct rk_backend_ops.open and .close */

int rk_cuda_start(const struct rk_backend_env *env, void **backend, struct rk_error *err);
void rk_cuda_stop(void *backend);

/* warm.c */

/*
 * Do once, on every stream and while no kernel is resident, all that runs and checks do. What the
 * driver makes at a first use (a pool's first memory, a stream's queue, a kernel's place) it makes
 * while the whole device waits. Returns 0, or fails as rk_cuda_fail does.
 */
int rk_cuda_warm(struct rk_cuda *cuda, struct rk_error *err);

/* run.c */

/* struct rk_backend_ops.run of a kernel that is not resident, with the context current. */
int rk_cuda_run(struct rk_cuda_kernel *k, const struct rk_backend_run *run, uint64_t *run_ns,
		struct rk_error *err);

#endif
