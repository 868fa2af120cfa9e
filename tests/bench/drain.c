/* SPDX-License-Identifier: MIT */
/*
 * drain ROUNDS DIR: in each round a call of core/delay runs while the rkfs at DIR is told to
 * drain, and a read of wait/stopped is parked. Prints the median microseconds from the return of
 * the call's read (its answer, the last message) to the return of wait/stopped's read, and those of
 * waking a thread from a futex, measured in between.
 */
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "tests/bench/bench.h"

#define DELAY_MS 20
#define REQUEST	 "{\"ms\":20}\n"

/* A read, done by a thread of its own. */
struct reader {
	const char *path;
	const char *request; /* NULL = none */
	_Atomic uint64_t returned;
	int fd;
};

/*
 * Readers stay until both have returned: what the first one does next, ending its thread or
 * closing the file, would take the CPU or the daemon from the second.
 */
static sem_t leave;

static void read_one(struct reader *r)
{
	char buf[256];

	r->fd = bench_open(r->path, r->request ? O_RDWR : O_RDONLY);
	if (r->request && write(r->fd, r->request, strlen(r->request)) < 0)
		err(1, "%s", r->path);
	if (read(r->fd, buf, sizeof(buf)) <= 0)
		err(1, "%s", r->path);
	atomic_store(&r->returned, rk_now_ns());
}

static void *read_and_stay(void *arg)
{
	read_one(arg);
	sem_wait(&leave);
	return NULL;
}

static void *read_and_tell(void *arg)
{
	read_one(arg);
	sem_post(&leave);
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

/* Or until @call is over: it may be too quick for this thread. */
static void await_in_flight(struct reader *call)
{
	int fd = bench_open("stats/messages_in_flight", O_RDONLY);
	char c;

	do {
		bench_sleep_ms(1);
		if (pread(fd, &c, 1, 0) != 1)
			err(1, "stats/messages_in_flight");
	} while (c == '0' && !atomic_load(&call->returned));
	close(fd);
}

/* Returns false where the message was over before the drain began: that is no round. */
static bool drain_us(double *us)
{
	struct reader call = {"kernels/core/delay/call.json", REQUEST, 0, -1};
	struct reader stopped = {"wait/stopped", NULL, 0, -1};
	struct reader running = {"wait/running", NULL, 0, -1};
	pthread_t caller, waiter;
	uint64_t drained;

	start(&waiter, read_and_tell, &stopped);
	start(&caller, read_and_stay, &call);
	await_in_flight(&call);
	command("drain");
	drained = rk_now_ns();
	pthread_join(waiter, NULL);
	pthread_join(caller, NULL);
	close(call.fd);
	close(stopped.fd);
	command("reset");
	command("start");
	read_one(&running);
	close(running.fd);
	*us = ((double)stopped.returned - (double)call.returned) / 1e3;
	return drained < call.returned;
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
	if (sem_init(&leave, 0, 0) || chdir(argv[2]))
		err(1, "%s", argv[2]);
	for (long r = 0; r < rounds; r++) {
		while (!drain_us(&drains[r]))
			;
		futexes[r] = futex_us();
	}
	printf("drain %.1f\n", bench_median(drains, (size_t)rounds));
	printf("drain_p90 %.1f\n", drains[rounds * 9 / 10]);
	printf("futex %.1f\n", bench_median(futexes, (size_t)rounds));
	printf("futex_p90 %.1f\n", futexes[rounds * 9 / 10]);
	return 0;
}
