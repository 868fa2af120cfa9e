// SPDX-License-Identifier: MIT
/* What other threads ask of the supervisor, and what they read of its worker. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runtime/base/clock.h"
#include "runtime/supervisor/internal.h"

void rk_worker_wake(struct rk_worker *w)
{
	const uint64_t one = 1;

	/* Fails only where the counter is full, and then the thread is awake. */
	(void)!write(w->event.fd, &one, sizeof(one));
}

/* --- in the supervisor's thread --- */

/* What other threads asked for, taken over. */
struct requests {
	struct rk_message_list orphans;
	struct rk_payload *old; /* of the start before */
	bool force, settings, check, started;
	uint64_t check_number;
	uint64_t given_up;
	char why[RK_ERROR_MAX];
};

static void take_requests(struct rk_worker *w, struct requests *r)
{
	*r = (struct requests){.orphans = TAILQ_HEAD_INITIALIZER(r->orphans)};
	pthread_mutex_lock(&w->lock);
	TAILQ_CONCAT(&r->orphans, &w->orphans, queue);
	r->force = w->force;
	r->settings = w->settings_changed;
	r->check = w->check_asked;
	r->check_number = w->check;
	r->given_up = w->given_up;
	memcpy(r->why, w->give_up_why, sizeof(r->why));
	w->force = w->settings_changed = w->check_asked = false;
	w->given_up = 0;
	r->started = w->epoch != w->asked_epoch;
	if (r->started) {
		w->epoch = w->asked_epoch;
		r->old = w->params.payload;
		w->params = w->asked;
		w->asked.payload = NULL;
		w->ever_ready = false;
		w->skip = 0;
		w->ndeaths = 0;
		w->spawn_at = w->want ? rk_now_ns() : 0;
	}
	w->params.sample_ms = w->sample_ms;
	pthread_mutex_unlock(&w->lock);
}

/* What is asked of the worker that is there. */
static void ask_current(struct rk_worker *w, const struct requests *r)
{
	char how[RK_ERROR_MAX];

	if (r->settings)
		rk_worker_send_settings(w, w->cur);
	if (r->check && w->cur->phase == RK_PHASE_READY)
		rk_worker_send_check(w->cur, r->check_number);
	if (r->given_up == w->cur->number) {
		snprintf(how, sizeof(how), "was replaced: %.280s", r->why);
		rk_worker_replace(w, w->cur, how);
	}
}

void rk_worker_serve_requests(struct rk_worker *w)
{
	struct requests r;
	struct rk_proc *p;

	take_requests(w, &r);
	rk_payload_unref(r.old);
	p = w->cur ? w->cur : TAILQ_LAST(&w->procs, rk_proc_list);
	if (p)
		TAILQ_CONCAT(&p->held, &r.orphans, queue);
	else
		rk_worker_release_held(&r.orphans);
	if (w->cur && w->cur->epoch != w->epoch)
		rk_worker_end_current(w, r.force);
	if (r.started) /* it may have loaded one after the runtime had seen to that */
		rk_worker_deactivate(w);
	if (w->cur)
		ask_current(w, &r);
	if (w->cur)
		rk_worker_reconcile(w, w->cur);
	else
		rk_worker_forget_retired(w);
}

/* --- what other threads ask for and read --- */

void rk_worker_start(struct rk_worker *w, const struct rk_worker_params *params)
{
	pthread_mutex_lock(&w->lock);
	rk_payload_unref(w->asked.payload);
	w->asked = *params;
	rk_payload_ref(w->asked.payload);
	w->sample_ms = params->sample_ms;
	w->want = true;
	w->devices_epoch = ++w->asked_epoch;
	memset(&w->devices, 0, sizeof(w->devices));
	pthread_mutex_unlock(&w->lock);
	rk_worker_wake(w);
}

void rk_worker_stop(struct rk_worker *w, bool force, struct rk_message_list *held)
{
	pthread_mutex_lock(&w->lock);
	w->want = false;
	w->force |= force;
	w->asked_epoch++;
	TAILQ_CONCAT(&w->orphans, held, queue);
	pthread_mutex_unlock(&w->lock);
	rk_worker_wake(w);
}

void rk_worker_kernels_changed(struct rk_worker *w)
{
	rk_worker_wake(w);
}

void rk_worker_settings_changed(struct rk_worker *w, uint64_t sample_ms)
{
	pthread_mutex_lock(&w->lock);
	w->sample_ms = sample_ms;
	w->settings_changed = true;
	pthread_mutex_unlock(&w->lock);
	rk_worker_wake(w);
}

void rk_worker_check(struct rk_worker *w, uint64_t number)
{
	pthread_mutex_lock(&w->lock);
	w->check = number;
	w->check_asked = true;
	pthread_mutex_unlock(&w->lock);
	rk_worker_wake(w);
}

/* The worker that serves, or NULL. */
static struct rk_proc *serving_locked(struct rk_worker *w)
{
	return w->cur && w->cur->phase == RK_PHASE_READY ? w->cur : NULL;
}

uint64_t rk_worker_in_driver_ns(struct rk_worker *w)
{
	uint64_t since = 0, now;
	struct rk_proc *p;

	pthread_mutex_lock(&w->lock);
	p = serving_locked(w);
	if (p)
		since = atomic_load(&p->os.shared->in_driver_since_ns);
	pthread_mutex_unlock(&w->lock);
	now = rk_now_ns();
	if (!since)
		return 0;
	return now > since ? now - since : 1;
}

bool rk_worker_is_loading(struct rk_worker *w)
{
	struct rk_proc *p;
	bool loading;

	pthread_mutex_lock(&w->lock);
	p = serving_locked(w);
	loading = p && atomic_load(&p->load_by);
	pthread_mutex_unlock(&w->lock);
	return loading;
}

void rk_worker_give_up(struct rk_worker *w, const char *why)
{
	struct rk_proc *p;

	pthread_mutex_lock(&w->lock);
	p = serving_locked(w);
	if (p) {
		w->given_up = p->number;
		snprintf(w->give_up_why, sizeof(w->give_up_why), "%s", why);
	}
	pthread_mutex_unlock(&w->lock);
	if (p)
		rk_worker_wake(w);
}

void rk_worker_see_devices_locked(struct rk_worker *w, const struct rk_proc *p)
{
	if (p->epoch == w->devices_epoch)
		rk_devices_update(&w->devices, p->os.shared, p->number);
}

bool rk_worker_device(struct rk_worker *w, uint32_t index, struct rk_device *device)
{
	bool there;

	pthread_mutex_lock(&w->lock);
	if (w->cur)
		rk_worker_see_devices_locked(w, w->cur);
	there = index < w->devices.count;
	if (there)
		*device = w->devices.devices[index];
	pthread_mutex_unlock(&w->lock);
	return there;
}

void rk_worker_arm_drain(struct rk_worker *w, uint64_t at_ns)
{
	atomic_store(&w->drain_at, at_ns);
	if (at_ns) /* else the thread wakes once for nothing, later */
		rk_worker_wake(w);
}

void rk_worker_arm_expiry(struct rk_worker *w, uint64_t at_ns)
{
	uint64_t old = atomic_load(&w->expiry_at);

	while (!old || at_ns < old) {
		if (atomic_compare_exchange_weak(&w->expiry_at, &old, at_ns)) {
			rk_worker_wake(w);
			return;
		}
	}
}

bool rk_worker_retries(struct rk_worker *w)
{
	return atomic_load(&w->retries);
}

bool rk_worker_settled(struct rk_worker *w)
{
	bool settled;

	pthread_mutex_lock(&w->lock);
	settled = w->cur && w->cur->epoch == w->asked_epoch;
	pthread_mutex_unlock(&w->lock);
	return settled;
}

void rk_worker_gpu_memory(struct rk_worker *w, uint64_t *now, uint64_t *peak)
{
	*now = *peak = 0;
	pthread_mutex_lock(&w->lock);
	if (w->cur) {
		*now = atomic_load_explicit(&w->cur->os.shared->gpu_memory_bytes,
					    memory_order_relaxed);
		*peak = atomic_load_explicit(&w->cur->os.shared->gpu_memory_peak_bytes,
					     memory_order_relaxed);
	}
	pthread_mutex_unlock(&w->lock);
}

void rk_worker_backend(struct rk_worker *w, char name[RK_WIRE_NAME_MAX])
{
	pthread_mutex_lock(&w->lock);
	if (w->cur && w->cur->phase == RK_PHASE_READY)
		memcpy(name, w->cur->backend, RK_WIRE_NAME_MAX);
	else
		snprintf(name, RK_WIRE_NAME_MAX, "none");
	pthread_mutex_unlock(&w->lock);
}
