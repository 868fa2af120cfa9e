/* SPDX-License-Identifier: MIT */
/* The threads of the codecs: each is started when the first job needs it. Users take turns. */
#include "fs/call/internal.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>

/* What one user has queued; there while that is something. */
struct rk_job_turn {
	uid_t uid;
	TAILQ_HEAD(, rk_job) queue;
	TAILQ_ENTRY(rk_job_turn) link;
};

struct rk_jobs {
	pthread_mutex_t lock;
	pthread_cond_t work;
	TAILQ_HEAD(rk_job_turns, rk_job_turn) turns; /* the next one first */
	unsigned int max, started, idle;
	unsigned int
		queued; /* an idle thread is taken by each of these, even if it does not run yet */
	bool quit;
	pthread_t threads[];
};

/* Queue @job in its user's turn. False where memory is out. */
static bool put_locked(struct rk_jobs *j, struct rk_job *job)
{
	struct rk_job_turn *t;

	TAILQ_FOREACH (t, &j->turns, link)
		if (t->uid == job->uid)
			break;
	if (!t) {
		t = malloc(sizeof(*t));
		if (!t)
			return false;
		t->uid = job->uid;
		TAILQ_INIT(&t->queue);
		TAILQ_INSERT_TAIL(&j->turns, t, link);
	}
	TAILQ_INSERT_TAIL(&t->queue, job, link);
	job->turn = t;
	j->queued++;
	return true;
}

static void take_locked(struct rk_jobs *j, struct rk_job *job)
{
	struct rk_job_turn *t = job->turn;

	TAILQ_REMOVE(&t->queue, job, link);
	job->turn = NULL;
	j->queued--;
	if (!TAILQ_EMPTY(&t->queue))
		return;
	TAILQ_REMOVE(&j->turns, t, link);
	free(t);
}

/* The job whose turn it is, off its queue, or NULL; its user's next one comes after the others'. */
static struct rk_job *next_locked(struct rk_jobs *j)
{
	struct rk_job_turn *t = TAILQ_FIRST(&j->turns);
	struct rk_job *job;

	if (!t)
		return NULL;
	TAILQ_REMOVE(&j->turns, t, link);
	TAILQ_INSERT_TAIL(&j->turns, t, link);
	job = TAILQ_FIRST(&t->queue);
	take_locked(j, job);
	return job;
}

static void *serve(void *arg)
{
	struct rk_jobs *j = arg;
	bool worked = false;

	pthread_setname_np(pthread_self(), "rk-codec");
	pthread_mutex_lock(&j->lock);
	for (;;) {
		struct rk_job *job = next_locked(j);

		if (job) {
			pthread_mutex_unlock(&j->lock);
			job->run(job);
			worked = true;
			pthread_mutex_lock(&j->lock);
		} else if (j->quit) {
			break;
		} else if (worked) {
			/* a large document's nodes: the next one may be long in coming */
			pthread_mutex_unlock(&j->lock);
			malloc_trim(0);
			worked = false;
			pthread_mutex_lock(&j->lock);
		} else {
			j->idle++;
			pthread_cond_wait(&j->work, &j->lock);
			j->idle--;
		}
	}
	pthread_mutex_unlock(&j->lock);
	return NULL;
}

int rk_jobs_create(struct rk_jobs **jobs, unsigned int threads)
{
	struct rk_jobs *j = calloc(1, sizeof(*j) + threads * sizeof(j->threads[0]));

	if (!j)
		return -ENOMEM;
	j->max = threads;
	TAILQ_INIT(&j->turns);
	if (pthread_mutex_init(&j->lock, NULL)) {
		free(j);
		return -ENOMEM;
	}
	if (pthread_cond_init(&j->work, NULL)) {
		pthread_mutex_destroy(&j->lock);
		free(j);
		return -ENOMEM;
	}
	*jobs = j;
	return 0;
}

void rk_jobs_destroy(struct rk_jobs *j)
{
	if (!j)
		return;
	pthread_mutex_lock(&j->lock);
	j->quit = true;
	pthread_cond_broadcast(&j->work);
	pthread_mutex_unlock(&j->lock);
	for (unsigned int i = 0; i < j->started; i++)
		pthread_join(j->threads[i], NULL);
	pthread_cond_destroy(&j->work);
	pthread_mutex_destroy(&j->lock);
	free(j);
}

static void start_thread_locked(struct rk_jobs *j)
{

	if (!rk_thread_start(&j->threads[j->started], serve, j))
		j->started++;
}

void rk_jobs_run(struct rk_jobs *j, struct rk_job *job)
{
	bool here;

	pthread_mutex_lock(&j->lock);
	if (j->idle <= j->queued && j->started < j->max)
		start_thread_locked(j);
	here = !j->started || !put_locked(j, job);
	pthread_cond_signal(&j->work);
	pthread_mutex_unlock(&j->lock);
	if (here)
		job->run(job);
}

bool rk_jobs_drop(struct rk_jobs *j, struct rk_job *job)
{
	RK_GUARD(&j->lock);
	if (!job->turn)
		return false;
	take_locked(j, job);
	return true;
}
