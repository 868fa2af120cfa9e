/* SPDX-License-Identifier: MIT */
/* Which devices there are to run on, for a start that is to use several. */
#ifndef RK_GPU_NVML_LIST_H
#define RK_GPU_NVML_LIST_H

#include "runtime/base/error.h"
#include "runtime/base/wire.h"

/* The devices to run on, in the order of their index. */
struct rk_listed {
	unsigned int count;
	char uuids[RK_WIRE_LISTED_MAX]
		  [RK_WIRE_NAME_MAX]; /* "" = it does not tell, as one that is lost */
};

/*
 * Ask NVML for the devices of the machine: each GPU, or its instances where it is divided (MIG).
 * Returns 0, or -ENODEV with a sentence. Blocks for as long as the driver does. For one thread at a
 * time.
 */
int rk_devices_list(struct rk_listed *listed, struct rk_error *err);

/*
 * Leave of @listed what @visible, a value of CUDA_VISIBLE_DEVICES, lets a process see, in its
 * order: indices and beginnings of UUIDs up to the first that is no device, as the driver reads
 * it. NULL = all.
 */
void rk_devices_list_visible(struct rk_listed *listed, const char *visible);

#endif
