/* SPDX-License-Identifier: MIT */
/*
 * roundtrip ROUNDS PATH: median microseconds of writing 64 elements to the call.json of core/echo
 * and reading the answer, and of 64 bytes through a Unix stream socket to a process that sends them
 * back. Rounds are interleaved.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "tests/bench/bench.h"

#define BYTES 64
#define CALLS 50 /* per round */

static double once(int fd, const char *request, size_t len)
{
	uint64_t start = rk_now_ns();
	char answer[4096];

	if (write(fd, request, len) != (ssize_t)len || read(fd, answer, sizeof(answer)) <= 0)
		err(1, "round trip");
	return (double)(rk_now_ns() - start) / 1e3;
}

static double some(int fd, const char *request, size_t len)
{
	double us[CALLS];

	for (int i = 0; i < CALLS; i++)
		us[i] = once(fd, request, len);
	return bench_median(us, CALLS);
}

static pid_t start_echo(int *fd)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		err(1, "socketpair");
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid == 0) {
		char buf[BYTES];
		ssize_t n;

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

int main(int argc, char **argv)
{
	double calls[BENCH_ROUNDS_MAX], echoes[BENCH_ROUNDS_MAX];
	char request[512], bytes[BYTES] = {0};
	int echo, call;
	size_t len;
	long rounds;
	pid_t pid;

	if (argc != 3)
		errx(2, "usage: roundtrip ROUNDS PATH");
	rounds = bench_number(argv[1], BENCH_ROUNDS_MAX);
	len = (size_t)sprintf(request, "{\"data\":[");
	for (int i = 0; i < BYTES; i++)
		len += (size_t)sprintf(request + len, "%s%d", i ? "," : "", i);
	len += (size_t)sprintf(request + len, "]}\n");
	call = bench_open(argv[2], O_RDWR);
	pid = start_echo(&echo);
	for (long r = 0; r < rounds; r++) {
		calls[r] = some(call, request, len);
		echoes[r] = some(echo, bytes, BYTES);
	}
	close(echo);
	waitpid(pid, NULL, 0);
	printf("call %.1f\n", bench_median(calls, (size_t)rounds));
	printf("unix %.1f\n", bench_median(echoes, (size_t)rounds));
	return 0;
}
