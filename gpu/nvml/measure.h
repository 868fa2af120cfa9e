/* SPDX-License-Identifier: MIT */
/* What NVML says of one device. For one thread at a time; each call may hang as the driver does. */
#ifndef RK_GPU_NVML_MEASURE_H
#define RK_GPU_NVML_MEASURE_H

#include <stdbool.h>

#include "gpu/nvml/dl.h"
#include "gpu/nvml/pci.h"
#include "runtime/base/wire.h"

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
