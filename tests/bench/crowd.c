/* SPDX-License-Identifier: MIT */
/*
 * crowd ROUNDS WRITERS BYTES STATE CALL: how long it takes to open, read and close STATE, first
 * alone and then beside WRITERS processes that send JSON requests of BYTES to CALL, one after the
 * other without end; and the same for /proc/uptime beside them, for what the machine itself takes.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "tests/bench/bench.h"

#define ROUNDS_MAX  10000
#define WRITERS_MAX 64
#define PAUSE_MS    2 /* between two looks, as somebody who looks now and then */

/* {"x":[1,1,...]}, of about @bytes. */
static char *make_request(size_t bytes)
{
	static const char begin[] = "{\"x\":[1", end[] = "]}";
	char *text = malloc(bytes);
	size_t len = sizeof(begin) - 1;

	if (!text)
		errx(1, "no memory");
	memcpy(text, begin, len);
	for (; len + 2 + sizeof(end) <= bytes; len += 2)
		memcpy(text + len, ",1", 2);
	memcpy(text + len, end, sizeof(end));
	return text;
}

static void ask(int fd, const char *request)
{
	size_t left = strlen(request);
	char answer[4096];
	ssize_t n;

	for (const char *from = request; left; from += n, left -= (size_t)n) {
		n = write(fd, from, left);
		if (n < 0)
			err(1, "a request");
	}
	while ((n = read(fd, answer, sizeof(answer))) > 0)
		;
	if (n < 0)
		err(1, "an answer");
}

/* One that asks until it is killed; a byte in @began says that it has its first answer. */
static pid_t start_writer(const char *path, const char *request, int began)
{
	pid_t pid = fork();
	int fd;

	if (pid < 0)
		err(1, "fork");
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fd = bench_open(path, O_RDWR);
	ask(fd, request);
	if (write(began, "", 1) != 1)
		err(1, "a pipe");
	for (;;)
		ask(fd, request);
}

static void print_looks(const char *name, const char *path, size_t rounds)
{
	static double us[ROUNDS_MAX];
	double median;
	char buf[64];

	for (size_t r = 0; r < rounds; r++) {
		uint64_t start = rk_now_ns();
		int fd = bench_open(path, O_RDONLY);

		if (read(fd, buf, sizeof(buf)) <= 0 || close(fd))
			err(1, "%s", path);
		us[r] = bench_us_since(start);
		bench_sleep_ms(PAUSE_MS);
	}
	median = bench_median(us, rounds);
	printf("%s %.3f\n%s_p99 %.3f\n", name, median, name, bench_p99(us, rounds));
}

int main(int argc, char **argv)
{
	pid_t writers[WRITERS_MAX];
	int began[2];
	size_t rounds;
	char *request;
	long n;

	if (argc != 6)
		errx(2, "usage: crowd ROUNDS WRITERS BYTES STATE CALL");
	rounds = (size_t)bench_number(argv[1], ROUNDS_MAX);
	n = bench_number(argv[2], WRITERS_MAX);
	request = make_request((size_t)bench_number(argv[3], 1 << 30));
	print_looks("alone", argv[4], rounds);
	fflush(stdout);
	if (pipe(began))
		err(1, "pipe");
	for (long i = 0; i < n; i++)
		writers[i] = start_writer(argv[5], request, began[1]);
	close(began[1]);
	for (long i = 0; i < n; i++)
		if (read(began[0], &(char){0}, 1) != 1)
			errx(1, "a writer has ended");
	print_looks("beside", argv[4], rounds);
	print_looks("uptime", "/proc/uptime", rounds);
	for (long i = 0; i < n; i++)
		kill(writers[i], SIGKILL);
	for (long i = 0; i < n; i++)
		waitpid(writers[i], NULL, 0);
	free(request);
	return 0;
}
