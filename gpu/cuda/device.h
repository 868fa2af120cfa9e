/* SPDX-License-Identifier: MIT */
/*
 * The device that the backend runs on, and what becomes of a call of the driver that fails: the
 * ground on which all other parts of the backend stand.
 */
#ifndef RK_GPU_CUDA_DEVICE_H
#define RK_GPU_CUDA_DEVICE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "gpu/base/backend.h"
#include "gpu/cuda/dl.h"
#include "gpu/nvml/pci.h"
#include "runtime/base/error.h"
#include "runtime/base/wire.h"

#define RK_CUDA_UUID_MAX 48

/* Immutable while it is open, but for the atomics. */
struct rk_cuda_device {
	/* set once all is open, until it is closed: an error before and after spoils nothing */
	bool serves;
	CUdevice handle;
	CUcontext context;	       /* its primary one, retained; NULL: it is not open */
	uint64_t generation;	       /* of the context: which one a thread has made current */
	struct rk_wire_shared *shared; /* borrowed */
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

/* error.c */

/*
 * rk_cuda_error(), but an error that spoils a device which serves does not return: it ends the
 * process with rk_fatal(). @what is the kernel, and the call where that helps:
 * "core/x: cuLaunchKernel".
 */
int rk_cuda_fail(struct rk_cuda_device *device, CUresult result, struct rk_error *err,
		 const char *what, ...) __attribute__((format(printf, 4, 5)));

/* The same for a call that gives something back. A failure is logged, as nobody is told of it. */
void rk_cuda_release(struct rk_cuda_device *device, CUresult result, const char *call);

/* device.c */

/*
 * Open the driver and the device that @wanted names, by number or UUID, and make its context
 * current. shared and threads are set already. Returns 0, or a negative errno with nothing left
 * open; -ENODEV where there is no driver or no such device.
 */
int rk_cuda_device_open(struct rk_cuda_device *device, const char *wanted, struct rk_error *err);

/* Give the context back, which is current, and with it whatever is left in it. */
void rk_cuda_device_close(struct rk_cuda_device *device);

/*
 * Make the device's context current in the calling thread, unless it is so already. Every entry
 * into the backend begins with it. Returns 0 or fails as rk_cuda_fail does.
 */
int rk_cuda_enter(struct rk_cuda_device *device, struct rk_error *err);

#endif
