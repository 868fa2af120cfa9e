/* SPDX-License-Identifier: MIT */
/* What becomes of a call of the driver that fails: an error of that call, or the process's end. */
#include <stdarg.h>
#include <stdio.h>

#include "gpu/base/crash.h"
#include "gpu/cuda/device.h"
#include "gpu/nvml/devices.h"
#include "runtime/base/log.h"

/* The first message of the only run that is under way; 0 where there are several, or none. */
static uint64_t only_message(const struct rk_cuda_device *device, unsigned int *running)
{
	uint64_t only = 0;

	*running = 0;
	for (unsigned int i = 0; i < device->threads; i++) {
		uint64_t message = atomic_load(&device->messages[i]);

		if (!message)
			continue;
		only = message;
		(*running)++;
	}
	return *running == 1 ? only : 0;
}

int rk_cuda_fail(struct rk_cuda_device *device, CUresult result, struct rk_error *err,
		 const char *what, ...)
{
	enum rk_wire_fault_kind kind = RK_WIRE_NO_FAULT;
	char doing[RK_ERROR_MAX];
	struct rk_error own;
	unsigned int running;
	uint64_t message;
	va_list ap;
	int rc;

	va_start(ap, what);
	vsnprintf(doing, sizeof(doing), what, ap);
	va_end(ap);
	rc = rk_cuda_error(result, &own, "%s", doing);
	if (device->serves)
		kind = rk_cuda_fault(result);
	if (kind == RK_WIRE_NO_FAULT) {
		if (err && rc)
			*err = own;
		return rc;
	}
	if (kind == RK_WIRE_DEVICE_LOST)
		rk_devices_lose();
	message = only_message(device, &running);
	if (running > 1)
		rk_fatal(device->shared, kind, 0, "%s, while %u messages ran", own.msg, running);
	rk_fatal(device->shared, kind, message, "%s", own.msg);
}

void rk_cuda_release(struct rk_cuda_device *device, CUresult result, const char *call)
{
	struct rk_error err;

	if (result == CUDA_SUCCESS)
		return;
	rk_cuda_fail(device, result, &err, "%s", call);
	rk_log(RK_LOG_WARN, "rk-worker: %s", err.msg);
}
