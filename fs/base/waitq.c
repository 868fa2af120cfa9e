/* SPDX-License-Identifier: MIT */
/* Queues of those who wait, and the order in which they are woken. */
#include "fs/base/waitq.h"

#include <errno.h>

/* Waiters that this thread has taken off a queue and not called yet. */
static _Thread_local struct rkfs_waiters woken;
static _Thread_local unsigned int holds;

int rkfs_waitq_init(struct rkfs_waitq *q)
{
	atomic_init(&q->seq, 0);
	TAILQ_INIT(&q->waiters);
	return -pthread_mutex_init(&q->lock, NULL);
}

void rkfs_waitq_destroy(struct rkfs_waitq *q)
{
	pthread_mutex_destroy(&q->lock);
}

uint64_t rkfs_waitq_seq(struct rkfs_waitq *q)
{
	return atomic_load_explicit(&q->seq, memory_order_acquire);
}

int rkfs_waitq_add(struct rkfs_waitq *q, struct rkfs_waiter *w, uint64_t seq)
{
	int rc = 0;

	RK_GUARD(&q->lock);
	if (w->cancelled) {
		rc = -ECANCELED;
	} else if (atomic_load_explicit(&q->seq, memory_order_relaxed) != seq) {
		rc = -EAGAIN;
	} else {
		TAILQ_INSERT_TAIL(&q->waiters, w, link);
		w->queued = true;
	}
	return rc;
}

static bool take_off(struct rkfs_waitq *q, struct rkfs_waiter *w, bool cancel)
{
	bool mine;

	RK_GUARD(&q->lock);
	mine = w->queued;
	if (mine)
		TAILQ_REMOVE(&q->waiters, w, link);
	w->queued = false;
	if (cancel)
		w->cancelled = true;
	return mine;
}

bool rkfs_waitq_remove(struct rkfs_waitq *q, struct rkfs_waiter *w)
{
	return take_off(q, w, false);
}

bool rkfs_waitq_cancel(struct rkfs_waitq *q, struct rkfs_waiter *w)
{
	return take_off(q, w, true);
}

void rkfs_waitq_hold(void)
{
	if (!holds++)
		TAILQ_INIT(&woken);
}

void rkfs_waitq_release(void)
{
	struct rkfs_waiter *w;

	/* the last hold is given up only once nothing is left, so that wakes in here are put off
	 * too */
	while (holds == 1 && (w = TAILQ_FIRST(&woken))) {
		TAILQ_REMOVE(&woken, w, link);
		w->wake(w);
	}
	holds--;
}

void rkfs_waitq_wake(struct rkfs_waitq *q)
{
	struct rkfs_waiter *w;

	rkfs_waitq_hold();
	pthread_mutex_lock(&q->lock);
	atomic_fetch_add_explicit(&q->seq, 1, memory_order_release);
	TAILQ_FOREACH (w, &q->waiters, link)
		w->queued = false;
	TAILQ_CONCAT(&woken, &q->waiters, link);
	pthread_mutex_unlock(&q->lock);
	rkfs_waitq_release();
}
