/* SPDX-License-Identifier: MIT */
/* The books: what they add up to, and what a reset leaves. */

#include "runtime/base/counters.h"
#include "tests/unit/unit.h"

/* Each number is its own; a reset takes all but what is in flight. */
TEST(add_read_reset)
{
	struct rk_counters books = {0};
	struct rk_counts counts;

	for (unsigned int i = 0; i < RK_COUNTER_COUNT; i++)
		for (unsigned int n = 0; n <= i; n++)
			rk_counter_add(&books.count[i], 1);
	for (unsigned int n = 0; n < 3; n++)
		rk_counter_add(&books.in_flight, 1);
	rk_counter_add(&books.in_flight, -1);
	rk_counters_read(&books, &counts);
	for (unsigned int i = 0; i < RK_COUNTER_COUNT; i++)
		assert_int_equal(counts.count[i], i + 1);
	assert_int_equal(counts.in_flight, 2);
	rk_counters_reset(&books);
	rk_counters_read(&books, &counts);
	for (unsigned int i = 0; i < RK_COUNTER_COUNT; i++)
		assert_int_equal(counts.count[i], 0);
	assert_int_equal(counts.in_flight, 2);
}

TEST(balance)
{
	static const enum rk_counter ends[] = {RK_COUNT_PROCESSED, RK_COUNT_FAILED,
					       RK_COUNT_CANCELLED, RK_COUNT_TIMED_OUT};
	struct rk_counts counts = {.count[RK_COUNT_ACCEPTED] = 5, .in_flight = 5};

	for (unsigned int i = 0; i < 4; i++) {
		assert_true(rk_counts_balance(&counts));
		counts.count[ends[i]]++;
		assert_false(rk_counts_balance(&counts));
		counts.in_flight--;
	}
	counts.count[RK_COUNT_REJECTED]++; /* was never in flight */
	assert_true(rk_counts_balance(&counts));
	counts.count[RK_COUNT_ACCEPTED]++;
	assert_false(rk_counts_balance(&counts));
}
