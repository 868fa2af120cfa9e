/* SPDX-License-Identifier: MIT */
/* The thread that writes metrics_textfile, through a helper process, which may hang for it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/base/clock.h"
#include "runtime/base/helper.h"
#include "runtime/base/log.h"
#include "runtime/base/thread.h"
#include "runtime/metrics/metrics.h"

#define TEXTFILE_MODE 0644 /* node_exporter is another user */
#define SLOW_MS	      3000 /* a write that takes longer is trouble */
#define LAST_MS	      1000 /* what the last write may take, at the end */

struct rk_metrics {
	struct rk_runtime *rt;
	const char *mount; /* NULL = none */
	pthread_t thread;
	int wake; /* an eventfd: quit, or the configuration may have changed */
	atomic_bool quit;
	/* the thread's own */
	struct rk_helper helper;
	struct rk_config config, newer;
	bool hangs;   /* the file system of the last one does not answer */
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

/* --- in the helper --- */

static int copy_all(int to, int from)
{
	char buf[16384];
	off_t at = 0;
	ssize_t n;
	int rc = 0;

	while (!rc && (n = pread(from, buf, sizeof(buf), at)) > 0) {
		rc = write_all(to, buf, (size_t)n);
		at += n;
	}
	return rc ? rc : n < 0 ? -errno : 0;
}

static int replace_in(int dir, const char *name, int from)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
	char temporary[NAME_MAX + 1];
	int fd, rc;

	/* not *.prom: the collector must not read it */
	if ((size_t)snprintf(temporary, sizeof(temporary), "%s.%d", name, (int)getpid()) >=
	    sizeof(temporary))
		return -ENAMETOOLONG;
	/* what has that name is left over, or was put there for us to write into */
	if (unlinkat(dir, temporary, 0) && errno != ENOENT)
		return -errno;
	fd = openat(dir, temporary, flags, TEXTFILE_MODE);
	if (fd < 0)
		return -errno;
	rc = fchmod(fd, TEXTFILE_MODE) ? -errno : copy_all(fd, from);
	if (close(fd) && !rc)
		rc = -errno;
	if (!rc && renameat(dir, temporary, dir, name))
		rc = -errno;
	if (rc)
		(void)unlinkat(dir, temporary, 0);
	return rc;
}

/* A reader sees the old file or the new one, whole. Its text is descriptor @from. */
static int replace_file(char *path, int from)
{
	char *slash = strrchr(path, '/');
	int dir, rc;

	*slash = '\0';
	dir = open(*path ? path : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -errno;
	rc = replace_in(dir, slash + 1, from);
	close(dir);
	return rc;
}

static void replace_there(const char *path, size_t len, int fd, struct rk_helper_reply *reply)
{
	char copy[RK_CONFIG_TEXT_MAX];

	(void)len;
	snprintf(copy, sizeof(copy), "%s", path);
	reply->rc = replace_file(copy, fd);
}

/* --- the thread --- */

static void set_trouble(struct rk_metrics *m, const char *why)
{
	char sentence[RK_ERROR_MAX];

	snprintf(sentence, sizeof(sentence), "metrics_textfile: cannot write %.180s: %s",
		 m->config.metrics_textfile, why);
	if (!m->failing)
		rk_log(RK_LOG_ERROR, "%s", sentence);
	m->failing = true;
	rk_runtime_trouble(m->rt, RK_TROUBLE_TEXTFILE, sentence);
}

static void end_trouble(struct rk_metrics *m)
{
	if (m->failing)
		rk_log(RK_LOG_INFO, "metrics_textfile: %s is written again",
		       m->config.metrics_textfile);
	m->failing = false;
	rk_runtime_trouble(m->rt, RK_TROUBLE_TEXTFILE, "");
}

static void clear_wake(struct rk_metrics *m)
{
	rk_wake_clear(m->wake);
}

/* Whether nobody wants the file any more that is being written. */
static bool is_superseded(struct rk_metrics *m)
{
	rk_runtime_config(m->rt, &m->newer);
	return strcmp(m->newer.metrics_textfile, m->config.metrics_textfile) != 0;
}

/* For the answer of the helper. -ECANCELED where it is not wanted any more, -ETIMEDOUT at the end.
 */
static int wait_for_helper(struct rk_metrics *m, bool last)
{
	int rc, patience = SLOW_MS;

	if (last)
		return rk_helper_wait(&m->helper, -1, LAST_MS);
	while ((rc = rk_helper_wait(&m->helper, m->wake, patience))) {
		if (rc == -ETIMEDOUT) {
			set_trouble(m, "its file system does not answer");
			patience = -1;
			continue;
		}
		if (rc != -ECANCELED)
			return rc;
		if (atomic_load(&m->quit)) /* what is written now may be the last one as well */
			return rk_helper_wait(&m->helper, -1, LAST_MS);
		clear_wake(m);
		if (is_superseded(m))
			return -ECANCELED;
	}
	return 0;
}

/* Let the helper write @text. */
static int write_away(struct rk_metrics *m, const char *text, size_t len, bool last)
{
	const char *path = m->config.metrics_textfile;
	struct rk_helper_reply reply = {.fd = -1};
	int fd = memfd_create("rkfs-metrics", MFD_CLOEXEC);
	int rc = fd < 0 ? -errno : write_all(fd, text, len);

	if (!rc && m->helper.sock < 0)
		rc = rk_helper_start(&m->helper, NULL);
	if (!rc)
		rc = rk_helper_send(&m->helper, replace_there, path, strlen(path), fd);
	if (!rc)
		rc = wait_for_helper(m, last);
	if (!rc)
		rc = rk_helper_receive(&m->helper, &reply);
	if (fd >= 0)
		close(fd);
	m->hangs = rc == -ETIMEDOUT;
	if (rc) /* it hangs, or has died */
		rk_helper_end(&m->helper);
	return rc ? rc : reply.rc;
}

/* False where another one is wanted by now. */
static bool write_textfile(struct rk_metrics *m, bool last)
{
	char *text;
	size_t len;
	int rc = rk_metrics_print(m->rt, m->mount, &text, &len);

	if (!rc) {
		rc = write_away(m, text, len, last);
		free(text);
	}
	if (!rc)
		end_trouble(m);
	else if (rc != -ECANCELED)
		set_trouble(m, strerror(-rc));
	return rc != -ECANCELED;
}

/* Until the next interval has passed, the configuration may have changed, or it is over. */
static void wait_for_turn(struct rk_metrics *m)
{
	struct pollfd wake = {.fd = m->wake, .events = POLLIN};
	uint64_t ms = m->config.metrics_interval;

	if (poll(&wake, 1, m->config.metrics_textfile[0] ? (int)ms : -1) > 0)
		clear_wake(m);
}

/* The configuration as it is now; another name is news. */
static void read_config(struct rk_metrics *m)
{
	bool other = is_superseded(m);
	size_t len = strlen(m->newer.metrics_textfile);

	m->config = m->newer;
	if (!other)
		return;
	m->failing = false;
	rk_helper_end(&m->helper);
	rk_runtime_trouble(m->rt, RK_TROUBLE_TEXTFILE, "");
	if (len && !rk_metrics_textfile_name(m->config.metrics_textfile))
		rk_log(RK_LOG_WARN,
		       "metrics_textfile: %s does not end in .prom: node_exporter does not read it",
		       m->config.metrics_textfile);
}

bool rk_metrics_textfile_name(const char *path)
{
	const char *dot = strrchr(path, '.');

	return !path[0] || (dot && !strcmp(dot, ".prom"));
}

static void *metrics_main(void *arg)
{
	struct rk_metrics *m = arg;

	pthread_setname_np(pthread_self(), "rk-metrics");
	while (!atomic_load(&m->quit)) {
		read_config(m);
		if (!m->config.metrics_textfile[0] || write_textfile(m, false))
			wait_for_turn(m);
	}
	if (m->config.metrics_textfile[0] && !m->hangs)
		(void)write_textfile(m, true);
	rk_helper_end(&m->helper);
	return NULL;
}

int rk_metrics_create(struct rk_metrics **metrics, struct rk_runtime *rt, const char *mount,
		      struct rk_error *err)
{
	struct rk_metrics *m = calloc(1, sizeof(*m));
	int rc;

	if (!m)
		return rk_error_set(err, ENOMEM, "no memory for the metrics");
	m->rt = rt;
	m->mount = mount;
	m->helper = RK_HELPER_NONE;
	m->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc = m->wake < 0 ? errno : 0;
	if (!rc)
		rc = rk_thread_start(&m->thread, metrics_main, m);
	if (rc) {
		if (m->wake >= 0)
			close(m->wake);
		free(m);
		return rk_error_set(err, rc, "cannot start the metrics thread: %m");
	}
	*metrics = m;
	return 0;
}

void rk_metrics_config_changed(struct rk_metrics *metrics)
{
	rk_wake(metrics->wake);
}

void rk_metrics_destroy(struct rk_metrics *metrics)
{
	if (!metrics)
		return;
	atomic_store(&metrics->quit, true);
	rk_metrics_config_changed(metrics);
	pthread_join(metrics->thread, NULL);
	close(metrics->wake);
	free(metrics);
}
