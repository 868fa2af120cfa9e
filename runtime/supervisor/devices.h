/* SPDX-License-Identifier: MIT */
/*
 * What is known of the machine's devices: copied out of the page that a worker keeps, and kept
 * beyond its death. The caller locks.
 */
#ifndef RK_RUNTIME_SUPERVISOR_DEVICES_H
#define RK_RUNTIME_SUPERVISOR_DEVICES_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/base/wire.h"

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
	uint64_t ecc_uncorrected; /* since the driver was loaded */
	uint64_t xid_count;	  /* critical Xids that any worker has seen */
	uint64_t xid_in_page;	  /* of these, by the latest worker */
	uint32_t xid_last;	  /* 0 = none was seen */
	bool remap_pending;	  /* rows of its memory are remapped by a reset */
	bool remap_failed;	  /* some could not be */
	bool lost;		  /* fell off the bus, once */
};

struct rk_devices {
	unsigned int count;
	uint64_t worker; /* the latest whose page was read */
	struct rk_device devices[RK_WIRE_DEVICES_MAX];
};

/*
 * Bring @devices up to date with @shared, the page of worker @worker (later ones have larger
 * numbers), which may be written meanwhile, and by a worker that is broken: texts are cut and
 * terminated, a count is bounded, an entry that changes all the time is left as it was. A device of
 * the same UUID that was lost stays lost; its last Xid stays known, and Xids of several workers add
 * up.
 */
void rk_devices_update(struct rk_devices *devices, const struct rk_wire_shared *shared,
		       uint64_t worker);

#endif
