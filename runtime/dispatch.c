/* SPDX-License-Identifier: MIT */
#include "runtime/dispatch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "runtime/clock.h"

enum notice {
	NOTICE_ROOM = 1,
	NOTICE_UNLOADABLE = 2,
};

int rk_dispatch_init(struct rk_dispatch *d, const struct rk_dispatch_observer *observer)
{
	memset((void *)d, 0, sizeof(*d));
	d->observer = *observer;
	d->fd = -1;
	d->max_queue_depth = 1;
	TAILQ_INIT(&d->ready);
	TAILQ_INIT(&d->busy);
	TAILQ_INIT(&d->finished);
	TAILQ_INIT(&d->refused);
	TAILQ_INIT(&d->noticed);
	rk_stats_init(&d->stats);
	return -pthread_mutex_init(&d->lock, NULL);
}

void rk_dispatch_destroy(struct rk_dispatch *d)
{
	pthread_mutex_destroy(&d->lock);
}

static void notice_locked(struct rk_dispatch *d, struct rk_kernel *k, enum notice what)
{
	k->notices |= what;
	if (k->is_noticed)
		return;
	k->is_noticed = true;
	rk_kernel_ref(k);
	TAILQ_INSERT_TAIL(&d->noticed, k, noticed);
}

static void count_locked(struct rk_dispatch *d, struct rk_kernel *k, enum rk_counter counter)
{
	rk_stats_add(&d->stats, counter);
	atomic_store_explicit(&k->count[counter],
			      atomic_load_explicit(&k->count[counter], memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

static void remember_locked(struct rk_kernel *k, const char *msg)
{
	snprintf(k->last_error, sizeof(k->last_error), "%s", msg);
}

/* @m is done; its dispatch reference goes to the finished list. */
static void done_locked(struct rk_dispatch *d, struct rk_message *m, int code, const char *why)
{
	m->state = RK_MESSAGE_DONE;
	if (code) {
		rk_error_set(&m->error, code, "%s: message %llu: %s", m->kernel->manifest.id,
			     (unsigned long long)m->id, why);
		remember_locked(m->kernel, m->error.msg);
	}
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

/* End a message that is in flight and on no queue any more. */
static void finish_locked(struct rk_dispatch *d, struct rk_message *m, int code, const char *why)
{
	struct rk_kernel *k = m->kernel;

	count_locked(d, k, counter_of(code));
	d->in_flight--;
	TAILQ_REMOVE(&k->inflight, m, inflight);
	done_locked(d, m, code, why);
	if (!TAILQ_EMPTY(&k->inflight))
		return;
	TAILQ_REMOVE(&d->busy, k, busy);
	if (atomic_load(&k->state) == RK_KERNEL_ENDING)
		notice_locked(d, k, NOTICE_UNLOADABLE);
	rk_kernel_unref(k); /* @m has a reference of its own */
}

/* End a message that waits for room: it was never accepted. */
static void refuse_waiting_locked(struct rk_dispatch *d, struct rk_message *m, int code,
				  const char *why)
{
	TAILQ_REMOVE(&m->kernel->waiting, m, queue);
	count_locked(d, m->kernel, RK_COUNT_REJECTED);
	done_locked(d, m, code, why);
}

static void enqueue_locked(struct rk_dispatch *d, struct rk_message *m)
{
	struct rk_kernel *k = m->kernel;

	m->state = RK_MESSAGE_QUEUED;
	m->id = ++d->next_id;
	m->accepted_ns = rk_now_ns();
	m->deadline_ns = d->message_timeout_ns ? m->accepted_ns + d->message_timeout_ns : 0;
	if (m->deadline_ns && (!d->earliest_deadline || m->deadline_ns < d->earliest_deadline))
		d->earliest_deadline = m->deadline_ns;
	if (TAILQ_EMPTY(&k->inflight)) {
		rk_kernel_ref(k); /* not within the macro: it would be evaluated more than once */
		TAILQ_INSERT_TAIL(&d->busy, k, busy);
	}
	TAILQ_INSERT_TAIL(&k->inflight, m, inflight);
	TAILQ_INSERT_TAIL(&k->queue, m, queue);
	atomic_fetch_add_explicit(&k->queued, 1, memory_order_relaxed);
	d->in_flight++;
	count_locked(d, k, RK_COUNT_ACCEPTED);
	if (!k->is_ready) {
		k->is_ready = true;
		rk_kernel_ref(k);
		TAILQ_INSERT_TAIL(&d->ready, k, ready);
	}
}

static bool full_locked(const struct rk_dispatch *d, const struct rk_kernel *k)
{
	return k->queued >= d->max_queue_depth || !TAILQ_EMPTY(&k->waiting);
}

/* A place in the queue is free: accept who waits for it, or tell who polls. */
static void room_locked(struct rk_dispatch *d, struct rk_kernel *k)
{
	struct rk_message *m;

	while (k->queued < d->max_queue_depth && (m = TAILQ_FIRST(&k->waiting))) {
		TAILQ_REMOVE(&k->waiting, m, queue);
		enqueue_locked(d, m);
	}
	if (k->room_wanted && !full_locked(d, k)) {
		k->room_wanted = false;
		notice_locked(d, k, NOTICE_ROOM);
	}
}

static void unqueue_locked(struct rk_dispatch *d, struct rk_message *m)
{
	struct rk_kernel *k = m->kernel;

	TAILQ_REMOVE(&k->queue, m, queue);
	atomic_fetch_sub_explicit(&k->queued, 1, memory_order_relaxed);
	if (TAILQ_EMPTY(&k->queue) && k->is_ready) {
		k->is_ready = false;
		TAILQ_REMOVE(&d->ready, k, ready);
		rk_kernel_unref(k);
	}
}

static int send_run(int fd, const struct rk_message *m)
{
	struct rk_wire_run run = {
		.id = m->id,
		.slot = m->slot,
		.kernel = m->kernel->slot,
	};
	size_t len;
	ssize_t n;

	rk_plan_wire(&m->plan, m->block.offset, m->block.data, &run);
	len = offsetof(struct rk_wire_run, args) + run.nargs * sizeof(run.args[0]);
	do
		n = send(fd, &run, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/* Give queued messages to free slots of the worker; kernels take turns. */
static void hand_out_locked(struct rk_dispatch *d)
{
	while (d->fd >= 0 && d->running < d->nslots && !TAILQ_EMPTY(&d->ready)) {
		struct rk_kernel *k = TAILQ_FIRST(&d->ready);
		struct rk_message *m = TAILQ_FIRST(&k->queue);
		uint32_t slot = 0;
		int rc;

		while (d->slots[slot])
			slot++;
		m->slot = slot;
		rc = send_run(d->fd, m);
		if (rc) {
			/* Dead: the supervisor sees EOF and detaches. Full: an answer will come. */
			if (rc != -EAGAIN)
				d->fd = -1;
			return;
		}
		d->slots[slot] = m;
		d->running++;
		m->state = RK_MESSAGE_RUNNING;
		TAILQ_REMOVE(&d->ready, k, ready);
		TAILQ_INSERT_TAIL(&d->ready, k, ready);
		unqueue_locked(d, m);
		room_locked(d, k);
	}
}

static void call_done(struct rk_message *m)
{
	if (m->done)
		m->done(m, m->ctx);
	rk_message_unref(m);
}

/* Unlock, then make the calls that the critical section asked for. */
static void unlock_and_tell(struct rk_dispatch *d)
{
	struct rk_message_list finished = TAILQ_HEAD_INITIALIZER(finished);
	TAILQ_HEAD(, rk_kernel) noticed = TAILQ_HEAD_INITIALIZER(noticed);
	bool idle = !d->accepting && !d->in_flight && !TAILQ_EMPTY(&d->finished);
	uint64_t deadline = d->earliest_deadline;
	struct rk_message *m;

	d->earliest_deadline = 0;
	TAILQ_CONCAT(&finished, &d->finished, finished);
	while (!TAILQ_EMPTY(&d->noticed)) {
		struct rk_kernel *k = TAILQ_FIRST(&d->noticed);
		unsigned int notices = k->notices;

		TAILQ_REMOVE(&d->noticed, k, noticed);
		k->is_noticed = false;
		k->notices = 0;
		pthread_mutex_unlock(&d->lock);
		if (notices & NOTICE_ROOM)
			d->observer.room(d->observer.ctx, k);
		if (notices & NOTICE_UNLOADABLE)
			d->observer.unloadable(d->observer.ctx, k);
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
	if (idle)
		d->observer.idle(d->observer.ctx);
}

void rk_dispatch_set_limits(struct rk_dispatch *d, uint32_t max_queue_depth, uint64_t timeout_ns)
{
	struct rk_kernel *k;

	pthread_mutex_lock(&d->lock);
	d->max_queue_depth = max_queue_depth;
	d->message_timeout_ns = timeout_ns;
	TAILQ_FOREACH (k, &d->busy, busy)
		room_locked(d, k);
	hand_out_locked(d);
	unlock_and_tell(d);
}

static void refuse_all_waiting_locked(struct rk_dispatch *d, struct rk_kernel *k, int code,
				      const char *why)
{
	while (!TAILQ_EMPTY(&k->waiting))
		refuse_waiting_locked(d, TAILQ_FIRST(&k->waiting), code, why);
}

#define NOT_ACCEPTING "the runtime accepts no messages (see `state`)"

uint64_t rk_dispatch_accept(struct rk_dispatch *d, bool accepting)
{
	struct rk_kernel *k;
	uint64_t in_flight;

	pthread_mutex_lock(&d->lock);
	d->accepting = accepting;
	if (!accepting)
		TAILQ_FOREACH (k, &d->busy, busy)
			refuse_all_waiting_locked(d, k, ESHUTDOWN, NOT_ACCEPTING);
	in_flight = d->in_flight;
	/* Nobody else may call them: he could hold the lock of some other file. */
	TAILQ_CONCAT(&d->refused, &d->finished, finished);
	pthread_mutex_unlock(&d->lock);
	return in_flight;
}

void rk_dispatch_flush(struct rk_dispatch *d)
{
	pthread_mutex_lock(&d->lock);
	TAILQ_CONCAT(&d->finished, &d->refused, finished);
	unlock_and_tell(d);
}

static int submit_locked(struct rk_dispatch *d, struct rk_message *m, bool may_wait,
			 struct rk_error *err)
{
	struct rk_kernel *k = m->kernel;
	const char *id = k->manifest.id;

	if (!d->accepting)
		return rk_error_set(err, ESHUTDOWN, "%s: " NOT_ACCEPTING, id);
	if (atomic_load(&k->state) != RK_KERNEL_ACTIVE && k->over_limit)
		return rk_error_set(err, ENOSPC, "%s: not loaded: max_kernel_instances are", id);
	if (atomic_load(&k->state) != RK_KERNEL_ACTIVE)
		return rk_error_set(err, ENODEV, "%s: the kernel is not enabled", id);
	if (full_locked(d, k)) {
		k->room_wanted = true;
		if (!may_wait)
			return rk_error_set(err, EAGAIN,
					    "%s: the queue is full (max_queue_depth %u)", id,
					    d->max_queue_depth);
		m->state = RK_MESSAGE_WAITING;
		rk_message_ref(m);
		TAILQ_INSERT_TAIL(&k->waiting, m, queue);
		return 0;
	}
	enqueue_locked(d, rk_message_ref(m));
	hand_out_locked(d);
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
		count_locked(d, m->kernel, RK_COUNT_REJECTED);
		remember_locked(m->kernel, why.msg);
	}
	unlock_and_tell(d);
	return rc ? rk_error_set(err, why.code, "%s", why.msg) : 0;
}

void rk_dispatch_reject(struct rk_dispatch *d, struct rk_kernel *k, const struct rk_error *err)
{
	pthread_mutex_lock(&d->lock);
	count_locked(d, k, RK_COUNT_REJECTED);
	remember_locked(k, err->msg);
	pthread_mutex_unlock(&d->lock);
}

void rk_dispatch_cancel(struct rk_dispatch *d, struct rk_message *m)
{
	static const char why[] = "cancelled by its caller";

	pthread_mutex_lock(&d->lock);
	switch (m->state) {
	case RK_MESSAGE_WAITING:
		TAILQ_REMOVE(&m->kernel->waiting, m, queue);
		done_locked(d, m, ECANCELED, why);
		break;
	case RK_MESSAGE_QUEUED:
		unqueue_locked(d, m);
		finish_locked(d, m, ECANCELED, why);
		room_locked(d, m->kernel);
		break;
	case RK_MESSAGE_RUNNING:
		m->verdict = ECANCELED; /* the worker cannot be stopped half-way */
		break;
	case RK_MESSAGE_NEW:
	case RK_MESSAGE_DONE:
		break;
	}
	unlock_and_tell(d);
}

/* Running messages end with @code and @why, but for those decided otherwise already. */
static uint32_t end_running_locked(struct rk_dispatch *d, int code, const char *why,
				   struct rk_message_list *held)
{
	uint64_t now = rk_now_ns();
	uint32_t ended = 0;

	d->fd = -1;
	for (uint32_t i = 0; i < RK_WIRE_THREADS_MAX; i++) {
		struct rk_message *m = d->slots[i];

		if (!m)
			continue;
		d->slots[i] = NULL;
		rk_message_ref(m);
		TAILQ_INSERT_TAIL(held, m, queue);
		ended++;
		if (m->verdict)
			finish_locked(d, m, m->verdict, "cancelled by its caller");
		else if (m->deadline_ns && now >= m->deadline_ns)
			finish_locked(d, m, ETIMEDOUT, "did not complete within message_timeout");
		else
			finish_locked(d, m, code, why);
	}
	d->running = 0;
	return ended;
}

static uint64_t end_queued_locked(struct rk_dispatch *d, struct rk_kernel *k, int code,
				  const char *why)
{
	struct rk_message *m;
	uint64_t ended = 0;

	while ((m = TAILQ_FIRST(&k->queue))) {
		unqueue_locked(d, m);
		finish_locked(d, m, code, why);
		ended++;
	}
	if (ended) /* nobody waits any more, but somebody may poll */
		room_locked(d, k);
	return ended;
}

uint64_t rk_dispatch_end_all(struct rk_dispatch *d, int code, const char *why,
			     struct rk_message_list *held)
{
	struct rk_kernel *k;
	uint64_t ended;

	pthread_mutex_lock(&d->lock);
	TAILQ_FOREACH (k, &d->busy, busy)
		refuse_all_waiting_locked(d, k, ESHUTDOWN, NOT_ACCEPTING);
	ended = end_running_locked(d, code, why, held);
	while ((k = TAILQ_FIRST(&d->busy))) /* a kernel leaves the list with its last message */
		ended += end_queued_locked(d, k, code, why);
	unlock_and_tell(d);
	return ended;
}

void rk_dispatch_attach(struct rk_dispatch *d, int fd, uint32_t nslots)
{
	pthread_mutex_lock(&d->lock);
	d->fd = fd;
	d->nslots = nslots;
	hand_out_locked(d);
	unlock_and_tell(d);
}

uint32_t rk_dispatch_detach(struct rk_dispatch *d, const char *why, struct rk_message_list *held)
{
	uint32_t ended;

	pthread_mutex_lock(&d->lock);
	ended = end_running_locked(d, EIO, why, held);
	unlock_and_tell(d);
	return ended;
}

/* The running message that @done answers, or NULL with a sentence. */
static struct rk_message *answered_locked(struct rk_dispatch *d, const struct rk_wire_done *done,
					  size_t len, struct rk_error *err)
{
	size_t want = offsetof(struct rk_wire_done, text);
	struct rk_message *m;

	if (len < want || (done->status && len != sizeof(*done)) ||
	    (!done->status && len != want) || done->status < 0 || done->status > 4095 ||
	    (done->status && !memchr(done->text, '\0', sizeof(done->text)))) {
		rk_error_set(err, EPROTO, "the worker sent a malformed answer");
		return NULL;
	}
	m = done->slot < d->nslots ? d->slots[done->slot] : NULL;
	if (!m || m->id != done->id) {
		rk_error_set(err, EPROTO, "the worker answered message %llu, which does not run",
			     (unsigned long long)done->id);
		return NULL;
	}
	return m;
}

int rk_dispatch_complete(struct rk_dispatch *d, const struct rk_wire_done *done, size_t len,
			 struct rk_error *err)
{
	struct rk_error guard = {0};
	struct rk_message *m;

	pthread_mutex_lock(&d->lock);
	m = answered_locked(d, done, len, err);
	if (!m) {
		/* One that was detached, and is being ended, may have answered just before. */
		int rc = d->fd < 0 ? 0 : -EPROTO;

		pthread_mutex_unlock(&d->lock);
		return rc;
	}
	d->slots[done->slot] = NULL;
	d->running--;
	m->run_ns = done->run_ns;
	if (rk_plan_check(&m->plan, m->block.data, &guard))
		finish_locked(d, m, EIO, guard.msg);
	else if (m->verdict)
		finish_locked(d, m, m->verdict, "cancelled by its caller");
	else
		finish_locked(d, m, done->status, done->status ? done->text : "");
	if (guard.code)
		d->fd = -1; /* about to be replaced: what is queued is for the next one */
	hand_out_locked(d);
	unlock_and_tell(d);
	if (guard.code)
		return rk_error_set(err, EIO, "%s", guard.msg);
	return 0;
}

/* The earliest deadline that is still to come, 0 = none. */
static uint64_t earliest_locked(struct rk_dispatch *d, uint64_t now_ns)
{
	uint64_t earliest = 0;
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

bool rk_dispatch_expire(struct rk_dispatch *d, uint64_t now_ns, uint64_t *next)
{
	struct rk_kernel *k, *after_k;
	struct rk_message *m, *after;
	bool replace = false;

	pthread_mutex_lock(&d->lock);
	for (k = TAILQ_FIRST(&d->busy); k; k = after_k) {
		after_k = TAILQ_NEXT(k, busy);
		rk_kernel_ref(k); /* its last message may be the one that expires */
		for (m = TAILQ_FIRST(&k->inflight); m; m = after) {
			after = TAILQ_NEXT(m, inflight);
			if (!m->deadline_ns)
				continue;
			if (m->deadline_ns > now_ns)
				break; /* one timeout for all: the rest is later */
			if (m->state == RK_MESSAGE_RUNNING) {
				replace = true;
				continue;
			}
			unqueue_locked(d, m);
			finish_locked(d, m, ETIMEDOUT, "did not start within message_timeout");
			room_locked(d, k);
		}
		rk_kernel_unref(k);
	}
	if (replace)
		d->fd = -1; /* what is handed out now would die with it */
	*next = earliest_locked(d, now_ns);
	unlock_and_tell(d);
	return replace;
}

void rk_dispatch_kernel_state(struct rk_dispatch *d, struct rk_kernel *k,
			      enum rk_kernel_state state, const char *why)
{
	enum rk_kernel_state old;

	pthread_mutex_lock(&d->lock);
	old = atomic_exchange(&k->state, state);
	k->over_limit = false;
	if (old != RK_KERNEL_ACTIVE && state == RK_KERNEL_ACTIVE)
		atomic_fetch_add(&d->kernels_active, 1);
	if (old == RK_KERNEL_ACTIVE && state != RK_KERNEL_ACTIVE)
		atomic_fetch_sub(&d->kernels_active, 1);
	if (state != RK_KERNEL_ACTIVE)
		refuse_all_waiting_locked(d, k, ENODEV, why);
	if (state == RK_KERNEL_OFF)
		end_queued_locked(d, k, EIO, why);
	if (state == RK_KERNEL_ENDING && TAILQ_EMPTY(&k->inflight))
		notice_locked(d, k, NOTICE_UNLOADABLE);
	unlock_and_tell(d);
}

bool rk_dispatch_has_room(struct rk_dispatch *d, struct rk_kernel *k)
{
	bool room;

	pthread_mutex_lock(&d->lock);
	room = !full_locked(d, k);
	if (!room)
		k->room_wanted = true;
	pthread_mutex_unlock(&d->lock);
	return room;
}
