/* SPDX-License-Identifier: MIT */
/*
 * reads ROUNDS MS PATH...: how often per second each PATH can be opened, read and
 * closed, and read through a held descriptor. Rounds of MS each are interleaved.
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
	uint64_t start = rk_now_ns(), now;
	unsigned long n = 0;

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
		for (int p = 0; p < paths; p++)
			printf("%s%d %.0f\n", ways[w].name, p,
			       bench_median(rates[w][p], (size_t)rounds));
	return 0;
}
