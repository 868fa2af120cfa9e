/* SPDX-License-Identifier: MIT */
/* How every call begins, and the device and its context. */
#include "tests/fake_cuda/fake.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NAP_NS 50000L

struct fake fake = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.changed = PTHREAD_COND_INITIALIZER,
};

static _Thread_local CUcontext current;

uint64_t fake_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

int fake_multiprocessors(void)
{
	return (int)fake_trigger_number("multiprocessors", FAKE_SMS);
}

void fake_nap(void)
{
	struct timespec nap = {.tv_nsec = NAP_NS};

	nanosleep(&nap, NULL);
}

CUcontext fake_current(void)
{
	return current;
}

void fake_set_current(CUcontext context)
{
	current = context;
}

CUresult fake_misuse_locked(CUresult result, const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	if (vsnprintf(text, sizeof(text), fmt, args) < 0)
		text[0] = '\0';
	va_end(args);
	fake.counts.misuses++;
	fake_complain("misuse: %s", text);
	return result;
}

void fake_spoil_locked(CUresult result)
{
	if (fake.spoiled == CUDA_SUCCESS)
		fake.spoiled = result;
	pthread_cond_broadcast(&fake.changed);
}

/* The first line of the file that makes this call hang. */
static struct fake_line *hang_line(const char *name)
{
	struct fake_line *line = fake_trigger_find("hang", name);

	if (!line && strstr(name, "Synchronize"))
		line = fake_trigger_find("hang", "synchronize");
	return line;
}

static void tell_hang(const char *name)
{
	const char *path = getenv("RK_FAKE_CUDA_HANGS");
	int fd;

	if (!path)
		return;
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	if (fd < 0 || dprintf(fd, "%s\n", name) < 0)
		fake_complain("cannot write %s", path);
	if (fd >= 0)
		close(fd);
}

/* For as long as the file says so; for ever where that was said once. */
static void hang_locked(const char *name)
{
	struct fake_line *line = hang_line(name);
	bool always = line && line->once;

	if (line) {
		fake_trigger_consume(line);
		tell_hang(name);
	}
	while (always || hang_line(name)) {
		pthread_mutex_unlock(&fake.lock);
		fake_nap();
		pthread_mutex_lock(&fake.lock);
		fake_trigger_read();
	}
}

/* What the file has this call return. */
static CUresult fault_locked(const char *name)
{
	struct fake_line *line = fake_trigger_find("lost", NULL);

	if (line) {
		fake_spoil_locked(fake_result(line->words[1], CUDA_ERROR_DEVICE_UNAVAILABLE));
		fake_trigger_consume(line);
		return fake.spoiled;
	}
	line = fake_trigger_find("fail", name);
	if (!line)
		return CUDA_SUCCESS;
	/* the third word: which call of it, from the line's appearance on */
	if (line->words[3][0] && ++line->hits != strtoull(line->words[3], NULL, 0))
		return CUDA_SUCCESS;
	fake_trigger_consume(line);
	return fake_result(line->words[2], CUDA_ERROR_UNKNOWN);
}

CUresult fake_synchronise_locked(const char *name)
{
	fake.counts.synchronising++;
	if (fake.counts.resident) {
		fake.counts.beside_resident++;
		fake_misuse_locked(CUDA_SUCCESS, "%s beside a resident kernel", name);
	}
	return fake_wait_all_locked();
}

static CUresult enter_locked(const char *name, unsigned int flags)
{
	CUresult result;

	fake.counts.calls++;
	fake_trigger_read();
	hang_locked(name);
	result = fault_locked(name);
	if (result)
		return result;
	if (!(flags & FAKE_EARLY) && !fake.initialised)
		return fake_misuse_locked(CUDA_ERROR_NOT_INITIALIZED, "%s before cuInit", name);
	if (!(flags & FAKE_CONTEXT))
		return CUDA_SUCCESS;
	if (!current || !current->retained)
		return fake_misuse_locked(CUDA_ERROR_INVALID_CONTEXT, "%s with no current context",
					  name);
	if (fake.spoiled)
		return fake.spoiled;
	return flags & FAKE_SYNCS ? fake_synchronise_locked(name) : CUDA_SUCCESS;
}

CUresult fake_enter(const char *name, unsigned int flags)
{
	CUresult result;

	pthread_mutex_lock(&fake.lock);
	result = enter_locked(name, flags);
	if (result)
		pthread_mutex_unlock(&fake.lock);
	return result;
}

CUresult fake_leave(CUresult result)
{
	pthread_mutex_unlock(&fake.lock);
	return result;
}

bool fake_oom_locked(const char *name)
{
	struct fake_line *line = fake_trigger_find("oom_at", NULL);

	if (!line || (line->words[2][0] && strcmp(line->words[2], name) != 0))
		return false;
	if (++line->hits != strtoull(line->words[1], NULL, 0))
		return false;
	fake_trigger_consume(line);
	return true;
}

/* As it is at the first cuInit. */
static void read_environment_locked(void)
{
	const char *connections = getenv("CUDA_DEVICE_MAX_CONNECTIONS");
	const char *blocking = getenv("CUDA_LAUNCH_BLOCKING");

	fake.connections = connections ? (unsigned int)atoi(connections) : 0;
	if (fake.connections < 1 || fake.connections > 32)
		fake.connections = FAKE_CONNECTIONS;
	fake.blocking = blocking && strcmp(blocking, "0") != 0;
}

/* The device of the machine that @word of @len characters names, or -1. */
static int named_locked(const char *word, size_t len)
{
	int count = (int)fake_trigger_number("device_count", 1), index;
	char text[FAKE_UUID_PRINT];

	if (len && strspn(word, "0123456789") >= len)
		return (index = atoi(word)) < count ? index : -1;
	for (int i = 0; len && i < count; i++) {
		fake_uuid_text(text, i, fake_trigger_find("mig", NULL));
		if (strncmp(text, word, len) == 0)
			return i;
	}
	return -1;
}

/*
 * The devices that CUDA_VISIBLE_DEVICES lets the process see, in its order, up to the first that is
 * none. Returns how many.
 */
static int visible_locked(CUdevice devices[FAKE_DEVICES])
{
	const char *at = getenv("CUDA_VISIBLE_DEVICES");
	int n = 0, device;

	if (!at)
		for (; n < (int)fake_trigger_number("device_count", 1) && n < FAKE_DEVICES; n++)
			devices[n] = n;
	while (at && n < FAKE_DEVICES && (device = named_locked(at, strcspn(at, ","))) >= 0) {
		devices[n++] = device;
		at = strchr(at, ',');
		at = at ? at + 1 : NULL;
	}
	return n;
}

CUresult fake_cuInit(unsigned int flags)
{
	struct fake_line *line;
	CUdevice devices[FAKE_DEVICES];
	CUresult result = fake_enter("cuInit", FAKE_EARLY);

	if (result)
		return result;
	if (flags)
		return fake_leave(CUDA_ERROR_INVALID_VALUE);
	line = fake_trigger_find("init", NULL);
	if (line) {
		fake_trigger_consume(line);
		return fake_leave(fake_result(line->words[1], CUDA_ERROR_UNKNOWN));
	}
	line = fake_trigger_find("no_device", NULL);
	if (line || (getenv("CUDA_VISIBLE_DEVICES") && visible_locked(devices) == 0)) {
		if (line)
			fake_trigger_consume(line);
		return fake_leave(CUDA_ERROR_NO_DEVICE);
	}
	if (!fake.initialised)
		read_environment_locked();
	fake.initialised = true;
	return fake_leave(CUDA_SUCCESS);
}

CUresult fake_cuDriverGetVersion(int *version)
{
	CUresult result = fake_enter("cuDriverGetVersion", FAKE_EARLY);

	if (result)
		return result;
	*version = (int)fake_trigger_number("driver_version", FAKE_DRIVER_VERSION);
	return fake_leave(CUDA_SUCCESS);
}

CUresult fake_cuDeviceGetCount(int *count)
{
	CUdevice devices[FAKE_DEVICES];
	CUresult result = fake_enter("cuDeviceGetCount", 0);

	if (result)
		return result;
	*count = visible_locked(devices);
	return fake_leave(CUDA_SUCCESS);
}

static bool device_ok(CUdevice device)
{
	return device >= 0 && device < FAKE_DEVICES &&
	       (uint64_t)device < fake_trigger_number("device_count", 1);
}

CUresult fake_cuDeviceGet(CUdevice *device, int ordinal)
{
	CUdevice devices[FAKE_DEVICES];
	CUresult result = fake_enter("cuDeviceGet", 0);

	if (result)
		return result;
	if (ordinal < 0 || ordinal >= visible_locked(devices))
		return fake_leave(CUDA_ERROR_INVALID_DEVICE);
	*device = devices[ordinal];
	return fake_leave(CUDA_SUCCESS);
}

CUresult fake_cuDeviceGetName(char *name, int len, CUdevice device)
{
	CUresult result = fake_enter("cuDeviceGetName", 0);

	if (result)
		return result;
	if (!device_ok(device) || len <= 0)
		return fake_leave(CUDA_ERROR_INVALID_DEVICE);
	snprintf(name, (size_t)len, "Fake GPU %d%s", device,
		 fake_trigger_find("mig", NULL) ? " MIG 1g.10gb" : "");
	return fake_leave(CUDA_SUCCESS);
}

CUresult fake_cuDeviceGetUuid(CUuuid *uuid, CUdevice device)
{
	CUresult result = fake_enter("cuDeviceGetUuid", 0);

	if (result)
		return result;
	if (!device_ok(device))
		return fake_leave(CUDA_ERROR_INVALID_DEVICE);
	fake_uuid((unsigned char *)uuid->bytes, device, fake_trigger_find("mig", NULL));
	return fake_leave(CUDA_SUCCESS);
}

CUresult fake_cuDeviceTotalMem(size_t *bytes, CUdevice device)
{
	CUresult result = fake_enter("cuDeviceTotalMem", 0);

	if (result)
		return result;
	if (!device_ok(device))
		return fake_leave(CUDA_ERROR_INVALID_DEVICE);
	*bytes = fake_memory_total();
	return fake_leave(CUDA_SUCCESS);
}
