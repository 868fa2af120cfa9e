/* SPDX-License-Identifier: MIT */
/* The health checks: what the runtime tells them, and the thread that decides when to probe. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/clock.h"
#include "runtime/health/internal.h"

/* --- what others tell --- */

/* Nothing is known, but what is counted, and what the worker said when it came. */
static void forget_locked(struct rk_health *h)
{
	h->epoch++;
	h->ended_ns = 0;
	h->failures = h->successes = 0;
	h->unhealthy = h->died = h->asked = false;
	h->ailing[0] = '\0';
	pthread_cond_broadcast(&h->changed);
}

uint64_t rk_health_begin(struct rk_health *h, rk_health_first *first, void *ctx)
{
	RK_GUARD(&h->lock);
	forget_locked(h);
	h->wanted = h->serves = h->asked = true;
	h->shown = RK_HEALTH_UNKNOWN;
	h->first = first;
	h->first_ctx = ctx;
	return h->epoch;
}

void rk_health_stop(struct rk_health *h)
{
	RK_GUARD(&h->lock);
	h->epoch++; /* when the last probe ended may still be asked for */
	h->wanted = h->serves = h->asked = false;
	h->shown = RK_HEALTH_UNKNOWN;
	h->first = NULL;
	pthread_cond_broadcast(&h->changed);
}

void rk_health_reset(struct rk_health *h)
{
	RK_GUARD(&h->lock);
	forget_locked(h);
	memset(h->counts, 0, sizeof(h->counts));
}

void rk_health_check_now(struct rk_health *h)
{
	RK_GUARD(&h->lock);
	if (!h->probing)
		h->asked = true;
	pthread_cond_broadcast(&h->changed);
}

void rk_health_config_changed(struct rk_health *h, const struct rk_config *config,
			      struct rk_payload *payload)
{
	struct rk_payload *old;

	pthread_mutex_lock(&h->lock);
	h->config = (struct rk_health_config){
		.interval = config->health_check_interval * RK_NS_PER_MS,
		.timeout = config->health_check_timeout * RK_NS_PER_MS,
		.stall_timeout = config->health_stall_timeout * RK_NS_PER_MS,
		.failure_threshold = config->health_failure_threshold,
		.success_threshold = config->health_success_threshold,
	};
	old = h->payload;
	h->payload = rk_payload_ref(payload);
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
	rk_payload_unref(old);
}

void rk_health_checked(struct rk_health *h, uint64_t number, int status, const char *why)
{
	RK_GUARD(&h->lock);
	if (number == h->number) {
		h->answered = true;
		h->status = status;
		snprintf(h->why, sizeof(h->why), "%s", why);
		pthread_cond_broadcast(&h->changed);
	}
}

void rk_health_worker_died(struct rk_health *h, const char *how)
{
	pthread_mutex_lock(&h->lock);
	h->serves = false;
	h->died = true;
	h->deaths++;
	snprintf(h->death, sizeof(h->death), "the worker %s", how);
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
	rk_health_tell_change(h);
}

void rk_health_worker_ready(struct rk_health *h, const char *fallback_why)
{
	pthread_mutex_lock(&h->lock);
	snprintf(h->fallback, sizeof(h->fallback), "%s%.280s",
		 fallback_why[0] ? "on the fallback backend: " : "", fallback_why);
	if (h->wanted)
		h->serves = h->asked = true;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
	rk_health_tell_change(h);
}

/* --- the thread --- */

/* With the lock held, which is released meanwhile. */
static void drop_echo_locked(struct rk_health *h)
{
	pthread_mutex_unlock(&h->lock);
	rk_health_drop_echo(h);
	pthread_mutex_lock(&h->lock);
}

static void *run(void *arg)
{
	struct rk_health *h = arg;

	pthread_setname_np(pthread_self(), "rk-health");
	pthread_mutex_lock(&h->lock);
	while (!h->quit) {
		uint64_t next = h->begun_ns + h->config.interval;

		if (!h->wanted && h->echo)
			drop_echo_locked(h);
		else if (!h->wanted || !h->serves)
			rk_health_wait_locked(h, 0);
		else if (h->asked || rk_now_ns() >= next)
			rk_health_probe_locked(h);
		else
			rk_health_wait_locked(h, next);
	}
	pthread_mutex_unlock(&h->lock);
	rk_health_drop_echo(h);
	return NULL;
}

/* --- birth and death --- */

static int start_thread(struct rk_health *h, struct rk_error *err)
{
	int rc = rk_thread_start(&h->thread, run, h);

	h->started = !rc;
	return rc ? rk_error_set(err, rc, "cannot start the health thread: %m") : 0;
}

int rk_health_create(struct rk_health **out, struct rk_dispatch *dispatch,
		     struct rk_registry *registry, struct rk_supervisor *supervisor,
		     const struct rk_health_observer *observer, struct rk_error *err)
{
	struct rk_health *h = calloc(1, sizeof(*h));
	int rc;

	if (!h)
		return rk_error_set(err, ENOMEM, "no memory for the health checks");
	h->dispatch = dispatch;
	h->registry = registry;
	h->supervisor = supervisor;
	h->observer = *observer;
	rc = pthread_mutex_init(&h->lock, NULL);
	if (rc)
		goto free_it;
	rc = rk_cond_init(&h->changed);
	if (rc)
		goto destroy_lock;
	rc = start_thread(h, err);
	if (rc) {
		rk_health_destroy(h);
		return rc;
	}
	*out = h;
	return 0;
destroy_lock:
	pthread_mutex_destroy(&h->lock);
free_it:
	free(h);
	return rk_error_set(err, rc, "cannot prepare the health checks: %m");
}

void rk_health_end(struct rk_health *h)
{
	if (!h || !h->started)
		return;
	pthread_mutex_lock(&h->lock);
	h->quit = true;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
	pthread_join(h->thread, NULL);
	h->started = false;
}

void rk_health_destroy(struct rk_health *h)
{
	if (!h)
		return;
	rk_payload_unref(h->payload);
	pthread_cond_destroy(&h->changed);
	pthread_mutex_destroy(&h->lock);
	free(h);
}
