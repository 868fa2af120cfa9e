/* SPDX-License-Identifier: MIT */
#include "fs/mount/mountpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/mount/attach.h"
#include "fs/mount/mountinfo.h"
#include "fs/mount/probe.h"

/* a path in a sentence, which shall not be cut before it says what is wrong */
#define PATH	  "%.200s"
#define MAX_LINKS 40 /* as the kernel */
#define MAX_DEAD  64 /* dead mounts on each other at one place */

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
		return rk_error_set(w->err, ENOENT, PATH " does not exist; make it with mkdir -p",
				    w->done);
	if (n < 0)
		return rk_error_set(w->err, errno, PATH ": %s", w->done, strerror(errno));
	if ((size_t)n == sizeof(link))
		return too_long(w);
	link[n] = '\0';
	if (++w->links > MAX_LINKS)
		return rk_error_set(w->err, ELOOP, PATH ": too many symbolic links", w->done);
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
				    "DIR lies inside the rkfs that is mounted at " PATH
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
				    PATH ": the working directory cannot be found: %s", dir,
				    strerror(errno));
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

int rkfs_mountpoint_resolve(const char *dir, const char *mountinfo, char **path,
			    struct rk_error *err)
{
	struct rkfs_mounts mounts;
	int rc = rkfs_mounts_read(&mounts, mountinfo, err);

	if (rc < 0)
		return rc;
	rc = resolve(dir, &mounts, path, err);
	rkfs_mounts_free(&mounts);
	return rc;
}

/*
 * What is to be done about the mount at @path. Returns 0 where one may mount over it, 1
 * where it is a dead rkfs, or a negative errno.
 */
static int judge(const struct rkfs_mount *mount, const char *path, struct rk_error *err)
{
	bool ours = rkfs_mount_is_rkfs(mount);
	int code = 0;
	int rc = rkfs_probe(path, &code, err);

	if (rc < 0)
		return rc;
	switch (code) {
	case 0:
		if (!ours)
			return 0;
		return rk_error_set(err, EBUSY,
				    PATH " is already an rkfs mount; umount it first, or choose "
					 "another directory",
				    path);
	case ENOTCONN:
	case ECONNABORTED: /* aborted through /sys/fs/fuse/connections */
		if (ours)
			return 1;
		return rk_error_set(err, ENOTCONN,
				    PATH
				    " is a dead mount of type %s, which is not rkfs's to clear; "
				    "umount it first",
				    path, mount->type);
	case ETIMEDOUT:
		return rk_error_set(err, ETIMEDOUT,
				    PATH
				    " is a mount of type %s that does not answer: its server is "
				    "stopped or stuck; end it, or detach the mount with umount -l",
				    path, mount->type);
	default:
		return rk_error_set(err, code, PATH ", a mount of type %s: %s", path, mount->type,
				    strerror(code));
	}
}

/* Look at the mount at @path, if any. 0: none or a sound one, 1: a dead rkfs, *@dev, or an error.
 */
static int examine(const char *path, const char *mountinfo, dev_t *dev, struct rk_error *err)
{
	struct rkfs_mounts mounts;
	const struct rkfs_mount *mount;
	int rc = rkfs_mounts_read(&mounts, mountinfo, err);

	if (rc < 0)
		return rc;
	mount = rkfs_mounts_find(&mounts, path);
	rc = mount ? judge(mount, path, err) : 0;
	if (rc == 1)
		*dev = mount->dev;
	rkfs_mounts_free(&mounts);
	return rc;
}

/*
 * What scripts leave on the disk that write to the mount while nothing is mounted: the file then
 * has the name of one of ours.
 */
static const char *hint_of(const char *name)
{
	static const char *const ours[] = {"control", "health", "kernels", "inflight", "config"};

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (!strcmp(name, ours[i]))
			return ", which a script may have written while nothing was mounted; "
			       "remove it, and guard the script with mountpoint -q";
	return "; empty it, or choose another directory";
}

/* The first name in @dir that is there, in *@name; NULL: it is empty. 0 or a negative errno. */
static int first_entry(DIR *dir, const char **name)
{
	struct dirent *entry;

	do {
		errno = 0;
		entry = readdir(dir);
	} while (entry && (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")));
	*name = entry ? entry->d_name : NULL;
	return -errno;
}

/* The directory @path, which must be empty: a descriptor of it, or a negative errno. */
static int open_empty(const char *path, struct rk_error *err)
{
	const char *name = NULL;
	DIR *dir = opendir(path);
	int rc, fd = -1;

	if (!dir && errno == ENOTDIR)
		return rk_error_set(err, ENOTDIR, PATH " is not a directory", path);
	if (!dir)
		return rk_error_set(err, errno, PATH ": %s", path, strerror(errno));
	rc = first_entry(dir, &name);
	if (!rc && !name) {
		fd = fcntl(dirfd(dir), F_DUPFD_CLOEXEC, 3);
		rc = fd < 0 ? -errno : 0;
	}
	if (rc)
		rk_error_set(err, -rc, PATH ": %s", path, strerror(-rc));
	else if (name)
		rc = rk_error_set(err, ENOTEMPTY,
				  PATH " is not empty: a mount there would hide %.100s%s", path,
				  name, hint_of(name));
	(void)closedir(dir); /* was only read */
	return rc ? rc : fd;
}

static int clear_dead(const char *path, const char *mountinfo, bool fake, struct rk_error *err)
{
	dev_t dev = 0;
	int rc;

	/* under a dead mount may lie another one */
	for (int i = 0; (rc = examine(path, mountinfo, &dev, err)) == 1 && !fake; i++) {
		rc = i < MAX_DEAD
			     ? rkfs_detach(dev, path, mountinfo, err)
			     : rk_error_set(
				       err, ENOTCONN,
				       PATH
				       ": the dead rkfs mounts there could not all be detached",
				       path);
		if (rc < 0)
			break;
	}
	return rc;
}

int rkfs_mountpoint_prepare(const char *dir, const char *mountinfo, bool fake,
			    struct rkfs_mountpoint *point, struct rk_error *err)
{
	struct rkfs_mountpoint got = {.fd = -1};
	int again = 0;
	dev_t dev;
	int rc = rkfs_mountpoint_resolve(dir, mountinfo, &got.path, err);

	if (rc < 0)
		return rc;
	rc = clear_dead(got.path, mountinfo, fake, err);
	/* a dead mount that is left cannot be looked into */
	if (rc == 0) {
		got.fd = open_empty(got.path, err);
		rc = got.fd < 0 ? got.fd : 0;
		/* what it has found may be an rkfs that was mounted just now */
		if (rc == -ENOTEMPTY)
			again = examine(got.path, mountinfo, &dev, err);
		rc = again < 0 ? again : rc;
	}
	if (rc < 0) {
		free(got.path);
		return rc;
	}
	*point = got;
	return 0;
}

void rkfs_mountpoint_free(struct rkfs_mountpoint *point)
{
	free(point->path);
	if (point->fd >= 0)
		close(point->fd);
	*point = (struct rkfs_mountpoint){.fd = -1};
}

int rkfs_mountpoint_enter_ns(const char *ns, struct rk_error *err)
{
	char path[64];
	const char *file = ns;
	int fd, rc = 0;

	if (*ns && strspn(ns, "0123456789") == strlen(ns)) {
		if (snprintf(path, sizeof(path), "/proc/%s/ns/mnt", ns) >= (int)sizeof(path))
			return rk_error_set(err, EINVAL, "-N %.80s: not a process id", ns);
		file = path;
	}
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return rk_error_set(err, errno, "-N %.80s: %.80s: %s", ns, file, strerror(errno));
	if (setns(fd, CLONE_NEWNS) < 0)
		rc = rk_error_set(err, errno, "-N %.80s: %s", ns, strerror(errno));
	close(fd);
	return rc;
}
