/* SPDX-License-Identifier: MIT */
/* What others ask of dispatch: submitting, cancelling, the worker that comes and goes. */
#include "runtime/dispatch/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/clock.h"

int rk_dispatch_init(struct rk_dispatch *d, const struct rk_dispatch_observer *observer)
{
	memset((void *)d, 0, sizeof(*d));
	d->observer = *observer;
	d->max_queue_depth = 1;
	for (uint32_t i = 0; i < RK_LANES_MAX; i++) {
		d->lanes[i].index = i;
		d->lanes[i].fd = -1;
		TAILQ_INIT(&d->lanes[i].bound);
	}
	TAILQ_INIT(&d->ready);
	TAILQ_INIT(&d->busy);
	TAILQ_INIT(&d->probes);
	TAILQ_INIT(&d->finished);
	TAILQ_INIT(&d->refused);
	TAILQ_INIT(&d->noticed);
	for (unsigned int i = 0; i < RK_DISPATCH_BUCKETS; i++)
		TAILQ_INIT(&d->by_id[i]);
	return -pthread_mutex_init(&d->lock, NULL);
}

void rk_dispatch_on_room(struct rk_dispatch *d, void (*room)(void *ctx, struct rk_kernel *k),
			 void *ctx)
{
	d->room = room;
	d->room_ctx = ctx;
}

void rk_dispatch_destroy(struct rk_dispatch *d)
{
	pthread_mutex_destroy(&d->lock);
}

void rk_dispatch_set_limits(struct rk_dispatch *d, uint32_t max_queue_depth, uint64_t timeout_ns,
			    uint64_t grace_ns)
{
	struct rk_kernel *k;

	pthread_mutex_lock(&d->lock);
	d->max_queue_depth = max_queue_depth;
	d->message_timeout_ns = timeout_ns;
	d->cancel_grace_ns = grace_ns;
	TAILQ_FOREACH (k, &d->busy, busy)
		rk_dispatch_room_locked(d, k);
	rk_dispatch_hand_out_locked(d);
	rk_dispatch_unlock_and_tell(d);
}

static void refuse_all_waiting_locked(struct rk_dispatch *d, struct rk_kernel *k, int code,
				      const char *why)
{
	struct rk_message *m, *next;
	struct rk_turn *t, *after;

	for (t = TAILQ_FIRST(&k->turns); t; t = after) {
		after = TAILQ_NEXT(t, others); /* a turn ends with its last message */
		for (m = TAILQ_FIRST(&t->waiting); m; m = next) {
			next = TAILQ_NEXT(m, queue);
			rk_dispatch_refuse_waiting_locked(d, m, code, why);
		}
	}
}

#define NOT_ACCEPTING "the runtime accepts no messages (see `state`)"

uint64_t rk_dispatch_accept(struct rk_dispatch *d, bool accepting)
{
	struct rk_kernel *k;
	uint64_t in_flight;

	RK_GUARD(&d->lock);
	d->accepting = accepting;
	if (!accepting)
		TAILQ_FOREACH (k, &d->busy, busy)
			refuse_all_waiting_locked(d, k, ESHUTDOWN, NOT_ACCEPTING);
	in_flight = d->books.in_flight;
	/* Left to rk_dispatch_flush: no other caller may make these calls, with a file's lock held.
	 */
	TAILQ_CONCAT(&d->refused, &d->finished, finished);
	return in_flight;
}

void rk_dispatch_flush(struct rk_dispatch *d)
{
	pthread_mutex_lock(&d->lock);
	TAILQ_CONCAT(&d->finished, &d->refused, finished);
	rk_dispatch_unlock_and_tell(d);
}

/* The refusal of a kernel that is OFF, or about to be, for a reason without an errno of its own. */
static int refuse_off(const struct rk_kernel *k, struct rk_error *err)
{
	const char *id = k->manifest.id, *why = k->why_off;
	size_t len = strlen(id);

	if (!strncmp(why, id, len) && !strncmp(why + len, ": ", 2)) /* said already */
		why += len + 2;
	return rk_error_set(err, ENODEV, "%s: the kernel is not %s%s%s", id,
			    why[0] && atomic_load(&k->wanted) ? "loaded" : "enabled",
			    why[0] ? ": " : "", why);
}

static int submit_locked(struct rk_dispatch *d, struct rk_message *m, bool may_wait,
			 struct rk_error *err)
{
	struct rk_kernel *k = m->kernel;
	const char *id = k->manifest.id;
	enum rk_kernel_state state;

	if (!d->accepting)
		return rk_error_set(err, ESHUTDOWN, "%s: " NOT_ACCEPTING, id);
	if (atomic_load(&k->retired) && atomic_load(&k->state) == RK_KERNEL_OFF)
		return rk_error_set(err, ENODEV, "%s: the kernel was removed", id);
	state = atomic_load(&k->state);
	if (state == RK_KERNEL_OFF && k->over_limit)
		return rk_error_set(
			err, ENOSPC,
			"%s: not loaded: max_kernel_instances kernels are loaded already", id);
	if (state != RK_KERNEL_ACTIVE && state != RK_KERNEL_LOADING)
		return refuse_off(k, err);
	if (!rk_dispatch_has_room_locked(d, k, m->uid) && !may_wait)
		return rk_error_set(err, EAGAIN, "%s: the queue is full (max_queue_depth %llu)", id,
				    (unsigned long long)rk_dispatch_depth_locked(d, k));
	m->turn = rk_dispatch_turn_locked(k, m->uid);
	if (!m->turn)
		return rk_error_set(err, ENOMEM, "%s: no memory to queue a message", id);
	rk_message_ref(m);
	if (rk_dispatch_full_locked(d, m->turn)) {
		m->state = RK_MESSAGE_WAITING;
		TAILQ_INSERT_TAIL(&m->turn->waiting, m, queue);
		return 0;
	}
	rk_dispatch_enqueue_locked(d, m);
	rk_dispatch_hand_out_locked(d);
	return 0;
}

int rk_dispatch_submit(struct rk_dispatch *d, struct rk_message *m, bool may_wait,
		       struct rk_error *err)
{
	struct rk_error why;
	int rc;

	pthread_mutex_lock(&d->lock);
	rc = submit_locked(d, m, may_wait, &why);
	if (rc && rc != -EAGAIN) {
		rk_dispatch_count_locked(d, m->kernel, RK_COUNT_REJECTED);
		rk_dispatch_remember_locked(m->kernel, &why, m->uid);
	}
	rk_dispatch_unlock_and_tell(d);
	if (rc && err)
		*err = why;
	return rc;
}

int rk_dispatch_submit_probe(struct rk_dispatch *d, uint32_t lane, struct rk_message *m,
			     struct rk_error *err)
{
	struct rk_kernel *k = m->kernel;
	int rc = 0;

	pthread_mutex_lock(&d->lock);
	if (atomic_load(&k->state) != RK_KERNEL_ACTIVE) {
		rc = refuse_off(k, err);
	} else {
		m->state = RK_MESSAGE_QUEUED;
		m->id = RK_WIRE_PROBE | ++d->next_probe;
		m->lane = lane;
		m->accepted_ns = rk_now_ns();
		rk_message_ref(m);
		TAILQ_INSERT_TAIL(&d->probes, m, inflight);
		rk_dispatch_hand_out_locked(d);
	}
	rk_dispatch_unlock_and_tell(d);
	return rc;
}

bool rk_dispatch_is_running(struct rk_dispatch *d, struct rk_message *m)
{
	RK_GUARD(&d->lock);
	return m->state == RK_MESSAGE_RUNNING;
}

bool rk_dispatch_is_busy(struct rk_dispatch *d, uint32_t lane, uint64_t *quiet_ns)
{
	const struct rk_lane *l = &d->lanes[lane];
	uint64_t now = rk_now_ns();
	bool busy;

	RK_GUARD(&d->lock);
	busy = l->running;
	*quiet_ns = now > l->progress_ns ? now - l->progress_ns : 0;
	return busy;
}

void rk_dispatch_reject(struct rk_dispatch *d, struct rk_kernel *k, uid_t uid, struct rk_error *err)
{
	rk_dispatch_hide(k, err);
	RK_GUARD(&d->lock);
	rk_dispatch_count_locked(d, k, RK_COUNT_REJECTED);
	rk_dispatch_remember_locked(k, err, uid);
}

static void cancel_locked(struct rk_dispatch *d, struct rk_message *m)
{
	switch (m->state) {
	case RK_MESSAGE_WAITING:
		rk_dispatch_unwait_locked(d, m);
		rk_dispatch_done_locked(d, m, ECANCELED, RK_CANCELLED);
		break;
	case RK_MESSAGE_QUEUED:
		rk_dispatch_unqueue_locked(d, m);
		rk_dispatch_finish_locked(d, m, ECANCELED, RK_CANCELLED);
		rk_dispatch_room_locked(d, m->kernel);
		break;
	case RK_MESSAGE_RUNNING:
		rk_dispatch_cancel_running_locked(d, m); /* it may not stop half-way */
		break;
	case RK_MESSAGE_NEW:
	case RK_MESSAGE_DONE:
		break;
	}
}

void rk_dispatch_cancel(struct rk_dispatch *d, struct rk_message *m)
{
	pthread_mutex_lock(&d->lock);
	cancel_locked(d, m);
	rk_dispatch_unlock_and_tell(d);
}

bool rk_dispatch_cancel_id(struct rk_dispatch *d, uint64_t id)
{
	struct rk_message *m;

	pthread_mutex_lock(&d->lock);
	TAILQ_FOREACH (m, &d->by_id[id % RK_DISPATCH_BUCKETS], hashed)
		if (m->id == id)
			break;
	if (m)
		cancel_locked(d, m);
	rk_dispatch_unlock_and_tell(d);
	return m;
}

uint64_t rk_dispatch_end_all(struct rk_dispatch *d, int code, const char *why,
			     struct rk_message_list *held)
{
	const struct rk_death death = {.code = code, .why = why};
	struct rk_kernel *k;
	uint64_t ended = 0;

	pthread_mutex_lock(&d->lock);
	TAILQ_FOREACH (k, &d->busy, busy)
		refuse_all_waiting_locked(d, k, ESHUTDOWN, NOT_ACCEPTING);
	for (uint32_t i = 0; i < d->nlanes; i++)
		ended += rk_dispatch_end_running_locked(d, &d->lanes[i], &death, held);
	while ((k = TAILQ_FIRST(&d->busy))) /* a kernel leaves the list with its last message */
		ended += rk_dispatch_end_queued_locked(d, k, code, why);
	rk_dispatch_end_probes_locked(d, NULL, code, why);
	rk_dispatch_unlock_and_tell(d);
	return ended;
}

void rk_dispatch_attach(struct rk_dispatch *d, uint32_t lane, int fd, struct rk_wire_shared *shared,
			uint32_t nslots, uint32_t fuse_max)
{
	struct rk_lane *l = &d->lanes[lane];

	pthread_mutex_lock(&d->lock);
	l->fd = fd;
	l->shared = shared;
	l->nslots = nslots;
	l->fuse_max = fuse_max;
	l->worker = ++d->workers;
	l->blamed = false;
	if (d->nlanes <= lane)
		d->nlanes = lane + 1;
	rk_dispatch_hand_out_locked(d);
	rk_dispatch_unlock_and_tell(d);
}

static uint32_t end_lane(struct rk_dispatch *d, uint32_t lane, const struct rk_death *death,
			 struct rk_message_list *held)
{
	uint32_t ended;

	pthread_mutex_lock(&d->lock);
	ended = rk_dispatch_end_running_locked(d, &d->lanes[lane], death, held);
	rk_dispatch_hand_out_locked(d);
	rk_dispatch_unlock_and_tell(d);
	return ended;
}

uint32_t rk_dispatch_detach(struct rk_dispatch *d, uint32_t lane, const char *why,
			    uint64_t blamed_id, struct rk_message_list *held)
{
	return end_lane(d, lane,
			&(struct rk_death){.code = EIO, .why = why, .blamed_id = blamed_id}, held);
}

uint32_t rk_dispatch_bury(struct rk_dispatch *d, uint32_t lane, const char *why, uint64_t blamed_id,
			  struct rk_message_list *held)
{
	return end_lane(d, lane,
			&(struct rk_death){
				.code = EIO, .why = why, .blamed_id = blamed_id, .certain = true},
			held);
}

uint32_t rk_dispatch_cancel_lane(struct rk_dispatch *d, uint32_t lane, const char *why,
				 struct rk_message_list *held)
{
	return end_lane(d, lane, &(struct rk_death){.code = ECANCELED, .why = why}, held);
}

uint32_t rk_dispatch_close_lane(struct rk_dispatch *d, uint32_t lane, bool closed)
{
	uint32_t running;

	pthread_mutex_lock(&d->lock);
	d->lanes[lane].closed = closed;
	running = d->lanes[lane].running;
	rk_dispatch_hand_out_locked(d);
	rk_dispatch_unlock_and_tell(d);
	return running;
}

bool rk_dispatch_blamed(struct rk_dispatch *d, uint32_t lane)
{
	RK_GUARD(&d->lock);
	return d->lanes[lane].blamed;
}

/* @lane must be replaced: nothing is handed to it any more, which would die with it. */
static uint32_t overdue_locked(struct rk_lane *lane, const char *why)
{
	lane->fd = -1;
	lane->overdue = why;
	return 1U << lane->index;
}

/*
 * The lanes on which a cancelled message has not ended in time; *@next is the earliest such time
 * that is still to come, 0 = none.
 */
static uint32_t expire_cancelled_locked(struct rk_dispatch *d, uint64_t now_ns, uint64_t *next)
{
	const struct rk_message *m;
	uint32_t overdue = 0;

	*next = 0;
	for (struct rk_lane *lane = d->lanes; lane < d->lanes + d->nlanes; lane++)
		for (uint32_t slot = 0; slot <= lane->nslots; slot++)
			for (m = lane->slots[slot]; m; m = m->with) {
				if (!m->cancel_by_ns)
					continue;
				if (m->cancel_by_ns <= now_ns)
					overdue |= overdue_locked(
						lane, "a cancelled message did not end within "
						      "cancel_grace");
				else if (!*next || m->cancel_by_ns < *next)
					*next = m->cancel_by_ns;
			}
	return overdue;
}

/* The earliest deadline that is still to come, @earliest (0 = none) among them. */
static uint64_t earliest_locked(struct rk_dispatch *d, uint64_t now_ns, uint64_t earliest)
{
	struct rk_message *m;
	struct rk_kernel *k;

	TAILQ_FOREACH (k, &d->busy, busy) {
		m = TAILQ_FIRST(&k->inflight);
		while (m && m->deadline_ns <= now_ns)
			m = TAILQ_NEXT(m, inflight);
		if (m && (!earliest || m->deadline_ns < earliest))
			earliest = m->deadline_ns;
	}
	return earliest;
}

uint32_t rk_dispatch_expire(struct rk_dispatch *d, uint64_t now_ns, uint64_t *next)
{
	struct rk_kernel *k, *after_k;
	struct rk_message *m, *after;
	uint64_t cancelled;
	uint32_t replace;

	pthread_mutex_lock(&d->lock);
	replace = expire_cancelled_locked(d, now_ns, &cancelled);
	for (k = TAILQ_FIRST(&d->busy); k; k = after_k) {
		after_k = TAILQ_NEXT(k, busy);
		rk_kernel_ref(k); /* its last message may be the one that expires */
		for (m = TAILQ_FIRST(&k->inflight); m; m = after) {
			after = TAILQ_NEXT(m, inflight);
			if (!m->deadline_ns)
				continue;
			if (m->deadline_ns > now_ns)
				break; /* all have the same timeout, so the rest expires later */
			if (m->state == RK_MESSAGE_RUNNING) {
				replace |= overdue_locked(&d->lanes[m->lane],
							  "a message ran longer than its timeout");
				continue;
			}
			rk_dispatch_unqueue_locked(d, m);
			rk_dispatch_finish_locked(d, m, ETIMEDOUT,
						  "did not start within its timeout");
			rk_dispatch_room_locked(d, k);
		}
		rk_kernel_unref(k);
	}
	*next = earliest_locked(d, now_ns, cancelled);
	rk_dispatch_unlock_and_tell(d);
	return replace;
}

const char *rk_dispatch_why_overdue(struct rk_dispatch *d, uint32_t lane)
{
	const char *why;

	pthread_mutex_lock(&d->lock);
	why = d->lanes[lane].overdue;
	pthread_mutex_unlock(&d->lock);
	return why;
}

static void set_state_locked(struct rk_dispatch *d, struct rk_kernel *k, enum rk_kernel_state state,
			     const char *why)
{
	enum rk_kernel_state old = atomic_exchange(&k->state, state);

	k->over_limit = false;
	if (state == RK_KERNEL_LOADING || state == RK_KERNEL_ACTIVE)
		k->why_off[0] = '\0';
	else if (state == RK_KERNEL_OFF)
		atomic_store(&k->backend, 0);
	if (old == RK_KERNEL_OFF)
		memset(k->kills, 0, sizeof(k->kills));
	if (old != RK_KERNEL_ACTIVE && state == RK_KERNEL_ACTIVE)
		atomic_fetch_add(&d->kernels_active, 1);
	if (old == RK_KERNEL_ACTIVE && state != RK_KERNEL_ACTIVE)
		atomic_fetch_sub(&d->kernels_active, 1);
	if (state == RK_KERNEL_OFF || state == RK_KERNEL_ENDING)
		refuse_all_waiting_locked(d, k, ENODEV, why);
	if (state == RK_KERNEL_ACTIVE) {
		rk_dispatch_ready_locked(d, k);
		rk_dispatch_hand_out_locked(d);
	}
	if (state == RK_KERNEL_OFF) {
		rk_dispatch_end_queued_locked(d, k, EIO, why);
		rk_dispatch_end_probes_locked(d, k, EIO, why);
	}
	if (state == RK_KERNEL_ENDING && rk_dispatch_idle_locked(d, k))
		rk_dispatch_notice_locked(d, k, RK_NOTICE_UNLOADABLE);
}

void rk_dispatch_kernel_loaded(struct rk_dispatch *d, uint32_t lane, struct rk_kernel *k,
			       bool loaded)
{
	pthread_mutex_lock(&d->lock);
	rk_dispatch_loaded_locked(d, &d->lanes[lane], k, loaded);
	rk_dispatch_hand_out_locked(d);
	rk_dispatch_unlock_and_tell(d);
}

void rk_dispatch_kernel_expect(struct rk_dispatch *d, struct rk_kernel *k)
{
	pthread_mutex_lock(&d->lock);
	if (atomic_load(&k->state) == RK_KERNEL_OFF || atomic_load(&k->state) == RK_KERNEL_ENDING)
		set_state_locked(d, k, RK_KERNEL_LOADING, "");
	rk_dispatch_unlock_and_tell(d);
}

void rk_dispatch_kernel_state(struct rk_dispatch *d, struct rk_kernel *k,
			      enum rk_kernel_state state, const char *why)
{
	pthread_mutex_lock(&d->lock);
	set_state_locked(d, k, state, why);
	rk_dispatch_unlock_and_tell(d);
}

bool rk_dispatch_has_room(struct rk_dispatch *d, struct rk_kernel *k, uid_t uid)
{
	RK_GUARD(&d->lock);
	return rk_dispatch_has_room_locked(d, k, uid);
}
