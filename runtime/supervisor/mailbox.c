/* SPDX-License-Identifier: MIT */
/* What other threads ask of the supervisor, and what they read of its worker. */
#include <stdio.h>
#include <string.h>

#include "runtime/base/clock.h"
#include "runtime/supervisor/internal.h"

void rk_supervisor_wake(struct rk_supervisor *sup)
{
	rk_wake(sup->event.fd);
}

/* --- in the supervisor's thread --- */

void rk_supervisor_take_requests(struct rk_supervisor *sup, struct rk_requests *r)
{
	*r = (struct rk_requests){.orphans = TAILQ_HEAD_INITIALIZER(r->orphans)};
	RK_GUARD(&sup->lock);
	TAILQ_CONCAT(&r->orphans, &sup->orphans, queue);
	r->force = sup->force;
	r->settings = sup->settings_changed;
	r->check = sup->check_asked;
	r->check_number = sup->check;
	r->given_up = sup->given_up;
	memcpy(r->why, sup->give_up_why, sizeof(r->why));
	sup->force = sup->settings_changed = sup->check_asked = false;
	sup->given_up = 0;
	r->started = sup->epoch != sup->asked_epoch;
	if (r->started) {
		sup->epoch = sup->asked_epoch;
		r->old = sup->params.payload;
		sup->params = sup->asked;
		sup->asked.payload = NULL;
		sup->ever_ready = false;
		sup->skip = 0;
		sup->ndeaths = 0;
		sup->spawn_at = sup->want ? rk_now_ns() : 0;
	}
	sup->params.sample_ms = sup->sample_ms;
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

void rk_supervisor_check(struct rk_supervisor *sup, uint64_t number)
{
	pthread_mutex_lock(&sup->lock);
	sup->check = number;
	sup->check_asked = true;
	pthread_mutex_unlock(&sup->lock);
	rk_supervisor_wake(sup);
}

/* The worker that serves, or NULL. */
static struct rk_proc *serving_locked(struct rk_supervisor *sup)
{
	return sup->cur && sup->cur->phase == RK_PHASE_READY ? sup->cur : NULL;
}

uint64_t rk_supervisor_in_driver_ns(struct rk_supervisor *sup)
{
	uint64_t since = 0, now;
	struct rk_proc *p;

	pthread_mutex_lock(&sup->lock);
	p = serving_locked(sup);
	if (p)
		since = atomic_load(&p->os.shared->in_driver_since_ns);
	pthread_mutex_unlock(&sup->lock);
	now = rk_now_ns();
	if (!since)
		return 0;
	return now > since ? now - since : 1;
}

bool rk_supervisor_is_loading(struct rk_supervisor *sup)
{
	struct rk_proc *p;

	RK_GUARD(&sup->lock);
	p = serving_locked(sup);
	return p && atomic_load(&p->load_by);
}

void rk_supervisor_give_up(struct rk_supervisor *sup, const char *why)
{
	struct rk_proc *p;

	pthread_mutex_lock(&sup->lock);
	p = serving_locked(sup);
	if (p) {
		sup->given_up = p->number;
		snprintf(sup->give_up_why, sizeof(sup->give_up_why), "%s", why);
	}
	pthread_mutex_unlock(&sup->lock);
	if (p)
		rk_supervisor_wake(sup);
}

void rk_supervisor_see_devices_locked(struct rk_supervisor *sup, const struct rk_proc *p)
{
	if (p->epoch == sup->devices_epoch)
		rk_devices_update(&sup->devices, p->os.shared, p->number);
}

bool rk_supervisor_device(struct rk_supervisor *sup, uint32_t index, struct rk_device *device)
{
	bool there;

	RK_GUARD(&sup->lock);
	if (sup->cur)
		rk_supervisor_see_devices_locked(sup, sup->cur);
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

bool rk_supervisor_retries(struct rk_supervisor *sup)
{
	return atomic_load(&sup->retries);
}

bool rk_supervisor_settled(struct rk_supervisor *sup)
{
	RK_GUARD(&sup->lock);
	return sup->cur && sup->cur->epoch == sup->asked_epoch;
}

void rk_supervisor_gpu_memory(struct rk_supervisor *sup, uint64_t *now, uint64_t *peak)
{
	*now = *peak = 0;
	RK_GUARD(&sup->lock);
	if (sup->cur) {
		*now = atomic_load_explicit(&sup->cur->os.shared->gpu_memory_bytes,
					    memory_order_relaxed);
		*peak = atomic_load_explicit(&sup->cur->os.shared->gpu_memory_peak_bytes,
					     memory_order_relaxed);
	}
}

void rk_supervisor_backend(struct rk_supervisor *sup, char name[RK_WIRE_NAME_MAX])
{
	RK_GUARD(&sup->lock);
	if (sup->cur && sup->cur->phase == RK_PHASE_READY)
		memcpy(name, sup->cur->backend, RK_WIRE_NAME_MAX);
	else
		snprintf(name, RK_WIRE_NAME_MAX, "none");
}
