/* SPDX-License-Identifier: MIT */
/* The device: chosen by number or UUID, asked what it can do, and its context. */
#include "gpu/cuda/device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/*
 * The threads block: an executor thread that waits long should leave its core to others, and for a
 * short wait it asks by itself (rk_cuda_wait). Local memory that was made larger once stays so,
 * because making it larger waits for resident kernels.
 */
#define CONTEXT_FLAGS (CU_CTX_SCHED_BLOCKING_SYNC | CU_CTX_LMEM_RESIZE_TO_MAX)

static atomic_uint_fast64_t generations;
static _Thread_local uint64_t entered; /* generation of the context that is current */

int rk_cuda_enter(struct rk_cuda_device *device, struct rk_error *err)
{
	CUresult result;

	if (entered == device->generation)
		return 0;
	result = rk_cu.cuCtxSetCurrent(device->context);
	if (result != CUDA_SUCCESS)
		return rk_cuda_fail(device, result, err, "cuCtxSetCurrent");
	entered = device->generation;
	return 0;
}

/* --- which device ------------------------------------------------------------------- */

#define PREFIX_LEN 4 /* of a UUID: GPU-, or MIG- for an instance of one */

static void print_uuid(char text[RK_CUDA_UUID_MAX], const CUuuid *uuid, bool is_instance)
{
	static const char *const gaps[16] = {[4] = "-", [6] = "-", [8] = "-", [10] = "-"};
	int len = snprintf(text, RK_CUDA_UUID_MAX, "%s", is_instance ? "MIG-" : "GPU-");

	for (unsigned int i = 0; i < 16; i++)
		len += snprintf(text + len, (size_t)(RK_CUDA_UUID_MAX - len), "%s%02x",
				gaps[i] ? gaps[i] : "", (unsigned char)uuid->bytes[i]);
}

/* Handle, name and UUID of device @index. */
static int look_at(struct rk_cuda_device *device, int index, struct rk_error *err)
{
	const char *call = "cuDeviceGet";
	CUuuid uuid;
	CUresult result;

	device->index = index;
	result = rk_cu.cuDeviceGet(&device->handle, index);
	if (result == CUDA_SUCCESS) {
		call = "cuDeviceGetName";
		result = rk_cu.cuDeviceGetName(device->name, (int)sizeof(device->name),
					       device->handle);
	}
	if (result == CUDA_SUCCESS) {
		call = "cuDeviceGetUuid";
		result = rk_cu.cuDeviceGetUuid(&uuid, device->handle);
	}
	if (result != CUDA_SUCCESS)
		return rk_cuda_error(result, err, "device %d: %s", index, call);
	device->name[sizeof(device->name) - 1] = '\0';
	print_uuid(device->uuid, &uuid, strstr(device->name, " MIG "));
	return 0;
}

/*
 * The prefix does not tell two devices apart, because the name of an instance need not say that it
 * is one.
 */
static bool is_same_uuid(const char *uuid, const char *wanted)
{
	return (strncasecmp(wanted, "GPU-", PREFIX_LEN) == 0 ||
		strncasecmp(wanted, "MIG-", PREFIX_LEN) == 0) &&
	       strcasecmp(uuid + PREFIX_LEN, wanted + PREFIX_LEN) == 0;
}

static bool is_number(const char *text)
{
	return text[0] && text[strspn(text, "0123456789")] == '\0';
}

/* Say that there is no such device, and which there are. */
static int no_such_device(struct rk_cuda_device *device, const char *wanted, int count,
			  struct rk_error *err)
{
	char there[RK_ERROR_MAX] = "";
	size_t len = 0;

	for (int i = 0; i < count && len < sizeof(there); i++) {
		int rc = look_at(device, i, err), n;

		if (rc)
			return rc;
		n = snprintf(there + len, sizeof(there) - len, "%s%d (%s, %s)", i ? ", " : "", i,
			     device->name, device->uuid);
		len += n > 0 ? (size_t)n : 0;
	}
	return rk_error_set(err, ENODEV, "there is no cuda_device %s; there are: %s", wanted,
			    there);
}

static int choose(struct rk_cuda_device *device, const char *wanted, struct rk_error *err)
{
	bool by_number = is_number(wanted);
	unsigned long number = by_number ? strtoul(wanted, NULL, 10) : 0;
	int count, rc;
	CUresult result = rk_cu.cuDeviceGetCount(&count);

	if (result != CUDA_SUCCESS)
		return rk_cuda_error(result, err, "cuDeviceGetCount");
	if (count < 1)
		return rk_error_set(err, ENODEV, "the NVIDIA driver has no device");
	if (by_number && number < (unsigned long)count)
		return look_at(device, (int)number, err);
	for (int i = 0; !by_number && i < count; i++) {
		rc = look_at(device, i, err);
		if (rc || is_same_uuid(device->uuid, wanted))
			return rc;
	}
	return no_such_device(device, wanted, count, err);
}

static int ask(struct rk_cuda_device *device, struct rk_error *err)
{
	const struct {
		CUdevice_attribute attribute;
		int *value;
	} wanted[] = {
		{CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, &device->major},
		{CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, &device->minor},
		{CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, &device->multiprocessors},
		{CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, &device->max_shared_bytes},
		{CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X, &device->max_block[0]},
		{CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y, &device->max_block[1]},
		{CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z, &device->max_block[2]},
		{CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH, &device->cooperative},
		{CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY, &device->managed},
		{CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, &device->pools},
		{CU_DEVICE_ATTRIBUTE_KERNEL_EXEC_TIMEOUT, &device->limits_runs},
		{CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID, &device->address.domain},
		{CU_DEVICE_ATTRIBUTE_PCI_BUS_ID, &device->address.bus},
		{CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID, &device->address.device},
	};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		CUresult result = rk_cu.cuDeviceGetAttribute(wanted[i].value, wanted[i].attribute,
							     device->handle);

		if (result != CUDA_SUCCESS)
			return rk_cuda_error(result, err, "%s: cuDeviceGetAttribute(%d)",
					     device->name, (int)wanted[i].attribute);
	}
	return 0;
}

/* --- open --------------------------------------------------------------------------- */

static int retain(struct rk_cuda_device *device, struct rk_error *err)
{
	int rc;
	CUresult result = rk_cu.cuDevicePrimaryCtxSetFlags(device->handle, CONTEXT_FLAGS);

	if (result != CUDA_SUCCESS)
		return rk_cuda_error(result, err, "%s: cuDevicePrimaryCtxSetFlags", device->name);
	result = rk_cu.cuDevicePrimaryCtxRetain(&device->context, device->handle);
	if (result != CUDA_SUCCESS)
		return rk_cuda_error(result, err, "%s: cuDevicePrimaryCtxRetain", device->name);
	device->generation = atomic_fetch_add(&generations, 1) + 1;
	rc = rk_cuda_enter(device, err);
	if (rc) {
		(void)rk_cu.cuDevicePrimaryCtxRelease(
			device->handle); /* the caller is told of the other failure */
		device->context = NULL;
	}
	return rc;
}

int rk_cuda_device_open(struct rk_cuda_device *device, const char *wanted, struct rk_error *err)
{
	CUresult result;
	int rc = rk_cuda_open(err);

	if (rc)
		return rc;
	result = rk_cu.cuInit(0);
	if (result != CUDA_SUCCESS)
		return rk_cuda_error(result, err, "cuInit");
	result = rk_cu.cuDriverGetVersion(&device->driver);
	if (result != CUDA_SUCCESS)
		return rk_cuda_error(result, err, "cuDriverGetVersion");
	rc = choose(device, wanted, err);
	if (rc == 0)
		rc = ask(device, err);
	if (rc == 0)
		rc = retain(device, err);
	return rc;
}

void rk_cuda_device_close(struct rk_cuda_device *device)
{
	rk_cuda_release(device, rk_cu.cuCtxSetCurrent(NULL), "cuCtxSetCurrent");
	entered = 0;
	rk_cuda_release(device, rk_cu.cuDevicePrimaryCtxRelease(device->handle),
			"cuDevicePrimaryCtxRelease");
}
