/* SPDX-License-Identifier: MIT */
/* What the benchmark programs share. Each prints "NAME VALUE" lines for tests/bench/run. */
#ifndef RK_BENCH_H
#define RK_BENCH_H

#include <err.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/base/clock.h"

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

/* Of values that bench_median has sorted. */
static inline double bench_p99(const double *values, size_t n)
{
	return values[n * 99 / 100];
}

static inline double bench_us_since(uint64_t start)
{
	return (double)(rk_now_ns() - start) / 1e3;
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

/*
 * A child that sends back what comes through *@fd, a Unix socket of @type, until that is closed.
 */
static inline pid_t bench_start_echo(int type, int *fd)
{
	char buf[4096];
	int pair[2];
	ssize_t n;
	pid_t pid;

	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair))
		err(1, "socketpair");
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid == 0) {
		close(pair[0]);
		while ((n = read(pair[1], buf, sizeof(buf))) > 0)
			if (write(pair[1], buf, (size_t)n) != n)
				break;
		_exit(0);
	}
	close(pair[1]);
	*fd = pair[0];
	return pid;
}

#endif
