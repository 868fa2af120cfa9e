/* SPDX-License-Identifier: MIT */
/*
 * roundtrip ROUNDS CALL.JSON CALL.RAW [PORT SOCKET]: 64 bytes to core/echo and back, through its
 * call files; through a Unix stream socket to a process that sends them back; and by HTTP, kept
 * alive, from the server that listens on PORT of 127.0.0.1 and on SOCKET. Of each way: median and
 * 99th percentile in microseconds, calls per second, and the raw call's median over its own. Rounds
 * are interleaved.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "tests/bench/bench.h"

#define BYTES 64
#define CALLS 50 /* per round */

/* Of 64 bytes, as long as the request of the others. */
#define HTTP_REQUEST "GET /sixty-four-bytes-for-this-request HTTP/1.1\r\nHost: bench\r\n\r\n"

_Static_assert(sizeof(HTTP_REQUEST) - 1 == BYTES, "the request has 64 bytes");

struct way {
	const char *name;
	int fd;
	const char *request;
	size_t len;
	const char *end; /* of the answer */
	size_t answer;	 /* its length, once known */
	double *us;	 /* of all calls */
	double medians[BENCH_ROUNDS_MAX], rates[BENCH_ROUNDS_MAX];
};

enum {
	JSON,
	RAW,
	UNIX,
	HTTP,
	HTTP_UNIX,
	WAYS
};

static struct way ways[WAYS] = {
	[JSON].name = "json",		[RAW].name = "raw",
	[UNIX].name = "unix",		[HTTP].name = "http",
	[HTTP_UNIX].name = "http_unix",
};

/* The first call: what comes is right, and how long it is. Nobody splits so short an answer. */
static void try(struct way *w)
{
	size_t tail = strlen(w->end);
	char answer[4096];
	ssize_t n;

	if (write(w->fd, w->request, w->len) != (ssize_t)w->len)
		err(1, "%s", w->name);
	n = read(w->fd, answer, sizeof(answer));
	if (n < (ssize_t)tail || memcmp(answer + n - tail, w->end, tail))
		errx(1, "%s: the answer is another", w->name);
	w->answer = (size_t)n;
}

static double once(const struct way *w)
{
	uint64_t start = rk_now_ns();
	char answer[4096];
	size_t have = 0;
	ssize_t n;

	if (write(w->fd, w->request, w->len) != (ssize_t)w->len)
		err(1, "%s", w->name);
	while (have < w->answer) {
		n = read(w->fd, answer + have, sizeof(answer) - have);
		if (n <= 0)
			err(1, "%s", w->name);
		have += (size_t)n;
	}
	return bench_us_since(start);
}

static void some(struct way *w, long round)
{
	double us[CALLS], sum = 0;

	once(w); /* whatever ran before has cooled the caches */
	for (int i = 0; i < CALLS; i++) {
		us[i] = once(w);
		sum += us[i];
	}
	memcpy(w->us + round * CALLS, us, sizeof(us));
	w->medians[round] = bench_median(us, CALLS);
	w->rates[round] = CALLS * 1e6 / sum;
}

static int connect_to(const void *to, socklen_t len)
{
	int fd = socket(((const struct sockaddr *)to)->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, to, len))
		err(1, "the HTTP server");
	return fd;
}

static int connect_port(const char *port)
{
	const struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)bench_number(port, UINT16_MAX)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};

	return connect_to(&to, sizeof(to));
}

static int connect_path(const char *path)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(to.sun_path))
		errx(2, "%s: too long a path for a socket", path);
	memcpy(to.sun_path, path, strlen(path));
	return connect_to(&to, sizeof(to));
}

static void report(struct way *w, const struct way *raw, long rounds)
{
	size_t n = (size_t)rounds * CALLS;
	double ratios[BENCH_ROUNDS_MAX];

	/* of one round, since the machine may be busier in another */
	for (long r = 0; r < rounds; r++)
		ratios[r] = raw->medians[r] / w->medians[r];
	printf("%s %.2f\n", w->name, bench_median(w->us, n));
	printf("%s_p99 %.2f\n", w->name, bench_p99(w->us, n));
	printf("%s_rate %.0f\n", w->name, bench_median(w->rates, (size_t)rounds));
	printf("raw_over_%s %.4f\n", w->name, bench_median(ratios, (size_t)rounds));
}

static void prepare(int nways, long rounds)
{
	static char json[512], bytes[BYTES + 1];
	size_t len = (size_t)sprintf(json, "{\"data\":[");

	for (int i = 0; i < BYTES; i++)
		len += (size_t)sprintf(json + len, "%s%d", i ? "," : "", i);
	sprintf(json + len, "]}\n");
	memset(bytes, 'x', BYTES);
	for (int i = 0; i < nways; i++) {
		ways[i].request = i == JSON ? json : i >= HTTP ? HTTP_REQUEST : bytes;
		ways[i].len = strlen(ways[i].request);
		ways[i].end = i == JSON ? json : bytes;
		ways[i].us = calloc((size_t)rounds * CALLS, sizeof(double));
		if (!ways[i].us)
			errx(1, "no memory");
		try(&ways[i]);
	}
}

int main(int argc, char **argv)
{
	int nways = argc == 6 ? WAYS : HTTP;
	long rounds;
	pid_t pid;

	if (argc != 4 && argc != 6)
		errx(2, "usage: roundtrip ROUNDS CALL.JSON CALL.RAW [PORT SOCKET]");
	rounds = bench_number(argv[1], BENCH_ROUNDS_MAX);
	pid = bench_start_echo(SOCK_STREAM, &ways[UNIX].fd);
	ways[JSON].fd = bench_open(argv[2], O_RDWR);
	ways[RAW].fd = bench_open(argv[3], O_RDWR);
	if (nways == WAYS) {
		ways[HTTP].fd = connect_port(argv[4]);
		ways[HTTP_UNIX].fd = connect_path(argv[5]);
	}
	prepare(nways, rounds);
	for (long r = 0; r < rounds; r++)
		for (int i = 0; i < nways; i++)
			some(&ways[i], r);
	for (int i = 0; i < nways; i++)
		report(&ways[i], &ways[RAW], rounds);
	close(ways[UNIX].fd);
	waitpid(pid, NULL, 0);
	return 0;
}
