/* SPDX-License-Identifier: MIT */
/* What is known of the runtime's health, and what is made of it. */
#include "runtime/health/health.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/clock.h"
#include "runtime/health/internal.h"
#include "runtime/base/log.h"

const char *rk_health_name(enum rk_health_status status)
{
	static const char *const names[] = {
		[RK_HEALTH_UNKNOWN] = "unknown",
		[RK_HEALTH_HEALTHY] = "healthy",
		[RK_HEALTH_DEGRADED] = "degraded",
		[RK_HEALTH_UNHEALTHY] = "unhealthy",
	};

	return names[status];
}

/* --- conclusions --- */

static enum rk_health_status because(enum rk_health_status status, const char *why,
				     char reason[RK_ERROR_MAX])
{
	snprintf(reason, RK_ERROR_MAX, "%s", why);
	return status;
}

enum rk_health_status rk_health_status_locked(const struct rk_health *h, char reason[RK_ERROR_MAX])
{
	if (!h->wanted)
		return because(RK_HEALTH_UNKNOWN, "no worker serves", reason);
	if (!h->ended_ns)
		return because(RK_HEALTH_UNKNOWN, "the first health check has not ended yet",
			       reason);
	if (h->unhealthy)
		return because(RK_HEALTH_UNHEALTHY, h->reason, reason);
	if (h->died)
		return because(RK_HEALTH_DEGRADED, h->death, reason);
	if (h->failures)
		return because(RK_HEALTH_DEGRADED, h->reason, reason);
	if (h->ailing[0])
		return because(RK_HEALTH_DEGRADED, h->ailing, reason);
	if (h->fallback[0])
		return because(RK_HEALTH_DEGRADED, h->fallback, reason);
	for (int i = 0; i < RK_TROUBLE_COUNT; i++)
		if (h->trouble[i][0])
			return because(RK_HEALTH_DEGRADED, h->trouble[i], reason);
	return because(RK_HEALTH_HEALTHY, "ok", reason);
}

void rk_health_conclude_locked(struct rk_health *h, const struct rk_health_verdict *verdict)
{
	h->ended_ns = rk_now_ns();
	h->counts[verdict->outcome]++;
	if (verdict->outcome == RK_HEALTH_FAILED) {
		h->successes = 0;
		if (++h->failures >= h->config.failure_threshold)
			h->unhealthy = true;
		memcpy(h->reason, verdict->reason, sizeof(h->reason));
	} else if (verdict->outcome == RK_HEALTH_PASSED || verdict->answers) {
		h->failures = 0;
		h->died = false;
		if (++h->successes >= h->config.success_threshold)
			h->unhealthy = false;
	} /* else it was busy, which ends neither row */
}

void rk_health_tell_change(struct rk_health *h)
{
	enum rk_health_status now;
	char reason[RK_ERROR_MAX];
	bool changed;

	pthread_mutex_lock(&h->lock);
	now = rk_health_status_locked(h, reason);
	changed = now != h->shown;
	h->shown = now;
	pthread_mutex_unlock(&h->lock);
	if (!changed)
		return;
	if (now == RK_HEALTH_HEALTHY)
		rk_log(RK_LOG_INFO, "health: healthy");
	else
		rk_log(RK_LOG_WARN, "health: %s: %s", rk_health_name(now), reason);
	rk_runtime_health_changed(h->rt);
}

void rk_health_report(struct rk_health *h, struct rk_health_report *report)
{
	enum rk_state state = rk_runtime_state(h->rt);
	uint64_t now = rk_now_ns();

	memset(report, 0, sizeof(*report));
	pthread_mutex_lock(&h->lock);
	report->status = rk_health_status_locked(h, report->reason);
	report->checked = h->ended_ns;
	if (now > h->ended_ns)
		report->last_check_age_secs = (now - h->ended_ns) / RK_NS_PER_SEC;
	report->passed = h->counts[RK_HEALTH_PASSED];
	report->failed = h->counts[RK_HEALTH_FAILED];
	report->overdue = h->counts[RK_HEALTH_OVERDUE];
	if (!h->wanted)
		snprintf(report->reason, sizeof(report->reason), "the runtime is %s",
			 rk_state_name(state));
	pthread_mutex_unlock(&h->lock);
	if (state == RK_FAILED) {
		report->status = RK_HEALTH_UNHEALTHY;
		rk_runtime_failure(h->rt, report->reason);
	}
}

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
	uint64_t number;

	pthread_mutex_lock(&h->lock);
	forget_locked(h);
	h->wanted = h->serves = h->asked = true;
	h->shown = RK_HEALTH_UNKNOWN;
	h->first = first;
	h->first_ctx = ctx;
	number = h->epoch;
	pthread_mutex_unlock(&h->lock);
	return number;
}

void rk_health_stop(struct rk_health *h)
{
	pthread_mutex_lock(&h->lock);
	h->epoch++; /* when the last probe ended may still be asked for */
	h->wanted = h->serves = h->asked = false;
	h->shown = RK_HEALTH_UNKNOWN;
	h->first = NULL;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
}

void rk_health_reset(struct rk_health *h)
{
	pthread_mutex_lock(&h->lock);
	forget_locked(h);
	memset(h->counts, 0, sizeof(h->counts));
	pthread_mutex_unlock(&h->lock);
}

void rk_health_check_now(struct rk_health *h)
{
	pthread_mutex_lock(&h->lock);
	if (!h->probing)
		h->asked = true;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
}

void rk_health_config_changed(struct rk_health *h)
{
	pthread_mutex_lock(&h->lock);
	h->config_changed = true;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
}

void rk_health_checked(struct rk_health *h, uint64_t number, int status, const char *why)
{
	pthread_mutex_lock(&h->lock);
	if (number == h->number) {
		h->answered = true;
		h->status = status;
		snprintf(h->why, sizeof(h->why), "%s", why);
		pthread_cond_broadcast(&h->changed);
	}
	pthread_mutex_unlock(&h->lock);
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

void rk_health_trouble(struct rk_health *h, enum rk_trouble which, const char *sentence)
{
	pthread_mutex_lock(&h->lock);
	snprintf(h->trouble[which], sizeof(h->trouble[which]), "%s", sentence);
	pthread_mutex_unlock(&h->lock);
	rk_health_tell_change(h);
}

/* --- life and death --- */

static int start_thread(struct rk_health *h, struct rk_error *err)
{
	sigset_t all, old;
	int rc;

	sigfillset(&all); /* signals are the main program's */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&h->thread, NULL, rk_health_run, h);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	h->started = !rc;
	return rc ? rk_error_set(err, rc, "cannot start the health thread: %s", strerror(rc)) : 0;
}

int rk_health_create(struct rk_health **out, struct rk_runtime *rt, struct rk_error *err)
{
	struct rk_health *h = calloc(1, sizeof(*h));
	int rc;

	if (!h)
		return rk_error_set(err, ENOMEM, "no memory for the health checks");
	h->rt = rt;
	h->config_changed = true;
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
	return rk_error_set(err, rc, "cannot prepare the health checks: %s", strerror(rc));
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
	pthread_cond_destroy(&h->changed);
	pthread_mutex_destroy(&h->lock);
	free(h);
}
