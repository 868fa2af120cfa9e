/* SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/base/counters.h"

#define CROWD	100 /* more than there are slots */
#define EACH	50000
#define WRITERS 4
#define ROUNDS	20000

_Static_assert(CROWD > RK_STATS_SLOTS, "the shared slot is to be used");

struct crowd {
	struct rk_stats stats;
	pthread_barrier_t all;
	atomic_bool over;
	atomic_uint violations;
};

static int setup(void **state)
{
	struct crowd *c = aligned_alloc(64, sizeof(*c));

	assert_non_null(c);
	memset((void *)c, 0, sizeof(*c));
	rk_stats_init(&c->stats);
	*state = c;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static void start(pthread_t *thread, void *(*fn)(void *), void *arg)
{
	assert_int_equal(pthread_create(thread, NULL, fn, arg), 0);
}

static void join(pthread_t thread)
{
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static void test_names(void **state)
{
	(void)state;
	assert_string_equal(rk_counter_name(RK_COUNT_ACCEPTED), "messages_accepted");
	assert_string_equal(rk_counter_name(RK_COUNT_PROCESSED), "messages_processed");
	assert_string_equal(rk_counter_name(RK_COUNT_FAILED), "messages_failed");
	assert_string_equal(rk_counter_name(RK_COUNT_CANCELLED), "messages_cancelled");
	assert_string_equal(rk_counter_name(RK_COUNT_TIMED_OUT), "messages_timed_out");
	assert_string_equal(rk_counter_name(RK_COUNT_REJECTED), "messages_rejected");
}

static void test_one_thread(void **state)
{
	struct crowd *c = *state;

	for (unsigned int i = 0; i < RK_COUNTER_COUNT; i++) {
		assert_int_equal(rk_stats_read(&c->stats, i), 0);
		for (unsigned int n = 0; n <= i; n++)
			rk_stats_add(&c->stats, i);
	}
	for (unsigned int i = 0; i < RK_COUNTER_COUNT; i++)
		assert_int_equal(rk_stats_read(&c->stats, i), i + 1);
}

static void test_in_flight(void **state)
{
	static const enum rk_counter ends[] = {RK_COUNT_PROCESSED, RK_COUNT_FAILED,
					       RK_COUNT_CANCELLED, RK_COUNT_TIMED_OUT};
	struct crowd *c = *state;

	for (unsigned int i = 0; i < 4; i++)
		rk_stats_add(&c->stats, RK_COUNT_ACCEPTED);
	rk_stats_add(&c->stats, RK_COUNT_REJECTED); /* was never in flight */
	for (unsigned int i = 0; i < 4; i++) {
		assert_int_equal(rk_stats_in_flight(&c->stats), 4 - i);
		rk_stats_add(&c->stats, ends[i]);
	}
	assert_int_equal(rk_stats_in_flight(&c->stats), 0);
	rk_stats_add(&c->stats, RK_COUNT_PROCESSED); /* one too many */
	assert_int_equal(rk_stats_in_flight(&c->stats), 0);
}

static void *add_in_crowd(void *arg)
{
	struct crowd *c = arg;

	rk_stats_add(&c->stats, RK_COUNT_ACCEPTED);
	pthread_barrier_wait(&c->all); /* all live, so all have a slot or share one */
	for (unsigned int i = 1; i < EACH; i++)
		rk_stats_add(&c->stats, RK_COUNT_ACCEPTED);
	return NULL;
}

static void test_more_threads_than_slots(void **state)
{
	struct crowd *c = *state;
	pthread_t threads[CROWD];

	assert_int_equal(pthread_barrier_init(&c->all, NULL, CROWD), 0);
	for (unsigned int i = 0; i < CROWD; i++)
		start(&threads[i], add_in_crowd, c);
	for (unsigned int i = 0; i < CROWD; i++)
		join(threads[i]);
	pthread_barrier_destroy(&c->all);
	assert_int_equal(rk_stats_read(&c->stats, RK_COUNT_ACCEPTED), CROWD * EACH);
	assert_true(c->stats.slots[RK_STATS_SLOTS].count[RK_COUNT_ACCEPTED] >= EACH);
}

static void *add_once(void *arg)
{
	rk_stats_add(arg, RK_COUNT_FAILED);
	return NULL;
}

/* A slot is given back at thread exit, keeps what it holds, and nobody has to share. */
static void test_slots_are_reused(void **state)
{
	struct crowd *c = *state;

	for (unsigned int i = 0; i < 3 * CROWD; i++) {
		pthread_t thread;

		start(&thread, add_once, &c->stats);
		join(thread);
	}
	assert_int_equal(rk_stats_read(&c->stats, RK_COUNT_FAILED), 3 * CROWD);
	assert_int_equal(c->stats.slots[RK_STATS_SLOTS].count[RK_COUNT_FAILED], 0);
}

/* Another structure, the same threads: slot numbers belong to threads. */
static void test_two_instances(void **state)
{
	struct crowd *c = *state;
	struct rk_stats *other = aligned_alloc(64, sizeof(*other));

	assert_non_null(other);
	rk_stats_init(other);
	rk_stats_add(&c->stats, RK_COUNT_FAILED);
	assert_int_equal(rk_stats_read(other, RK_COUNT_FAILED), 0);
	rk_stats_add(other, RK_COUNT_FAILED);
	assert_int_equal(rk_stats_read(other, RK_COUNT_FAILED), 1);
	assert_int_equal(rk_stats_read(&c->stats, RK_COUNT_FAILED), 1);
	free(other);
}

static void *begin_and_end(void *arg)
{
	struct crowd *c = arg;

	pthread_barrier_wait(&c->all);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		rk_stats_add(&c->stats, RK_COUNT_ACCEPTED);
		rk_stats_add(&c->stats, i % 2 ? RK_COUNT_PROCESSED : RK_COUNT_CANCELLED);
	}
	return NULL;
}

static void *watch_in_flight(void *arg)
{
	struct crowd *c = arg;

	while (!atomic_load(&c->over))
		if (!rk_stats_in_flight(&c->stats))
			atomic_fetch_add(&c->violations, 1);
	return NULL;
}

/*
 * One message is in flight all the time. Were ends read after beginnings, those of the
 * other threads would outnumber it.
 */
static void test_never_too_few_in_flight(void **state)
{
	struct crowd *c = *state;
	pthread_t writers[WRITERS], reader;

	rk_stats_add(&c->stats, RK_COUNT_ACCEPTED);
	assert_int_equal(pthread_barrier_init(&c->all, NULL, WRITERS), 0);
	start(&reader, watch_in_flight, c);
	for (unsigned int i = 0; i < WRITERS; i++)
		start(&writers[i], begin_and_end, c);
	for (unsigned int i = 0; i < WRITERS; i++)
		join(writers[i]);
	atomic_store(&c->over, true);
	join(reader);
	pthread_barrier_destroy(&c->all);
	assert_int_equal(c->violations, 0);
	assert_int_equal(rk_stats_in_flight(&c->stats), 1);
	assert_int_equal(rk_stats_read(&c->stats, RK_COUNT_ACCEPTED), WRITERS * ROUNDS + 1);
}

static void test_reset(void **state)
{
	struct crowd *c = *state;
	pthread_t thread;

	start(&thread, add_once, &c->stats);
	join(thread);
	rk_stats_add(&c->stats, RK_COUNT_REJECTED);
	rk_stats_reset(&c->stats);
	for (unsigned int i = 0; i < RK_COUNTER_COUNT; i++)
		assert_int_equal(rk_stats_read(&c->stats, i), 0);
	assert_int_equal(rk_stats_in_flight(&c->stats), 0);
	rk_stats_add(&c->stats, RK_COUNT_REJECTED);
	assert_int_equal(rk_stats_read(&c->stats, RK_COUNT_REJECTED), 1);
	assert_int_equal(rk_stats_read(&c->stats, RK_COUNT_FAILED), 0);
}

static void *watch_rejected(void *arg)
{
	struct crowd *c = arg;

	while (!atomic_load(&c->over))
		if (rk_stats_read(&c->stats, RK_COUNT_REJECTED) > WRITERS * ROUNDS)
			atomic_fetch_add(&c->violations, 1);
	return NULL;
}

/* Refusals are counted, and read, while a reset runs: what is read was never wrong by far. */
static void test_read_during_reset(void **state)
{
	struct crowd *c = *state;
	pthread_t reader;

	start(&reader, watch_rejected, c);
	for (unsigned int i = 0; i < WRITERS * ROUNDS; i++) {
		rk_stats_add(&c->stats, RK_COUNT_REJECTED);
		rk_stats_reset(&c->stats);
	}
	atomic_store(&c->over, true);
	join(reader);
	assert_int_equal(c->violations, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_names),
		TEST(test_one_thread),
		TEST(test_in_flight),
		TEST(test_more_threads_than_slots),
		TEST(test_slots_are_reused),
		TEST(test_two_instances),
		TEST(test_never_too_few_in_flight),
		TEST(test_reset),
		TEST(test_read_during_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
