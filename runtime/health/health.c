/* SPDX-License-Identifier: MIT */
/* The health checks: what the runtime tells them, and the thread that decides when to probe. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/clock.h"
#include "runtime/health/internal.h"

/* --- what others tell --- */

/* Nothing is known, but what is counted, and what the workers said when they came. */
static void forget_locked(struct rk_health *h)
{
	h->epoch++;
	h->ailing[0] = '\0';
	for (struct rk_checks *c = h->lanes; c < h->lanes + RK_LANES_MAX; c++) {
		c->ended_ns = 0;
		c->failures = c->successes = 0;
		c->unhealthy = c->died = c->asked = false;
	}
	pthread_cond_broadcast(&h->changed);
}

uint64_t rk_health_begin(struct rk_health *h, uint32_t lanes, rk_health_first *first, void *ctx)
{
	RK_GUARD(&h->lock);
	forget_locked(h);
	h->wanted = true;
	h->shown = RK_HEALTH_UNKNOWN;
	h->nlanes = lanes;
	for (struct rk_checks *c = h->lanes; c < h->lanes + lanes; c++) {
		c->asked = true;
		c->began = c->out || c->disabled ? RK_HEALTH_BEGAN_NOT : RK_HEALTH_PENDING;
	}
	h->forget_told = true;
	h->first = first;
	h->first_ctx = ctx;
	h->first_by_ns = 0;
	return h->epoch;
}

void rk_health_stop(struct rk_health *h)
{
	RK_GUARD(&h->lock);
	h->epoch++; /* when the last probe ended may still be asked for */
	h->wanted = false;
	h->shown = RK_HEALTH_UNKNOWN;
	h->first = NULL;
	for (struct rk_checks *c = h->lanes; c < h->lanes + RK_LANES_MAX; c++)
		c->serves = c->asked = c->out = false;
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
	for (struct rk_checks *c = h->lanes; c < h->lanes + h->nlanes; c++)
		if (!c->probing)
			c->asked = true;
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

void rk_health_checked(struct rk_health *h, uint32_t lane, uint64_t number, int status,
		       const char *why)
{
	struct rk_checks *c = &h->lanes[lane];

	RK_GUARD(&h->lock);
	if (number == c->number) {
		c->answered = true;
		c->status = status;
		snprintf(c->why, sizeof(c->why), "%s", why);
		pthread_cond_broadcast(&h->changed);
	}
}

void rk_health_worker_died(struct rk_health *h, uint32_t lane, const char *how)
{
	struct rk_checks *c = &h->lanes[lane];

	pthread_mutex_lock(&h->lock);
	c->serves = false;
	c->died = true;
	c->deaths++;
	snprintf(c->death, sizeof(c->death), "the worker %s", how);
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
	rk_health_tell_change(h);
}

void rk_health_worker_out(struct rk_health *h, uint32_t lane, const char *why)
{
	struct rk_checks *c = &h->lanes[lane];

	pthread_mutex_lock(&h->lock);
	c->out = true;
	c->began = RK_HEALTH_BEGAN_NOT;
	snprintf(c->reason, sizeof(c->reason), "%s", why);
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
	rk_health_tell_change(h);
}

void rk_health_worker_ready(struct rk_health *h, uint32_t lane, const char *fallback_why)
{
	struct rk_checks *c = &h->lanes[lane];

	RK_GUARD(&h->lock);
	snprintf(c->fallback, sizeof(c->fallback), "%s%.280s",
		 fallback_why[0] ? "on the fallback backend: " : "", fallback_why);
	c->serves = c->asked = true;
	c->out = false;
	if (c->began == RK_HEALTH_BEGAN_NOT)
		c->began = RK_HEALTH_PENDING;
	pthread_cond_broadcast(&h->changed);
}

void rk_health_worker_ended(struct rk_health *h, uint32_t lane)
{
	RK_GUARD(&h->lock);
	h->lanes[lane].serves = false;
	pthread_cond_broadcast(&h->changed);
}

void rk_health_worker_enabled(struct rk_health *h, uint32_t lane, bool enabled)
{
	struct rk_checks *c = &h->lanes[lane];

	pthread_mutex_lock(&h->lock);
	c->disabled = !enabled;
	c->out = false;
	c->unhealthy = c->died = false;
	c->failures = c->successes = 0;
	c->ended_ns = 0; /* nothing is known of the next process, or of one that is taken back */
	c->asked = c->serves;
	if (c->disabled && c->began == RK_HEALTH_PENDING) {
		c->began = RK_HEALTH_BEGAN_NOT;
		snprintf(c->reason, sizeof(c->reason), "it is disabled");
	}
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
	rk_health_tell_change(h);
}

/* --- the thread --- */

/*
 * Do what is to be done for @c: true, and the lock was released meanwhile. Else *@next is no later
 * than when something is.
 */
static bool attend_locked(struct rk_checks *c, uint64_t *next)
{
	struct rk_health *h = c->h;
	uint64_t due = c->begun_ns + h->config.interval, now = rk_now_ns();

	if (c->probing) {
		if (rk_health_probe_is_over_locked(c) || now >= c->probe.deadline) {
			rk_health_end_probe_locked(c);
			return true;
		}
		rk_earlier(next, c->probe.deadline);
	} else if (!h->wanted && c->echo) {
		pthread_mutex_unlock(&h->lock);
		rk_health_drop_echo(c);
		pthread_mutex_lock(&h->lock);
		return true;
	} else if (h->wanted && c->serves && (c->asked || now >= due)) {
		rk_health_begin_probe_locked(c);
		return true;
	} else if (h->wanted && c->serves) {
		rk_earlier(next, due);
	}
	return false;
}

/* How many workers of this beginning are at @began. */
static uint32_t count_locked(const struct rk_health *h, enum rk_health_began began)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < h->nlanes; i++)
		n += h->lanes[i].began == began;
	return n;
}

static const char *why_not_locked(const struct rk_health *h)
{
	for (uint32_t i = 0; i < h->nlanes; i++)
		if (h->lanes[i].began == RK_HEALTH_BEGAN_NOT)
			return h->lanes[i].reason;
	return "";
}

/* Tell who waits for the first probes, once it can be told: true, and the lock was released. */
static bool settle_locked(struct rk_health *h, uint64_t *next)
{
	uint32_t pending = count_locked(h, RK_HEALTH_PENDING);
	bool passed = count_locked(h, RK_HEALTH_BEGAN);
	rk_health_first *first = h->first;
	void *ctx = h->first_ctx;
	uint64_t epoch = h->epoch;
	struct rk_error err = {0};

	if (!first || (pending && !passed))
		return false;
	if (pending && !h->first_by_ns)
		h->first_by_ns = rk_now_ns() + RK_HEALTH_OTHERS_NS;
	if (pending && rk_now_ns() < h->first_by_ns) {
		rk_earlier(next, h->first_by_ns);
		return false;
	}
	if (!passed)
		rk_error_set(&err, EIO, "%s", why_not_locked(h));
	h->first = NULL;
	pthread_mutex_unlock(&h->lock);
	first(ctx, epoch, -err.code, passed ? NULL : &err);
	pthread_mutex_lock(&h->lock);
	return true;
}

static void wait_locked(struct rk_health *h, uint64_t at_ns)
{
	const struct timespec at = rk_timespec(at_ns);

	if (at_ns)
		(void)pthread_cond_timedwait(&h->changed, &h->lock, &at);
	else
		(void)pthread_cond_wait(&h->changed, &h->lock);
}

static void *run(void *arg)
{
	struct rk_health *h = arg;

	pthread_setname_np(pthread_self(), "rk-health");
	pthread_mutex_lock(&h->lock);
	while (!h->quit) {
		uint64_t next = 0;
		bool busy = settle_locked(h, &next);

		for (struct rk_checks *c = h->lanes; c < h->lanes + RK_LANES_MAX; c++)
			busy |= attend_locked(c, &next);
		if (!busy && !h->quit)
			wait_locked(h, next);
	}
	pthread_mutex_unlock(&h->lock);
	for (struct rk_checks *c = h->lanes; c < h->lanes + RK_LANES_MAX; c++)
		rk_health_drop_echo(c);
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
	for (uint32_t i = 0; i < RK_LANES_MAX; i++) {
		h->lanes[i].h = h;
		h->lanes[i].lane = i;
	}
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
