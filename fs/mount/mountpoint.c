/* SPDX-License-Identifier: MIT */
/* Whether one can mount at DIR, and the clearing away of what is dead there. */
#include "fs/mount/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_DEAD 64 /* dead mounts on each other at one place */

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
				    RKFS_PATH
				    " is already an rkfs mount; umount it first, or choose "
				    "another directory",
				    path);
	case ENOTCONN:
	case ECONNABORTED: /* aborted through /sys/fs/fuse/connections */
		if (ours)
			return 1;
		return rk_error_set(err, ENOTCONN,
				    RKFS_PATH
				    " is a dead mount of type %s, which is not rkfs's to clear; "
				    "umount it first",
				    path, mount->type);
	case ETIMEDOUT:
		return rk_error_set(err, ETIMEDOUT,
				    RKFS_PATH
				    " is a mount of type %s that does not answer: its server is "
				    "stopped or stuck; end it, or detach the mount with umount -l",
				    path, mount->type);
	default:
		return rk_error_set(err, code, RKFS_PATH ", a mount of type %s: %m", path,
				    mount->type);
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
		return rk_error_set(err, ENOTDIR, RKFS_PATH " is not a directory", path);
	if (!dir)
		return rk_error_set(err, errno, RKFS_PATH ": %m", path);
	rc = first_entry(dir, &name);
	if (!rc && !name) {
		fd = fcntl(dirfd(dir), F_DUPFD_CLOEXEC, 3);
		rc = fd < 0 ? -errno : 0;
	}
	if (rc)
		rk_error_set(err, -rc, RKFS_PATH ": %m", path);
	else if (name)
		rc = rk_error_set(err, ENOTEMPTY,
				  RKFS_PATH " is not empty: a mount there would hide %.100s%s",
				  path, name, hint_of(name));
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
				       RKFS_PATH
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
	int rc = rkfs_resolve(dir, mountinfo, &got.path, err);

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
		return rk_error_set(err, errno, "-N %.80s: %.80s: %m", ns, file);
	if (setns(fd, CLONE_NEWNS) < 0)
		rc = rk_error_set(err, errno, "-N %.80s: %m", ns);
	close(fd);
	return rc;
}
