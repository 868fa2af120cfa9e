/* SPDX-License-Identifier: MIT */
/* Since when a file has its content, and a memory for that which does not grow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/looks.h"

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

static void test_change(void **state)
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
static void test_forgotten(void **state)
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

static void test_digest(void **state)
{
	(void)state;
	assert_true(rkfs_looks_digest("7\n", 2) != rkfs_looks_digest("8\n", 2));
	assert_true(rkfs_looks_digest("", 0) != rkfs_looks_digest("\n", 1));
	assert_true(rkfs_looks_digest("Running", 7) == rkfs_looks_digest("Running", 7));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_change),
		TEST(test_forgotten),
		TEST(test_digest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
