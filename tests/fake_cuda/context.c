/* SPDX-License-Identifier: MIT */
/* Attributes of the device, its primary context, and the ledger of what is left in it. */
#include "tests/fake_cuda/fake.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LEDGER_SIZE 2048

static bool said_no(const char *keyword)
{
	const struct fake_line *line = fake_trigger_find(keyword, NULL);

	return line && strcmp(line->words[1], "no") == 0;
}

/* -1: the fake does not know it. */
static int attribute(CUdevice_attribute which, CUdevice device)
{
	switch (which) {
	case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
	case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
	case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y:
		return FAKE_THREADS;
	case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z:
		return FAKE_BLOCK_Z;
	case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X:
		return FAKE_GRID_X;
	case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
	case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z:
		return FAKE_GRID_YZ;
	case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:
		return FAKE_SHARED;
	case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
	case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
		return FAKE_SHARED_OPTIN;
	case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR:
		return FAKE_SM_THREADS;
	case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
		return fake_multiprocessors();
	case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
		return 32;
	case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
		return (int)fake_trigger_number("compute_capability", 89) / 10;
	case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
		return (int)fake_trigger_number("compute_capability", 89) % 10;
	case CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID:
		return FAKE_PCI_DOMAIN;
	case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
		return FAKE_PCI_BUS(device);
	case CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID:
		return FAKE_PCI_DEVICE;
	case CU_DEVICE_ATTRIBUTE_KERNEL_EXEC_TIMEOUT:
		return fake_trigger_find("exec_timeout", NULL) != NULL;
	case CU_DEVICE_ATTRIBUTE_CLOCK_RATE:
		return FAKE_CLOCK_KHZ;
	case CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH:
		return !said_no("cooperative");
	case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
		return !fake_trigger_find("no_async_memory", NULL);
	case CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY:
	case CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS:
		return !said_no("managed");
	case CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM:
	case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
	case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
	case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
	case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
		return 1;
	case CU_DEVICE_ATTRIBUTE_COMPUTE_MODE:
	case CU_DEVICE_ATTRIBUTE_INTEGRATED:
		return 0;
	default:
		return -1;
	}
}

CUresult fake_cuDeviceGetAttribute(int *value, CUdevice_attribute which, CUdevice device)
{
	CUresult result = fake_enter("cuDeviceGetAttribute", 0);
	int found;

	if (result)
		return result;
	found = attribute(which, device);
	if (found < 0)
		return fake_leave(fake_misuse_locked(CUDA_ERROR_INVALID_VALUE,
						     "the fake has no device attribute %d",
						     (int)which));
	*value = found;
	return fake_leave(CUDA_SUCCESS);
}

CUresult fake_cuDevicePrimaryCtxSetFlags(CUdevice device, unsigned int flags)
{
	CUresult result = fake_enter("cuDevicePrimaryCtxSetFlags", 0);

	(void)flags;
	if (result)
		return result;
	return fake_leave(device < 0 || device >= FAKE_DEVICES ? CUDA_ERROR_INVALID_DEVICE
							       : CUDA_SUCCESS);
}

CUresult fake_cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)
{
	CUresult result;

	fake_trigger_device = device;
	result = fake_enter("cuDevicePrimaryCtxRetain", 0);
	if (result)
		return result;
	if (device < 0 || (uint64_t)device >= fake_trigger_number("device_count", 1) ||
	    device >= FAKE_DEVICES)
		return fake_leave(CUDA_ERROR_INVALID_DEVICE);
	if (fake.spoiled)
		return fake_leave(fake.spoiled);
	*context = &fake.contexts[device];
	(*context)->device = device;
	if ((*context)->retained++ == 0)
		fake.counts.contexts++;
	return fake_leave(CUDA_SUCCESS);
}

/* The driver frees all that is in a context; so does this, but it tells. */
static CUresult end_context_locked(void)
{
	CUresult result = fake_synchronise_locked("cuDevicePrimaryCtxRelease");

	fake_ledger_locked("release");
	if (result) /* what runs on a spoiled device cannot be waited for */
		return result;
	fake.counts.leaked += fake_streams_drop_locked();
	fake.counts.leaked += fake_modules_drop_locked();
	fake.counts.leaked += fake_memory_drop_locked();
	return CUDA_SUCCESS;
}

CUresult fake_cuDevicePrimaryCtxRelease(CUdevice device)
{
	CUresult result = fake_enter("cuDevicePrimaryCtxRelease", 0);

	if (result)
		return result;
	if (device < 0 || device >= FAKE_DEVICES || !fake.contexts[device].retained)
		return fake_leave(fake_misuse_locked(CUDA_ERROR_INVALID_CONTEXT,
						     "release of a context that is not retained"));
	if (--fake.contexts[device].retained)
		return fake_leave(CUDA_SUCCESS);
	fake.counts.contexts--;
	return fake_leave(end_context_locked());
}

CUresult fake_cuCtxSetCurrent(CUcontext context)
{
	CUresult result = fake_enter("cuCtxSetCurrent", 0);

	if (result)
		return result;
	if (context && !context->retained)
		return fake_leave(fake_misuse_locked(CUDA_ERROR_CONTEXT_IS_DESTROYED,
						     "a released context is made current"));
	fake_set_current(context);
	return fake_leave(CUDA_SUCCESS);
}

void fake_ledger_locked(const char *why)
{
	const char *path = getenv("RK_FAKE_CUDA_LEDGER");
	char text[LEDGER_SIZE];
	size_t len = 0;
	int fd;

	if (!path || !*path || fake.spoiled) /* nothing can be given back to such a device */
		return;
#define X(field)                                                                                   \
	if (len < sizeof(text))                                                                    \
		len += (size_t)snprintf(text + len, sizeof(text) - len, " %s=%llu", #field,        \
					(unsigned long long)fake.counts.field);
	len += (size_t)snprintf(text, sizeof(text), "%s pid=%ld", why, (long)getpid());
	FAKE_CUDA_GAUGES(X)
	FAKE_CUDA_COUNTERS(X)
#undef X
	if (len < sizeof(text) - 1)
		text[len++] = '\n';
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	if (fd < 0 || write(fd, text, len) != (ssize_t)len)
		fake_complain("cannot write the ledger %s", path);
	if (fd >= 0)
		close(fd);
}

/* Threads may still run, one of them with the lock if it was killed in it: never wait here. */
__attribute__((destructor)) static void at_exit(void)
{
	bool locked = pthread_mutex_trylock(&fake.lock) == 0;

	if (fake.initialised)
		fake_ledger_locked("exit");
	if (locked)
		pthread_mutex_unlock(&fake.lock);
}
