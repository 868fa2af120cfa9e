/* SPDX-License-Identifier: MIT */
/*
 * A queue of those who wait for a condition to change; knows no FUSE.
 *
 * The protocol has no lost wake-up: take the sequence, test the condition, then
 * add with that sequence; add refuses where a wake came in between (test again).
 * A waiter is on at most one queue. Whoever takes it off (wake, or remove or cancel that
 * returned true) owns it.
 *
 * Wakes are never nested: one that a wake function causes, or one between
 * rkfs_waitq_hold and rkfs_waitq_release, takes the waiters off at once and calls them when
 * the outermost wake or hold of this thread ends. So a wake function may take a lock that
 * this thread's callers hold, and a thousand waiters that wake each other need no stack.
 */
#ifndef RKFS_BASE_WAITQ_H
#define RKFS_BASE_WAITQ_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "runtime/base/thread.h"

struct rkfs_waiter {
	TAILQ_ENTRY(rkfs_waiter) link;
	bool queued;	/* these two are guarded by the queue's lock */
	bool cancelled; /* shall not be queued again */
	/* Called without a lock once the waiter is off the queue; it may free or add it again. */
	void (*wake)(struct rkfs_waiter *w);
};

TAILQ_HEAD(rkfs_waiters, rkfs_waiter);

struct rkfs_waitq {
	pthread_mutex_t lock;
	_Atomic uint64_t seq;
	struct rkfs_waiters waiters;
};

/* Returns 0 or a negative errno. */
int rkfs_waitq_init(struct rkfs_waitq *q);
/* Nobody may wait any more. */
void rkfs_waitq_destroy(struct rkfs_waitq *q);

/* The sequence; takes no lock. */
uint64_t rkfs_waitq_seq(struct rkfs_waitq *q);

/*
 * Queue @w, which is not queued (all zero but for wake at first). Returns 0; or, with @w still the
 * caller's, -EAGAIN where a wake has come since @seq was taken and -ECANCELED after
 * rkfs_waitq_cancel.
 */
int rkfs_waitq_add(struct rkfs_waitq *q, struct rkfs_waiter *w, uint64_t seq);

/* Take @w off. Returns false where it is not queued (somebody else owns it). */
bool rkfs_waitq_remove(struct rkfs_waitq *q, struct rkfs_waiter *w);

/* The same; where it is not queued, its owner cannot add it again. @w must stay valid meanwhile.
 */
bool rkfs_waitq_cancel(struct rkfs_waitq *q, struct rkfs_waiter *w);

/* Take all off and call their wake functions, in the order in which they came, with no lock held.
 */
void rkfs_waitq_wake(struct rkfs_waitq *q);

/* Put off what this thread wakes until the matching release; they nest. */
void rkfs_waitq_hold(void);
void rkfs_waitq_release(void);

#endif
