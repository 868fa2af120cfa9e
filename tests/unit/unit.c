/* SPDX-License-Identifier: MIT */
/* The list of a unit program's tests, and the main function of a program that has none. */
#include "tests/unit/unit.h"

#include <stdlib.h>

#define TESTS_MAX 128

/* Constructors run in no certain order: the tests are kept in the order of their lines. */
static struct CMUnitTest tests[TESTS_MAX];
static int lines[TESTS_MAX];
static size_t ntests;

void unit_add(int line, struct CMUnitTest test)
{
	size_t at = ntests;

	if (ntests == TESTS_MAX)
		abort();
	for (; at > 0 && lines[at - 1] > line; at--) {
		tests[at] = tests[at - 1];
		lines[at] = lines[at - 1];
	}
	tests[at] = test;
	lines[at] = line;
	ntests++;
}

int unit_run(CMFixtureFunction setup, CMFixtureFunction teardown)
{
	return _cmocka_run_group_tests("tests", tests, ntests, setup, teardown);
}

__attribute__((weak)) int main(void)
{
	return unit_run(NULL, NULL);
}
