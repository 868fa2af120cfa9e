/* SPDX-License-Identifier: MIT */
/* What other threads ask of the supervisor, and what they read of its worker. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runtime/base/clock.h"
#include "runtime/supervisor/internal.h"

/* --- in the supervisor's thread --- */

/*
 * Workers are wanted, and what was known of their processes before is of no interest; or none are,
 * and those that are out are so until the next start.
 */
static void begin_seats_locked(struct rk_supervisor *sup)
{
	for (struct rk_seat *seat = sup->seats; seat < sup->seats + RK_LANES_MAX; seat++) {
		bool wanted = sup->want && seat < sup->seats + sup->nseats && !seat->asked.disabled;

		seat->spawn_at = wanted && !sup->params.lists ? rk_now_ns() : 0;
		seat->awaits_list = wanted && sup->params.lists;
		if (!sup->want)
			continue;
		seat->out = seat->ever_ready = seat->is_listed = false;
		seat->device[0] = '\0';
		seat->spawned = 0;
		seat->ndeaths = 0;
	}
}

/* Of each worker, now that it is known how many there are. */
static void share_processors(struct rk_supervisor *sup)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	sup->threads = sup->params.threads;
	if (!sup->threads && sup->nseats) /* none before the first start */
		sup->threads = cpus > (long)sup->nseats ? (uint32_t)cpus / sup->nseats : 1;
	if (sup->threads > RK_WIRE_THREADS_MAX)
		sup->threads = RK_WIRE_THREADS_MAX;
}

void rk_supervisor_count_seats(struct rk_supervisor *sup, uint32_t workers)
{
	RK_GUARD(&sup->lock);
	for (uint32_t i = sup->nseats; i < workers; i++)
		sup->seats[i].awaits_list = !sup->seats[i].asked.disabled;
	sup->nseats = workers;
	if (sup->asked_epoch == sup->epoch)
		sup->asked_seats = workers;
	share_processors(sup);
}

void rk_supervisor_take_requests(struct rk_supervisor *sup, struct rk_requests *r)
{
	*r = (struct rk_requests){.orphans = TAILQ_HEAD_INITIALIZER(r->orphans)};
	RK_GUARD(&sup->lock);
	TAILQ_CONCAT(&r->orphans, &sup->orphans, queue);
	r->force = sup->force;
	r->settings = sup->settings_changed;
	sup->force = sup->settings_changed = false;
	r->started = sup->epoch != sup->asked_epoch;
	if (r->started) {
		sup->epoch = sup->asked_epoch;
		r->old = sup->params.payload;
		sup->params = sup->asked;
		sup->asked.payload = NULL;
		sup->skip = 0;
		sup->nseats = sup->params.workers;
		sup->falls_back = sup->nseats == 1; /* a worker that is alone decides itself */
		share_processors(sup);
		begin_seats_locked(sup);
	}
	sup->params.sample_ms = sup->sample_ms;
}

void rk_supervisor_take_asked(struct rk_supervisor *sup, struct rk_seat *seat,
			      struct rk_asked *asked)
{
	RK_GUARD(&sup->lock);
	*asked = seat->asked;
	asked->want = sup->want;
	seat->asked.check = seat->asked.enabled = false;
	seat->asked.given_up = 0;
}

bool rk_supervisor_any_disabled(struct rk_supervisor *sup)
{
	RK_GUARD(&sup->lock);
	for (uint32_t i = 0; i < sup->nseats; i++)
		if (sup->seats[i].asked.disabled)
			return true;
	return false;
}

/* --- what other threads ask for and read --- */

void rk_supervisor_start(struct rk_supervisor *sup, const struct rk_supervisor_params *params)
{
	pthread_mutex_lock(&sup->lock);
	rk_payload_unref(sup->asked.payload);
	sup->asked = *params;
	rk_payload_ref(sup->asked.payload);
	sup->sample_ms = params->sample_ms;
	sup->want = true;
	sup->asked_seats = params->workers;
	sup->devices_epoch = ++sup->asked_epoch;
	memset(&sup->devices, 0, sizeof(sup->devices));
	pthread_mutex_unlock(&sup->lock);
	rk_supervisor_wake(sup);
}

void rk_supervisor_stop(struct rk_supervisor *sup, bool force, struct rk_message_list *held)
{
	pthread_mutex_lock(&sup->lock);
	sup->want = false;
	sup->force |= force;
	sup->asked_epoch++;
	TAILQ_CONCAT(&sup->orphans, held, queue);
	pthread_mutex_unlock(&sup->lock);
	rk_supervisor_wake(sup);
}

void rk_supervisor_kernels_changed(struct rk_supervisor *sup)
{
	rk_supervisor_wake(sup);
}

void rk_supervisor_settings_changed(struct rk_supervisor *sup, uint64_t sample_ms)
{
	pthread_mutex_lock(&sup->lock);
	sup->sample_ms = sample_ms;
	sup->settings_changed = true;
	pthread_mutex_unlock(&sup->lock);
	rk_supervisor_wake(sup);
}

void rk_supervisor_enable(struct rk_supervisor *sup, uint32_t lane, bool on, uint64_t drain_ms)
{
	pthread_mutex_lock(&sup->lock);
	sup->seats[lane].asked.disabled = !on;
	sup->seats[lane].asked.enabled = on;
	sup->seats[lane].asked.drain_ms = drain_ms;
	pthread_mutex_unlock(&sup->lock);
	rk_supervisor_wake(sup);
}

const char *rk_worker_state_name(enum rk_worker_state state)
{
	static const char *const names[] = {
		[RK_WORKER_STOPPED] = "stopped", [RK_WORKER_STARTING] = "starting",
		[RK_WORKER_RUNNING] = "running", [RK_WORKER_DRAINING] = "draining",
		[RK_WORKER_OUT] = "out",
	};

	return names[state];
}

static enum rk_worker_state state_locked(const struct rk_supervisor *sup,
					 const struct rk_seat *seat)
{
	if (seat->out)
		return RK_WORKER_OUT;
	if (seat->cur && seat->cur->epoch == sup->asked_epoch && !seat->asked.disabled)
		return seat->cur->phase == RK_PHASE_READY ? RK_WORKER_RUNNING : RK_WORKER_STARTING;
	if (sup->want && !seat->asked.disabled && seat->lane < sup->asked_seats)
		return RK_WORKER_STARTING;
	return seat->procs ? RK_WORKER_DRAINING : RK_WORKER_STOPPED;
}

uint32_t rk_supervisor_workers(struct rk_supervisor *sup)
{
	RK_GUARD(&sup->lock);
	return sup->asked_seats;
}

void rk_supervisor_worker(struct rk_supervisor *sup, uint32_t lane, struct rk_worker_info *info)
{
	const struct rk_seat *seat = &sup->seats[lane];
	const struct rk_proc *p;

	*info = (struct rk_worker_info){.backend = "none"};
	RK_GUARD(&sup->lock);
	p = seat->cur;
	info->state = state_locked(sup, seat);
	info->enabled = !seat->asked.disabled;
	info->restarts = seat->spawned ? seat->spawned - 1 : 0;
	memcpy(info->device, seat->device, sizeof(info->device));
	info->index = seat->index;
	if (seat->out)
		memcpy(info->why, seat->why_out, sizeof(info->why));
	if (!p)
		return;
	info->pid = p->os.pid;
	if (p->phase != RK_PHASE_HELLO) {
		memcpy(info->backend, p->backend, sizeof(info->backend));
		memcpy(info->device, p->device, sizeof(info->device));
		info->index = p->index;
	}
	info->gpu_memory_bytes =
		atomic_load_explicit(&p->os.shared->gpu_memory_bytes, memory_order_relaxed);
}

void rk_supervisor_check(struct rk_supervisor *sup, uint32_t lane, uint64_t number)
{
	pthread_mutex_lock(&sup->lock);
	sup->seats[lane].asked.check_number = number;
	sup->seats[lane].asked.check = true;
	pthread_mutex_unlock(&sup->lock);
	rk_supervisor_wake(sup);
}

/* The worker of @lane that serves, or NULL. */
static struct rk_proc *serving_locked(struct rk_supervisor *sup, uint32_t lane)
{
	struct rk_proc *p = sup->seats[lane].cur;

	return p && p->phase == RK_PHASE_READY ? p : NULL;
}

uint64_t rk_supervisor_in_driver_ns(struct rk_supervisor *sup, uint32_t lane)
{
	uint64_t since = 0, now;
	struct rk_proc *p;

	pthread_mutex_lock(&sup->lock);
	p = serving_locked(sup, lane);
	if (p)
		since = atomic_load(&p->os.shared->in_driver_since_ns);
	pthread_mutex_unlock(&sup->lock);
	now = rk_now_ns();
	if (!since)
		return 0;
	return now > since ? now - since : 1;
}

bool rk_supervisor_is_loading(struct rk_supervisor *sup, uint32_t lane)
{
	struct rk_proc *p;

	RK_GUARD(&sup->lock);
	p = serving_locked(sup, lane);
	return p && atomic_load(&p->load_by);
}

void rk_supervisor_give_up(struct rk_supervisor *sup, uint32_t lane, const char *why)
{
	struct rk_seat *seat = &sup->seats[lane];
	struct rk_proc *p;

	pthread_mutex_lock(&sup->lock);
	p = serving_locked(sup, lane);
	if (p) {
		seat->asked.given_up = p->number;
		snprintf(seat->asked.why, sizeof(seat->asked.why), "%s", why);
	}
	pthread_mutex_unlock(&sup->lock);
	if (p)
		rk_supervisor_wake(sup);
}

void rk_supervisor_see_devices_locked(struct rk_supervisor *sup, const struct rk_proc *p)
{
	if (p->watches && p->epoch == sup->devices_epoch)
		rk_devices_update(&sup->devices, p->os.shared, p->watch);
}

bool rk_supervisor_device(struct rk_supervisor *sup, uint32_t index, struct rk_device *device)
{
	bool there;

	RK_GUARD(&sup->lock);
	for (uint32_t i = 0; i < sup->nseats; i++)
		if (sup->seats[i].cur)
			rk_supervisor_see_devices_locked(sup, sup->seats[i].cur);
	there = index < sup->devices.count;
	if (there)
		*device = sup->devices.devices[index];
	return there;
}

void rk_supervisor_arm_drain(struct rk_supervisor *sup, uint64_t at_ns)
{
	atomic_store(&sup->drain_at, at_ns);
	if (at_ns) /* an old, earlier time only wakes the thread once for nothing */
		rk_supervisor_wake(sup);
}

void rk_supervisor_arm_expiry(struct rk_supervisor *sup, uint64_t at_ns)
{
	uint64_t old = atomic_load(&sup->expiry_at);

	while (!old || at_ns < old) {
		if (atomic_compare_exchange_weak(&sup->expiry_at, &old, at_ns)) {
			rk_supervisor_wake(sup);
			return;
		}
	}
}

bool rk_supervisor_retries(struct rk_supervisor *sup, uint32_t lane)
{
	return atomic_load(&sup->seats[lane].retries);
}

bool rk_supervisor_settled(struct rk_supervisor *sup, uint32_t lane)
{
	RK_GUARD(&sup->lock);
	return sup->seats[lane].cur && sup->seats[lane].cur->epoch == sup->asked_epoch;
}

void rk_supervisor_gpu_memory(struct rk_supervisor *sup, uint64_t *now, uint64_t *peak)
{
	*now = *peak = 0;
	RK_GUARD(&sup->lock);
	for (uint32_t i = 0; i < RK_LANES_MAX; i++) {
		const struct rk_proc *p = sup->seats[i].cur;

		if (!p || p->epoch != sup->asked_epoch)
			continue;
		*now += atomic_load_explicit(&p->os.shared->gpu_memory_bytes, memory_order_relaxed);
		*peak += atomic_load_explicit(&p->os.shared->gpu_memory_peak_bytes,
					      memory_order_relaxed);
	}
}

void rk_supervisor_backend(struct rk_supervisor *sup, char name[RK_WIRE_NAME_MAX])
{
	RK_GUARD(&sup->lock);
	snprintf(name, RK_WIRE_NAME_MAX, "none");
	for (uint32_t i = 0; i < sup->nseats; i++) {
		const struct rk_proc *p = serving_locked(sup, i);

		if (!p)
			continue;
		memcpy(name, p->backend, RK_WIRE_NAME_MAX);
		return;
	}
}
