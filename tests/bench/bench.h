/* SPDX-License-Identifier: MIT */
/* What the benchmark programs share. Each prints "NAME VALUE" lines for tests/bench/run. */
#ifndef RK_BENCH_H
#define RK_BENCH_H

#include <err.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/clock.h"

#define BENCH_ROUNDS_MAX 1000

static inline int bench_compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Sorts @values. */
static inline double bench_median(double *values, size_t n)
{
	qsort(values, n, sizeof(*values), bench_compare);
	return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* A whole number from 1 to @max, or the program ends. */
static inline long bench_number(const char *text, long max)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (*end || n < 1 || n > max)
		errx(2, "%s: a number from 1 to %ld is wanted", text, max);
	return n;
}

static inline int bench_open(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

static inline void bench_sleep_ms(long ms)
{
	const struct timespec ts = {.tv_nsec = ms * (long)RK_NS_PER_MS};

	nanosleep(&ts, NULL);
}

#endif
