/* SPDX-License-Identifier: MIT */
/*
 * drain ROUNDS DIR: in each round a call of core/delay runs while the rkfs at DIR is told to
 * drain, and a read of wait/stopped is parked. Prints the median microseconds from the return of
 * the call's read (its answer, the last message) to the return of wait/stopped's read, and those of
 * waking a thread from a futex, measured in between.
 */
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "tests/bench/bench.h"

#define DELAY_MS 10

/* A read, done by a thread of its own. */
struct reader {
	const char *path;
	const char *request; /* NULL = none */
	uint64_t returned;
};

static void *read_one(void *arg)
{
	struct reader *r = arg;
	int fd = bench_open(r->path, r->request ? O_RDWR : O_RDONLY);
	char buf[256];

	if (r->request && write(fd, r->request, strlen(r->request)) < 0)
		err(1, "%s", r->path);
	if (read(fd, buf, sizeof(buf)) <= 0)
		err(1, "%s", r->path);
	r->returned = rk_now_ns();
	close(fd);
	return NULL;
}

static void start(pthread_t *thread, void *(*fn)(void *), void *arg)
{
	if (pthread_create(thread, NULL, fn, arg))
		errx(1, "cannot start a thread");
}

static void command(const char *verb)
{
	int fd = bench_open("control", O_WRONLY);

	if (write(fd, verb, strlen(verb)) < 0)
		err(1, "control: %s", verb);
	close(fd);
}

static void await_in_flight(void)
{
	int fd = bench_open("stats/messages_in_flight", O_RDONLY);
	char c;

	do {
		bench_sleep_ms(1);
		if (pread(fd, &c, 1, 0) != 1)
			err(1, "stats/messages_in_flight");
	} while (c == '0');
	close(fd);
}

static double drain_us(void)
{
	struct reader call = {"kernels/core/delay/call.json", "{\"ms\":10}\n", 0};
	struct reader stopped = {"wait/stopped", NULL, 0};
	struct reader running = {"wait/running", NULL, 0};
	pthread_t caller, waiter;

	start(&waiter, read_one, &stopped);
	start(&caller, read_one, &call);
	await_in_flight();
	command("drain");
	pthread_join(caller, NULL);
	pthread_join(waiter, NULL);
	command("reset");
	command("start");
	read_one(&running);
	return ((double)stopped.returned - (double)call.returned) / 1e3;
}

static _Atomic uint32_t word;
static uint64_t woken;

static void *await_word(void *unused)
{
	(void)unused;
	while (!atomic_load(&word))
		syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	woken = rk_now_ns();
	return NULL;
}

static double futex_us(void)
{
	pthread_t waiter;
	uint64_t begun;

	atomic_store(&word, 0);
	start(&waiter, await_word, NULL);
	bench_sleep_ms(DELAY_MS);
	begun = rk_now_ns();
	atomic_store(&word, 1);
	syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	pthread_join(waiter, NULL);
	return (double)(woken - begun) / 1e3;
}

int main(int argc, char **argv)
{
	double drains[BENCH_ROUNDS_MAX], futexes[BENCH_ROUNDS_MAX];
	long rounds;

	if (argc != 3)
		errx(2, "usage: drain ROUNDS DIR");
	rounds = bench_number(argv[1], BENCH_ROUNDS_MAX);
	if (chdir(argv[2]))
		err(1, "%s", argv[2]);
	for (long r = 0; r < rounds; r++) {
		drains[r] = drain_us();
		futexes[r] = futex_us();
	}
	printf("drain %.1f\n", bench_median(drains, (size_t)rounds));
	printf("drain_p90 %.1f\n", drains[rounds * 9 / 10]);
	printf("futex %.1f\n", bench_median(futexes, (size_t)rounds));
	printf("futex_p90 %.1f\n", futexes[rounds * 9 / 10]);
	return 0;
}
