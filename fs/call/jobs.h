/* SPDX-License-Identifier: MIT */
/* A few threads for work that would keep a FUSE thread or the supervisor too long. */
#ifndef RKFS_CALL_JOBS_H
#define RKFS_CALL_JOBS_H

#include <sys/queue.h>

struct rk_jobs;

/* One piece of work; memory of the caller's, his again when run is called. */
struct rk_job {
	void (*run)(struct rk_job *job);
	STAILQ_ENTRY(rk_job) link;
};

/* A pool of at most @threads threads, each started when it is first needed. 0 or -ENOMEM. */
int rk_jobs_create(struct rk_jobs **jobs, unsigned int threads);

/* Finish what is queued, then end the threads and free. */
void rk_jobs_destroy(struct rk_jobs *jobs);

/*
 * Run @job soon, in the order of submission, with no lock held. Where not even one thread can be
 * started it is run here and now.
 */
void rk_jobs_run(struct rk_jobs *jobs, struct rk_job *job);

#endif
