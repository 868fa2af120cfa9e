/* SPDX-License-Identifier: MIT */
/* A bound on lines within each second, and the count of those beyond it. */
#include "runtime/base/clock.h"
#include "runtime/base/rate.h"
#include "tests/unit/unit.h"

#define LIMIT 3

static void say(struct rk_rate *rate, uint64_t at, uint64_t unsaid)
{
	uint64_t found = 99;

	assert_true(rk_rate_allows(rate, LIMIT, at, &found));
	assert_int_equal(found, unsaid);
}

static void be_silent(struct rk_rate *rate, uint64_t at)
{
	uint64_t found = 99;

	assert_false(rk_rate_allows(rate, LIMIT, at, &found));
	assert_int_equal(found, 99);
}

TEST(as_many_as_allowed_within_a_second)
{
	struct rk_rate rate = {0};
	uint64_t at = 5 * RK_NS_PER_SEC;

	for (unsigned int i = 0; i < LIMIT; i++)
		say(&rate, at + i, 0);
	be_silent(&rate, at + LIMIT);
	be_silent(&rate, at + RK_NS_PER_SEC - 1);
	say(&rate, at + RK_NS_PER_SEC, 2);
	say(&rate, at + RK_NS_PER_SEC, 0);
	say(&rate, at + 2 * RK_NS_PER_SEC - 1, 0);
	be_silent(&rate, at + 2 * RK_NS_PER_SEC - 1);
	say(&rate, at + 90 * RK_NS_PER_SEC, 1);
}

TEST(who_says_little_is_never_silenced)
{
	struct rk_rate rate = {0};

	for (uint64_t at = 0; at < 100; at++)
		say(&rate, at * RK_NS_PER_SEC / LIMIT + at, 0);
}
