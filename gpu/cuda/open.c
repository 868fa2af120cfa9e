// SPDX-License-Identifier: MIT
/* The CUDA backend's device: chosen, opened and closed. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "gpu/base/fatal.h"
#include "gpu/cuda/internal.h"
#include "runtime/base/log.h"

#define STAGING_MAX 64 /* blocks, however many threads there are */

/*
 * Threads that block: an executor thread that waits long is to leave its core to others, and for a
 * short wait it asks by itself (rk_cuda_wait). Local memory that was once made larger stays so,
 * as making it larger waits for resident kernels.
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

/* The prefix does not tell two apart: a name need not say that it is of an instance. */
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

/* No such device: say which there are. */
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
	CUresult result;
	int count, rc;

	result = rk_cu.cuDeviceGetCount(&count);
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
	CUresult result;
	int rc;

	result = rk_cu.cuDevicePrimaryCtxSetFlags(device->handle, CONTEXT_FLAGS);
	if (result != CUDA_SUCCESS)
		return rk_cuda_error(result, err, "%s: cuDevicePrimaryCtxSetFlags", device->name);
	result = rk_cu.cuDevicePrimaryCtxRetain(&device->context, device->handle);
	if (result != CUDA_SUCCESS)
		return rk_cuda_error(result, err, "%s: cuDevicePrimaryCtxRetain", device->name);
	device->generation = atomic_fetch_add(&generations, 1) + 1;
	rc = rk_cuda_enter(device, err);
	if (rc) {
		(void)rk_cu.cuDevicePrimaryCtxRelease(device->handle); /* that one is told of */
		device->context = NULL;
	}
	return rc;
}

static int open_check(struct rk_cuda *cuda, struct rk_error *err)
{
	struct rk_cuda_device *device = &cuda->device;
	struct rk_cuda_check *check = &cuda->check;
	CUresult result;
	int rc;

	rc = rk_cuda_stream_urgent(device, &check->stream, err);
	if (rc)
		return rc;
	result =
		rk_cu.cuEventCreate(&check->done, CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING);
	if (result != CUDA_SUCCESS) {
		check->done = NULL;
		return rk_cuda_fail(device, result, err, "cuEventCreate");
	}
	result = rk_cu.cuMemAlloc(&check->at, RK_CUDA_CHECK_BYTES);
	if (result == CUDA_SUCCESS)
		return 0;
	check->at = 0;
	return rk_cuda_fail(device, result, err, "health check: cuMemAlloc");
}

static void close_check(struct rk_cuda_device *device, struct rk_cuda_check *check)
{
	if (check->at)
		rk_cuda_release(device, rk_cu.cuMemFree(check->at), "cuMemFree");
	if (check->done)
		rk_cuda_release(device, rk_cu.cuEventDestroy(check->done), "cuEventDestroy");
	if (check->stream)
		rk_cuda_release(device, rk_cu.cuStreamDestroy(check->stream), "cuStreamDestroy");
}

int rk_cuda_touch(struct rk_cuda *cuda, struct rk_error *err)
{
	struct rk_cuda_check *check = &cuda->check;
	const char *call = "cuMemsetD8Async";
	CUresult result;

	result = rk_cu.cuMemsetD8Async(check->at, 0, RK_CUDA_CHECK_BYTES, check->stream);
	if (result == CUDA_SUCCESS) {
		call = "cuEventRecord";
		result = rk_cu.cuEventRecord(check->done, check->stream);
	}
	if (result == CUDA_SUCCESS) {
		call = "the device sets a few bytes";
		result = rk_cuda_wait(check->done);
	}
	if (result == CUDA_SUCCESS)
		return 0;
	return rk_cuda_fail(&cuda->device, result, err, "%s", call);
}

static unsigned int smaller(unsigned int a, unsigned int b)
{
	return a < b ? a : b;
}

/* What lies in the context. Where it fails, rk_cuda_stop gives back what is there. */
static int furnish(struct rk_cuda *cuda, const struct rk_wire_device_settings *settings,
		   struct rk_error *err)
{
	struct rk_cuda_device *device = &cuda->device;
	unsigned int blocks = smaller(device->threads, STAGING_MAX);
	int rc;

	rc = rk_cuda_streams_create(&cuda->streams, device,
				    smaller(device->threads, RK_CUDA_STREAMS_MAX), err);
	if (rc == 0)
		rc = open_check(cuda, err);
	if (rc == 0)
		rc = rk_rings_create(&device->rings, device, settings->ring_idle_ms, err);
	if (rc == 0)
		rc = rk_cuda_memory_create(&cuda->memory, device, settings, err);
	if (rc == 0)
		rc = rk_cuda_staging_create(&cuda->staging, device, blocks,
					    smaller(2 * device->threads, STAGING_MAX), err);
	if (rc == 0)
		rc = rk_cuda_modules_create(&cuda->modules, device, err);
	if (rc == 0)
		rc = rk_cuda_warm(cuda, err);
	return rc ? rk_error_prefix(err, "%s", device->name) : 0;
}

static int open_device(struct rk_cuda_device *device, const char *wanted, struct rk_error *err)
{
	CUresult result;
	int rc;

	rc = rk_cuda_open(err);
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

int rk_cuda_start(const struct rk_backend_env *env, void **backend, struct rk_error *err)
{
	struct rk_cuda *cuda = calloc(1, sizeof(*cuda));
	struct rk_cuda_device *device;
	pthread_rwlockattr_t attr;
	int rc;

	if (!cuda)
		return rk_error_set(err, ENOMEM, "no memory");
	device = &cuda->device;
	device->threads = env->threads;
	device->shared = env->shared;
	/* a resident kernel is not kept out by cooperative ones that come all the time */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&cuda->cooperative, &attr);
	pthread_rwlockattr_destroy(&attr);
	rc = open_device(device, env->device->device, err);
	if (rc == 0)
		rc = furnish(cuda, env->device, err);
	if (rc) {
		rk_cuda_stop(cuda);
		return rc;
	}
	device->serves = true;
	rk_devices_in_use(&device->address, device->uuid);
	rk_log(RK_LOG_INFO,
	       "rk-worker: CUDA device %d: %s, %s, compute capability %d.%d, driver of CUDA %d.%d",
	       device->index, device->name, device->uuid, device->major, device->minor,
	       device->driver / 1000, device->driver % 1000 / 10);
	if (device->limits_runs)
		rk_log(RK_LOG_WARN,
		       "rk-worker: the driver ends kernels on device %d after some seconds, as for one "
		       "with a display: no kernel can be resident (mode = ring)",
		       device->index);
	*backend = cuda;
	return 0;
}

/* The whole of it, or what rk_cuda_start had of it when it failed. */
void rk_cuda_stop(void *backend)
{
	struct rk_cuda *cuda = backend;
	struct rk_cuda_device *device = &cuda->device;

	device->serves = false;
	rk_devices_in_use(NULL, NULL);
	if (device->context && rk_cuda_enter(device, NULL) == 0) {
		rk_cuda_modules_destroy(cuda->modules);
		rk_cuda_staging_destroy(cuda->staging);
		rk_cuda_memory_destroy(cuda->memory);
		if (device->rings)
			rk_rings_destroy(device->rings);
		close_check(device, &cuda->check);
		rk_cuda_streams_destroy(cuda->streams);
		rk_cuda_release(device, rk_cu.cuCtxSetCurrent(NULL), "cuCtxSetCurrent");
		entered = 0;
		rk_cuda_release(device, rk_cu.cuDevicePrimaryCtxRelease(device->handle),
				"cuDevicePrimaryCtxRelease");
	}
	pthread_rwlock_destroy(&cuda->cooperative);
	free(cuda);
}
