/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/clock.h"
#include "runtime/log.h"
#include "runtime/metrics.h"

#define TEXTFILE_MODE 0644 /* node_exporter is another user */

struct rk_metrics {
	struct rk_runtime *rt;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool quit, changed;
	/* the thread's own */
	struct rk_config config;
	bool failing; /* the last write failed, and the log says so */
};

static int write_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

/* A reader sees the old file or the new one, whole. 0 or a negative errno. */
static int replace_file(const char *path, const char *text, size_t len)
{
	char temporary[RK_CONFIG_TEXT_MAX + 16];
	int fd, rc;

	/* not *.prom: the collector must not read it */
	snprintf(temporary, sizeof(temporary), "%s.%d", path, (int)getpid());
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, TEXTFILE_MODE);
	if (fd < 0)
		return -errno;
	rc = fchmod(fd, TEXTFILE_MODE) ? -errno : write_all(fd, text, len);
	if (close(fd) && !rc)
		rc = -errno;
	if (!rc && rename(temporary, path))
		rc = -errno;
	if (rc)
		(void)unlink(temporary);
	return rc;
}

static void write_textfile(struct rk_metrics *m)
{
	char *text;
	size_t len;
	int rc = rk_metrics_print(m->rt, &text, &len);

	if (!rc) {
		rc = replace_file(m->config.metrics_textfile, text, len);
		free(text);
	}
	if (rc && !m->failing)
		rk_log(RK_LOG_ERROR, "metrics_textfile: cannot write %s: %s",
		       m->config.metrics_textfile, strerror(-rc));
	if (!rc && m->failing)
		rk_log(RK_LOG_INFO, "metrics_textfile: %s is written again",
		       m->config.metrics_textfile);
	m->failing = rc != 0;
}

/* Until the next interval has passed, the configuration has changed, or it is over. */
static bool wait_for_turn(struct rk_metrics *m)
{
	uint64_t at = rk_now_ns() + m->config.metrics_interval * RK_NS_PER_MS;
	struct timespec until = {(time_t)(at / RK_NS_PER_SEC), (long)(at % RK_NS_PER_SEC)};
	bool idle = !m->config.metrics_textfile[0], quit;
	int rc = 0;

	pthread_mutex_lock(&m->lock);
	while (!m->quit && !m->changed && rc != ETIMEDOUT)
		rc = idle ? pthread_cond_wait(&m->wake, &m->lock)
			  : pthread_cond_timedwait(&m->wake, &m->lock, &until);
	m->changed = false;
	quit = m->quit;
	pthread_mutex_unlock(&m->lock);
	return !quit;
}

static void *metrics_main(void *arg)
{
	struct rk_metrics *m = arg;

	pthread_setname_np(pthread_self(), "rk-metrics");
	do {
		rk_runtime_config(m->rt, &m->config);
		if (m->config.metrics_textfile[0])
			write_textfile(m);
	} while (wait_for_turn(m));
	if (m->config.metrics_textfile[0])
		write_textfile(m);
	return NULL;
}

static int start(struct rk_metrics *m, struct rk_error *err)
{
	pthread_condattr_t attr;
	sigset_t all, old;
	int rc = pthread_condattr_init(&attr);

	if (!rc)
		rc = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	if (!rc)
		rc = pthread_cond_init(&m->wake, &attr);
	if (!rc)
		rc = pthread_mutex_init(&m->lock, NULL);
	if (rc)
		return rk_error_set(err, rc, "cannot set up the metrics: %s", strerror(rc));
	pthread_condattr_destroy(&attr);
	sigfillset(&all); /* signals are the main program's */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&m->thread, NULL, metrics_main, m);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return rc ? rk_error_set(err, rc, "cannot start the metrics thread: %s", strerror(rc)) : 0;
}

int rk_metrics_create(struct rk_metrics **metrics, struct rk_runtime *rt, struct rk_error *err)
{
	struct rk_metrics *m = calloc(1, sizeof(*m));
	int rc;

	if (!m)
		return rk_error_set(err, ENOMEM, "no memory for the metrics");
	m->rt = rt;
	rc = start(m, err);
	if (rc) {
		free(m);
		return rc;
	}
	*metrics = m;
	return 0;
}

void rk_metrics_config_changed(struct rk_metrics *metrics)
{
	pthread_mutex_lock(&metrics->lock);
	metrics->changed = true;
	pthread_cond_signal(&metrics->wake);
	pthread_mutex_unlock(&metrics->lock);
}

void rk_metrics_destroy(struct rk_metrics *metrics)
{
	if (!metrics)
		return;
	pthread_mutex_lock(&metrics->lock);
	metrics->quit = true;
	pthread_cond_signal(&metrics->wake);
	pthread_mutex_unlock(&metrics->lock);
	pthread_join(metrics->thread, NULL);
	pthread_cond_destroy(&metrics->wake);
	pthread_mutex_destroy(&metrics->lock);
	free(metrics);
}
