/* SPDX-License-Identifier: MIT */
/* Walks a path and says whose it is. */
#include "runtime/base/trust.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define MAX_LINKS 40 /* as the kernel's */

/* A walk: what is open, and where it is to go. */
struct walk {
	const char *path;    /* as it was asked for */
	int dir;	     /* what has been walked */
	char done[PATH_MAX]; /* its name */
	char rest[PATH_MAX];
	unsigned int links;
	bool strict; /* nobody else may write anything on the way */
};

static bool is_ours(const struct stat *st)
{
	return st->st_uid == 0 || st->st_uid == geteuid();
}

static int check_owner(const struct stat *st, const char *name, struct rk_error *err)
{
	return is_ours(st) ? 0
			   : rk_error_set(err, EACCES,
					  "%s belongs to uid %u: it must belong to root or uid %u",
					  name, st->st_uid, geteuid());
}

/* The bits of the group are the mask of a list, so that without them no entry lets anybody write.
 */
static bool has_list(int fd)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return getxattr(path, "system.posix_acl_access", NULL, 0) > 0;
}

/* Whether nobody else may write @fd, called @name. */
static int check_trust(int fd, const struct stat *st, const char *name, struct rk_error *err)
{
	int rc = check_owner(st, name, err);

	if (rc || (S_ISDIR(st->st_mode) && (st->st_mode & S_ISVTX) && st->st_uid == 0))
		return rc;
	if (st->st_mode & S_IWOTH)
		return rk_error_set(err, EACCES, "%s is writable by everybody: chmod o-w", name);
	if ((st->st_mode & S_IWGRP) && st->st_gid != 0)
		return rk_error_set(err, EACCES, "%s is writable by group %u: chmod g-w", name,
				    st->st_gid);
	if ((st->st_mode & S_IWGRP) && has_list(fd))
		return rk_error_set(err, EACCES,
				    "%s has an access control list that lets others write: "
				    "setfacl -b, or chmod g-w",
				    name);
	return 0;
}

/* Take the next component off the rest; false at the end. */
static bool next_name(struct walk *w, char name[NAME_MAX + 1], struct rk_error *err, int *rc)
{
	size_t slashes = strspn(w->rest, "/"), len = strcspn(w->rest + slashes, "/");

	if (len > NAME_MAX) {
		*rc = rk_error_set(err, ENAMETOOLONG, "%s: a name is too long", w->path);
		return false;
	}
	memcpy(name, w->rest + slashes, len);
	name[len] = '\0';
	len += slashes;
	memmove(w->rest, w->rest + len, strlen(w->rest + len) + 1);
	return *name != '\0';
}

/* Whether nothing follows but slashes. */
static bool is_last(const struct walk *w)
{
	return w->rest[strspn(w->rest, "/")] == '\0';
}

static int too_long(const struct walk *w, struct rk_error *err)
{
	return rk_error_set(err, ENAMETOOLONG, "%s: the path is too long", w->path);
}

static int restart(struct walk *w, struct rk_error *err)
{
	int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (root < 0 || fstat(root, &st))
		return rk_error_set(err, errno, "/: %m");
	if (w->dir >= 0)
		close(w->dir);
	w->dir = root;
	w->done[0] = '\0';
	return w->strict ? check_trust(root, &st, "/", err) : 0;
}

/* Add @name to what has been walked. */
static int append(struct walk *w, const char *name, struct rk_error *err)
{
	size_t len = strlen(w->done), room = sizeof(w->done) - len;

	return (size_t)snprintf(w->done + len, room, "/%s", name) < room ? 0 : too_long(w, err);
}

/* @link, the last name walked, is left: what it says stands before the rest. */
static int follow(struct walk *w, int link, struct rk_error *err)
{
	char target[PATH_MAX], rest[PATH_MAX];
	ssize_t len = readlinkat(link, "", target, sizeof(target) - 1);

	if (len < 0)
		return rk_error_set(err, errno, "%s: %m", w->path);
	target[len] = '\0';
	if (++w->links > MAX_LINKS)
		return rk_error_set(err, ELOOP, "%s: too many symbolic links", w->path);
	memcpy(rest, w->rest, sizeof(rest));
	if ((size_t)snprintf(w->rest, sizeof(w->rest), "%s/%s", target, rest) >= sizeof(w->rest))
		return too_long(w, err);
	*strrchr(w->done, '/') = '\0';
	return target[0] == '/' ? restart(w, err) : 0;
}

/* What @w has come to is @fd, which it owns from now on: a link, or a directory on the way. */
static int step(struct walk *w, int fd, const struct stat *st, struct rk_error *err)
{
	int rc;

	if (S_ISLNK(st->st_mode)) {
		rc = check_owner(st, w->done, err);
		if (!rc)
			rc = follow(w, fd, err);
		close(fd);
		return rc;
	}
	close(w->dir);
	w->dir = fd;
	return w->strict ? check_trust(fd, st, w->done, err) : 0;
}

/*
 * Walk to what @path names, and open it with @flags, and with @mode where they create it. Returns
 * its descriptor or a negative errno; w->done is its name.
 */
static int walk(struct walk *w, const char *path, int flags, mode_t mode, struct rk_error *err)
{
	char name[NAME_MAX + 1];
	int rc;

	if (path[0] != '/')
		return rk_error_set(err, EINVAL, "%s is no absolute path", path);
	w->path = path;
	if ((size_t)snprintf(w->rest, sizeof(w->rest), "%s", path) >= sizeof(w->rest))
		return too_long(w, err);
	rc = restart(w, err);
	while (!rc && next_name(w, name, err, &rc)) {
		int fd = openat(w->dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		struct stat st = {0};
		bool there = fd >= 0 && !fstat(fd, &st);

		rc = append(w, name, err);
		if (!rc && is_last(w) && (there ? !S_ISLNK(st.st_mode) : errno == ENOENT)) {
			if (there)
				close(fd);
			fd = openat(w->dir, name, flags | O_NOFOLLOW | O_CLOEXEC, mode);
			return fd < 0 ? rk_error_set(err, errno, "%s: %m", w->path) : fd;
		}
		if (!rc && !there)
			rc = rk_error_set(err, errno, "%s: %m", w->path);
		if (!rc)
			rc = step(w, fd, &st, err);
		else if (fd >= 0)
			close(fd);
	}
	if (rc)
		return rc;
	rc = openat(w->dir, ".", flags | O_CLOEXEC, mode);
	return rc < 0 ? rk_error_set(err, errno, "%s: %m", path) : rc;
}

/* Close @fd, unless @rc is 0, and what the walk has left open. Returns the descriptor, or @rc. */
static int end(struct walk *w, int fd, int rc)
{
	if (w->dir >= 0)
		close(w->dir);
	if (fd >= 0 && rc)
		close(fd);
	return rc ? rc : fd;
}

int rk_trust_open(const char *path, int flags, struct rk_error *err)
{
	struct walk w = {.dir = -1, .strict = true};
	int fd = walk(&w, path, flags, 0, err), rc = fd < 0 ? fd : 0;
	struct stat st;

	if (!rc && fstat(fd, &st))
		rc = rk_error_set(err, errno, "%s: %m", path);
	if (!rc)
		rc = check_trust(fd, &st, w.done, err);
	return end(&w, fd, rc);
}

int rk_trust_append(const char *path, struct rk_error *err)
{
	/* O_NONBLOCK: a FIFO that nobody reads must not hang the caller */
	const int flags = O_WRONLY | O_CREAT | O_APPEND | O_NOCTTY | O_NONBLOCK;
	struct walk w = {.dir = -1};
	int fd = walk(&w, path, flags, 0640, err), rc = fd < 0 ? fd : 0;
	struct stat st;

	if (!rc && fstat(fd, &st))
		rc = rk_error_set(err, errno, "%s: %m", path);
	if (!rc)
		rc = check_owner(&st, w.done, err);
	if (!rc && S_ISREG(st.st_mode) && st.st_nlink > 1)
		rc = rk_error_set(
			err, EACCES,
			"%s has another name, a hard link that somebody else may have made",
			w.done);
	return end(&w, fd, rc);
}
