/* SPDX-License-Identifier: MIT */
/*
 * reads ROUNDS MS PATH...: how often per second each PATH can be opened, read and
 * closed, and read through a held descriptor; and the first PATH's rate over each other's.
 * Rounds of MS each are interleaved.
 */
#include <stdio.h>

#include "tests/bench/bench.h"

#define PATHS_MAX 8

static void read_once(const char *path, int fd)
{
	char buf[4096];

	if (pread(fd, buf, sizeof(buf), 0) <= 0)
		err(1, "%s", path);
}

static void open_read_close(const char *path, int held)
{
	int fd = bench_open(path, O_RDONLY);

	(void)held;
	read_once(path, fd);
	if (close(fd))
		err(1, "%s", path);
}

static double rate(void (*access)(const char *path, int fd), const char *path, int fd, uint64_t ns)
{
	uint64_t start, now;
	unsigned long n = 0;

	for (int i = 0; i < 64; i++) /* whatever ran before has cooled the caches */
		access(path, fd);
	start = rk_now_ns();
	do {
		for (int i = 0; i < 64; i++)
			access(path, fd);
		n += 64;
		now = rk_now_ns();
	} while (now - start < ns);
	return (double)n * (double)RK_NS_PER_SEC / (double)(now - start);
}

static const struct {
	const char *name;
	void (*access)(const char *path, int fd);
} ways[] = {
	{"open", open_read_close},
	{"pread", read_once},
};

#define NWAYS (sizeof(ways) / sizeof(ways[0]))

static void print_way(const char *name, double (*rates)[BENCH_ROUNDS_MAX], int paths, size_t rounds)
{
	double ratios[BENCH_ROUNDS_MAX];

	/* of one round, since the machine may be busier in another; before the rounds get sorted */
	for (int p = 1; p < paths; p++) {
		for (size_t r = 0; r < rounds; r++)
			ratios[r] = rates[0][r] / rates[p][r];
		printf("%s%d_ratio %.4f\n", name, p, bench_median(ratios, rounds));
	}
	for (int p = 0; p < paths; p++)
		printf("%s%d %.0f\n", name, p, bench_median(rates[p], rounds));
}

int main(int argc, char **argv)
{
	static double rates[NWAYS][PATHS_MAX][BENCH_ROUNDS_MAX];
	int fds[PATHS_MAX], paths = argc - 3;
	long rounds;
	uint64_t ns;

	if (paths < 1 || paths > PATHS_MAX)
		errx(2, "usage: reads ROUNDS MS PATH...");
	rounds = bench_number(argv[1], BENCH_ROUNDS_MAX);
	ns = (uint64_t)bench_number(argv[2], 10000) * RK_NS_PER_MS;
	for (int p = 0; p < paths; p++)
		fds[p] = bench_open(argv[3 + p], O_RDONLY);
	for (long r = 0; r < rounds; r++)
		for (size_t w = 0; w < NWAYS; w++)
			for (int p = 0; p < paths; p++)
				rates[w][p][r] = rate(ways[w].access, argv[3 + p], fds[p], ns);
	for (size_t w = 0; w < NWAYS; w++)
		print_way(ways[w].name, rates[w], paths, (size_t)rounds);
	return 0;
}
