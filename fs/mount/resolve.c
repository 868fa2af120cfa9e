/* SPDX-License-Identifier: MIT */
/* The path that a mount has, found without looking at any mount point. */
#include "fs/mount/internal.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_LINKS 40 /* as the kernel */

/* A path on its way to be resolved. */
struct walk {
	char done[PATH_MAX]; /* resolved: "" is the root, else "/a/b" */
	char rest[PATH_MAX]; /* still to go */
	int links;
	const struct rkfs_mounts *mounts;
	struct rk_error *err;
};

static int too_long(struct walk *w)
{
	return rk_error_set(w->err, ENAMETOOLONG, "DIR is longer than a path may be (%d bytes)",
			    PATH_MAX - 1);
}

/* w->rest = @head "/" @tail, where @tail may lie in w->rest. */
static int set_rest(struct walk *w, const char *head, const char *tail)
{
	size_t n = strlen(head), m = strlen(tail);

	if (n + 1 + m >= sizeof(w->rest))
		return too_long(w);
	memmove(w->rest + n + 1, tail, m + 1);
	memcpy(w->rest, head, n);
	w->rest[n] = '/';
	return 0;
}

static void go_up(struct walk *w)
{
	char *slash = strrchr(w->done, '/');

	if (slash)
		*slash = '\0';
}

/* Follow w->done if it is a symbolic link; it is no mount point. */
static int follow_link(struct walk *w)
{
	char link[PATH_MAX];
	ssize_t n = readlink(w->done, link, sizeof(link));

	if (n < 0 && errno == EINVAL)
		return 0;
	if (n < 0 && errno == ENOENT)
		return rk_error_set(w->err, ENOENT,
				    RKFS_PATH " does not exist; make it with mkdir -p", w->done);
	if (n < 0)
		return rk_error_set(w->err, errno, RKFS_PATH ": %m", w->done);
	if ((size_t)n == sizeof(link))
		return too_long(w);
	link[n] = '\0';
	if (++w->links > MAX_LINKS)
		return rk_error_set(w->err, ELOOP, RKFS_PATH ": too many symbolic links", w->done);
	if (link[0] == '/')
		w->done[0] = '\0';
	else
		go_up(w);
	return set_rest(w, link, w->rest);
}

/* Go into the first component of w->rest, @len bytes. */
static int step(struct walk *w, size_t len)
{
	size_t n = strlen(w->done);
	char *name = w->rest;

	if (rkfs_mount_is_rkfs(rkfs_mounts_find(w->mounts, n ? w->done : "/")))
		return rk_error_set(w->err, EBUSY,
				    "DIR lies inside the rkfs that is mounted at " RKFS_PATH
				    "; choose a directory outside of it",
				    n ? w->done : "/");
	if (n + 1 + len >= sizeof(w->done))
		return too_long(w);
	w->done[n] = '/';
	memcpy(w->done + n + 1, name, len);
	w->done[n + 1 + len] = '\0';
	memmove(w->rest, name + len, strlen(name + len) + 1);
	/* a mount point is no link, and looking at it may hang */
	return rkfs_mounts_find(w->mounts, w->done) ? 0 : follow_link(w);
}

static int start_walk(struct walk *w, const char *dir)
{
	char *cwd;
	int rc;

	if (!*dir)
		return rk_error_set(w->err, EINVAL, "DIR is empty");
	if (strlen(dir) >= sizeof(w->rest) - 1)
		return too_long(w);
	if (dir[0] == '/')
		return set_rest(w, "", dir);
	/* the kernel knows it; nothing is looked at */
	cwd = getcwd(NULL, 0);
	if (!cwd)
		return rk_error_set(w->err, errno,
				    RKFS_PATH ": the working directory cannot be found: %m", dir);
	rc = set_rest(w, cwd, dir);
	free(cwd);
	return rc;
}

static int resolve(const char *dir, const struct rkfs_mounts *mounts, char **path,
		   struct rk_error *err)
{
	struct walk w = {.mounts = mounts, .err = err};
	int rc = start_walk(&w, dir);
	char *copy;

	while (rc == 0) {
		size_t slashes = strspn(w.rest, "/"), len;

		memmove(w.rest, w.rest + slashes, strlen(w.rest + slashes) + 1);
		len = strcspn(w.rest, "/");
		if (len == 0)
			break;
		if (len <= 2 && strncmp(w.rest, "..", len) == 0) {
			if (len == 2)
				go_up(&w);
			memmove(w.rest, w.rest + len, strlen(w.rest + len) + 1);
		} else {
			rc = step(&w, len);
		}
	}
	if (rc < 0)
		return rc;
	copy = strdup(w.done[0] ? w.done : "/");
	if (!copy)
		return rk_error_set(err, ENOMEM, "out of memory");
	*path = copy;
	return 0;
}

int rkfs_resolve(const char *dir, const char *mountinfo, char **path, struct rk_error *err)
{
	struct rkfs_mounts mounts;
	int rc = rkfs_mounts_read(&mounts, mountinfo, err);

	if (rc < 0)
		return rc;
	rc = resolve(dir, &mounts, path, err);
	rkfs_mounts_free(&mounts);
	return rc;
}
