/* SPDX-License-Identifier: MIT */
/* libcuda.so.1, opened at run time: nothing links against it. */
#ifndef RK_GPU_CUDA_DL_H
#define RK_GPU_CUDA_DL_H

#include <stdbool.h>

#include "gpu/cuda/syms.h"
#include "runtime/base/error.h"
#include "runtime/base/wire.h"

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

#endif
