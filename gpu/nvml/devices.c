/* SPDX-License-Identifier: MIT */
/* The machine's devices: a thread looks at them and writes what it sees to the shared page. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/base/crash.h"
#include "gpu/base/thread.h"
#include "gpu/nvml/internal.h"
#include "runtime/base/clock.h"
#include "runtime/base/log.h"
#include "runtime/base/thread.h"

#define PERIOD_MIN_MS 10ULL
#define PERIOD_MAX_MS 86400000ULL
#define PATIENCE_NS   RK_NS_PER_SEC
#define SLICE_MS      100ULL /* of a wait in NVML: a stop is noticed after that at the latest */

struct rk_devices_watch {
	pthread_t thread;
	unsigned int count; /* for the thread alone, as are the devices */
	struct rk_nvml_seen devices[RK_WIRE_DEVICES_MAX];
	rk_nvml_event_set events; /* NULL: there is none, or it has no device; the thread's too */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct rk_wire_shared *shared; /* guarded by lock, as is what follows; NULL: stopped */
	uint64_t period_ms;
	struct rk_nvml_place places[RK_WIRE_DEVICES_MAX];
	uint64_t told_lost; /* bits, by index: devices that others than NVML say are lost */
	bool ended;
	bool left_behind; /* nobody waits for its end: the thread frees it */
};

static pthread_mutex_t in_use_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
	bool any;
	struct rk_pci_address address;
	char uuid[sizeof((struct rk_wire_device){0}.uuid)];
} in_use;
static struct rk_devices_watch *current; /* NULL: none runs */

void rk_devices_in_use(const struct rk_pci_address *address, const char *uuid)
{
	RK_GUARD(&in_use_lock);
	in_use.any = address;
	if (address) {
		in_use.address = *address;
		snprintf(in_use.uuid, sizeof(in_use.uuid), "%s", uuid);
	}
}

/*
 * By its address, because for an instance of MIG the UUID that CUDA has is not the one that NVML
 * has of the GPU.
 */
static bool is_in_use_locked(const struct rk_nvml_place *place, const struct rk_wire_device *seen)
{
	const struct rk_pci_address *a = &in_use.address, *b = &place->address;

	if (!in_use.any)
		return false;
	if (!place->known)
		return in_use.uuid[0] && strcmp(in_use.uuid, seen->uuid) == 0;
	return a->domain == b->domain && a->bus == b->bus && a->device == b->device;
}

static bool is_in_use(const struct rk_nvml_seen *device)
{
	RK_GUARD(&in_use_lock);
	return is_in_use_locked(&device->place, &device->seen);
}

static void lose(struct rk_nvml_seen *device)
{
	device->seen.lost = 1;
	device->seen.known = 0;
}

static void publish(struct rk_wire_shared *shared, const struct rk_nvml_seen *device)
{
	const size_t begin = offsetof(struct rk_wire_device, known);
	struct rk_wire_device *to = &shared->devices[device->index];
	/* it may be odd already, left so by a worker that was killed */
	uint32_t odd = atomic_load(&to->sequence) | 1;

	(void)atomic_exchange(&to->sequence, odd); /* no store that follows comes before it */
	memcpy((char *)to + begin, (const char *)&device->seen + begin, sizeof(*to) - begin);
	atomic_store(&to->sequence, odd + 1);
	if (atomic_load(&shared->ndevices) <= device->index)
		atomic_store(&shared->ndevices, device->index + 1);
}

/* With in_use_lock and the watch's lock, which whoever writes to the page holds. */
static void lose_in_use_locked(struct rk_devices_watch *watch)
{
	const size_t begin = offsetof(struct rk_wire_device, known);
	uint32_t count = atomic_load(&watch->shared->ndevices);

	for (unsigned int i = 0; i < count && i < RK_WIRE_DEVICES_MAX; i++) {
		struct rk_nvml_seen device = {.index = i};

		memcpy((char *)&device.seen + begin, (char *)&watch->shared->devices[i] + begin,
		       sizeof(device.seen) - begin);
		device.seen.uuid[sizeof(device.seen.uuid) - 1] = '\0';
		if (!is_in_use_locked(&watch->places[i], &device.seen))
			continue;
		watch->told_lost |= 1ULL << i;
		lose(&device);
		publish(watch->shared, &device);
	}
}

void rk_devices_lose(void)
{
	pthread_mutex_lock(&in_use_lock);
	if (current && in_use.any) {
		pthread_mutex_lock(&current->lock);
		if (current->shared)
			lose_in_use_locked(current);
		pthread_mutex_unlock(&current->lock);
	}
	pthread_mutex_unlock(&in_use_lock);
}

/* Publish @device, unless the watch was stopped meanwhile, which can happen while NVML hangs. */
static void show(struct rk_devices_watch *watch, struct rk_nvml_seen *device)
{
	bool ours = device->seen.lost && is_in_use(device);

	RK_GUARD(&watch->lock);
	if (watch->shared) {
		watch->places[device->index] = device->place;
		if (watch->told_lost & 1ULL << device->index)
			lose(device);
		publish(watch->shared, device);
		if (ours)
			rk_fatal(watch->shared, RK_WIRE_DEVICE_LOST, 0,
				 "device %u (%s, %s) is lost: NVML says that it fell off "
				 "the bus or is not accessible; see the kernel's log",
				 device->index, device->seen.name, device->seen.uuid);
	}
}

/* --- events ------------------------------------------------------------------------- */

static void create_events(struct rk_devices_watch *watch)
{
	struct rk_error err;
	int result;

	if (watch->events || !rk_nvml.nvmlEventSetCreate || !rk_nvml.nvmlDeviceRegisterEvents ||
	    !rk_nvml.nvmlEventSetWait_v2 || !rk_nvml.nvmlEventSetFree)
		return;
	result = rk_nvml.nvmlEventSetCreate(&watch->events);
	if (result == RK_NVML_SUCCESS)
		return;
	watch->events = NULL;
	rk_nvml_error(result, &err, "nvmlEventSetCreate");
	rk_log(RK_LOG_DEBUG, "rk-worker: no events of devices: %s", err.msg);
}

/*
 * Have the events of @device arrive. A kind of GPU that has no events is not known to have had any.
 */
static void subscribe(struct rk_devices_watch *watch, struct rk_nvml_seen *device)
{
	const unsigned long long types = RK_NVML_EVENT_XID | RK_NVML_EVENT_DOUBLE_BIT_ECC;

	if (device->registered || device->seen.lost || !device->handle || !watch->events)
		return;
	device->registered =
		rk_nvml_answered(
			device,
			rk_nvml.nvmlDeviceRegisterEvents(device->handle, types, watch->events),
			"nvmlDeviceRegisterEvents") ||
		/* without ECC memory there may be Xids all the same */
		rk_nvml_answered(device,
				 rk_nvml.nvmlDeviceRegisterEvents(device->handle, RK_NVML_EVENT_XID,
								  watch->events),
				 "nvmlDeviceRegisterEvents");
	if (device->registered)
		device->seen.known |= RK_WIRE_KNOWS_XID;
}

/* The next look begins anew, because a lost device spoils the whole set. */
static void drop_events(struct rk_devices_watch *watch)
{
	if (!watch->events)
		return;
	(void)rk_nvml.nvmlEventSetFree(watch->events); /* a failure of this changes nothing */
	watch->events = NULL;
	for (unsigned int i = 0; i < watch->count; i++)
		watch->devices[i].registered = false;
}

static bool has_events(const struct rk_devices_watch *watch)
{
	for (unsigned int i = 0; watch->events && i < watch->count; i++)
		if (watch->devices[i].registered)
			return true;
	return false;
}

/* The event is published before the device is asked how it is, which may hang. */
static void take_event(struct rk_devices_watch *watch, struct rk_nvml_seen *device,
		       const struct rk_nvml_event *event)
{
	struct rk_wire_device *seen = &device->seen;

	if (event->type & RK_NVML_EVENT_XID) {
		seen->xid_last = event->data < UINT32_MAX ? (uint32_t)event->data : UINT32_MAX;
		seen->xid_count++;
		rk_log(RK_LOG_ERROR, "rk-worker: device %u (%s, %s): Xid %llu", device->index,
		       seen->name, seen->uuid, event->data);
	}
	if (event->type & RK_NVML_EVENT_DOUBLE_BIT_ECC)
		rk_log(RK_LOG_ERROR,
		       "rk-worker: device %u (%s, %s): an error in its memory could not be corrected",
		       device->index, seen->name, seen->uuid);
	show(watch, device);
	rk_nvml_look(device);
	show(watch, device);
}

static void wait_for_event(struct rk_devices_watch *watch, uint64_t ms)
{
	struct rk_nvml_event event = {0};
	struct rk_error err;
	int result = rk_nvml.nvmlEventSetWait_v2(watch->events, &event, (unsigned int)ms);

	if (result == RK_NVML_TIMEOUT)
		return;
	if (result != RK_NVML_SUCCESS) {
		rk_nvml_error(result, &err, "nvmlEventSetWait");
		rk_log(RK_LOG_DEBUG, "rk-worker: events of devices: %s", err.msg);
		drop_events(watch);
		return;
	}
	for (unsigned int i = 0; i < watch->count; i++)
		if (watch->devices[i].handle == event.device)
			take_event(watch, &watch->devices[i], &event);
}

/* --- the thread --------------------------------------------------------------------- */

static void look_at_all(struct rk_devices_watch *watch)
{
	create_events(watch);
	for (unsigned int i = 0; i < watch->count; i++) {
		rk_nvml_look(&watch->devices[i]);
		subscribe(watch, &watch->devices[i]);
		show(watch, &watch->devices[i]);
	}
}

/* Note in the shared page whether NVML is being opened, because that may end the process. */
static void note_opening(struct rk_devices_watch *watch, bool opening)
{
	const uint32_t bit = 1U << RK_WIRE_LIBNVML;

	RK_GUARD(&watch->lock);
	if (watch->shared && opening)
		atomic_fetch_or(&watch->shared->opening, bit);
	else if (watch->shared)
		atomic_fetch_and(&watch->shared->opening, ~bit);
}

/* Open NVML and count the devices. 0 or a negative errno. */
static int begin(struct rk_devices_watch *watch, struct rk_error *err)
{
	unsigned int count = 0;
	int rc;

	note_opening(watch, true);
	rc = rk_nvml_open(err);
	if (rc == 0)
		rc = rk_nvml_error(rk_nvml.nvmlInit_v2(), err, "nvmlInit");
	note_opening(watch, false);
	if (rc)
		return rc;
	rc = rk_nvml_error(rk_nvml.nvmlDeviceGetCount_v2(&count), err, "nvmlDeviceGetCount");
	if (rc) {
		(void)rk_nvml.nvmlShutdown(); /* a failure of this changes nothing */
		return rc;
	}
	if (count > RK_WIRE_DEVICES_MAX)
		rk_log(RK_LOG_WARN, "rk-worker: %u devices, of which %d are watched", count,
		       RK_WIRE_DEVICES_MAX);
	watch->count = count < RK_WIRE_DEVICES_MAX ? count : RK_WIRE_DEVICES_MAX;
	for (unsigned int i = 0; i < watch->count; i++)
		watch->devices[i].index = i;
	return 0;
}

/* Milliseconds from now to @end, rounded up. */
static uint64_t ms_left(uint64_t end)
{
	uint64_t now = rk_now_ns();

	return end > now ? (end - now + RK_NS_PER_MS - 1) / RK_NS_PER_MS : 0;
}

/*
 * Wait until a period has passed since @last, even if it is changed meanwhile, and take the events
 * that arrive. False where the watch is stopped.
 */
static bool wait_for_next(struct rk_devices_watch *watch, uint64_t last)
{
	bool go_on;
	int rc = 0;

	pthread_mutex_lock(&watch->lock);
	while (watch->shared && rc != ETIMEDOUT) {
		uint64_t end = last + watch->period_ms * RK_NS_PER_MS, left = ms_left(end);
		struct timespec until = rk_timespec(end);

		if (!left)
			break;
		if (!has_events(watch)) {
			rc = pthread_cond_timedwait(&watch->changed, &watch->lock, &until);
			continue;
		}
		pthread_mutex_unlock(&watch->lock);
		wait_for_event(watch, left < SLICE_MS ? left : SLICE_MS);
		pthread_mutex_lock(&watch->lock);
	}
	go_on = watch->shared;
	pthread_mutex_unlock(&watch->lock);
	return go_on;
}

static void free_watch(struct rk_devices_watch *watch)
{
	pthread_mutex_destroy(&watch->lock);
	pthread_cond_destroy(&watch->changed);
	free(watch);
}

static void *watch_main(void *arg)
{
	struct rk_devices_watch *watch = arg;
	struct rk_error err;
	uint64_t last;
	bool left_behind;
	int rc;

	rk_thread_name("rk-devices");
	rc = begin(watch, &err);
	if (rc) {
		rk_log(RK_LOG_INFO, "rk-worker: no devices are watched: %s", err.msg);
	} else {
		do {
			last = rk_now_ns();
			look_at_all(watch);
		} while (wait_for_next(watch, last));
		drop_events(watch);
		(void)rk_nvml.nvmlShutdown();
	}
	pthread_mutex_lock(&watch->lock);
	watch->ended = true;
	left_behind = watch->left_behind;
	pthread_cond_signal(&watch->changed);
	pthread_mutex_unlock(&watch->lock);
	if (left_behind)
		free_watch(watch);
	return NULL;
}

static uint64_t bounded(uint64_t ms)
{
	return ms < PERIOD_MIN_MS ? PERIOD_MIN_MS : ms > PERIOD_MAX_MS ? PERIOD_MAX_MS : ms;
}

static void set_current(struct rk_devices_watch *watch)
{
	RK_GUARD(&in_use_lock);
	current = watch;
}

int rk_devices_start(struct rk_devices_watch **watch, struct rk_wire_shared *shared,
		     uint64_t sample_ms, struct rk_error *err)
{
	struct rk_devices_watch *w = calloc(1, sizeof(*w));
	int rc;

	if (!w)
		return rk_error_set(err, ENOMEM, "no memory to watch devices");
	w->shared = shared;
	w->period_ms = bounded(sample_ms);
	rc = rk_cond_init(&w->changed);
	if (rc) {
		free(w);
		return rk_error_set(err, rc, "cannot watch devices: %m");
	}
	pthread_mutex_init(&w->lock, NULL); /* without attributes it cannot fail */
	rc = pthread_create(&w->thread, NULL, watch_main, w);
	if (rc) {
		free_watch(w);
		return rk_error_set(err, rc, "cannot start a thread to watch devices: %m");
	}
	set_current(w);
	*watch = w;
	return 0;
}

void rk_devices_set_period(struct rk_devices_watch *watch, uint64_t sample_ms)
{
	RK_GUARD(&watch->lock);
	watch->period_ms = bounded(sample_ms);
	pthread_cond_signal(&watch->changed);
}

bool rk_devices_stop(struct rk_devices_watch *watch)
{
	struct timespec until;
	bool ended;
	int rc = 0;

	set_current(NULL);
	until = rk_timespec(rk_now_ns() + PATIENCE_NS);
	pthread_mutex_lock(&watch->lock);
	watch->shared = NULL;
	pthread_cond_signal(&watch->changed);
	while (!watch->ended && rc == 0)
		rc = pthread_cond_timedwait(&watch->changed, &watch->lock, &until);
	ended = watch->ended;
	watch->left_behind = !ended;
	if (!ended)
		(void)pthread_detach(watch->thread); /* it is joinable, and there */
	pthread_mutex_unlock(&watch->lock);
	if (!ended)
		return false;
	rc = pthread_join(watch->thread, NULL);
	if (rc) {
		rk_log(RK_LOG_WARN, "rk-worker: cannot wait for a thread: %s", strerror(rc));
		return false;
	}
	free_watch(watch);
	return true;
}
