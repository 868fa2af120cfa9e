/* SPDX-License-Identifier: MIT */
/*
 * What is known of the machine's devices: copied out of the page that a worker keeps, and kept
 * beyond its death. The caller locks.
 */
#ifndef RK_RUNTIME_DEVICES_H
#define RK_RUNTIME_DEVICES_H

#include <stdbool.h>
#include <stdint.h>

#include "gpu/wire.h"

/* One device; numbers that @known does not name are 0 and mean nothing. */
struct rk_device {
	uint32_t known; /* RK_WIRE_KNOWS_* */
	char name[96];
	char uuid[48]; /* "GPU-..." */
	uint64_t memory_total_bytes;
	uint64_t memory_used_bytes;
	uint64_t power_milliwatts;
	uint32_t utilisation_percent;
	uint32_t temperature_celsius;
	bool lost; /* fell off the bus, once */
};

struct rk_devices {
	unsigned int count;
	struct rk_device devices[RK_WIRE_DEVICES_MAX];
};

/*
 * Bring @devices up to date with @shared, which may be written meanwhile, and by a worker that is
 * broken: texts are cut and terminated, a count is bounded, an entry that changes all the time is
 * left as it was. A device of the same UUID that was lost stays lost.
 */
void rk_devices_update(struct rk_devices *devices, const struct rk_wire_shared *shared);

#endif
