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

/* Where a device is, which CUDA and NVML agree upon; an instance of MIG is where its GPU is. */
struct rk_pci_address {
	int domain;
	int bus;
	int device;
};

struct rk_devices_watch;

/*
 * Start the thread, which looks at once and then every @sample_ms (10 at least). Where there is no
 * NVML it logs that and sees no devices. A critical Xid is in the page at once, where NVML reports
 * it. @shared is borrowed until rk_devices_stop. Once a device is lost it stays so, and the loss of
 * the one in use ends the process: rk_fatal. *@watch belongs to the caller. Returns 0, -ENOMEM, or
 * the negative errno of pthread_create. There can be one watch at a time.
 */
int rk_devices_start(struct rk_devices_watch **watch, struct rk_wire_shared *shared,
		     uint64_t sample_ms, struct rk_error *err);

/* Look this often from now on. Does not block. */
void rk_devices_set_period(struct rk_devices_watch *watch, uint64_t sample_ms);

/*
 * End the thread and free all; the shared page is not touched from then on. Returns true; a thread
 * that waits for events takes a tenth of a second at most to notice. Returns false where the thread
 * does not return from NVML within a second: it was left behind, and the process should end without
 * running what runs at exit.
 */
bool rk_devices_stop(struct rk_devices_watch *watch);

/*
 * The worker runs on the device at @address, or on none where that is NULL. Where NVML does not
 * tell addresses, it is the one called @uuid ("GPU-..."). Both are copied; @uuid is cut to what a
 * struct rk_wire_device has room for. Any thread; does not block.
 */
void rk_devices_in_use(const struct rk_pci_address *address, const char *uuid);

/*
 * CUDA says that the device in use is lost, and the process is about to end: note it in the shared
 * page, where NVML has found the device. Any thread; does not wait for NVML.
 */
void rk_devices_lose(void);

#endif
