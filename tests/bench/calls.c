/* SPDX-License-Identifier: MIT */
/*
 * calls ROUNDS MS CLIENTS PATH...: how many calls of 64 bytes per second CLIENTS processes make of
 * each PATH, a call.raw of core/echo; and the first PATH's rate over each other's. Rounds of MS
 * each are interleaved.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "tests/bench/bench.h"

#define PATHS_MAX   8
#define CLIENTS_MAX 64
#define BYTES	    64

static unsigned long *calls; /* of each client, shared with it */

static void call_for(const char *path, uint64_t ns, unsigned long *count)
{
	char request[BYTES], answer[BYTES + 1];
	uint64_t start = rk_now_ns();
	int fd = bench_open(path, O_RDWR);

	memset(request, 'x', sizeof(request));
	do {
		if (write(fd, request, BYTES) != BYTES || read(fd, answer, BYTES) != BYTES ||
		    read(fd, answer, 1))
			err(1, "%s", path);
		++*count;
	} while (rk_now_ns() - start < ns);
}

static double rate(const char *path, long clients, uint64_t ns)
{
	unsigned long sum = 0;
	int status;

	memset(calls, 0, CLIENTS_MAX * sizeof(*calls));
	for (long i = 0; i < clients; i++) {
		pid_t pid = fork();

		if (pid < 0)
			err(1, "fork");
		if (pid == 0) {
			call_for(path, ns, &calls[i]);
			_exit(0);
		}
	}
	for (long i = 0; i < clients; i++)
		if (wait(&status) < 0 || status)
			errx(1, "a client has failed");
	for (long i = 0; i < clients; i++)
		sum += calls[i];
	return (double)sum * (double)RK_NS_PER_SEC / (double)ns;
}

int main(int argc, char **argv)
{
	static double rates[PATHS_MAX][BENCH_ROUNDS_MAX];
	double ratios[BENCH_ROUNDS_MAX];
	int paths = argc - 4;
	long rounds, clients;
	uint64_t ns;

	if (paths < 1 || paths > PATHS_MAX)
		errx(2, "usage: calls ROUNDS MS CLIENTS PATH...");
	rounds = bench_number(argv[1], BENCH_ROUNDS_MAX);
	ns = (uint64_t)bench_number(argv[2], 10000) * RK_NS_PER_MS;
	clients = bench_number(argv[3], CLIENTS_MAX);
	calls = mmap(NULL, CLIENTS_MAX * sizeof(*calls), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (calls == MAP_FAILED)
		err(1, "no memory");
	for (long r = 0; r < rounds; r++)
		for (int p = 0; p < paths; p++)
			rates[p][r] = rate(argv[4 + p], clients, ns);
	for (int p = 1; p < paths; p++) {
		for (long r = 0; r < rounds; r++)
			ratios[r] = rates[0][r] / rates[p][r];
		printf("ratio%d %.4f\n", p, bench_median(ratios, (size_t)rounds));
	}
	for (int p = 0; p < paths; p++)
		printf("rate%d %.0f\n", p, bench_median(rates[p], (size_t)rounds));
	return 0;
}
