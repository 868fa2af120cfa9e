/* SPDX-License-Identifier: MIT */
/* What the files of a mount's birth and death share. */
#ifndef RKFS_MOUNT_INTERNAL_H
#define RKFS_MOUNT_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

#include "runtime/base/error.h"
#include "runtime/base/nearest.h"

/*
 * inherit.c: what a program inherits from whoever started it, and must not depend on: closed
 * descriptors, limits, signals, the umask. Before any thread and any other open descriptor. No
 * locks.
 */

/*
 * Fill those of the descriptors 0, 1 and 2 that are closed, so that nothing that is opened later
 * gets such a number. Reading what stands in for 0, and writing to the others, is EBADF as
 * before. Returns 0 or the errno of /dev/null.
 */
int rkfs_inherit_stdio(struct rk_error *err);

/*
 * For the daemon, and with it for its workers. The limits of a shell that can kill or maim it
 * (file size, CPU time) are lifted where that is permitted; others are raised as far as they may
 * be. Ignored or blocked signals that it needs are reset; SIGINT, SIGTERM and SIGHUP keep what
 * nohup and shells make of them. A file gets the mode that it is created with, but for writing by
 * others. Returns 0 or a negative errno.
 */
int rkfs_inherit_daemon(struct rk_error *err);

/* options_words.c: the words of -o that are neither configuration fields nor options of access. */

enum rkfs_word_action {
	RKFS_WORD_IGNORE, /* says nothing that rkfs would do differently */
	RKFS_WORD_FUSE,	  /* passed on to the FUSE mount */
	RKFS_WORD_ONLY_ROOT,
	RKFS_WORD_LABEL, /* NAME=VALUE, for SELinux */
	RKFS_WORD_NOSTART,
	RKFS_WORD_RO,
	RKFS_WORD_RW,
	RKFS_WORD_REMOUNT,
};

struct rkfs_word {
	const char *name; /* "NAME*": what begins with NAME */
	enum rkfs_word_action action;
	bool value; /* NAME=VALUE is allowed too */
	const char *help;
};

/* The word of option text @item, which has @len bytes before any '='; @valued: it has one. NULL
 * where it is none. */
const struct rkfs_word *rkfs_word_find(const char *item, size_t len, bool valued);

/* Offer all of them to @near. */
void rkfs_words_nearest(struct rk_nearest *near);

/* For --help: those with a description; the names of those that are accepted as in fstab. */
void rkfs_words_help(FILE *out);
void rkfs_words_accepted(FILE *out);

/* Whether @options, separated by commas, has one that is @name. */
bool rkfs_words_have(const char *options, const char *name);

/*
 * mountinfo.c: what is mounted where, from /proc/self/mountinfo alone: no path is looked at, so a
 * dead or stopped FUSE daemon cannot make any of this fail or hang. No locks.
 */

#define RKFS_MOUNTINFO "/proc/self/mountinfo"
#define RKFS_FSTYPE    "fuse.rkfs"

/* A path in a sentence, which shall not be cut before it says what is wrong. */
#define RKFS_PATH "%.200s"

/* One mount. */
struct rkfs_mount {
	int id, parent;
	bool top;  /* its parent is not in the table */
	dev_t dev; /* st_dev of everything in it; never shared by two FUSE mounts made apart */
	char *dir; /* absolute, unescaped */
	char *type;
	uid_t owner; /* of a FUSE mount: whose it is */
	bool shared; /* of a FUSE mount: others may enter it, too */
};

struct rkfs_mounts {
	struct rkfs_mount *rows; /* in the order of the file */
	size_t count;
};

/*
 * Read the table from @file (RKFS_MOUNTINFO, or another for tests). *@mounts is owned by the
 * caller: rkfs_mounts_free(). The errno of opening or reading, -EINVAL for a malformed line,
 * -ENOMEM.
 */
int rkfs_mounts_read(struct rkfs_mounts *mounts, const char *file, struct rk_error *err);
void rkfs_mounts_free(struct rkfs_mounts *mounts);

/*
 * The mount that one reaches at @path (absolute, without ".", ".." and symbolic links) if it is
 * a mount point, the topmost where several lie on each other; else NULL. A mount that is hidden
 * by one further up the path is not found. Borrowed from @mounts.
 */
const struct rkfs_mount *rkfs_mounts_find(const struct rkfs_mounts *mounts, const char *path);

/* The mount with that id, or NULL. Borrowed from @mounts. */
const struct rkfs_mount *rkfs_mounts_by_id(const struct rkfs_mounts *mounts, int id);

/* Whether @mount (NULL is allowed) is an rkfs. */
bool rkfs_mount_is_rkfs(const struct rkfs_mount *mount);

/*
 * Wait until no mount of @dev is left in this mount namespace, also where umount -l took it away
 * while files are open (FUSE tells the daemon nothing then), or until @stop_fd is readable or
 * hung up (-1: never), or @timeout_ms have passed (negative: never). @file is RKFS_MOUNTINFO, whose
 * descriptor polls as changed when it changes. Blocks. Returns 0 when the mount is gone, 1 when
 * stopped, or a negative errno.
 */
int rkfs_mounts_wait_gone(dev_t dev, int stop_fd, int timeout_ms, const char *file,
			  struct rk_error *err);

/* resolve.c: the path that a mount has. No locks. */

/*
 * The absolute path of @dir without ".", ".." and symbolic links. No mount point is looked at, only
 * what mountinfo (@mountinfo: RKFS_MOUNTINFO, or another for tests) says of it, so @dir may be
 * a dead or stopped rkfs. *@path is owned by the caller: free(). -EINVAL for an empty @dir, -EBUSY
 * where @dir lies inside an rkfs, -ENOENT, -ENOTDIR, -ELOOP, -ENAMETOOLONG, -EACCES, those of
 * rkfs_mounts_read.
 */
int rkfs_resolve(const char *dir, const char *mountinfo, char **path, struct rk_error *err);

/* probe.c: whether a mount answers, asked so that one that does not can hang nobody. No locks. */

#define RKFS_PROBE_MS 2000 /* how long a mount may take to answer */

/*
 * What statfs says of the mount at @path, in a child: 0 or a positive errno in *@code, ETIMEDOUT
 * where it does not answer within RKFS_PROBE_MS. Blocks so long. SIGCHLD must not be ignored. The
 * errno of fork and pipe.
 */
int rkfs_probe(const char *path, int *code, struct rk_error *err);

/* Whether @code is that of a mount whose daemon is gone. */
bool rkfs_probe_is_dead(int code);

/*
 * fusermount.c: fusermount3, libfuse's setuid helper, for whoever may not mount himself. Found in
 * PATH. Blocks until it has ended; SIGCHLD must not be ignored. No locks.
 */

/*
 * Mount at @path with @options, its -o. *@fd is the connection to the kernel, close-on-exec, and
 * the caller's. -EPERM with its own reason where it refuses, -ENOENT where it is not installed,
 * or the errno of what else failed.
 */
int rkfs_fusermount_mount(const char *path, const char *options, int *fd, struct rk_error *err);

/* Detach the mount at @path (umount -l). Fails likewise. */
int rkfs_fusermount_unmount(const char *path, struct rk_error *err);

/*
 * attach.c: how the filesystem gets into the tree of mounts, and out of it. A mount is known by its
 * device, never by its path alone: a directory on the way may be renamed, the mount moved, and
 * others may lie on top. No locks.
 */

/* What is to be mounted where. All borrowed. */
struct rkfs_attach_params {
	const char *path; /* absolute; for fusermount3, and for sentences */
	int dir;	  /* the directory there, as it was checked */
	const char *source;
	const char *options;	   /* comma-separated, of rkfs_options.fuse_options */
	const char *const *labels; /* "context=LABEL" and its family, NULL-terminated; NULL: none */
};

struct rkfs_attachment {
	int fuse;  /* the connection to the kernel, close-on-exec */
	dev_t dev; /* of the mount */
};

/*
 * Mount, and see that no other rkfs lies below: of several that are mounted at one directory at
 * once all but the first back out, with -EBUSY. Through fusermount3 where the process may not
 * mount. default_permissions is always added, allow_other for root, nosuid and nodev. Labels are
 * left out where the kernel has no SELinux, nosymfollow before Linux 5.14. *@a is written on
 * success: requests queue up in its connection, which is the caller's. The errno of what failed.
 */
int rkfs_attach(const struct rkfs_attach_params *params, struct rkfs_attachment *a,
		struct rk_error *err);

/*
 * Detach every dead mount of the device @dev that this mount namespace has, wherever it is by now,
 * or those at the path @at alone (NULL: all); none is success. One that is covered by another rkfs
 * on its way out is waited for, up to two seconds. -EBUSY where another filesystem covers it.
 * One that answers is another's, which has got the number of a device that is gone: it is left.
 * @mountinfo is RKFS_MOUNTINFO, or another for tests.
 */
int rkfs_detach(dev_t dev, const char *at, const char *mountinfo, struct rk_error *err);

/*
 * mountpoint.c: DIR before the mount: is it a place to mount at? mountinfo is asked before DIR is
 * touched, and DIR is then first touched by a child, because a stopped FUSE daemon there would hang
 * whoever does. For a process with one thread (it forks). No locks.
 */

/* Where to mount. */
struct rkfs_mountpoint {
	char *path; /* absolute */
	int fd; /* of the directory that was checked, close-on-exec; -1: a dead mount is there */
};

/*
 * Resolve @dir and see that rkfs can be mounted there: an existing, empty directory. A dead
 * rkfs mount ("Transport endpoint is not connected") is detached first, through fusermount3
 * where that is not permitted; with @fake it is left and counts as free. Nothing else is
 * unmounted. *@point is owned by the caller: rkfs_mountpoint_free.
 * Fails as rkfs_resolve, and with -EBUSY (an rkfs is mounted there and answers),
 * -ETIMEDOUT (a mount there does not answer within RKFS_PROBE_MS), -ENOTCONN (a dead mount of
 * another type), -ENOTEMPTY (the sentence names what is there), -ENOMEM, those of rkfs_detach,
 * fork, pipe and opendir.
 */
int rkfs_mountpoint_prepare(const char *dir, const char *mountinfo, bool fake,
			    struct rkfs_mountpoint *point, struct rk_error *err);
void rkfs_mountpoint_free(struct rkfs_mountpoint *point);

/*
 * Enter the mount namespace @ns: the path of a namespace file, or a process id (mount -N).
 * The working directory is that namespace's root afterwards. The errno of open and setns.
 */
int rkfs_mountpoint_enter_ns(const char *ns, struct rk_error *err);

/*
 * notify.c: what the daemon tells a service manager, by systemd's protocol (sd_notify(3)). Without
 * one, and in a build without libsystemd, nothing is told. For the control thread; never blocks for
 * long: a datagram to a local socket.
 */

/* The mount is served. */
void rkfs_notify_ready(void);

/* What `systemctl status` shows: "STATE" or "STATE: WHY" (@why NULL or ""). */
void rkfs_notify_status(const char *state, const char *why);

/* A reload has begun; rkfs_notify_ready tells its end. */
void rkfs_notify_reloading(void);

/* The daemon is ending: may take as long as a drain. */
void rkfs_notify_stopping(void);

#endif
