/* SPDX-License-Identifier: MIT */
/* Since when a file has its content, and a memory for that which does not grow. */

#include "fs/looks.h"
#include "tests/unit/unit.h"

static const struct timespec born = {.tv_sec = 1000};

static int setup(void **state)
{
	return rkfs_looks_create((struct rkfs_looks **)state);
}

static int teardown(void **state)
{
	rkfs_looks_destroy(*state);
	return 0;
}

#define RIG_TEST(name) TEST_WITH(name, setup, teardown)

RIG_TEST(change)
{
	struct timespec first, second, again;

	assert_int_equal(rkfs_looks_since(*state, 7, 1, born).tv_sec, 1000);
	assert_int_equal(rkfs_looks_since(*state, 7, 1, born).tv_sec, 1000);
	first = rkfs_looks_since(*state, 7, 2, born);
	assert_true(first.tv_sec > 1000);
	again = rkfs_looks_since(*state, 7, 2, born);
	assert_memory_equal(&again, &first, sizeof(first));
	second = rkfs_looks_since(*state, 7, 1, born); /* back to what it was is a change too */
	assert_true(second.tv_sec > first.tv_sec ||
		    (second.tv_sec == first.tv_sec && second.tv_nsec > first.tv_nsec));
	assert_int_equal(rkfs_looks_since(*state, 8, 1, born).tv_sec, 1000);
}

/* What was forgotten may have changed since: now, never a time before. */
RIG_TEST(forgotten)
{
	unsigned int old = 0;

	for (uint64_t node = 1; node <= 1000; node++)
		assert_int_equal(rkfs_looks_since(*state, node << 16 | 1, 1, born).tv_sec, 1000);
	for (uint64_t node = 1; node <= 1000; node++)
		assert_int_equal(rkfs_looks_since(*state, node << 16 | 1, 1, born).tv_sec, 1000);
	for (uint64_t node = 1001; node <= 100000; node++)
		rkfs_looks_since(*state, node << 16 | 1, 1, born);
	for (uint64_t node = 1; node <= 1000; node++)
		old += rkfs_looks_since(*state, node << 16 | 1, 2, born).tv_sec == 1000;
	assert_int_equal(old, 0);
}

RIG_TEST(digest)
{
	assert_true(rkfs_looks_digest("7\n", 2) != rkfs_looks_digest("8\n", 2));
	assert_true(rkfs_looks_digest("", 0) != rkfs_looks_digest("\n", 1));
	assert_true(rkfs_looks_digest("Running", 7) == rkfs_looks_digest("Running", 7));
}
