/* SPDX-License-Identifier: MIT */
/*
 * bench [--quick] [--modules DIR] [launch | ring | throughput | PART]...
 *
 * What the CUDA backend takes, measured through the functions that the worker calls, against the
 * driver API alone in the same run; these three where none is named. The other parts measure
 * nothing and are for compute-sanitizer: kernels runs all that ship, and control-memcheck and
 * control-racecheck do wrong on purpose. One line for each row:
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

/* Sorts them. */
static double median(double *values, size_t n)
{
	qsort(values, n, sizeof(*values), compare);
	return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

void bench_stats_of(struct bench_stats *s, double *values, size_t n)
{
	size_t round = n / BENCH_ROUNDS;

	*s = (struct bench_stats){.n = n};
	for (size_t i = 0; round >= BENCH_ROUNDS && i < BENCH_ROUNDS; i++) {
		double p50 = median(values + i * round, round);

		if (i == 0 || p50 < s->lowest)
			s->lowest = p50;
		if (i == 0 || p50 > s->highest)
			s->highest = p50;
	}
	s->p50 = median(values, n);
	s->p99 = values[(n * 99 - 1) / 100];
	if (round < BENCH_ROUNDS) {
		s->lowest = values[0];
		s->highest = values[n - 1];
	}
}

const char *bench_stats_text(const struct bench_stats *s, const char *unit)
{
	static char text[160];
	size_t round = s->n / BENCH_ROUNDS;

	if (round < BENCH_ROUNDS)
		snprintf(text, sizeof(text), "%.2f %s p50, %zu times (%.2f to %.2f)", s->p50, unit,
			 s->n, s->lowest, s->highest);
	else
		snprintf(text, sizeof(text),
			 "%.2f %s p50, %.2f p99, %d x %zu times (p50 of each %.2f to %.2f)", s->p50,
			 unit, s->p99, BENCH_ROUNDS, round, s->lowest, s->highest);
	return text;
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

static void bench_throughput(struct bench *b)
{
	bench_fusion(b);
	bench_matmul(b);
	bench_copies(b);
}

/* A tool may have each launch wait for its end. */
#define IDLE_MS	  5
#define MEASURING 3 /* of the parts: those that run where none is named */

static const struct part {
	const char *name;
	void (*run)(struct bench *b);
} parts[] = {{"launch", bench_launches},
	     {"ring", bench_rings},
	     {"throughput", bench_throughput},
	     {"kernels", bench_all_kernels},
	     {"control-memcheck", bench_control_memcheck},
	     {"control-racecheck", bench_control_racecheck}};

static const struct part *find_part(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		if (strcmp(parts[i].name, name) == 0)
			return &parts[i];
	errx(2, "there is no part '%s'", name);
}

/* What is measured needs the driver's own figures beside it, and kernels that stay. */
static bool measures(char *const *names)
{
	for (; *names; names++)
		if (find_part(*names) >= parts + MEASURING)
			return false;
	return true;
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
			errx(2, "usage: bench [--quick] [--modules DIR] "
				"[launch | ring | throughput]...");
	}
	b.copy_bytes = b.quick ? 8 * MIB : 256 * MIB;
	if (measures(argv + optind))
		bench_floors(&b);
	else
		b.settings.ring_idle_ms = IDLE_MS;
	bench_open(&b);
	for (int i = optind; i < argc; i++)
		find_part(argv[i])->run(&b);
	for (size_t i = 0; optind == argc && i < MEASURING; i++)
		parts[i].run(&b);
	bench_close(&b);
	return missed;
}
