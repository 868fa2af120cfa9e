/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/call/internal.h"
#include "tests/unit/unit.h"

#define JOBS   2000
#define ROUNDS 2000

struct job {
	struct rk_job job;
	pthread_t ran_in;
	unsigned int order;
	sigset_t mask;
	pthread_barrier_t *meet;
	atomic_bool done;
};

static atomic_uint counter, arrived;

static void run(struct rk_job *job)
{
	struct job *j = (struct job *)job;

	if (j->meet) {
		atomic_fetch_add(&arrived, 1);
		pthread_barrier_wait(j->meet);
	}
	j->ran_in = pthread_self();
	pthread_sigmask(SIG_SETMASK, NULL, &j->mask);
	j->order = atomic_fetch_add(&counter, 1);
	atomic_store(&j->done, true);
}

static struct rk_jobs *create(unsigned int threads)
{
	struct rk_jobs *jobs;

	atomic_store(&counter, 0);
	atomic_store(&arrived, 0);
	assert_int_equal(rk_jobs_create(&jobs, threads), 0);
	return jobs;
}

/* Threads of pools, by the name that they give themselves before they work. */
static unsigned int pool_threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	char path[300], name[32];
	struct dirent *entry;
	unsigned int n = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		n += fgets(name, sizeof(name), f) && !strcmp(name, "rk-codec\n");
		fclose(f);
	}
	closedir(dir);
	return n;
}

/* Those that were joined can be seen a moment longer. */
static void wait_alone(void)
{
	while (pool_threads())
		sched_yield();
}

/* Destroy finishes what is queued; one thread works in the order of submission. */
TEST(order)
{
	struct rk_jobs *jobs = create(1);
	struct job *list = calloc(JOBS, sizeof(*list));

	assert_non_null(list);
	for (unsigned int i = 0; i < JOBS; i++) {
		list[i].job.run = run;
		rk_jobs_run(jobs, &list[i].job);
	}
	rk_jobs_destroy(jobs);
	for (unsigned int i = 0; i < JOBS; i++) {
		assert_true(list[i].done);
		assert_int_equal(list[i].order, i);
		assert_false(pthread_equal(list[i].ran_in, pthread_self()));
	}
	free(list);
}

/* A job that holds the one thread of @jobs until @meet is passed. */
static void hold_thread(struct rk_jobs *jobs, struct job *gate, pthread_barrier_t *meet)
{
	*gate = (struct job){.job.run = run, .meet = meet};
	assert_int_equal(pthread_barrier_init(meet, NULL, 2), 0);
	rk_jobs_run(jobs, &gate->job);
	while (!atomic_load(&arrived))
		sched_yield();
}

/* What one user has queued does not stand before the single job of another. */
TEST(turns)
{
	static const struct {
		uid_t uid;
		unsigned int order;
	} rows[] = {{1, 1}, {1, 4}, {1, 6}, {2, 2}, {3, 3}, {2, 5}, {1, 7}};
	struct rk_jobs *jobs = create(1);
	struct job gate, list[7] = {0};
	pthread_barrier_t meet;

	hold_thread(jobs, &gate, &meet);
	for (unsigned int i = 0; i < 7; i++) {
		list[i].job.run = run;
		list[i].job.uid = rows[i].uid;
		rk_jobs_run(jobs, &list[i].job);
	}
	pthread_barrier_wait(&meet);
	rk_jobs_destroy(jobs);
	pthread_barrier_destroy(&meet);
	for (unsigned int i = 0; i < 7; i++)
		assert_int_equal(list[i].order, rows[i].order);
}

/* Whoever takes a job back has it for himself, unless a thread has begun it. */
TEST(drop)
{
	struct rk_jobs *jobs = create(1);
	struct job gate, list[3] = {0};
	pthread_barrier_t meet;

	assert_false(rk_jobs_drop(jobs, &list[0].job));
	hold_thread(jobs, &gate, &meet);
	assert_false(rk_jobs_drop(jobs, &gate.job));
	for (unsigned int i = 0; i < 3; i++) {
		list[i].job.run = run;
		list[i].job.uid = i;
		rk_jobs_run(jobs, &list[i].job);
	}
	assert_true(rk_jobs_drop(jobs, &list[1].job));
	assert_false(rk_jobs_drop(jobs, &list[1].job));
	pthread_barrier_wait(&meet);
	rk_jobs_destroy(jobs);
	pthread_barrier_destroy(&meet);
	assert_true(list[0].done && !list[1].done && list[2].done);
}

TEST(lazy)
{
	struct rk_jobs *jobs;
	struct job one = {.job.run = run};

	wait_alone();
	jobs = create(8);
	rk_jobs_run(jobs, &one.job);
	while (!atomic_load(&one.done))
		sched_yield();
	assert_int_equal(pool_threads(), 1);
	rk_jobs_destroy(jobs);
}

/* Three jobs hold their threads; the others must wait for one of these, not for a fourth. */
TEST(bounded)
{
	struct rk_jobs *jobs;
	struct job list[10] = {0};
	pthread_barrier_t meet;

	assert_int_equal(pthread_barrier_init(&meet, NULL, 4), 0);
	wait_alone();
	jobs = create(3);
	for (unsigned int i = 0; i < 10; i++) {
		list[i].job.run = run;
		list[i].meet = i < 3 ? &meet : NULL;
		rk_jobs_run(jobs, &list[i].job);
	}
	while (atomic_load(&arrived) < 3)
		sched_yield();
	unsigned int alive = pool_threads(), ran = atomic_load(&counter);

	pthread_barrier_wait(&meet);
	rk_jobs_destroy(jobs);
	pthread_barrier_destroy(&meet);
	assert_int_equal(alive, 3);
	assert_int_equal(ran, 0);
	assert_int_equal(atomic_load(&counter), 10);
	for (unsigned int i = 3; i < 10; i++)
		assert_true(pthread_equal(list[i].ran_in, list[0].ran_in) ||
			    pthread_equal(list[i].ran_in, list[1].ran_in) ||
			    pthread_equal(list[i].ran_in, list[2].ran_in));
}

/*
 * Two jobs that need each other, when a thread is idle or about to be: the second one
 * may not queue up behind the first while another thread could be started.
 */
TEST(both_run_at_once)
{
	pthread_barrier_t meet;

	assert_int_equal(pthread_barrier_init(&meet, NULL, 2), 0);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		struct rk_jobs *jobs = create(2);
		struct job warm = {.job.run = run};
		struct job pair[2] = {{.job.run = run, .meet = &meet},
				      {.job.run = run, .meet = &meet}};

		rk_jobs_run(jobs, &warm.job);
		while (!atomic_load(&warm.done))
			sched_yield();
		rk_jobs_run(jobs, &pair[0].job);
		rk_jobs_run(jobs, &pair[1].job);
		rk_jobs_destroy(jobs);
		assert_int_equal(atomic_load(&counter), 3);
	}
	pthread_barrier_destroy(&meet);
}

/* Where no thread can be had the caller does the work. */
TEST(no_thread)
{
	struct rk_jobs *jobs = create(0);
	struct job one = {.job.run = run};

	rk_jobs_run(jobs, &one.job);
	assert_true(one.done);
	assert_true(pthread_equal(one.ran_in, pthread_self()));
	rk_jobs_destroy(jobs);
}

/* Signals are the main program's, and its mask is as it was. */
TEST(signals)
{
	struct rk_jobs *jobs = create(1);
	struct job one = {.job.run = run};
	sigset_t mask;

	rk_jobs_run(jobs, &one.job);
	rk_jobs_destroy(jobs);
	assert_true(sigismember(&one.mask, SIGTERM));
	assert_true(sigismember(&one.mask, SIGINT));
	assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
	assert_false(sigismember(&mask, SIGTERM));
}

TEST(unused)
{
	rk_jobs_destroy(create(4));
	rk_jobs_destroy(NULL);
}

struct source {
	struct rk_jobs *jobs;
	struct job list[JOBS];
};

static void *submit_all(void *arg)
{
	struct source *s = arg;

	for (unsigned int i = 0; i < JOBS; i++) {
		s->list[i].job.run = run;
		rk_jobs_run(s->jobs, &s->list[i].job);
	}
	return NULL;
}

TEST(many_sources)
{
	struct source *s = calloc(4, sizeof(*s));
	struct rk_jobs *jobs = create(3);
	pthread_t threads[4];

	assert_non_null(s);
	for (unsigned int i = 0; i < 4; i++) {
		s[i].jobs = jobs;
		assert_int_equal(pthread_create(&threads[i], NULL, submit_all, &s[i]), 0);
	}
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	rk_jobs_destroy(jobs);
	assert_int_equal(atomic_load(&counter), 4 * JOBS);
	free(s);
}
