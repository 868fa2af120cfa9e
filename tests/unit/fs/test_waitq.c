/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <semaphore.h>
#include <string.h>

#include "fs/base/waitq.h"
#include "tests/unit/unit.h"

#define COUNT 5

/* A waiter that writes down when it was woken. */
struct entry {
	struct rkfs_waiter waiter;
	int woken;		  /* 1 = first, 2 = second, ... */
	struct rkfs_waitq *also;  /* what its wake function wakes, NULL = nothing */
	struct rkfs_waitq *again; /* where its wake function adds it again */
};

static int turn;

static void on_wake(struct rkfs_waiter *w)
{
	struct entry *e = (struct entry *)w; /* its first member */

	e->woken = ++turn;
	if (e->again)
		assert_int_equal(rkfs_waitq_add(e->again, w, rkfs_waitq_seq(e->again)), 0);
	if (e->also)
		rkfs_waitq_wake(e->also);
}

static void entries_init(struct entry *e, size_t n)
{
	memset(e, 0, n * sizeof(*e));
	for (size_t i = 0; i < n; i++)
		e[i].waiter.wake = on_wake;
	turn = 0;
}

static void add(struct rkfs_waitq *q, struct entry *e)
{
	assert_int_equal(rkfs_waitq_add(q, &e->waiter, rkfs_waitq_seq(q)), 0);
}

TEST(order)
{
	struct entry e[COUNT];
	struct rkfs_waitq q;

	entries_init(e, COUNT);
	assert_int_equal(rkfs_waitq_init(&q), 0);
	for (int i = 0; i < COUNT; i++)
		add(&q, &e[i]);
	rkfs_waitq_wake(&q);
	for (int i = 0; i < COUNT; i++) {
		assert_int_equal(e[i].woken, i + 1);
		assert_false(rkfs_waitq_remove(&q, &e[i].waiter));
	}
	rkfs_waitq_wake(&q);
	assert_int_equal(turn, COUNT);
	rkfs_waitq_destroy(&q);
}

/* A wake between taking the sequence and adding is not lost. */
TEST(stale)
{
	struct rkfs_waitq q;
	struct entry e;
	uint64_t seq;

	entries_init(&e, 1);
	assert_int_equal(rkfs_waitq_init(&q), 0);
	seq = rkfs_waitq_seq(&q);
	rkfs_waitq_wake(&q);
	assert_int_equal(rkfs_waitq_add(&q, &e.waiter, seq), -EAGAIN);
	assert_false(rkfs_waitq_remove(&q, &e.waiter));
	add(&q, &e);
	rkfs_waitq_wake(&q);
	assert_int_equal(e.woken, 1);
	rkfs_waitq_destroy(&q);
}

TEST(remove)
{
	struct entry e[3];
	struct rkfs_waitq q;

	entries_init(e, 3);
	assert_int_equal(rkfs_waitq_init(&q), 0);
	for (int i = 0; i < 3; i++)
		add(&q, &e[i]);
	assert_true(rkfs_waitq_remove(&q, &e[1].waiter));
	assert_false(rkfs_waitq_remove(&q, &e[1].waiter));
	rkfs_waitq_wake(&q);
	assert_int_equal(e[0].woken, 1);
	assert_int_equal(e[1].woken, 0);
	assert_int_equal(e[2].woken, 2);
	add(&q, &e[1]); /* removed is not cancelled */
	assert_true(rkfs_waitq_remove(&q, &e[1].waiter));
	rkfs_waitq_destroy(&q);
}

TEST(cancel)
{
	struct entry e[2];
	struct rkfs_waitq q;

	entries_init(e, 2);
	assert_int_equal(rkfs_waitq_init(&q), 0);
	add(&q, &e[0]);
	assert_true(rkfs_waitq_cancel(&q, &e[0].waiter));
	assert_int_equal(rkfs_waitq_add(&q, &e[0].waiter, rkfs_waitq_seq(&q)), -ECANCELED);
	/* one that is not queued: its owner learns it when it adds */
	assert_false(rkfs_waitq_cancel(&q, &e[1].waiter));
	assert_int_equal(rkfs_waitq_add(&q, &e[1].waiter, rkfs_waitq_seq(&q)), -ECANCELED);
	rkfs_waitq_wake(&q);
	assert_int_equal(turn, 0);
	rkfs_waitq_destroy(&q);
}

/* A wake function may queue its waiter again: once per wake, not for ever. */
TEST(again)
{
	struct rkfs_waitq q;
	struct entry e[2];

	entries_init(e, 2);
	assert_int_equal(rkfs_waitq_init(&q), 0);
	e[0].again = &q;
	add(&q, &e[0]);
	add(&q, &e[1]);
	rkfs_waitq_wake(&q);
	assert_int_equal(turn, 2);
	rkfs_waitq_wake(&q);
	assert_int_equal(e[0].woken, 3);
	assert_true(rkfs_waitq_remove(&q, &e[0].waiter));
	rkfs_waitq_destroy(&q);
}

/* Between hold and release nothing is called, and waiters are nevertheless off the queue. */
TEST(hold)
{
	struct rkfs_waitq q;
	struct entry e;

	entries_init(&e, 1);
	assert_int_equal(rkfs_waitq_init(&q), 0);
	add(&q, &e);
	rkfs_waitq_hold();
	rkfs_waitq_hold();
	rkfs_waitq_wake(&q);
	rkfs_waitq_release();
	assert_int_equal(e.woken, 0);
	assert_false(rkfs_waitq_remove(&q, &e.waiter));
	rkfs_waitq_release();
	assert_int_equal(e.woken, 1);
	rkfs_waitq_destroy(&q);
}

#define CHAIN 20000

/* Waiters that wake each other: the stack does not grow, and the others come first. */
TEST(chain)
{
	static struct rkfs_waitq q[CHAIN + 1];
	static struct entry e[CHAIN], other;

	entries_init(e, CHAIN);
	other.waiter.wake = on_wake;
	assert_int_equal(rkfs_waitq_init(&q[0]), 0);
	for (int i = 0; i < CHAIN; i++) {
		assert_int_equal(rkfs_waitq_init(&q[i + 1]), 0);
		e[i].also = &q[i + 1];
		add(&q[i], &e[i]);
	}
	add(&q[0], &other);
	rkfs_waitq_wake(&q[0]);
	assert_int_equal(e[0].woken, 1);
	assert_int_equal(other.woken, 2);
	assert_int_equal(e[CHAIN - 1].woken, CHAIN + 1);
	for (int i = 0; i <= CHAIN; i++)
		rkfs_waitq_destroy(&q[i]);
}

/* --- with threads: whoever waits for a number to be reached always learns of it --- */

#define GOAL	 20000
#define SLEEPERS 4

static struct rkfs_waitq shared;
static atomic_int number;

struct sleeper {
	struct rkfs_waiter waiter;
	sem_t woken;
};

static void on_post(struct rkfs_waiter *w)
{
	sem_post(&((struct sleeper *)w)->woken);
}

static void *sleep_until_goal(void *arg)
{
	struct sleeper *s = arg;

	for (int wanted = 1; wanted <= GOAL; wanted++) {
		for (;;) {
			uint64_t seq = rkfs_waitq_seq(&shared);

			if (atomic_load(&number) >= wanted)
				break;
			if (!rkfs_waitq_add(&shared, &s->waiter, seq))
				while (sem_wait(&s->woken))
					;
		}
	}
	return NULL;
}

TEST(no_lost_wake)
{
	static struct sleeper s[SLEEPERS];
	pthread_t thread[SLEEPERS];

	assert_int_equal(rkfs_waitq_init(&shared), 0);
	for (int i = 0; i < SLEEPERS; i++) {
		s[i].waiter.wake = on_post;
		assert_int_equal(sem_init(&s[i].woken, 0, 0), 0);
		assert_int_equal(pthread_create(&thread[i], NULL, sleep_until_goal, &s[i]), 0);
	}
	for (int i = 0; i < GOAL; i++) {
		atomic_fetch_add(&number, 1);
		rkfs_waitq_wake(&shared);
	}
	for (int i = 0; i < SLEEPERS; i++) {
		assert_int_equal(pthread_join(thread[i], NULL), 0);
		sem_destroy(&s[i].woken);
	}
	rkfs_waitq_destroy(&shared);
}
