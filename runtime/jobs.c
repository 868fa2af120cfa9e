/* SPDX-License-Identifier: MIT */
/* Jobs that read the user's files, which may take for ever: one of each kind at a time. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "runtime/base/clock.h"
#include "runtime/base/files.h"
#include "runtime/internal.h"

/* Two reloads at the same time are both done, unless the first one hangs. */
#define PATIENCE_MS 1000

int rk_runtime_jobs_init(struct rk_runtime *rt, struct rk_error *err)
{
	int rc = 0;

	rt->give_up = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (rt->give_up < 0)
		return rk_error_set(err, errno, "cannot create an event: %m");
	if (pthread_mutex_init(&rt->job_lock, NULL) || rk_cond_init(&rt->job_over))
		return rk_error_set(err, ENOMEM, "no memory for the runtime");
	for (int i = 0; i < RK_JOB_COUNT && !rc; i++)
		rc = rk_files_create(&rt->reading[i], rt->give_up, err);
	return rc;
}

void rk_runtime_jobs_destroy(struct rk_runtime *rt)
{
	for (int i = 0; i < RK_JOB_COUNT; i++)
		rk_files_destroy(rt->reading[i]);
	if (rt->give_up > 0) /* 0: it was not even tried */
		close(rt->give_up);
	pthread_cond_destroy(&rt->job_over);
	pthread_mutex_destroy(&rt->job_lock);
}

void rk_runtime_give_up(struct rk_runtime *rt)
{
	rk_wake(rt->give_up); /* readable for ever from now on */
}

static int refuse_second(struct rk_runtime *rt, enum rk_job_kind kind, struct rk_error *err)
{
	static const char *const names[] = {[RK_JOB_RELOAD] = "reload", [RK_JOB_RESET] = "reset"};
	char path[PATH_MAX];

	rk_files_path(rt->reading[kind], path);
	return rk_error_set(err, EBUSY, "%s: another %s is still reading %.180s: try again later",
			    names[kind], names[kind], path[0] ? path : "files");
}

int rk_runtime_job_begin(struct rk_runtime *rt, enum rk_job_kind kind, struct rk_error *err)
{
	const struct timespec until = rk_timespec(rk_now_ns() + PATIENCE_MS * RK_NS_PER_MS);
	bool busy;
	int rc = 0;

	pthread_mutex_lock(&rt->job_lock);
	while (rt->running[kind] && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&rt->job_over, &rt->job_lock, &until);
	busy = rt->running[kind];
	rt->running[kind] = true;
	pthread_mutex_unlock(&rt->job_lock);
	return busy ? refuse_second(rt, kind, err) : 0;
}

void rk_runtime_job_end(struct rk_runtime *rt, enum rk_job_kind kind)
{
	rk_files_rest(rt->reading[kind]);
	RK_GUARD(&rt->job_lock);
	rt->running[kind] = false;
	pthread_cond_broadcast(&rt->job_over);
}

/* --- sources --- */

static void free_strings(char **list)
{
	for (size_t i = 0; list && list[i]; i++)
		free(list[i]);
	free(list);
}

/* A deep copy of a NULL-terminated list in *@copy, NULL for NULL. 0 or -ENOMEM. */
static int copy_strings(const char *const *list, char ***copy)
{
	size_t n = 0;

	if (!list)
		return 0;
	while (list[n])
		n++;
	*copy = calloc(n + 1, sizeof(**copy));
	for (size_t i = 0; *copy && i < n; i++) {
		(*copy)[i] = strdup(list[i]);
		if (!(*copy)[i])
			return -ENOMEM;
	}
	return *copy ? 0 : -ENOMEM;
}

int rk_runtime_copy_sources(struct rk_runtime *rt, const struct rk_config_sources *sources,
			    struct rk_error *err)
{
	if (sources->file) {
		/* Read again after the daemon has changed its directory. */
		rt->sources.file = realpath(sources->file, NULL);
		if (!rt->sources.file)
			return rk_error_set(err, errno, "%s: %m", sources->file);
	}
	rt->sources.payload_bytes = sources->payload_bytes;
	if (copy_strings(sources->options, &rt->sources.options) ||
	    copy_strings(sources->environ, &rt->sources.environ))
		return rk_error_set(err, ENOMEM, "no memory for the configuration");
	return 0;
}

void rk_runtime_free_sources(struct rk_runtime *rt)
{
	free(rt->sources.file);
	free_strings(rt->sources.options);
	free_strings(rt->sources.environ);
}

int rk_runtime_load_config(struct rk_runtime *rt, enum rk_job_kind kind, struct rk_config *config,
			   struct rk_error *err)
{
	const struct rk_config_sources sources = {
		.file = rt->sources.file,
		.options = (const char *const *)rt->sources.options,
		.environ = (const char *const *)rt->sources.environ,
		.payload_bytes = rt->sources.payload_bytes,
		.files = rt->reading[kind],
	};

	return rk_config_load(config, &sources, err);
}
