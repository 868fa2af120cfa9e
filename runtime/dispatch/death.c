/* SPDX-License-Identifier: MIT */
/* What becomes of the messages that a worker had when it died, and who is to blame. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/clock.h"
#include "runtime/dispatch/internal.h"

void rk_dispatch_blame_locked(struct rk_dispatch *d, const struct rk_message *m)
{
	struct rk_lane *lane = &d->lanes[m->lane];
	struct rk_kernel *k = m->kernel;

	/* The same worker's death is not counted again for another of the kernel's messages. */
	if (m->probe || k->killed == lane->worker)
		return;
	k->killed = lane->worker;
	lane->blamed = true;
	memmove(k->kills, k->kills + 1, sizeof(k->kills) - sizeof(k->kills[0]));
	k->kills[RK_KILLS_MAX - 1] = rk_now_ns();
	/* what it does well between is no excuse: each time others have lost what ran beside it */
	if (k->kills[0] && k->kills[RK_KILLS_MAX - 1] - k->kills[0] <= RK_KILLS_NS &&
	    atomic_exchange(&k->wanted, false))
		rk_dispatch_notice_locked(d, k, RK_NOTICE_TRIPPED);
}

/* End a message that ran on a worker that is gone; the sentence says whether it is to blame. */
static void end_one_locked(struct rk_dispatch *d, struct rk_message *m, uint64_t now,
			   const struct rk_death *death, const char *culprit)
{
	char why[RK_ERROR_MAX];

	if (m->id == death->blamed_id) {
		rk_dispatch_blame_locked(d, m);
		snprintf(why, sizeof(why), "%.280s in this kernel", death->why);
	} else if (culprit && strcmp(culprit, m->kernel->manifest.id)) {
		snprintf(why, sizeof(why), "%.160s in %.128s beside it", death->why, culprit);
	} else {
		snprintf(why, sizeof(why), "%.300s", death->why);
	}
	if (m->cancel_by_ns && now >= m->cancel_by_ns)
		rk_dispatch_blame_locked(d, m);
	if (m->deadline_ns && now >= m->deadline_ns && death->code == EIO) {
		rk_dispatch_blame_locked(d, m);
		rk_dispatch_finish_locked(d, m, m->verdict ? m->verdict : ETIMEDOUT,
					  "ran longer than its timeout; the worker was replaced");
	} else {
		rk_dispatch_finish_locked(d, m, m->verdict ? m->verdict : death->code,
					  m->verdict ? RK_CANCELLED : why);
	}
}

/* The kernel that the death is blamed on, or NULL. */
static const char *culprit_locked(const struct rk_lane *lane, const struct rk_death *death)
{
	for (uint32_t i = 0; i <= lane->nslots; i++) {
		const struct rk_message *m = rk_dispatch_running_locked(lane, i, death->blamed_id);

		if (m)
			return m->kernel->manifest.id;
	}
	return NULL;
}

uint64_t rk_dispatch_only_kernel(struct rk_dispatch *d, uint32_t lane)
{
	struct rk_message *const *slots = d->lanes[lane].slots;
	const struct rk_message *only = NULL;

	RK_GUARD(&d->lock);
	for (uint32_t i = 0; i < d->lanes[lane].nslots; i++) {
		if (!slots[i])
			continue;
		if (only && only->kernel != slots[i]->kernel) {
			only = NULL;
			break;
		}
		only = slots[i];
	}
	uint64_t id = only ? only->id : 0;

	return id;
}

/*
 * Take those off @slot of @lane that its worker had not begun: what came in one packet runs one
 * after the other. The first run counts as begun. Returns them, the last one first.
 */
static struct rk_message *take_unbegun_locked(struct rk_lane *lane, uint32_t slot)
{
	uint64_t begun = atomic_load(&lane->shared->begun[slot]);
	struct rk_message *last = lane->slots[slot], *m, *next, *taken = NULL;

	for (m = last; m; m = m->with)
		if (m->id == begun)
			last = m;
	while (last && last->with && !last->with->leads)
		last = last->with;
	if (!last)
		return NULL;
	for (m = last->with, last->with = NULL; m; m = next) {
		next = m->with;
		m->with = taken;
		taken = m;
	}
	return taken;
}

/* @m did not run after all: it is the first of its turn again, unless its time is over. */
static void requeue_locked(struct rk_dispatch *d, struct rk_message *m, uint64_t now,
			   const char *why)
{
	struct rk_kernel *k = m->kernel;

	m->with = NULL;
	m->state = RK_MESSAGE_QUEUED;
	m->cancel_by_ns = 0;
	k->running--;
	if (m->verdict)
		rk_dispatch_finish_locked(d, m, m->verdict, RK_CANCELLED);
	else if (m->deadline_ns && now >= m->deadline_ns)
		rk_dispatch_finish_locked(d, m, ETIMEDOUT, "did not start within its timeout");
	else if (!rk_dispatch_put_back_locked(d, m))
		rk_dispatch_finish_locked(d, m, EIO, why); /* no memory for its turn */
}

uint32_t rk_dispatch_end_running_locked(struct rk_dispatch *d, struct rk_lane *lane,
					const struct rk_death *death, struct rk_message_list *held)
{
	const char *culprit = culprit_locked(lane, death);
	uint64_t now = rk_now_ns();
	uint32_t ended = 0;
	struct rk_message *m;

	lane->fd = -1;
	for (uint32_t i = 0; i <= lane->nslots; i++) {
		struct rk_message *unbegun = NULL, *next;

		if (death->certain && lane->shared)
			unbegun = take_unbegun_locked(lane, i);
		while ((m = lane->slots[i])) {
			rk_dispatch_left_locked(d, m);
			rk_message_ref(m); /* keeps the culprit's name too */
			TAILQ_INSERT_TAIL(held, m, queue);
			ended += !m->probe;
			end_one_locked(d, m, now, death, culprit);
		}
		for (m = unbegun; m; m = next) {
			next = m->with;
			requeue_locked(d, m, now, death->why);
		}
	}
	lane->shared = NULL;
	return ended;
}
