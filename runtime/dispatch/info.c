/* SPDX-License-Identifier: MIT */
/* What dispatch tells of itself: counters, lists, last errors. */
#include "runtime/dispatch/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/clock.h"

void rk_dispatch_kernel_over_limit(struct rk_dispatch *d, struct rk_kernel *k)
{
	RK_GUARD(&d->lock);
	k->over_limit = true;
}

void rk_dispatch_kernel_error(struct rk_dispatch *d, struct rk_kernel *k, const char *msg)
{
	struct rk_error err = {0};
	enum rk_kernel_state state;

	RK_GUARD(&d->lock);
	rk_error_set(&err, EIO, "%s", msg);
	rk_dispatch_remember_locked(k, &err, 0);
	state = atomic_load(&k->state);
	if (state == RK_KERNEL_OFF || state == RK_KERNEL_ENDING)
		snprintf(k->why_off, sizeof(k->why_off), "%s", msg);
}

bool rk_dispatch_kernel_idle(struct rk_dispatch *d, struct rk_kernel *k)
{
	RK_GUARD(&d->lock);
	return rk_dispatch_idle_locked(d, k);
}

void rk_dispatch_kernel_last_error(struct rk_dispatch *d, struct rk_kernel *k, uid_t reader,
				   char msg[RK_ERROR_MAX])
{
	RK_GUARD(&d->lock);
	rk_error_show(&k->stats->last_error, reader, k->stats->last_error_uid, msg);
}

void rk_dispatch_snapshot(struct rk_dispatch *d, struct rk_kernel *k, struct rk_counts *counts)
{
	RK_GUARD(&d->lock);
	rk_counters_read(k ? &k->stats->books : &d->books, counts);
}

void rk_dispatch_lane_counts(struct rk_dispatch *d, uint32_t lane, struct rk_lane_counts *counts)
{
	const struct rk_lane *l = &d->lanes[lane];

	RK_GUARD(&d->lock);
	*counts = (struct rk_lane_counts){.processed = l->processed, .failed = l->failed};
	for (uint32_t slot = 0; slot < l->nslots; slot++)
		for (const struct rk_message *m = l->slots[slot]; m; m = m->with)
			counts->in_flight++;
}

uint64_t rk_dispatch_in_flight(struct rk_dispatch *d)
{
	RK_GUARD(&d->lock);
	return d->books.in_flight;
}

uint64_t rk_dispatch_newest(struct rk_dispatch *d)
{
	RK_GUARD(&d->lock);
	return d->next_id;
}

static void describe_locked(const struct rk_message *m, uint64_t now, struct rk_message_info *info)
{
	*info = (struct rk_message_info){
		.id = m->id,
		.state = m->state,
		.cancelled = m->verdict == ECANCELED,
		.worker = m->state == RK_MESSAGE_RUNNING ? (int)m->lane : -1,
		.age_ms = (now > m->accepted_ns ? now - m->accepted_ns : 0) / RK_NS_PER_MS,
		.accepted = m->accepted,
		.uid = m->uid,
		.pid = m->pid,
	};
	memcpy(info->kernel, m->kernel->manifest.id, sizeof(info->kernel));
}

const char *rk_message_info_state(const struct rk_message_info *info)
{
	if (info->cancelled)
		return "cancelling";
	return info->state == RK_MESSAGE_RUNNING ? "running" : "queued";
}

bool rk_dispatch_find(struct rk_dispatch *d, uint32_t id, struct rk_message_info *info)
{
	uint64_t now = rk_now_ns();
	struct rk_message *m;

	RK_GUARD(&d->lock);
	TAILQ_FOREACH (m, &d->by_id[id % RK_DISPATCH_BUCKETS], hashed)
		if ((uint32_t)m->id == id)
			break;
	if (m)
		describe_locked(m, now, info);
	return m;
}

size_t rk_dispatch_list(struct rk_dispatch *d, uint64_t from, struct rk_message_info *info,
			size_t max)
{
	struct rk_kernel *k, *lowest;
	uint64_t now = rk_now_ns();
	size_t n = 0;

	RK_GUARD(&d->lock);
	/* a merge of the kernels' lists, each of which is in order */
	TAILQ_FOREACH (k, &d->busy, busy)
		TAILQ_FOREACH (k->cursor, &k->inflight, inflight)
			if (k->cursor->id >= from)
				break;
	while (n < max) {
		lowest = NULL;
		TAILQ_FOREACH (k, &d->busy, busy)
			if (k->cursor && (!lowest || k->cursor->id < lowest->cursor->id))
				lowest = k;
		if (!lowest)
			break;
		describe_locked(lowest->cursor, now, &info[n++]);
		lowest->cursor = TAILQ_NEXT(lowest->cursor, inflight);
	}
	return n;
}

void rk_dispatch_reset(struct rk_dispatch *d)
{
	RK_GUARD(&d->lock);
	rk_counters_reset(&d->books);
	for (struct rk_lane *lane = d->lanes; lane < d->lanes + RK_LANES_MAX; lane++)
		lane->processed = lane->failed = 0;
}

void rk_dispatch_reset_kernel(struct rk_dispatch *d, struct rk_kernel *k)
{
	RK_GUARD(&d->lock);
	rk_counters_reset(&k->stats->books);
	rk_histogram_reset(&k->stats->latency);
	k->stats->last_error = (struct rk_error){.msg = "none"};
}
