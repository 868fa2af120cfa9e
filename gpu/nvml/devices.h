/* SPDX-License-Identifier: MIT */
/*
 * The machine's devices as NVML sees them, written to the shared page by a thread of its own: a
 * call of NVML may hang for as long as the driver does.
 */
#ifndef RK_GPU_NVML_DEVICES_H
#define RK_GPU_NVML_DEVICES_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/base/error.h"
#include "runtime/base/wire.h"

struct rk_devices_watch;

/* Where a device is on the PCI bus; an instance of MIG is where its GPU is. */
struct rk_pci_address {
	int domain;
	int bus;
	int device;
};

/*
 * Start the thread, which looks at once and then every @sample_ms (10 at least). Where there is no
 * NVML it logs that and sees no devices. A critical Xid is in the page at once, where NVML tells.
 * @shared is borrowed until rk_devices_stop. The loss of a device is latched, and that of the one
 * in use ends the process: rk_fatal. *@watch belongs to the caller. Returns 0, -ENOMEM, or
 * pthread_create's error. One watch at a time.
 */
int rk_devices_start(struct rk_devices_watch **watch, struct rk_wire_shared *shared,
		     uint64_t sample_ms, struct rk_error *err);

/* Look this often from now on. Does not block. */
void rk_devices_set_period(struct rk_devices_watch *watch, uint64_t sample_ms);

/*
 * End the thread and free; the shared page is not touched from then on. True; a thread that waits
 * for events notices within a tenth of a second. False where the
 * thread does not come back from NVML within a second: it was left behind, and the process should
 * end without running what runs at exit.
 */
bool rk_devices_stop(struct rk_devices_watch *watch);

/*
 * The device at @address is what the worker runs on; NULL: none is. Where NVML tells no addresses
 * it is the one called @uuid ("GPU-..."). Both are copied, @uuid is cut to what a struct
 * rk_wire_device has room for. Any thread; does not block.
 */
void rk_devices_in_use(const struct rk_pci_address *address, const char *uuid);

/*
 * The device in use is lost, as CUDA says, and the process is about to end: have the shared page
 * say so, where NVML has found the device. Any thread; does not wait for NVML.
 */
void rk_devices_lose(void);

#endif
