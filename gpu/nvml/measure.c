/* SPDX-License-Identifier: MIT */
/* What NVML says of one device: who and where it is, and its figures. */
#include "gpu/nvml/internal.h"

#include <stddef.h>
#include <stdio.h>

#include "runtime/base/log.h"

bool rk_nvml_answered(struct rk_nvml_seen *device, int result, const char *call)
{
	struct rk_error err;

	if (result == RK_NVML_SUCCESS)
		return true;
	if (result == RK_NVML_GPU_IS_LOST && !device->seen.lost) {
		rk_nvml_error(result, &err, call);
		rk_log(RK_LOG_ERROR, "rk-worker: device %u is lost: %s", device->index, err.msg);
		device->seen.lost = 1;
	}
	return false;
}

static void locate(struct rk_nvml_seen *device)
{
	struct rk_nvml_pci pci;

	if (device->place.known || !rk_nvml.nvmlDeviceGetPciInfo_v3 ||
	    !rk_nvml_answered(device, rk_nvml.nvmlDeviceGetPciInfo_v3(device->handle, &pci),
			      "nvmlDeviceGetPciInfo"))
		return;
	device->place = (struct rk_nvml_place){
		.known = true,
		.address = {(int)pci.domain, (int)pci.bus, (int)pci.device},
	};
}

/*
 * Whether the device has a handle by which it can be asked. Its name, UUID and place are noted
 * where they are known.
 */
static bool identify(struct rk_nvml_seen *device)
{
	struct rk_wire_device *seen = &device->seen;
	char name[RK_NVML_NAME_MAX] = "", uuid[RK_NVML_UUID_MAX] = "";
	rk_nvml_device *handle = &device->handle;

	if (!*handle &&
	    !rk_nvml_answered(device, rk_nvml.nvmlDeviceGetHandleByIndex_v2(device->index, handle),
			      "nvmlDeviceGetHandleByIndex"))
		*handle = NULL;
	if (!*handle)
		return false;
	if (!seen->name[0] &&
	    rk_nvml_answered(device, rk_nvml.nvmlDeviceGetName(*handle, name, sizeof(name)),
			     "nvmlDeviceGetName"))
		snprintf(seen->name, sizeof(seen->name), "%.*s", (int)sizeof(seen->name) - 1, name);
	if (!seen->uuid[0] &&
	    rk_nvml_answered(device, rk_nvml.nvmlDeviceGetUUID(*handle, uuid, sizeof(uuid)),
			     "nvmlDeviceGetUUID"))
		snprintf(seen->uuid, sizeof(seen->uuid), "%.*s", (int)sizeof(seen->uuid) - 1, uuid);
	locate(device);
	return true;
}

static void measure_memory(struct rk_nvml_seen *device)
{
	struct rk_nvml_memory memory;

	if (!rk_nvml_answered(device, rk_nvml.nvmlDeviceGetMemoryInfo(device->handle, &memory),
			      "nvmlDeviceGetMemoryInfo"))
		return;
	device->seen.known |= RK_WIRE_KNOWS_MEMORY;
	device->seen.memory_total_bytes = memory.total;
	device->seen.memory_used_bytes = memory.used;
}

static void measure_utilisation(struct rk_nvml_seen *device)
{
	struct rk_nvml_utilization utilization;

	if (!rk_nvml.nvmlDeviceGetUtilizationRates ||
	    !rk_nvml_answered(device,
			      rk_nvml.nvmlDeviceGetUtilizationRates(device->handle, &utilization),
			      "nvmlDeviceGetUtilizationRates"))
		return;
	device->seen.known |= RK_WIRE_KNOWS_UTILISATION;
	device->seen.utilisation_percent = utilization.gpu;
}

static void measure_temperature(struct rk_nvml_seen *device)
{
	unsigned int celsius;

	if (!rk_nvml.nvmlDeviceGetTemperature ||
	    !rk_nvml_answered(device,
			      rk_nvml.nvmlDeviceGetTemperature(device->handle,
							       RK_NVML_TEMPERATURE_GPU, &celsius),
			      "nvmlDeviceGetTemperature"))
		return;
	device->seen.known |= RK_WIRE_KNOWS_TEMPERATURE;
	device->seen.temperature_celsius = celsius;
}

static void measure_power(struct rk_nvml_seen *device)
{
	unsigned int milliwatts;

	if (!rk_nvml.nvmlDeviceGetPowerUsage ||
	    !rk_nvml_answered(device, rk_nvml.nvmlDeviceGetPowerUsage(device->handle, &milliwatts),
			      "nvmlDeviceGetPowerUsage"))
		return;
	device->seen.known |= RK_WIRE_KNOWS_POWER;
	device->seen.power_milliwatts = milliwatts;
}

static void measure_ecc(struct rk_nvml_seen *device)
{
	unsigned long long count;

	if (!rk_nvml.nvmlDeviceGetTotalEccErrors ||
	    !rk_nvml_answered(device,
			      rk_nvml.nvmlDeviceGetTotalEccErrors(device->handle,
								  RK_NVML_ECC_UNCORRECTED,
								  RK_NVML_ECC_VOLATILE, &count),
			      "nvmlDeviceGetTotalEccErrors"))
		return;
	device->seen.known |= RK_WIRE_KNOWS_ECC;
	device->seen.ecc_uncorrected = count;
}

static void measure_remap(struct rk_nvml_seen *device)
{
	unsigned int correctable, uncorrectable, pending, failed;

	if (!rk_nvml.nvmlDeviceGetRemappedRows ||
	    !rk_nvml_answered(device,
			      rk_nvml.nvmlDeviceGetRemappedRows(device->handle, &correctable,
								&uncorrectable, &pending, &failed),
			      "nvmlDeviceGetRemappedRows"))
		return;
	device->seen.known |= RK_WIRE_KNOWS_REMAP;
	device->seen.remap_pending = pending != 0;
	device->seen.remap_failed = failed != 0;
}

void rk_nvml_look(struct rk_nvml_seen *device)
{
	static void (*const measures[])(struct rk_nvml_seen *) = {
		measure_memory, measure_utilisation, measure_temperature,
		measure_power,	measure_ecc,	     measure_remap};

	device->seen.known = 0;
	if (device->seen.lost || !identify(device))
		return;
	for (size_t i = 0; i < sizeof(measures) / sizeof(measures[0]) && !device->seen.lost; i++)
		measures[i](device);
	if (device->seen.lost)
		device->seen.known = 0;
	else if (device->registered)
		device->seen.known |= RK_WIRE_KNOWS_XID;
}
