/* SPDX-License-Identifier: MIT */
/* Commands that read files: a thread for each, and who waits for it. */
#include "fs/files/files.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "runtime/base/thread.h"

struct rkfs_job {
	LIST_ENTRY(rkfs_job) link;
	struct rkfs_commands *of;
	pthread_t thread;
	struct rkfs_command command;
	struct rk_caller caller;
	bool ours; /* the daemon's own */
	void (*over)(void *ctx);
	void *ctx;
	struct rkfs_file *file; /* whose writer waits for it; NULL = nobody does */
	bool done;
	int rc; /* where done */
};

struct rkfs_commands {
	struct rkfs *fs;
	pthread_mutex_t lock; /* of all jobs */
	LIST_HEAD(, rkfs_job) jobs;
};

int rkfs_commands_create(struct rkfs *fs)
{
	struct rkfs_commands *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	if (pthread_mutex_init(&c->lock, NULL)) {
		free(c);
		return -ENOMEM;
	}
	LIST_INIT(&c->jobs);
	c->fs = fs;
	fs->commands = c;
	return 0;
}

/*
 * Take a job off the list that is over and that nobody waits for, or with @all any. NULL where
 * there is none.
 */
static struct rkfs_job *take_job(struct rkfs_commands *c, bool all)
{
	struct rkfs_job *job;

	RK_GUARD(&c->lock);
	LIST_FOREACH(job, &c->jobs, link)
	if (all || (job->done && !job->file))
		break;
	if (job)
		LIST_REMOVE(job, link);
	return job;
}

/* Free the jobs that are over. Joining takes no time: their threads are about to end. */
static void collect(struct rkfs_commands *c, bool all)
{
	struct rkfs_job *job;

	while ((job = take_job(c, all))) {
		pthread_join(job->thread, NULL);
		free(job);
	}
}

void rkfs_commands_destroy(struct rkfs *fs)
{
	if (!fs->commands)
		return;
	collect(fs->commands, true);
	pthread_mutex_destroy(&fs->commands->lock);
	free(fs->commands);
	fs->commands = NULL;
}

static void follow_log(struct rkfs *fs, bool again)
{
	if (fs->follow_log)
		fs->follow_log(fs->follow_log_ctx, again);
}

/* To a writer EAGAIN says to wait; here it says that no thread or process can be had. */
static int for_writer(int rc)
{
	return rc == -EAGAIN ? -ENOMEM : rc;
}

static void *run_job(void *arg)
{
	struct rkfs_job *job = arg;
	struct rkfs_commands *c = job->of;
	struct rkfs *fs = c->fs;
	const struct rk_caller *caller = job->ours ? NULL : &job->caller;
	int rc;

	pthread_setname_np(pthread_self(), "rk-command");
	if (job->command.verb == RKFS_VERB_reload)
		follow_log(fs, true); /* first: the configuration may be what hangs */
	rc = rkfs_verb_run(fs->rt, job->command.verb, job->command.ms, caller);
	if (job->command.verb == RKFS_VERB_reset)
		follow_log(fs, false);
	if (job->over)
		job->over(job->ctx);
	pthread_mutex_lock(&c->lock);
	job->rc = for_writer(rc);
	job->done = true;
	pthread_mutex_unlock(&c->lock);
	/* by now it may be answered, and joined only after this */
	rkfs_waitq_wake(&fs->command_wait);
	return NULL;
}

/*
 * Run @command of @caller (NULL: the daemon itself) on a thread of its own. @file (NULL = none)
 * waits for it, and @over (NULL = nobody) is called from its thread. 0, or the negative errno of a
 * command that was refused.
 */
static int start_job(struct rkfs_commands *c, const struct rkfs_command *command,
		     const struct rk_caller *caller, struct rkfs_file *file,
		     void (*over)(void *ctx), void *ctx)
{
	const char *what = rkfs_verb_name(command->verb);
	struct rkfs_job *job = calloc(1, sizeof(*job));
	struct rk_error err;
	int rc = ENOMEM;

	collect(c, false);
	if (job) {
		*job = (struct rkfs_job){.of = c, .command = *command, .over = over, .ctx = ctx};
		job->ours = !caller;
		if (caller)
			job->caller = *caller;
		job->file = file;
		pthread_mutex_lock(&c->lock); /* it is not done before it is on the list */
		rc = rk_thread_start(&job->thread, run_job, job);
		if (!rc)
			LIST_INSERT_HEAD(&c->jobs, job, link);
		pthread_mutex_unlock(&c->lock);
	}
	if (rc) {
		free(job);
		rk_error_set(&err, rc, "%s: cannot start a thread: %m", what);
		return for_writer(rk_runtime_refuse(c->fs->rt, what, caller, &err));
	}
	if (file)
		file->job = job;
	return 0;
}

/* What the job of @file came to, if it is over; -EAGAIN if not. 1 where there is none like it. */
static int outcome(struct rkfs_commands *c, struct rkfs_file *file,
		   const struct rkfs_command *command)
{
	struct rkfs_job *job = file->job;
	int rc = 1;

	if (!job)
		return 1;
	pthread_mutex_lock(&c->lock);
	if (job->command.verb != command->verb) {
		rc = 1; /* one whose writer was interrupted */
	} else if (!job->done) {
		pthread_mutex_unlock(&c->lock);
		return -EAGAIN;
	} else {
		rc = job->rc;
	}
	job->file = NULL;
	pthread_mutex_unlock(&c->lock);
	file->job = NULL;
	return rc;
}

int rkfs_command_run(struct rkfs_file *file, const struct rkfs_command *command,
		     const struct rk_caller *caller)
{
	struct rkfs_commands *c = file->subject.fs->commands;
	int rc = outcome(c, file, command);

	if (rc <= 0)
		return rc;
	rc = start_job(c, command, caller, file, NULL, NULL);
	return rc ? rc : -EAGAIN;
}

int rkfs_command_spawn(struct rkfs *fs, const struct rkfs_command *command, void (*over)(void *ctx),
		       void *ctx)
{
	return start_job(fs->commands, command, NULL, NULL, over, ctx);
}

void rkfs_command_leave(struct rkfs_file *file)
{
	struct rkfs_commands *c = file->subject.fs->commands;

	if (!file->job)
		return;
	pthread_mutex_lock(&c->lock);
	file->job->file = NULL;
	pthread_mutex_unlock(&c->lock);
	file->job = NULL;
}
