/* SPDX-License-Identifier: MIT */
/* NVML, and what it says of a device. */
#ifndef RK_GPU_NVML_INTERNAL_H
#define RK_GPU_NVML_INTERNAL_H

#include <stdbool.h>

#include "gpu/nvml/devices.h"
#include "gpu/nvml/syms.h"
#include "runtime/base/error.h"
#include "runtime/base/wire.h"

/* dl.c: libnvidia-ml.so.1, opened at run time: nothing links against it. */

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

/*
 * measure.c: what NVML says of one device. For one thread at a time; each call may hang as the
 * driver does.
 */

/* Where a device is, if NVML tells. */
struct rk_nvml_place {
	bool known;
	struct rk_pci_address address;
};

struct rk_nvml_seen {
	unsigned int index;
	rk_nvml_device handle;	    /* NULL: not found yet */
	struct rk_wire_device seen; /* but for its sequence */
	struct rk_nvml_place place;
	bool registered; /* its events arrive */
};

/*
 * Look at the device. Values that it does not answer with are not known. Once NVML says that it is
 * lost, that is logged and noted in seen, and it is not asked again.
 */
void rk_nvml_look(struct rk_nvml_seen *device);

/* Whether @result, with which @call came back for @device, is an answer. It may say that it is
 * lost. */
bool rk_nvml_answered(struct rk_nvml_seen *device, int result, const char *call);

#endif
