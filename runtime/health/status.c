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

/* What is known of one worker. */
static enum rk_health_status judge_locked(const struct rk_checks *c, char reason[RK_ERROR_MAX])
{
	if (c->disabled)
		return because(RK_HEALTH_UNHEALTHY, "it is disabled: write 1 to its enable",
			       reason);
	if (c->out)
		return because(RK_HEALTH_UNHEALTHY, c->reason, reason);
	if (!c->ended_ns)
		return because(RK_HEALTH_UNKNOWN, "the first health check has not ended yet",
			       reason);
	if (c->unhealthy)
		return because(RK_HEALTH_UNHEALTHY, c->reason, reason);
	if (c->died)
		return because(RK_HEALTH_DEGRADED, c->death, reason);
	if (c->failures)
		return because(RK_HEALTH_DEGRADED, c->reason, reason);
	if (c->fallback[0])
		return because(RK_HEALTH_DEGRADED, c->fallback, reason);
	return because(RK_HEALTH_HEALTHY, "ok", reason);
}

enum rk_health_status rk_health_worker(struct rk_health *h, uint32_t lane,
				       char reason[RK_ERROR_MAX])
{
	RK_GUARD(&h->lock);
	if (!h->wanted || lane >= h->nlanes)
		return because(RK_HEALTH_UNKNOWN, "it does not serve", reason);
	return judge_locked(&h->lanes[lane], reason);
}

/* Name the worker in @reason, where there are several. */
static void name_worker(const struct rk_health *h, uint32_t lane, char reason[RK_ERROR_MAX])
{
	char bare[RK_ERROR_MAX];

	if (h->nlanes == 1)
		return;
	snprintf(bare, sizeof(bare), "%s", reason);
	snprintf(reason, RK_ERROR_MAX, "worker %u: %.300s", lane, bare);
}

/*
 * All workers together: the worst where it is that of all, else degraded where one is not healthy.
 * The reason is that of the first one that is not.
 */
static enum rk_health_status judge_all_locked(const struct rk_health *h, char reason[RK_ERROR_MAX])
{
	uint32_t count[RK_HEALTH_UNHEALTHY + 1] = {0};
	char why[RK_ERROR_MAX];

	because(RK_HEALTH_HEALTHY, "ok", reason);
	for (uint32_t i = 0; i < h->nlanes; i++) {
		enum rk_health_status status = judge_locked(&h->lanes[i], why);

		if (status != RK_HEALTH_HEALTHY && i == count[RK_HEALTH_HEALTHY]) {
			memcpy(reason, why, sizeof(why));
			name_worker(h, i, reason);
		}
		count[status]++;
	}
	for (unsigned int status = 0; status <= RK_HEALTH_UNHEALTHY; status++)
		if (count[status] == h->nlanes)
			return (enum rk_health_status)status;
	return RK_HEALTH_DEGRADED;
}

enum rk_health_status rk_health_status_locked(const struct rk_health *h, char reason[RK_ERROR_MAX])
{
	enum rk_health_status status;

	if (!h->wanted)
		return because(RK_HEALTH_UNKNOWN, "no worker serves", reason);
	status = judge_all_locked(h, reason);
	if (status != RK_HEALTH_HEALTHY)
		return status;
	if (h->ailing[0])
		return because(RK_HEALTH_DEGRADED, h->ailing, reason);
	for (int i = 0; i < RK_TROUBLE_COUNT; i++)
		if (h->trouble[i][0])
			return because(RK_HEALTH_DEGRADED, h->trouble[i], reason);
	return status;
}

void rk_health_conclude_locked(struct rk_checks *c, const struct rk_health_verdict *verdict)
{
	struct rk_health *h = c->h;

	c->ended_ns = rk_now_ns();
	h->counts[verdict->outcome]++;
	if (verdict->outcome == RK_HEALTH_FAILED) {
		c->successes = 0;
		if (++c->failures >= h->config.failure_threshold)
			c->unhealthy = true;
		memcpy(c->reason, verdict->reason, sizeof(c->reason));
	} else if (verdict->outcome == RK_HEALTH_PASSED || verdict->answers) {
		c->failures = 0;
		c->died = false;
		if (++c->successes >= h->config.success_threshold)
			c->unhealthy = false;
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
	uint64_t now = rk_now_ns(), ended = 0;

	memset(report, 0, sizeof(*report));
	RK_GUARD(&h->lock);
	for (uint32_t i = 0; i < h->nlanes; i++)
		if (h->lanes[i].ended_ns > ended)
			ended = h->lanes[i].ended_ns;
	report->status = rk_health_status_locked(h, report->reason);
	report->wanted = h->wanted;
	report->checked = ended;
	if (now > ended)
		report->last_check_age_secs = (now - ended) / RK_NS_PER_SEC;
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
