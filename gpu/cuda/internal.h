/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the CUDA backend share.
 *
 * Lock order: rk_rings_pause, which is a lock too, comes before memory.lock; staging.lock is held
 * across no call of the driver and no pause. The cooperative lock comes before all of them.
 */
#ifndef RK_GPU_CUDA_INTERNAL_H
#define RK_GPU_CUDA_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "gpu/base/backend.h"
#include "gpu/cuda/dl.h"
#include "gpu/cuda/memory.h"
#include "gpu/cuda/module.h"
#include "gpu/cuda/ring.h"
#include "gpu/cuda/staging.h"
#include "gpu/cuda/stream.h"
#include "gpu/nvml/devices.h"

#define RK_CUDA_UUID_MAX 48

/* The device, and what every part needs of it. Immutable while it is open, atomics apart. */
struct rk_cuda_device {
	/* between open and close: before and after an error is one of a backend that is not used */
	bool serves;
	CUdevice handle;
	CUcontext context;	       /* its primary one, retained */
	uint64_t generation;	       /* of the context: which one a thread has made current */
	struct rk_wire_shared *shared; /* borrowed */
	struct rk_rings *rings;
	char name[96];
	char uuid[RK_CUDA_UUID_MAX];
	struct rk_pci_address address;
	int index;
	int driver; /* its CUDA version, 1000 * major + 10 * minor */
	int major, minor;
	int multiprocessors;
	int max_shared_bytes; /* of a block, static and dynamic together */
	int max_block[RK_WIRE_AXES];
	int cooperative, managed, pools; /* whether it has them */
	int limits_runs;		 /* whether the driver ends a kernel after some seconds */
	unsigned int threads;
	/* the first message of the run of each executor thread; 0 = none is under way */
	_Atomic uint64_t messages[RK_BACKEND_THREADS_MAX];
};

#define RK_CUDA_CHECK_BYTES 256

/* A stream, and a few bytes of the device that are in no account, for health checks alone. */
struct rk_cuda_check {
	CUstream stream;
	CUevent done;
	CUdeviceptr at; /* 0: none */
};

struct rk_cuda {
	struct rk_cuda_device device;
	struct rk_cuda_memory *memory;
	struct rk_cuda_staging *staging;
	struct rk_cuda_modules *modules;
	struct rk_cuda_streams *streams;
	struct rk_cuda_check check;
	/*
	 * Blocks of a cooperative kernel wait for each other, so all must find room at once: beside
	 * resident kernels, which take a multiprocessor each at most, it gets the others. Held for
	 * reading while one runs, for writing where a resident kernel is added.
	 */
	pthread_rwlock_t cooperative;
	unsigned int nrings; /* guarded by cooperative */
	/*
	 * Bytes of local memory per thread that the context has for sure. A launch that needs more
	 * makes the driver wait for the whole context.
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
	struct rk_ring_memory ring_memory;
};

/*
 * Make the device's context current in the calling thread, where it is not yet. Every entry from
 * outside begins with it. Returns 0 or as rk_cuda_fail.
 */
int rk_cuda_enter(struct rk_cuda_device *device, struct rk_error *err);

/*
 * rk_cuda_error(), but for an error that spoils a device that serves: that does not return. @what
 * is the kernel, and where that helps the call: "core/x: cuLaunchKernel".
 */
int rk_cuda_fail(struct rk_cuda_device *device, CUresult result, struct rk_error *err,
		 const char *what, ...) __attribute__((format(printf, 4, 5)));

/* The same for what is being given back, where nobody is told of a failure: it is logged. */
void rk_cuda_release(struct rk_cuda_device *device, CUresult result, const char *call);

/* struct rk_backend_ops.open and .close. */
int rk_cuda_start(const struct rk_backend_env *env, void **backend, struct rk_error *err);
void rk_cuda_stop(void *backend);

/*
 * Do once, on every stream and while no kernel is resident, all that runs and checks do: what the
 * driver makes at a first use (a pool's first memory, a stream's queue, a kernel's place) it makes
 * with the whole device waiting. 0, or as rk_cuda_fail.
 */
int rk_cuda_warm(struct rk_cuda *cuda, struct rk_error *err);

/* The device sets a few bytes: 0, or as rk_cuda_fail. Waits for as long as that takes. */
int rk_cuda_touch(struct rk_cuda *cuda, struct rk_error *err);

/* struct rk_backend_ops.run of a kernel that is not resident, with the context current. */
int rk_cuda_run(struct rk_cuda_kernel *k, const struct rk_backend_run *run, uint64_t *run_ns,
		struct rk_error *err);

/*
 * Wait until @event has happened: for a short time by asking, as most do soon and the interrupt
 * takes as long again, then asleep.
 */
CUresult rk_cuda_wait(CUevent event);

#endif
