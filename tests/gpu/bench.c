// SPDX-License-Identifier: MIT
/*
 * bench [--quick] [--modules DIR]: what the CUDA backend takes, measured through the functions that
 * the worker calls, against the driver API alone in the same run. One line for each row:
 *
 *	STATUS <tab> WHAT <tab> RESULT <tab> REFERENCE
 *
 * where STATUS is pass or fail where there is a target, else measured. Exits with 1 where a target
 * is missed, with 2 where something does not work.
 */
#include "tests/gpu/bench.h"

#include <err.h>
#include <getopt.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static bool missed;

void bench_row(const char *status, const char *what, const char *reference, const char *fmt, ...)
{
	va_list ap;

	missed |= strcmp(status, "fail") == 0;
	printf("%s\t%s\t", status, what);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\t%s\n", reference);
	fflush(stdout);
}

_Noreturn void bench_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vwarnx(fmt, ap);
	va_end(ap);
	fflush(NULL);
	_exit(2);
}

void bench_must(CUresult result, const char *call)
{
	if (result != CUDA_SUCCESS)
		bench_fail("%s: %s", call, rk_cuda_name(result));
}

static int compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

double bench_p50(double *values, size_t n)
{
	qsort(values, n, sizeof(*values), compare);
	return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

double bench_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

/* Where the build, or the bundle, has them; see gpu.mk. */
static void find_modules(char *to, size_t size)
{
	char self[512];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	const char *here;

	if (n < 0)
		err(2, "/proc/self/exe");
	self[n] = '\0';
	here = dirname(self);
	snprintf(to, size, "%s/modules", here);
	if (access(to, X_OK))
		snprintf(to, size, "%s/../modules", here);
}

int main(int argc, char **argv)
{
	static const struct option rows[] = {
		{"quick", no_argument, NULL, 'q'}, {"modules", required_argument, NULL, 'm'}, {0}};
	static struct bench b;
	int c;

	find_modules(b.modules, sizeof(b.modules));
	while ((c = getopt_long(argc, argv, "", rows, NULL)) != -1) {
		if (c == 'q')
			b.quick = true;
		else if (c == 'm')
			snprintf(b.modules, sizeof(b.modules), "%s", optarg);
		else
			errx(2, "usage: bench [--quick] [--modules DIR]");
	}
	b.copy_bytes = b.quick ? 8 * MIB : 256 * MIB;
	bench_floors(&b);
	bench_open(&b);
	bench_launches(&b);
	bench_fusion(&b);
	bench_matmul(&b);
	bench_copies(&b);
	bench_rings(&b);
	bench_close(&b);
	return missed;
}
