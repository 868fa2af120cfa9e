/* SPDX-License-Identifier: MIT */
/* rkcall: one call, from the request's bytes to the answer's. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/client/rkcall.h"

#define PIECE_BYTES (1UL << 20) /* what FUSE takes at once */

/* --- bytes --- */

/* After -1: whether to try again. A descriptor that was handed to us may be non-blocking. */
static bool again(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};

	if (errno == EAGAIN)
		return poll(&p, 1, -1) >= 0 || errno == EINTR;
	return errno == EINTR;
}

static ssize_t read_some(int fd, void *buf, size_t size)
{
	ssize_t n;

	do
		n = read(fd, buf, size);
	while (n < 0 && again(fd, POLLIN));
	return n;
}

/* 0 or a negative errno. */
static int write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n >= 0) {
			data += n;
			len -= (size_t)n;
		} else if (!again(fd, POLLOUT)) {
			return -errno;
		}
	}
	return 0;
}

/* --- the answer's file --- */

/*
 * Open @path for the answer where it exists, untouched as yet; *@fd is -1 where it is to be made.
 * Before the call, so that a slip costs no computation.
 */
static int open_output(const char *path, int *fd, struct rk_error *err)
{
	char *copy;
	int rc;

	*fd = open(path, O_WRONLY | O_CLOEXEC);
	if (*fd >= 0)
		return 0;
	if (errno != ENOENT)
		return rk_error_set(err, errno, "%s: %m", path);
	copy = strdup(path);
	if (!copy)
		return rk_error_set(err, ENOMEM, "no memory");
	rc = euidaccess(dirname(copy), W_OK | X_OK);
	free(copy);
	return rc ? rk_error_set(err, errno, "%s: %m", path) : 0;
}

/* The answer is there: make the file, or cut it. */
static int begin_output(const char *path, int *fd, struct rk_error *err)
{
	struct stat st;

	if (*fd < 0)
		*fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	else if (fstat(*fd, &st) || (S_ISREG(st.st_mode) && ftruncate(*fd, 0)))
		return rk_error_set(err, errno, "%s: %m", path);
	return *fd < 0 ? rk_error_set(err, errno, "%s: %m", path) : 0;
}

/* --- the call --- */

/* Everything that a call holds. */
struct call {
	const struct rkcall_mount *mount;
	const struct rkcall_request *request;
	int fd;	     /* the call file */
	int out;     /* the answer's file */
	char *piece; /* PIECE_BYTES */
};

/*
 * What the call file says of its error: after a read that failed, the next one tells. Where it was
 * a write, a read fails first. Returns its length, 0 where it says nothing.
 */
static size_t read_sentence(const struct call *c, char sentence[RK_ERROR_MAX])
{
	ssize_t n = read_some(c->fd, sentence, RK_ERROR_MAX - 1);

	if (n < 0)
		n = read_some(c->fd, sentence, RK_ERROR_MAX - 1);
	if (n <= 0)
		return 0;
	sentence[n] = '\0';
	sentence[strcspn(sentence, "\n")] = '\0';
	rk_text_clean(sentence, RK_ERROR_MAX, "");
	return strlen(sentence);
}

static int failed(const struct call *c, int code, struct rk_error *err)
{
	char sentence[RK_ERROR_MAX];
	/* of these two others tell more */
	bool told = code != ESHUTDOWN && code != ECANCELED && read_sentence(c, sentence);

	return rkcall_why(c->mount, c->request->kernel, code, told ? sentence : NULL, err);
}

/* Returns 0 or a negative errno. */
static int send_request(const struct call *c, struct rk_error *err)
{
	const struct rkcall_request *r = c->request;
	size_t sent = 0;
	ssize_t n;
	int rc;

	if (r->text) {
		sent = strlen(r->text);
		rc = write_all(c->fd, r->text, sent);
		if (rc)
			return failed(c, -rc, err);
	} else {
		while ((n = read_some(r->fd, c->piece, PIECE_BYTES)) > 0) {
			rc = write_all(c->fd, c->piece, (size_t)n);
			if (rc)
				return failed(c, -rc, err);
			sent += (size_t)n;
		}
		if (n < 0)
			return rk_error_set(err, errno, "%s: %m", r->input);
	}
	/* the call file would take it for no request, and answer with nothing */
	if (!sent)
		return rk_error_set(err, EINVAL, "the request is empty");
	return 0;
}

static int receive_answer(struct call *c, struct rk_error *err)
{
	const char *path = c->request->output;
	const char *name = path ? path : "standard output";
	ssize_t n = read_some(c->fd, c->piece, PIECE_BYTES);
	int rc;

	if (n >= 0 && path) {
		rc = begin_output(path, &c->out, err);
		if (rc)
			return rc;
	}
	while (n > 0) {
		rc = write_all(c->out, c->piece, (size_t)n);
		if (rc)
			return rk_error_set(err, -rc, "%s: %m", name);
		n = read_some(c->fd, c->piece, PIECE_BYTES);
	}
	return n < 0 ? failed(c, errno, err) : 0;
}

/* With everything open that exists. */
static int run(struct call *c, struct rk_error *err)
{
	int rc;

	c->piece = malloc(PIECE_BYTES);
	if (!c->piece)
		return rk_error_set(err, ENOMEM, "no memory");
	rc = send_request(c, err);
	if (!rc)
		rc = receive_answer(c, err);
	free(c->piece);
	return rc;
}

int rkcall_call(const struct rkcall_mount *m, const struct rkcall_request *r, struct rk_error *err)
{
	struct call c = {.mount = m, .request = r, .fd = -1, .out = STDOUT_FILENO};
	char path[PATH_MAX];
	int rc = 0;

	if (r->output)
		rc = open_output(r->output, &c.out, err);
	if (rc)
		return rc;
	if (!rkcall_call_path(path, r->kernel, r->encoding))
		rc = rkcall_no_kernel(m, r->kernel, err);
	else if ((c.fd = openat(m->fd, path, O_RDWR | O_CLOEXEC)) < 0)
		rc = rkcall_why_not_open(m, r->kernel, r->encoding, errno, err);
	else
		rc = run(&c, err);
	if (c.fd >= 0)
		close(c.fd); /* the answer is read: nothing is left to fail */
	if (r->output && c.out >= 0 && close(c.out) && !rc)
		rc = rk_error_set(err, errno, "%s: %m", r->output);
	return rc;
}
