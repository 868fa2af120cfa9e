/* SPDX-License-Identifier: MIT */
/*
 * counters ROUNDS: nanoseconds per message and thread to count its start and its end, by two
 * threads on CPUs of their own where there are two: with rk_stats_add, and with three relaxed
 * read-modify-writes of shared counters. Rounds are interleaved.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>

#include "runtime/base/counters.h"
#include "tests/bench/bench.h"

/* short rounds: on a busy machine most of them still have both CPUs to themselves */
#define MESSAGES 200000
#define THREADS	 2

static struct rk_stats stats;
static struct {
	_Alignas(64) _Atomic uint64_t in_flight;
	_Atomic uint64_t processed;
} shared;
static pthread_barrier_t barrier;

static void count_slots(void)
{
	for (int i = 0; i < MESSAGES; i++) {
		rk_stats_add(&stats, RK_COUNT_ACCEPTED);
		rk_stats_add(&stats, RK_COUNT_PROCESSED);
	}
}

static void count_shared(void)
{
	for (int i = 0; i < MESSAGES; i++) {
		atomic_fetch_add_explicit(&shared.in_flight, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&shared.processed, 1, memory_order_relaxed);
		atomic_fetch_sub_explicit(&shared.in_flight, 1, memory_order_relaxed);
	}
}

struct worker {
	pthread_t thread;
	int cpu;
	void (*count)(void);
	double ns;
};

/* CPU time: being preempted by others is not a cost of counting. */
static uint64_t thread_cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * RK_NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	uint64_t start;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(w->cpu, &set);
	(void)pthread_setaffinity_np(pthread_self(), sizeof(set), &set); /* fails on one CPU */
	pthread_barrier_wait(&barrier);
	start = thread_cpu_ns();
	w->count();
	w->ns = (double)(thread_cpu_ns() - start) / MESSAGES;
	return NULL;
}

/* Of one thread, the slower one. */
static double measure(void (*count)(void))
{
	struct worker workers[THREADS] = {0};
	double worst = 0;

	for (int i = 0; i < THREADS; i++) {
		workers[i].cpu = i;
		workers[i].count = count;
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			errx(1, "cannot start a thread");
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		if (workers[i].ns > worst)
			worst = workers[i].ns;
	}
	return worst;
}

int main(int argc, char **argv)
{
	double slots[BENCH_ROUNDS_MAX], atomics[BENCH_ROUNDS_MAX];
	long rounds;

	if (argc != 2)
		errx(2, "usage: counters ROUNDS");
	rounds = bench_number(argv[1], BENCH_ROUNDS_MAX);
	rk_stats_init(&stats);
	if (pthread_barrier_init(&barrier, NULL, THREADS))
		errx(1, "cannot create a barrier");
	for (long r = 0; r < rounds; r++) {
		slots[r] = measure(count_slots);
		atomics[r] = measure(count_shared);
	}
	if (rk_stats_read(&stats, RK_COUNT_PROCESSED) != (uint64_t)rounds * THREADS * MESSAGES)
		errx(1, "rk_stats_add lost some");
	printf("slots %.3f\n", bench_median(slots, (size_t)rounds));
	printf("shared %.3f\n", bench_median(atomics, (size_t)rounds));
	return 0;
}
