/* SPDX-License-Identifier: MIT */
/* A ring kernel's thread and its state. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "gpu/base/crash.h"
#include "gpu/cpu/internal.h"
#include "tests/unit/unit.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define STATE_BYTES  1000
#define CALLERS	     8
#define CALLS	     200

static struct rk_wire_shared page;

/* The handlers are for the process, and the threads of a ring count on them. */
static int watch_crashes(void **state)
{
	(void)state;
	return rk_crash_watch(&page, NULL);
}

static struct rk_cpu_ring *start(uint64_t state_bytes)
{
	struct rk_cpu_ring *ring;
	struct rk_error err = {0};

	if (rk_cpu_ring_start(&ring, 12, state_bytes, &err))
		fail_msg("%s", err.msg);
	return ring;
}

struct seen {
	pthread_t thread;
	char name[16];
	void *state;
	unsigned char bytes[STATE_BYTES];
};

/* Note what there is, and spoil the state. */
static void look(void *ctx, void *state)
{
	struct seen *seen = ctx;

	seen->thread = pthread_self();
	pthread_getname_np(seen->thread, seen->name, sizeof(seen->name));
	seen->state = state;
	memcpy(seen->bytes, state, STATE_BYTES);
	memset(state, 0xEE, STATE_BYTES);
}

TEST(state)
{
	static const unsigned char zeroes[STATE_BYTES];
	unsigned char spoiled[STATE_BYTES];
	struct seen first, second;

	memset(spoiled, 0xEE, sizeof(spoiled));
	for (int i = 0; i < 3; i++) { /* and each new one is zeroed, where memory comes back too */
		struct rk_cpu_ring *ring = start(STATE_BYTES);

		rk_cpu_ring_run(ring, 1, look, &first);
		rk_cpu_ring_run(ring, 2, look, &second);
		assert_memory_equal(first.bytes, zeroes, STATE_BYTES);
		assert_memory_equal(second.bytes, spoiled, STATE_BYTES);
		assert_ptr_equal(first.state, second.state);
		assert_int_equal((uintptr_t)first.state % 64, 0);
		assert_true(pthread_equal(first.thread, second.thread));
		assert_false(pthread_equal(first.thread, pthread_self()));
		assert_string_equal(first.name, "rk-ring-12");
		rk_cpu_ring_stop(ring);
	}
}

static void expect_none(void *ctx, void *state)
{
	*(bool *)ctx = state == NULL;
}

TEST(no_state)
{
	struct rk_cpu_ring *ring = start(0);
	bool none = false;

	rk_cpu_ring_run(ring, 1, expect_none, &none);
	assert_true(none);
	rk_cpu_ring_stop(ring);
	rk_cpu_ring_stop(start(0)); /* never used */
}

TEST(too_large)
{
	static const uint64_t sizes[] = {UINT64_MAX, UINT64_MAX - 64, UINT64_MAX / 2};
	struct rk_cpu_ring *ring;
	struct rk_error err;

	for (size_t i = 0; i < COUNT(sizes); i++) {
		assert_int_equal(rk_cpu_ring_start(&ring, 1, sizes[i], &err), -ENOMEM);
		assert_non_null(strstr(err.msg, "no memory for its state of "));
	}
}

/* A counter that only one at a time may be at. */
struct counter {
	atomic_int inside;
	bool overtaken;
	uint64_t n; /* no atomic: ThreadSanitizer looks on */
};

static void count(void *ctx, void *state)
{
	struct counter *counter = ctx;

	if (atomic_fetch_add(&counter->inside, 1))
		counter->overtaken = true;
	counter->n++;
	++*(uint64_t *)state;
	sched_yield();
	atomic_fetch_sub(&counter->inside, 1);
}

struct caller {
	struct rk_cpu_ring *ring;
	struct counter *counter;
};

static void *call_often(void *arg)
{
	const struct caller *caller = arg;

	for (int i = 0; i < CALLS; i++)
		rk_cpu_ring_run(caller->ring, 1, count, caller->counter);
	return NULL;
}

static void read_count(void *ctx, void *state)
{
	memcpy(ctx, state, sizeof(uint64_t));
}

TEST(one_at_a_time)
{
	struct counter counter = {0};
	struct caller caller = {start(sizeof(uint64_t)), &counter};
	pthread_t threads[CALLERS];
	uint64_t n = 0;

	for (size_t i = 0; i < COUNT(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, call_often, &caller), 0);
	for (size_t i = 0; i < COUNT(threads); i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_false(counter.overtaken);
	assert_int_equal(counter.n, CALLERS * CALLS);
	rk_cpu_ring_run(caller.ring, 1, read_count, &n);
	assert_int_equal(n, CALLERS * CALLS);
	rk_cpu_ring_stop(caller.ring);
}

/* Messages that come while one is under way. */
struct queue {
	sem_t inside, go_on;
	struct rk_cpu_ring *ring;
	unsigned int order[CALLERS], n;
};

struct place {
	struct queue *queue;
	unsigned int number;
	atomic_int tid; /* of the caller, 0 = not started yet */
};

static void hold_up(void *ctx, void *state)
{
	struct queue *queue = ctx;

	(void)state;
	sem_post(&queue->inside);
	while (sem_wait(&queue->go_on))
		;
}

static void note_order(void *ctx, void *state)
{
	struct place *place = ctx;

	(void)state;
	place->queue->order[place->queue->n++] = place->number;
}

static void *hold_up_ring(void *arg)
{
	struct queue *queue = arg;

	rk_cpu_ring_run(queue->ring, 1, hold_up, queue);
	return NULL;
}

static void *take_place(void *arg)
{
	struct place *place = arg;

	atomic_store(&place->tid, gettid());
	rk_cpu_ring_run(place->queue->ring, 1, note_order, place);
	return NULL;
}

/* Until the thread sleeps: it has posted its message then. */
static void wait_asleep(struct place *place)
{
	char path[64], text[512];
	const char *after = NULL;
	FILE *f;

	while (!atomic_load(&place->tid))
		sched_yield();
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", atomic_load(&place->tid));
	do {
		sched_yield();
		f = fopen(path, "re");
		assert_non_null(f);
		after = fgets(text, sizeof(text), f) ? strrchr(text, ')') : NULL;
		fclose(f);
		assert_non_null(after);
	} while (after[2] != 'S');
}

TEST(in_order)
{
	struct queue queue = {.ring = start(0)};
	struct place places[CALLERS] = {0};
	pthread_t threads[CALLERS], first;

	assert_int_equal(sem_init(&queue.inside, 0, 0), 0);
	assert_int_equal(sem_init(&queue.go_on, 0, 0), 0);
	assert_int_equal(pthread_create(&first, NULL, hold_up_ring, &queue), 0);
	while (sem_wait(&queue.inside))
		;
	for (unsigned int i = 0; i < CALLERS; i++) {
		places[i] = (struct place){.queue = &queue, .number = i};
		assert_int_equal(pthread_create(&threads[i], NULL, take_place, &places[i]), 0);
		wait_asleep(&places[i]);
	}
	assert_int_equal(queue.n, 0);
	sem_post(&queue.go_on);
	for (unsigned int i = 0; i < CALLERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(pthread_join(first, NULL), 0);
	assert_int_equal(queue.n, CALLERS);
	for (unsigned int i = 0; i < CALLERS; i++)
		assert_int_equal(queue.order[i], i);
	rk_cpu_ring_stop(queue.ring);
	sem_destroy(&queue.inside);
	sem_destroy(&queue.go_on);
}

int main(void)
{
	return unit_run(watch_crashes, NULL);
}
