/* SPDX-License-Identifier: MIT */
/* What dispatch tells of itself: counters, lists, last errors. */
#include "runtime/dispatch.h"

#include <stdio.h>
#include <string.h>

#include "runtime/clock.h"

void rk_dispatch_kernel_over_limit(struct rk_dispatch *d, struct rk_kernel *k)
{
	pthread_mutex_lock(&d->lock);
	k->over_limit = true;
	pthread_mutex_unlock(&d->lock);
}

void rk_dispatch_kernel_error(struct rk_dispatch *d, struct rk_kernel *k, const char *msg)
{
	pthread_mutex_lock(&d->lock);
	snprintf(k->last_error, sizeof(k->last_error), "%s", msg);
	pthread_mutex_unlock(&d->lock);
}

void rk_dispatch_kernel_last_error(struct rk_dispatch *d, struct rk_kernel *k,
				   char msg[RK_ERROR_MAX])
{
	pthread_mutex_lock(&d->lock);
	memcpy(msg, k->last_error, sizeof(k->last_error));
	pthread_mutex_unlock(&d->lock);
}

void rk_dispatch_snapshot(struct rk_dispatch *d, struct rk_kernel *k, struct rk_counts *counts)
{
	struct rk_message *m;

	pthread_mutex_lock(&d->lock);
	for (unsigned int i = 0; i < RK_COUNTER_COUNT; i++)
		counts->count[i] = k ? k->count[i] : rk_stats_read(&d->stats, i);
	counts->in_flight = k ? 0 : d->in_flight;
	if (k)
		TAILQ_FOREACH (m, &k->inflight, inflight)
			counts->in_flight++;
	pthread_mutex_unlock(&d->lock);
}

uint64_t rk_dispatch_in_flight(struct rk_dispatch *d)
{
	uint64_t in_flight;

	pthread_mutex_lock(&d->lock);
	in_flight = d->in_flight;
	pthread_mutex_unlock(&d->lock);
	return in_flight;
}

size_t rk_dispatch_list(struct rk_dispatch *d, struct rk_kernel *k, struct rk_message_info *info,
			size_t max)
{
	uint64_t now = rk_now_ns();
	struct rk_message *m;
	size_t n = 0;

	pthread_mutex_lock(&d->lock);
	TAILQ_FOREACH (m, &k->inflight, inflight) {
		if (n < max) {
			info[n] = (struct rk_message_info){
				.id = m->id,
				.state = m->state,
				.age_ms = (now > m->accepted_ns ? now - m->accepted_ns : 0) /
					  RK_NS_PER_MS,
				.uid = m->uid,
				.pid = m->pid,
			};
			memcpy(info[n].kernel, k->manifest.id, sizeof(info[n].kernel));
		}
		n++;
	}
	pthread_mutex_unlock(&d->lock);
	return n;
}

void rk_dispatch_reset(struct rk_dispatch *d)
{
	pthread_mutex_lock(&d->lock);
	rk_stats_reset(&d->stats);
	pthread_mutex_unlock(&d->lock);
}

void rk_dispatch_reset_kernel(struct rk_dispatch *d, struct rk_kernel *k)
{
	pthread_mutex_lock(&d->lock);
	for (unsigned int i = 0; i < RK_COUNTER_COUNT; i++)
		atomic_store_explicit(&k->count[i], 0, memory_order_relaxed);
	strcpy(k->last_error, "none");
	pthread_mutex_unlock(&d->lock);
}
