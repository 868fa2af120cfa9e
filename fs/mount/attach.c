/* SPDX-License-Identifier: MIT */
/* How the filesystem gets into the tree of mounts, and out of it. */
#include "fs/mount/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "runtime/base/clock.h"

#define COVERED_NS   (2 * RK_NS_PER_SEC)
#define LOCK_NS	     (2 * RK_NS_PER_SEC)
#define LOCK_TICK_MS 10

/* Options of the mount point, not of the filesystem. */
static const struct {
	const char *name;
	unsigned int attr;
} attrs[] = {
	{"noexec", MOUNT_ATTR_NOEXEC},
	{"nosuid", MOUNT_ATTR_NOSUID},
	{"nodev", MOUNT_ATTR_NODEV},
	{"nosymfollow", MOUNT_ATTR_NOSYMFOLLOW},
};

/* libfuse keeps others than root out where allow_root is asked for: the kernel lets all in. */
static bool lets_others_in(const struct rkfs_attach_params *p)
{
	return geteuid() == 0 || rkfs_words_have(p->options, "allow_other") ||
	       rkfs_words_have(p->options, "allow_root");
}

/* --- mounting oneself --- */

static bool has_selinux(void)
{
	char line[128];
	bool found = false;
	FILE *f = fopen("/proc/filesystems", "re");

	while (f && !found && fgets(line, sizeof(line), f))
		found = strstr(line, "selinuxfs") != NULL;
	if (f)
		fclose(f);
	return found;
}

/* What the kernel has to say of a mount that failed with @code. */
static int kernel_error(int fs, int code, struct rk_error *err)
{
	char text[256];
	ssize_t n = read(fs, text, sizeof(text) - 1);

	if (n <= 2) /* "e " and the message */
		return rk_error_set(err, code, "%m");
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return rk_error_set(err, code, "%s (%s)", strerror(code), text + 2);
}

static int set_number(int fs, const char *key, const char *format, unsigned int value)
{
	char text[16];

	snprintf(text, sizeof(text), format, value);
	return fsconfig(fs, FSCONFIG_SET_STRING, key, text, 0);
}

/* 0, or -1 with errno. */
static int set_label(int fs, const char *label)
{
	char key[32];
	size_t len = strcspn(label, "=");

	snprintf(key, sizeof(key), "%.*s", (int)len, label);
	return fsconfig(fs, FSCONFIG_SET_STRING, key, label + len + 1, 0);
}

/* 0, or -1 with errno. */
static int configure(int fs, const struct rkfs_attach_params *p, int fuse)
{
	struct stat st;

	if (fstat(p->dir, &st) || fsconfig(fs, FSCONFIG_SET_STRING, "source", p->source, 0) ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "subtype", "rkfs", 0) ||
	    set_number(fs, "fd", "%u", (unsigned int)fuse) ||
	    set_number(fs, "rootmode", "%o", st.st_mode & S_IFMT) ||
	    set_number(fs, "user_id", "%u", getuid()) ||
	    set_number(fs, "group_id", "%u", getgid()) ||
	    fsconfig(fs, FSCONFIG_SET_FLAG, "default_permissions", NULL, 0) ||
	    (lets_others_in(p) && fsconfig(fs, FSCONFIG_SET_FLAG, "allow_other", NULL, 0)))
		return -1;
	for (const char *const *l = has_selinux() ? p->labels : NULL; l && *l; l++)
		if (set_label(fs, *l))
			return -1;
	return fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
}

/* A mount of @fs that is nowhere yet, or -1 with errno. */
static int make_mount(int fs, const char *options)
{
	unsigned int flags = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
	int mount;

	for (size_t i = 0; i < sizeof(attrs) / sizeof(attrs[0]); i++)
		if (rkfs_words_have(options, attrs[i].name))
			flags |= attrs[i].attr;
	mount = fsmount(fs, FSMOUNT_CLOEXEC, flags);
	if (mount < 0 && errno == EINVAL && (flags & MOUNT_ATTR_NOSYMFOLLOW))
		mount = fsmount(fs, FSMOUNT_CLOEXEC, flags & ~MOUNT_ATTR_NOSYMFOLLOW);
	return mount;
}

/* *@mount is a descriptor of the mount, *@fuse of its connection. */
static int mount_directly(int fs, const struct rkfs_attach_params *p, int *fuse, int *mount,
			  struct rk_error *err)
{
	int made, rc, dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (dev < 0)
		return rk_error_set(err, errno, "/dev/fuse: %m");
	made = configure(fs, p, dev) ? -1 : make_mount(fs, p->options);
	if (made >= 0 && move_mount(made, "", p->dir, "",
				    MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) == 0) {
		*fuse = dev;
		*mount = made;
		return 0;
	}
	rc = kernel_error(fs, errno, err);
	if (made >= 0)
		close(made);
	close(dev);
	return rc;
}

/* --- through fusermount3 --- */

/* What it takes; it knows neither labels nor nosymfollow. Owned by the caller, or NULL. */
static char *helper_options(const struct rkfs_attach_params *p)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	fputs("subtype=rkfs,default_permissions", f);
	if (lets_others_in(p))
		fputs(",allow_other", f);
	if (rkfs_words_have(p->options, "noexec"))
		fputs(",noexec", f);
	fputs(",fsname=", f);
	for (const char *c = p->source; *c; c++) {
		if (*c == ',' || *c == '\\')
			fputc('\\', f);
		fputc(*c, f);
	}
	if (fclose(f) == 0)
		return text;
	free(text);
	return NULL;
}

static int mount_by_helper(const struct rkfs_attach_params *p, int *fuse, int *mount,
			   struct rk_error *err)
{
	char *options = helper_options(p);
	int rc, dev;

	if (!options)
		return rk_error_set(err, ENOMEM, "no memory");
	rc = rkfs_fusermount_mount(p->path, options, &dev, err);
	free(options);
	if (rc)
		return rc;
	/* asks the filesystem nothing */
	*mount = open(p->path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*mount < 0) {
		rc = rk_error_set(err, errno, "%m");
		close(dev); /* which leaves a dead mount, if any */
		return rc;
	}
	*fuse = dev;
	return 0;
}

/* --- whose it is --- */

static int already(const char *path, struct rk_error *err)
{
	return rk_error_set(
		err, EBUSY,
		RKFS_PATH " is already an rkfs mount, made at the same time as this one", path);
}

static int check_free(const char *path, struct rk_error *err)
{
	struct rkfs_mounts mounts;
	int rc = rkfs_mounts_read(&mounts, RKFS_MOUNTINFO, err);

	if (rc)
		return rc;
	if (rkfs_mount_is_rkfs(rkfs_mounts_find(&mounts, path)))
		rc = already(path, err);
	rkfs_mounts_free(&mounts);
	return rc;
}

/* -EBUSY where the mount @id lies upon another rkfs. */
static int look_again(int id, const char *path, struct rk_error *err)
{
	const struct rkfs_mount *ours, *below;
	struct rkfs_mounts mounts;
	int rc = rkfs_mounts_read(&mounts, RKFS_MOUNTINFO, err);

	if (rc)
		return rc;
	ours = rkfs_mounts_by_id(&mounts, id);
	below = ours ? rkfs_mounts_by_id(&mounts, ours->parent) : NULL;
	if (rkfs_mount_is_rkfs(below) && !strcmp(below->dir, ours->dir))
		rc = already(path, err);
	rkfs_mounts_free(&mounts);
	return rc;
}

/* The device and the id of a mount, from a descriptor of it. Nobody need serve it. */
static int look_at(int mount, dev_t *dev, int *id, struct rk_error *err)
{
	struct statx st;

	if (statx(mount, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_MNT_ID,
		  &st))
		return rk_error_set(err, errno, "cannot look at the mount: %m");
	*dev = makedev(st.stx_dev_major, st.stx_dev_minor);
	*id = (int)st.stx_mnt_id;
	return 0;
}

/* Returns 0 or a negative errno. */
static int mount_somehow(const struct rkfs_attach_params *p, int *fuse, int *mount,
			 struct rk_error *err)
{
	int rc, fs = fsopen("fuse", FSOPEN_CLOEXEC);

	if (fs >= 0) {
		rc = mount_directly(fs, p, fuse, mount, err);
		close(fs);
	} else if (errno == EPERM || errno == ENOSYS) {
		rc = mount_by_helper(p, fuse, mount, err);
	} else {
		rc = rk_error_set(err, errno, "%s",
				  errno == ENODEV ? "this kernel has no FUSE, try modprobe fuse"
						  : strerror(errno));
	}
	if (rc)
		rk_error_prefix(err, "cannot mount at " RKFS_PATH, p->path);
	return rc;
}

static int attach_locked(const struct rkfs_attach_params *p, struct rkfs_attachment *a,
			 struct rk_error *err)
{
	int fuse = -1, mount = -1, rc = check_free(p->path, err);
	dev_t dev = 0;
	int id;

	if (!rc)
		rc = mount_somehow(p, &fuse, &mount, err);
	if (rc)
		return rc;
	rc = look_at(mount, &dev, &id, err);
	if (!rc)
		rc = look_again(id, p->path, err);
	close(mount);
	if (rc) {
		close(fuse);
		if (dev)
			(void)rkfs_detach(dev, NULL, RKFS_MOUNTINFO, NULL);
		return rc;
	}
	*a = (struct rkfs_attachment){.fuse = fuse, .dev = dev};
	return 0;
}

/*
 * Lock the directory, so that of several mounts at one time nobody sees those that come too late.
 * Whoever may read the directory can hold the lock, and not every filesystem has locks: then
 * look_again alone has to do.
 */
static void lock_dir(int dir)
{
	uint64_t until = rk_now_ns() + LOCK_NS;

	while (flock(dir, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK && rk_now_ns() < until)
		(void)poll(NULL, 0, LOCK_TICK_MS);
}

int rkfs_attach(const struct rkfs_attach_params *params, struct rkfs_attachment *a,
		struct rk_error *err)
{
	int rc;

	lock_dir(params->dir);
	rc = attach_locked(params, a, err);
	(void)flock(params->dir, LOCK_UN);
	return rc;
}

/* --- detaching --- */

/*
 * @top, a descriptor of the mount at @dir, holds the number of its device. 0: detached, 1: it is
 * alive and so another's, -EAGAIN: the table has changed, or an error.
 */
static int unmount_top(int top, const char *dir, dev_t dev, struct rk_error *err)
{
	char path[40];
	dev_t now;
	int id, code, rc = look_at(top, &now, &id, err);

	if (rc)
		return rc;
	if (now != dev)
		return -EAGAIN;
	rc = rkfs_probe(dir, &code, err);
	if (rc)
		return rc;
	if (!rkfs_probe_is_dead(code))
		return 1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", top);
	if (umount2(path, MNT_DETACH) == 0)
		return 0;
	if (errno == EINVAL) /* somebody else was faster */
		return -EAGAIN;
	if (errno == EPERM)
		return rkfs_fusermount_unmount(dir, err);
	return rk_error_set(err, errno, "%m");
}

static int unmount(const char *dir, dev_t dev, struct rk_error *err)
{
	/* asks the filesystem nothing */
	int rc, top = open(dir, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (top < 0)
		return rk_error_set(err, errno, "%m");
	rc = unmount_top(top, dir, dev, err);
	close(top);
	return rc;
}

/* What there is to be done. */
enum left {
	LEFT_NONE,
	LEFT_TOP,	  /* *@mount can be unmounted */
	LEFT_BELOW_RKFS,  /* *@mount is covered by another rkfs */
	LEFT_BELOW_OTHER, /* by something else, or cannot be reached */
};

static enum left look_for(const struct rkfs_mounts *mounts, dev_t dev, const char *at,
			  const struct rkfs_mount **mount)
{
	enum left left = LEFT_NONE;

	for (size_t i = 0; i < mounts->count; i++) {
		const struct rkfs_mount *m = &mounts->rows[i], *top;

		if (m->dev != dev || (at && strcmp(m->dir, at)))
			continue;
		top = rkfs_mounts_find(mounts, m->dir);
		*mount = m;
		if (top == m)
			return LEFT_TOP;
		left = rkfs_mount_is_rkfs(top) ? LEFT_BELOW_RKFS : LEFT_BELOW_OTHER;
	}
	return left;
}

/* One step. 1: the table has to change first; 0: done; -EAGAIN: look again; or an error. */
static int detach_one(dev_t dev, const char *at, const char *mountinfo, struct rk_error *err)
{
	const struct rkfs_mount *mount = NULL;
	struct rkfs_mounts mounts;
	int rc = rkfs_mounts_read(&mounts, mountinfo, err);

	if (rc)
		return rc;
	switch (look_for(&mounts, dev, at, &mount)) {
	case LEFT_NONE:
		break;
	case LEFT_TOP:
		rc = unmount(mount->dir, dev, err);
		if (rc == 1)
			rc = 0;
		else if (rc == 0)
			rc = -EAGAIN; /* there may be more */
		else if (rc != -EAGAIN)
			rk_error_prefix(err, "cannot detach " RKFS_PATH, mount->dir);
		break;
	case LEFT_BELOW_RKFS:
		rc = 1;
		/* fallthrough */
	case LEFT_BELOW_OTHER:
		rk_error_set(err, EBUSY,
			     "cannot detach " RKFS_PATH ": another filesystem is mounted upon it",
			     mount->dir);
		rc = rc ? rc : -EBUSY;
		break;
	}
	rkfs_mounts_free(&mounts);
	return rc;
}

int rkfs_detach(dev_t dev, const char *at, const char *mountinfo, struct rk_error *err)
{
	uint64_t until = rk_now_ns() + COVERED_NS;
	struct pollfd table = {.events = POLLPRI};
	int rc;

	/* opened before the first look: a change after that look wakes the poll */
	table.fd = open(mountinfo, O_RDONLY | O_CLOEXEC);
	if (table.fd < 0)
		return rk_error_set(err, errno, "%s: %m", mountinfo);
	while ((rc = detach_one(dev, at, mountinfo, err)) == 1 || rc == -EAGAIN) {
		uint64_t now = rk_now_ns();

		if (rc == -EAGAIN)
			continue;
		if (now >= until || (poll(&table, 1, (int)((until - now) / RK_NS_PER_MS) + 1) < 0 &&
				     errno != EINTR)) {
			rc = -EBUSY;
			break;
		}
	}
	close(table.fd);
	return rc;
}
