/* SPDX-License-Identifier: MIT */
/*
 * What every unit program includes: cmocka, and tests that put themselves on the list of their
 * program.
 *
 *	TEST(what_it_shows)
 *	{
 *		assert_true(...);
 *	}
 *
 * They run in the order in which they are written. unit.c has a main that runs them; a program that
 * has something to do before has a main of its own, which ends with unit_run().
 */
#ifndef RK_TESTS_UNIT_H
#define RK_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

void unit_add(int line, struct CMUnitTest test);

/* Run the tests between @setup and @teardown, each of which may be NULL. Returns how many failed.
 */
int unit_run(CMFixtureFunction setup, CMFixtureFunction teardown);

/* A test between @setup and @teardown of its own; *state is what @setup left there. */
#define TEST_WITH(name, setup, teardown)                                                           \
	static void test_##name(void **state);                                                     \
	__attribute__((constructor)) static void unit_add_##name(void)                             \
	{                                                                                          \
		unit_add(__LINE__,                                                                 \
			 (struct CMUnitTest){#name, test_##name, setup, teardown, NULL});          \
	}                                                                                          \
	static void test_##name(__attribute__((unused)) void **state)

#define TEST(name) TEST_WITH(name, NULL, NULL)

/* The next of a row of random numbers that is the same each time: splitmix64. */
static inline uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

#endif
