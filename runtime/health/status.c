/* SPDX-License-Identifier: MIT */
/* What the health checks have found out, and the status that is made of it. */
#include <stdio.h>
#include <string.h>

#include "runtime/base/clock.h"
#include "runtime/base/log.h"
#include "runtime/health/internal.h"

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
	h->observer.changed(h->observer.ctx);
}

void rk_health_report(struct rk_health *h, struct rk_health_report *report)
{
	uint64_t now = rk_now_ns();

	memset(report, 0, sizeof(*report));
	RK_GUARD(&h->lock);
	report->status = rk_health_status_locked(h, report->reason);
	report->wanted = h->wanted;
	report->checked = h->ended_ns;
	if (now > h->ended_ns)
		report->last_check_age_secs = (now - h->ended_ns) / RK_NS_PER_SEC;
	report->passed = h->counts[RK_HEALTH_PASSED];
	report->failed = h->counts[RK_HEALTH_FAILED];
	report->overdue = h->counts[RK_HEALTH_OVERDUE];
}

void rk_health_trouble(struct rk_health *h, enum rk_trouble which, const char *sentence)
{
	pthread_mutex_lock(&h->lock);
	snprintf(h->trouble[which], sizeof(h->trouble[which]), "%s", sentence);
	pthread_mutex_unlock(&h->lock);
	rk_health_tell_change(h);
}
