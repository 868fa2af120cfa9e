/* SPDX-License-Identifier: MIT */
/* libnvidia-ml.so.1, opened at run time: nothing links against it. */
#ifndef RK_GPU_NVML_DL_H
#define RK_GPU_NVML_DL_H

#include "gpu/nvml/syms.h"
#include "runtime/base/error.h"

/*
 * Its functions; one that is OPTIONAL is NULL where the library lacks it. Call them as
 * rk_nvml.nvmlInit_v2().
 */
struct rk_nvml_functions {
#define X(need, result, name, parameters) result(*name) parameters;
	RK_NVML_SYMBOLS(X)
#undef X
};

extern struct rk_nvml_functions rk_nvml;

/*
 * Open the library and find the functions. It stays open until the process ends; a second call
 * does nothing. Returns 0; -ENODEV with a sentence that names libnvidia-ml.so.1: there is none, or
 * it lacks a required function (named). May block as the loader does. For one thread at a time.
 */
int rk_nvml_open(struct rk_error *err);

/*
 * Describe the failure of @call: "CALL: Driver Not Loaded". Returns -ENODEV; 0 for
 * RK_NVML_SUCCESS, with @err untouched. The library is open.
 */
int rk_nvml_error(int result, struct rk_error *err, const char *call);

#endif
