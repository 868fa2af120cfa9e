/* SPDX-License-Identifier: MIT */
/*
 * The driver, the device that the backend runs on, and what becomes of a call of the driver that
 * fails: the ground on which all other parts of the backend stand.
 */
#ifndef RK_GPU_CUDA_DEVICE_H
#define RK_GPU_CUDA_DEVICE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "gpu/base/backend.h"
#include "gpu/cuda/syms.h"
#include "gpu/nvml/devices.h"
#include "runtime/base/error.h"
#include "runtime/base/wire.h"

/* dl.c: libcuda.so.1, opened at run time: nothing links against it. */

/*
 * Its functions; one that is OPTIONAL is NULL where the driver lacks it. Call them as
 * rk_cu.cuInit(0).
 */
struct rk_cuda_functions {
#define X(need, name, version) __typeof__(name) *name;
	RK_CUDA_SYMBOLS(X)
#undef X
};

extern struct rk_cuda_functions rk_cu;

/*
 * Open the library and find the functions. It stays open until the process ends; a second call does
 * nothing. First the variables of the environment that the driver reads are set to what the worker
 * needs, with a warning where one had another value; so call it before there are other threads that
 * use the environment. Returns 0; -ENODEV with a sentence that names libcuda.so.1: there is none,
 * it lacks a required function (named), or the driver is older than RK_CUDA_DRIVER_MIN (both
 * versions named). May block as the loader does.
 */
int rk_cuda_open(struct rk_error *err);

/* Whether all of cuMemAllocAsync and its companions are there. */
bool rk_cuda_has_async_memory(void);

/*
 * The name of @result, such as "CUDA_ERROR_ILLEGAL_ADDRESS", also for a number that the driver does
 * not know. Static storage.
 */
const char *rk_cuda_name(CUresult result);

/*
 * Describe the failure of @what: "WHAT: CUDA_ERROR_OUT_OF_MEMORY (out of memory)". Returns -ENOMEM
 * where memory ran out, -ENODEV where there is no such device or driver, else -EIO; 0 for
 * CUDA_SUCCESS, with @err untouched.
 */
int rk_cuda_error(CUresult result, struct rk_error *err, const char *what, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * What @result says of the device, as the CUDA Driver API describes it. RK_WIRE_STICKY and
 * RK_WIRE_DEVICE_LOST are for rk_fatal(); RK_WIRE_NO_FAULT is an error of one call.
 */
enum rk_wire_fault_kind rk_cuda_fault(CUresult result);

/* device.c and error.c: the device that the backend runs on. */

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
