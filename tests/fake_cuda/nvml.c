/* SPDX-License-Identifier: MIT */
/* The fake libnvidia-ml.so.1: what it says comes from the trigger file, see README. */
#include "gpu/nvml/syms.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/fake_cuda/trigger.h"

#define DEVICES	      16
#define UNINITIALIZED 1
#define INVALID	      2
#define TOO_SMALL     7
#define MEMORY_USED   (64ULL << 20)
#define NAP_NS	      50000L
#define EVENT_NAP_NS  2000000L /* between two looks for an event */

/* Declared as they are by the list, all are exported: one that is missing fails to link. */
#pragma GCC visibility push(default)
#define X(need, result, name, parameters)                                                          \
	extern __typeof__(name) name __attribute__((visibility("default")));
RK_NVML_SYMBOLS(X)
#undef X
#pragma GCC visibility pop

/* clang-format off */
__attribute__((used)) static const struct {
	const char *name;
	void *function;
} all[] = {
#define X(need, result, name, parameters) {#name, (void *)name},
	RK_NVML_SYMBOLS(X)
#undef X
};
/* clang-format on */

struct nvmlDevice_st {
	int index;
	bool instance;
};

struct nvmlEventSet_st {
	unsigned long long types[DEVICES];
};

static struct nvmlDevice_st devices[2 * DEVICES]; /* an instance of each, too */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned int initialised;

static void hang_locked(const char *name)
{
	struct fake_line *line = fake_trigger_find("hang", name);
	const struct timespec nap = {.tv_nsec = NAP_NS};
	bool always = line && line->once;

	if (line)
		fake_trigger_consume(line);
	while (always || fake_trigger_find("hang", name)) {
		pthread_mutex_unlock(&lock);
		nanosleep(&nap, NULL);
		pthread_mutex_lock(&lock);
		fake_trigger_read();
	}
}

/* Begin the call @name: 0 with the lock held, or what it is to return. */
static int enter(const char *name)
{
	struct fake_line *line;
	int result = RK_NVML_SUCCESS;

	pthread_mutex_lock(&lock);
	fake_trigger_read();
	hang_locked(name);
	line = fake_trigger_find("nvml_fail", name);
	if (line) {
		result = atoi(line->words[2]);
		fake_trigger_consume(line);
	} else if (!initialised && strcmp(name, "nvmlInit_v2") != 0) {
		fake_complain("misuse: %s before nvmlInit", name);
		result = UNINITIALIZED;
	}
	if (result)
		pthread_mutex_unlock(&lock);
	return result;
}

static int leave(int result)
{
	pthread_mutex_unlock(&lock);
	return result;
}

static bool is_lost(void)
{
	return fake_trigger_find("lost", NULL) != NULL;
}

/* The same for a call about @device. */
static int enter_device(const char *name, rk_nvml_device device)
{
	int result = enter(name);

	if (result)
		return result;
	if (device < devices || device >= devices + 2 * DEVICES) {
		fake_complain("misuse: %s of no device", name);
		return leave(INVALID);
	}
	return is_lost() ? leave(RK_NVML_GPU_IS_LOST) : RK_NVML_SUCCESS;
}

static int print(char *to, unsigned int size, const char *text)
{
	if (strlen(text) >= size)
		return TOO_SMALL;
	strcpy(to, text);
	return RK_NVML_SUCCESS;
}

int nvmlInit_v2(void)
{
	int result = enter("nvmlInit_v2");

	if (result)
		return result;
	initialised++;
	return leave(RK_NVML_SUCCESS);
}

int nvmlShutdown(void)
{
	int result = enter("nvmlShutdown");

	if (result)
		return result;
	initialised--;
	return leave(RK_NVML_SUCCESS);
}

const char *nvmlErrorString(int result)
{
	switch (result) {
	case RK_NVML_SUCCESS:
		return "The operation was successful";
	case UNINITIALIZED:
		return "Uninitialized";
	case INVALID:
		return "Invalid Argument";
	case RK_NVML_NOT_SUPPORTED:
		return "Not Supported";
	case RK_NVML_NO_PERMISSION:
		return "Insufficient Permissions";
	case RK_NVML_NOT_FOUND:
		return "Not Found";
	case RK_NVML_DRIVER_NOT_LOADED:
		return "Driver Not Loaded";
	case RK_NVML_GPU_IS_LOST:
		return "GPU is lost";
	default:
		return "Unknown Error";
	}
}

int nvmlDeviceGetCount_v2(unsigned int *count)
{
	int result = enter("nvmlDeviceGetCount_v2");

	if (result)
		return result;
	*count = (unsigned int)fake_trigger_number("device_count", 1);
	return leave(RK_NVML_SUCCESS);
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, rk_nvml_device *device)
{
	int result = enter("nvmlDeviceGetHandleByIndex_v2");

	if (result)
		return result;
	if (index >= DEVICES || index >= fake_trigger_number("device_count", 1))
		return leave(INVALID);
	if (is_lost())
		return leave(RK_NVML_GPU_IS_LOST);
	devices[index].index = (int)index;
	*device = &devices[index];
	return leave(RK_NVML_SUCCESS);
}

int nvmlDeviceGetName(rk_nvml_device device, char *name, unsigned int size)
{
	int result = enter_device("nvmlDeviceGetName", device);
	char text[32];

	if (result)
		return result;
	snprintf(text, sizeof(text), "Fake GPU %d", device->index);
	return leave(print(name, size, text));
}

int nvmlDeviceGetUUID(rk_nvml_device device, char *uuid, unsigned int size)
{
	int result = enter_device("nvmlDeviceGetUUID", device);
	char text[FAKE_UUID_PRINT];

	if (result)
		return result;
	fake_uuid_text(text, device->index, device->instance);
	return leave(print(uuid, size, text));
}

int nvmlDeviceGetMigMode(rk_nvml_device device, unsigned int *current, unsigned int *pending)
{
	int result = enter_device("nvmlDeviceGetMigMode", device);

	if (result)
		return result;
	*current = *pending = fake_trigger_find("mig", NULL) ? RK_NVML_MIG_ENABLED : 0;
	return leave(RK_NVML_SUCCESS);
}

int nvmlDeviceGetMaxMigDeviceCount(rk_nvml_device device, unsigned int *count)
{
	int result = enter_device("nvmlDeviceGetMaxMigDeviceCount", device);

	if (result)
		return result;
	*count = 2;
	return leave(RK_NVML_SUCCESS);
}

/* The first place is free. */
int nvmlDeviceGetMigDeviceHandleByIndex(rk_nvml_device device, unsigned int index,
					rk_nvml_device *instance)
{
	int result = enter_device("nvmlDeviceGetMigDeviceHandleByIndex", device);

	if (result)
		return result;
	if (index != 1)
		return leave(RK_NVML_NOT_FOUND);
	*instance = device + DEVICES;
	(*instance)->index = device->index;
	(*instance)->instance = true;
	return leave(RK_NVML_SUCCESS);
}

int nvmlDeviceGetMemoryInfo(rk_nvml_device device, struct rk_nvml_memory *memory)
{
	int result = enter_device("nvmlDeviceGetMemoryInfo", device);

	if (result)
		return result;
	memory->total = fake_memory_total();
	memory->used = fake_trigger_number("nvml_memory_used", MEMORY_USED);
	memory->free = memory->total - memory->used;
	return leave(RK_NVML_SUCCESS);
}

int nvmlDeviceGetUtilizationRates(rk_nvml_device device, struct rk_nvml_utilization *utilization)
{
	int result = enter_device("nvmlDeviceGetUtilizationRates", device);

	if (result)
		return result;
	utilization->gpu = (unsigned int)fake_trigger_number("utilisation", 17);
	utilization->memory = 5;
	return leave(RK_NVML_SUCCESS);
}

int nvmlDeviceGetTemperature(rk_nvml_device device, int sensor, unsigned int *celsius)
{
	int result = enter_device("nvmlDeviceGetTemperature", device);

	if (result)
		return result;
	if (sensor != RK_NVML_TEMPERATURE_GPU)
		return leave(INVALID);
	*celsius = (unsigned int)fake_trigger_number("temperature", 41);
	return leave(RK_NVML_SUCCESS);
}

int nvmlDeviceGetPowerUsage(rk_nvml_device device, unsigned int *milliwatts)
{
	int result = enter_device("nvmlDeviceGetPowerUsage", device);

	if (result)
		return result;
	*milliwatts = (unsigned int)fake_trigger_number("power", 61500);
	return leave(RK_NVML_SUCCESS);
}

int nvmlDeviceGetPciInfo_v3(rk_nvml_device device, struct rk_nvml_pci *pci)
{
	int result = enter_device("nvmlDeviceGetPciInfo_v3", device);

	if (result)
		return result;
	*pci = (struct rk_nvml_pci){
		.domain = FAKE_PCI_DOMAIN,
		.bus = (unsigned int)FAKE_PCI_BUS(device->index),
		.device = FAKE_PCI_DEVICE,
	};
	return leave(RK_NVML_SUCCESS);
}

int nvmlDeviceGetTotalEccErrors(rk_nvml_device device, int errors, int counter,
				unsigned long long *count)
{
	int result = enter_device("nvmlDeviceGetTotalEccErrors", device);

	if (result)
		return result;
	if (errors != RK_NVML_ECC_UNCORRECTED || counter != RK_NVML_ECC_VOLATILE)
		return leave(INVALID);
	*count = fake_trigger_number("ecc_uncorrected", 0);
	return leave(RK_NVML_SUCCESS);
}

int nvmlDeviceGetRemappedRows(rk_nvml_device device, unsigned int *correctable,
			      unsigned int *uncorrectable, unsigned int *is_pending,
			      unsigned int *failed)
{
	int result = enter_device("nvmlDeviceGetRemappedRows", device);

	if (result)
		return result;
	*correctable = *uncorrectable = 0;
	*is_pending = fake_trigger_find("remap", "pending") != NULL;
	*failed = fake_trigger_find("remap", "failed") != NULL;
	return leave(RK_NVML_SUCCESS);
}

int nvmlEventSetCreate(rk_nvml_event_set *set)
{
	int result = enter("nvmlEventSetCreate");

	if (result)
		return result;
	*set = calloc(1, sizeof(**set));
	return leave(*set ? RK_NVML_SUCCESS : RK_NVML_UNKNOWN);
}

int nvmlDeviceRegisterEvents(rk_nvml_device device, unsigned long long types, rk_nvml_event_set set)
{
	int result = enter_device("nvmlDeviceRegisterEvents", device);

	if (result)
		return result;
	if (types & RK_NVML_EVENT_DOUBLE_BIT_ECC && fake_trigger_find("no_ecc", NULL))
		return leave(RK_NVML_NOT_SUPPORTED);
	set->types[device->index] |= types;
	return leave(RK_NVML_SUCCESS);
}

/* An event that the file has for a device of @set, which is one `once`. */
static bool find_event(rk_nvml_event_set set, struct rk_nvml_event *event)
{
	struct fake_line *line = fake_trigger_find("xid", NULL);
	int index = line ? atoi(line->words[2]) : 0;

	if (!line || index < 0 || index >= DEVICES || !(set->types[index] & RK_NVML_EVENT_XID))
		return false;
	*event = (struct rk_nvml_event){
		.device = &devices[index],
		.type = RK_NVML_EVENT_XID,
		.data = strtoull(line->words[1], NULL, 0),
	};
	line->once = true;
	fake_trigger_consume(line);
	return true;
}

int nvmlEventSetWait_v2(rk_nvml_event_set set, struct rk_nvml_event *event, unsigned int timeout_ms)
{
	const struct timespec nap = {.tv_nsec = EVENT_NAP_NS};
	uint64_t naps = timeout_ms * 1000000ULL / EVENT_NAP_NS;
	int result = enter("nvmlEventSetWait_v2");

	if (result)
		return result;
	while (!is_lost() && !find_event(set, event)) {
		if (!naps--)
			return leave(RK_NVML_TIMEOUT);
		pthread_mutex_unlock(&lock);
		nanosleep(&nap, NULL);
		pthread_mutex_lock(&lock);
		fake_trigger_read();
	}
	return leave(is_lost() ? RK_NVML_GPU_IS_LOST : RK_NVML_SUCCESS);
}

int nvmlEventSetFree(rk_nvml_event_set set)
{
	int result = enter("nvmlEventSetFree");

	if (result)
		return result;
	free(set);
	return leave(RK_NVML_SUCCESS);
}
