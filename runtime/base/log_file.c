/* SPDX-License-Identifier: MIT */
/* A log file that a helper process opens and writes. */
#include "runtime/base/log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "runtime/base/trust.h"

#define CLOSE_MS 1000 /* how long the closing may take */

/* --- in the helper --- */

static int log_there = -1; /* the file, in the helper */

bool rk_log_file_is_descriptor(const char *path)
{
	return !strncmp(path, "/dev/std", 8) || !strncmp(path, "/dev/fd/", 8) ||
	       !strncmp(path, "/proc/self/", 11);
}

static int open_file(const char *path, struct rk_error *err)
{
	int fd;

	if (!rk_log_file_is_descriptor(path)) {
		fd = rk_trust_append(path, err);
		return fd < 0 ? rk_error_prefix(err, "log file") : fd;
	}
	/* O_NONBLOCK: a FIFO that nobody reads must not hang the runtime. */
	fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	return fd < 0 ? rk_error_set(err, errno, "log file %s: cannot open: %m", path) : fd;
}

static void open_there(const char *path, size_t len, int fd, struct rk_helper_reply *reply)
{
	(void)len;
	log_there = fd < 0 ? open_file(path, &reply->err) : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (log_there < 0)
		reply->rc = fd < 0 ? log_there : -errno;
}

static void write_there(const char *line, size_t len, int fd, struct rk_helper_reply *reply)
{
	(void)fd;
	while (len > 0) {
		ssize_t n = write(log_there, line, len);

		if (n >= 0) {
			line += n;
			len -= (size_t)n;
		} else if (errno != EINTR) {
			reply->rc = -errno;
			return;
		}
	}
}

static void close_there(const char *text, size_t len, int fd, struct rk_helper_reply *reply)
{
	(void)text, (void)len, (void)fd;
	if (close(log_there) < 0)
		reply->rc = -errno;
}

/* --- in the daemon --- */

int rk_log_file_open(struct rk_log_file *f, struct rk_error *err)
{
	int fd = -1, rc;

	if (rk_log_file_is_descriptor(f->path)) {
		fd = open_file(f->path, err);
		if (fd < 0)
			return fd;
	}
	rc = rk_helper_start(&f->helper, err);
	if (!rc) {
		rc = rk_helper_send(&f->helper, open_there, f->path, strlen(f->path), fd);
		if (rc)
			rk_error_set(err, -rc, "log file %s: cannot open: %m", f->path);
	}
	if (fd >= 0)
		close(fd);
	if (rc)
		rk_helper_end(&f->helper);
	return rc;
}

int rk_log_file_opened(struct rk_log_file *f, struct rk_error *err)
{
	struct rk_helper_reply reply = {.fd = -1};
	int rc = rk_helper_receive(&f->helper, &reply);

	if (rc)
		rc = rk_error_set(err, EIO, "log file %s: its helper has died", f->path);
	else if (reply.rc)
		rc = rk_error_set(err, -reply.rc, "%s", reply.err.msg);
	if (rc)
		rk_helper_end(&f->helper);
	return rc;
}

int rk_log_file_send(struct rk_log_file *f, const char *line, size_t len)
{
	return f->helper.sock < 0 ? -EIO : rk_helper_send(&f->helper, write_there, line, len, -1);
}

int rk_log_file_close(struct rk_log_file *f)
{
	struct rk_helper_reply reply = {.fd = -1};

	if (f->helper.sock < 0)
		return 0;
	if (!f->helper.busy && !rk_helper_send(&f->helper, close_there, "", 0, -1) &&
	    !rk_helper_wait(&f->helper, -1, CLOSE_MS))
		(void)rk_helper_receive(&f->helper, &reply);
	rk_helper_end(&f->helper);
	return reply.rc;
}
