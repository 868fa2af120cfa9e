/* SPDX-License-Identifier: MIT */
/* How a message moves from one state to the next, within one critical section of dispatch. */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/base/clock.h"
#include "runtime/dispatch/internal.h"

void rk_dispatch_notice_locked(struct rk_dispatch *d, struct rk_kernel *k, enum rk_notice what)
{
	k->notices |= what;
	if (k->is_noticed)
		return;
	k->is_noticed = true;
	rk_kernel_ref(k);
	TAILQ_INSERT_TAIL(&d->noticed, k, noticed);
}

void rk_dispatch_count_locked(struct rk_dispatch *d, struct rk_kernel *k, enum rk_counter counter)
{
	rk_counter_add(&d->books.count[counter], 1);
	rk_counter_add(&k->stats->books.count[counter], 1);
}

static void check_books_locked(const struct rk_counters *books)
{
	struct rk_counts counts;

	rk_counters_read(books, &counts);
	assert(rk_counts_balance(&counts));
}

/* A message of @k enters (@by is 1) or leaves (-1) the books of what is in flight, as @counter. */
static void book_locked(struct rk_dispatch *d, struct rk_kernel *k, enum rk_counter counter, int by)
{
	rk_dispatch_count_locked(d, k, counter);
	rk_counter_add(&d->books.in_flight, by);
	rk_counter_add(&k->stats->books.in_flight, by);
	check_books_locked(&d->books);
	check_books_locked(&k->stats->books);
}

void rk_dispatch_remember_locked(struct rk_kernel *k, const struct rk_error *err, uid_t uid)
{
	k->stats->last_error = *err;
	k->stats->last_error_uid = uid;
}

void rk_dispatch_hide(const struct rk_kernel *k, struct rk_error *err)
{
	if (err->code == EINVAL)
		rk_error_hide(err, strlen(k->manifest.id) + 2);
}

static void decide_locked(struct rk_message *m, int code, const char *why)
{
	if (!code)
		return;
	if (m->probe) {
		rk_error_set(&m->error, code, "%s: health probe: %s", m->kernel->manifest.id, why);
		return;
	}
	rk_error_set(&m->error, code, "%s: message %llu: %s", m->kernel->manifest.id,
		     (unsigned long long)m->id, why);
	rk_dispatch_hide(m->kernel, &m->error);
	rk_dispatch_remember_locked(m->kernel, &m->error, m->uid);
}

void rk_dispatch_done_locked(struct rk_dispatch *d, struct rk_message *m, int code, const char *why)
{
	m->state = RK_MESSAGE_DONE;
	rk_message_settle(m);
	if (m->told) { /* perhaps its done callback is still to be called */
		rk_message_unref(m);
		return;
	}
	decide_locked(m, code, why);
	TAILQ_INSERT_TAIL(&d->finished, m, finished);
}

/* An earlier time at which something in flight has to be looked at. */
static void look_at_locked(struct rk_dispatch *d, uint64_t at_ns)
{
	if (!d->earliest_deadline || at_ns < d->earliest_deadline)
		d->earliest_deadline = at_ns;
}

/* Have the worker end @m early, where its kernel can. */
static void tell_worker_locked(struct rk_dispatch *d, const struct rk_message *m)
{
	struct rk_wire_shared *shared = d->lanes[m->lane].shared;

	if (!shared)
		return;
	atomic_store(&shared->cancelled[m->slot], (uint32_t)m->id);
	/* nobody may be waiting, and the number of those who were is of no interest */
	(void)syscall(SYS_futex, &shared->cancelled[m->slot], FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void rk_dispatch_cancel_running_locked(struct rk_dispatch *d, struct rk_message *m)
{
	if (m->verdict)
		return;
	m->verdict = ECANCELED;
	tell_worker_locked(d, m);
	if (d->cancel_grace_ns && !m->probe) {
		m->cancel_by_ns = rk_now_ns() + d->cancel_grace_ns;
		look_at_locked(d, m->cancel_by_ns);
	}
	decide_locked(m, ECANCELED, RK_CANCELLED);
	m->told = true;
	rk_message_ref(m);
	TAILQ_INSERT_TAIL(&d->finished, m, finished);
}

static enum rk_counter counter_of(int code)
{
	switch (code) {
	case 0:
		return RK_COUNT_PROCESSED;
	case ECANCELED:
		return RK_COUNT_CANCELLED;
	case ETIMEDOUT:
		return RK_COUNT_TIMED_OUT;
	default:
		return RK_COUNT_FAILED;
	}
}

static void measure_locked(struct rk_message *m)
{
	rk_histogram_add(&m->kernel->stats->latency, (rk_now_ns() - m->accepted_ns) / 1000);
}

bool rk_dispatch_idle_locked(const struct rk_dispatch *d, const struct rk_kernel *k)
{
	const struct rk_message *m;

	TAILQ_FOREACH (m, &d->probes, inflight)
		if (m->kernel == k)
			return false;
	return TAILQ_EMPTY(&k->inflight) && !k->running;
}

/* @m is over: the lane that ran it counts it, too. */
static void count_for_lane_locked(struct rk_dispatch *d, const struct rk_message *m, int code)
{
	struct rk_lane *lane = &d->lanes[m->lane];

	if (m->state != RK_MESSAGE_RUNNING)
		return;
	lane->processed += !code;
	lane->failed += counter_of(code) == RK_COUNT_FAILED;
}

/* Take @m, which is in flight, off the books and the lists. True for its kernel's last message. */
static bool leave_flight_locked(struct rk_dispatch *d, struct rk_message *m, int code)
{
	struct rk_kernel *k = m->kernel;

	book_locked(d, k, counter_of(code), -1);
	count_for_lane_locked(d, m, code);
	if (!code)
		measure_locked(m);
	d->ended = true;
	TAILQ_REMOVE(&k->inflight, m, inflight);
	TAILQ_REMOVE(&d->by_id[m->id % RK_DISPATCH_BUCKETS], m, hashed);
	if (!TAILQ_EMPTY(&k->inflight))
		return false;
	TAILQ_REMOVE(&d->busy, k, busy);
	return true;
}

void rk_dispatch_finish_locked(struct rk_dispatch *d, struct rk_message *m, int code,
			       const char *why)
{
	struct rk_kernel *k = m->kernel;
	bool last = false;

	if (m->probe)
		TAILQ_REMOVE(&d->probes, m, inflight);
	else
		last = leave_flight_locked(d, m, code);
	if ((atomic_load(&k->state) == RK_KERNEL_ENDING ||
	     (atomic_load(&k->state) == RK_KERNEL_OFF && k->loaded)) &&
	    rk_dispatch_idle_locked(d, k))
		rk_dispatch_notice_locked(d, k, RK_NOTICE_UNLOADABLE);
	rk_dispatch_done_locked(d, m, code, why); /* may drop its reference to @k */
	if (last)
		rk_kernel_unref(k); /* the list's */
}

/* --- turns --- */

static struct rk_turn *find_turn_locked(const struct rk_kernel *k, uid_t uid)
{
	struct rk_turn *t;

	TAILQ_FOREACH (t, &k->turns, others)
		if (t->uid == uid)
			break;
	return t;
}

struct rk_turn *rk_dispatch_turn_locked(struct rk_kernel *k, uid_t uid)
{
	struct rk_turn *t = find_turn_locked(k, uid);

	if (t)
		return t;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->kernel = k;
	t->uid = uid;
	TAILQ_INIT(&t->queue);
	TAILQ_INIT(&t->waiting);
	TAILQ_INSERT_TAIL(&k->turns, t, others);
	return t;
}

struct rk_turn_list *rk_dispatch_list_locked(struct rk_dispatch *d, const struct rk_kernel *k)
{
	return k->bound ? &d->lanes[k->bound - 1].bound : &d->ready;
}

static void unready_locked(struct rk_dispatch *d, struct rk_turn *t)
{
	if (t->is_ready)
		TAILQ_REMOVE(rk_dispatch_list_locked(d, t->kernel), t, ready);
	t->is_ready = false;
}

/* A message has left @t: so does the turn, with its last one. */
static void left_turn_locked(struct rk_dispatch *d, struct rk_turn *t)
{
	if (!TAILQ_EMPTY(&t->queue))
		return;
	unready_locked(d, t);
	if (!TAILQ_EMPTY(&t->waiting))
		return;
	if (t->room_wanted)
		rk_dispatch_notice_locked(d, t->kernel, RK_NOTICE_ROOM);
	TAILQ_REMOVE(&t->kernel->turns, t, others);
	free(t);
}

void rk_dispatch_unwait_locked(struct rk_dispatch *d, struct rk_message *m)
{
	TAILQ_REMOVE(&m->turn->waiting, m, queue);
	left_turn_locked(d, m->turn);
	m->turn = NULL;
}

void rk_dispatch_refuse_waiting_locked(struct rk_dispatch *d, struct rk_message *m, int code,
				       const char *why)
{
	rk_dispatch_unwait_locked(d, m);
	rk_dispatch_count_locked(d, m->kernel, RK_COUNT_REJECTED);
	rk_dispatch_done_locked(d, m, code, why);
}

void rk_dispatch_ready_locked(struct rk_dispatch *d, struct rk_kernel *k)
{
	struct rk_turn *t;

	if (k->manifest.mode == RK_WIRE_RING && k->running)
		return;
	TAILQ_FOREACH (t, &k->turns, others) {
		if (t->is_ready || TAILQ_EMPTY(&t->queue))
			continue;
		t->is_ready = true;
		TAILQ_INSERT_TAIL(rk_dispatch_list_locked(d, k), t, ready);
	}
}

void rk_dispatch_enqueue_locked(struct rk_dispatch *d, struct rk_message *m)
{
	struct rk_kernel *k = m->kernel;

	uint64_t timeout = k->manifest.timeout_ms ? k->manifest.timeout_ms * RK_NS_PER_MS
						  : d->message_timeout_ns;

	m->state = RK_MESSAGE_QUEUED;
	do
		m->id = ++d->next_id;
	while (!(uint32_t)m->id); /* its low half is part of an inode number */
	m->accepted_ns = rk_now_ns();
	clock_gettime(CLOCK_REALTIME, &m->accepted);
	m->deadline_ns = timeout ? m->accepted_ns + timeout : 0;
	TAILQ_INSERT_TAIL(&d->by_id[m->id % RK_DISPATCH_BUCKETS], m, hashed);
	if (m->deadline_ns)
		look_at_locked(d, m->deadline_ns);
	if (TAILQ_EMPTY(&k->inflight)) {
		rk_kernel_ref(k); /* not within the macro: it would be evaluated more than once */
		TAILQ_INSERT_TAIL(&d->busy, k, busy);
	}
	TAILQ_INSERT_TAIL(&k->inflight, m, inflight);
	TAILQ_INSERT_TAIL(&m->turn->queue, m, queue);
	m->turn->queued++;
	atomic_fetch_add_explicit(&k->queued, 1, memory_order_relaxed);
	book_locked(d, k, RK_COUNT_ACCEPTED, 1);
	if (atomic_load(&k->state) != RK_KERNEL_LOADING)
		rk_dispatch_ready_locked(d, k);
}

bool rk_dispatch_put_back_locked(struct rk_dispatch *d, struct rk_message *m)
{
	struct rk_kernel *k = m->kernel;

	m->turn = rk_dispatch_turn_locked(k, m->uid);
	if (!m->turn)
		return false;
	TAILQ_INSERT_HEAD(&m->turn->queue, m, queue);
	m->turn->queued++;
	atomic_fetch_add_explicit(&k->queued, 1, memory_order_relaxed);
	if (atomic_load(&k->state) != RK_KERNEL_LOADING)
		rk_dispatch_ready_locked(d, k);
	return true;
}

uint64_t rk_dispatch_depth_locked(const struct rk_dispatch *d, const struct rk_kernel *k)
{
	return k->manifest.max_queue_depth ? k->manifest.max_queue_depth : d->max_queue_depth;
}

bool rk_dispatch_full_locked(const struct rk_dispatch *d, const struct rk_turn *t)
{
	return t->queued >= rk_dispatch_depth_locked(d, t->kernel) || !TAILQ_EMPTY(&t->waiting);
}

bool rk_dispatch_has_room_locked(const struct rk_dispatch *d, const struct rk_kernel *k, uid_t uid)
{
	struct rk_turn *t = find_turn_locked(k, uid);

	if (!t || !rk_dispatch_full_locked(d, t))
		return true;
	t->room_wanted = true;
	return false;
}

void rk_dispatch_room_locked(struct rk_dispatch *d, struct rk_kernel *k)
{
	uint64_t depth = rk_dispatch_depth_locked(d, k);
	struct rk_message *m;
	struct rk_turn *t;

	TAILQ_FOREACH (t, &k->turns, others) {
		while (t->queued < depth && (m = TAILQ_FIRST(&t->waiting))) {
			TAILQ_REMOVE(&t->waiting, m, queue);
			rk_dispatch_enqueue_locked(d, m);
		}
		if (t->room_wanted && !rk_dispatch_full_locked(d, t)) {
			t->room_wanted = false;
			rk_dispatch_notice_locked(d, k, RK_NOTICE_ROOM);
		}
	}
}

void rk_dispatch_unready_locked(struct rk_dispatch *d, struct rk_kernel *k)
{
	struct rk_turn *t;

	TAILQ_FOREACH (t, &k->turns, others)
		unready_locked(d, t);
}

void rk_dispatch_unqueue_locked(struct rk_dispatch *d, struct rk_message *m)
{
	struct rk_kernel *k = m->kernel;

	if (m->probe)
		return;
	TAILQ_REMOVE(&m->turn->queue, m, queue);
	m->turn->queued--;
	atomic_fetch_sub_explicit(&k->queued, 1, memory_order_relaxed);
	left_turn_locked(d, m->turn);
	m->turn = NULL;
}

#ifndef NDEBUG
#define CHECKED_MAX 64 /* messages; looking at each takes its time */

/* The messages that are in the slots of lanes, probes aside. */
static uint64_t count_slots_locked(const struct rk_dispatch *d)
{
	const struct rk_message *m;
	uint64_t n = 0;

	for (uint32_t i = 0; i < d->nlanes; i++) {
		const struct rk_lane *lane = &d->lanes[i];
		uint32_t used = 0;

		for (uint32_t slot = 0; slot < lane->nslots; slot++) {
			used += lane->slots[slot] != NULL;
			for (m = lane->slots[slot]; m; m = m->with, n++)
				assert(m->lane == i && m->slot == slot);
		}
		assert(used == lane->running);
	}
	return n;
}
#endif

/* In test builds: what is in flight is queued in a turn or in a slot of a lane, and counted once.
 */
static void check_sums_locked(const struct rk_dispatch *d)
{
#ifndef NDEBUG
	uint64_t in_flight = 0, running = 0, queued = 0;
	const struct rk_message *m;
	const struct rk_kernel *k;
	const struct rk_turn *t;

	if (d->books.in_flight > CHECKED_MAX)
		return;
	TAILQ_FOREACH (k, &d->busy, busy) {
		TAILQ_FOREACH (m, &k->inflight, inflight) {
			in_flight++;
			running += m->state == RK_MESSAGE_RUNNING;
		}
		TAILQ_FOREACH (t, &k->turns, others)
			queued += t->queued;
	}
	assert(in_flight == d->books.in_flight && in_flight == queued + running);
	assert(running == count_slots_locked(d));
#else
	(void)d;
#endif
}

static void call_done(struct rk_message *m)
{
	if (m->done)
		m->done(m, m->ctx);
	rk_message_unref(m);
}

void rk_dispatch_unlock_and_tell(struct rk_dispatch *d)
{
	struct rk_message_list finished = TAILQ_HEAD_INITIALIZER(finished);
	TAILQ_HEAD(, rk_kernel) noticed = TAILQ_HEAD_INITIALIZER(noticed);
	bool idle = !d->accepting && !d->books.in_flight && d->ended;
	bool lane_idle = d->lane_idle;
	uint64_t deadline = d->earliest_deadline;
	struct rk_message *m;

	check_sums_locked(d);
	d->earliest_deadline = 0;
	d->ended = d->lane_idle = false;
	TAILQ_CONCAT(&finished, &d->finished, finished);
	while (!TAILQ_EMPTY(&d->noticed)) {
		struct rk_kernel *k = TAILQ_FIRST(&d->noticed);
		unsigned int notices = k->notices;

		TAILQ_REMOVE(&d->noticed, k, noticed);
		k->is_noticed = false;
		k->notices = 0;
		pthread_mutex_unlock(&d->lock);
		if (notices & RK_NOTICE_ROOM && d->room)
			d->room(d->room_ctx, k);
		if (notices & RK_NOTICE_UNLOADABLE)
			d->observer.unloadable(d->observer.ctx, k);
		if (notices & RK_NOTICE_TRIPPED)
			d->observer.tripped(d->observer.ctx, k);
		rk_kernel_unref(k);
		pthread_mutex_lock(&d->lock);
	}
	pthread_mutex_unlock(&d->lock);
	while ((m = TAILQ_FIRST(&finished))) {
		TAILQ_REMOVE(&finished, m, finished);
		call_done(m);
	}
	if (deadline)
		d->observer.deadline(d->observer.ctx, deadline);
	if (lane_idle)
		d->observer.lane_idle(d->observer.ctx);
	if (idle)
		d->observer.idle(d->observer.ctx);
}

void rk_dispatch_end_probes_locked(struct rk_dispatch *d, const struct rk_kernel *k, int code,
				   const char *why)
{
	struct rk_message *m, *after;

	for (m = TAILQ_FIRST(&d->probes); m; m = after) {
		after = TAILQ_NEXT(m, inflight);
		if (m->state == RK_MESSAGE_QUEUED && (!k || m->kernel == k))
			rk_dispatch_finish_locked(d, m, code, why);
	}
}

uint64_t rk_dispatch_end_queued_locked(struct rk_dispatch *d, struct rk_kernel *k, int code,
				       const char *why)
{
	struct rk_message *m, *after;
	uint64_t ended = 0;

	for (m = TAILQ_FIRST(&k->inflight); m; m = after) {
		after = TAILQ_NEXT(m, inflight);
		if (m->state != RK_MESSAGE_QUEUED)
			continue;
		ended++;
		rk_dispatch_unqueue_locked(d, m);
		rk_dispatch_finish_locked(d, m, code, why);
	}
	if (ended) /* no message waits any more, but a caller may poll */
		rk_dispatch_room_locked(d, k);
	return ended;
}
