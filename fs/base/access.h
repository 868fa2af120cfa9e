/* SPDX-License-Identifier: MIT */
/*
 * Who may do what: owner and group of the files of a mount, and the permission bits of those that
 * take writes, as options of -o set them. The kernel does the checking (default_permissions).
 * Nothing here takes a lock.
 */
#ifndef RKFS_BASE_ACCESS_H
#define RKFS_BASE_ACCESS_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#include "runtime/base/error.h"
#include "runtime/base/nearest.h"

struct rkfs_attr;

struct rkfs_access {
	uid_t uid;	     /* owner of every file, but for those of messages */
	gid_t gid;	     /* group of every file, but for call files */
	mode_t control_mode; /* of control; other files to command are opened up with it */
	gid_t call_gid;	     /* group of the call files */
	mode_t call_mode;
};

/* Nothing is given yet: to be filled by rkfs_access_set, then rkfs_access_complete. */
void rkfs_access_init(struct rkfs_access *access);

/* Whether the @len bytes at @key are an option of -o that says who may do what. */
bool rkfs_access_is_option(const char *key, size_t len);

/* Offer all such options to @near. */
void rkfs_access_nearest(struct rk_nearest *near);

/*
 * Take @item, "KEY=VALUE" with the key of such an option. -EINVAL where the value is missing or
 * not allowed, and what getpwnam(3) and getgrnam(3) fail with. Reads the user database: for the
 * main thread, may block.
 */
int rkfs_access_set(struct rkfs_access *access, const char *item, struct rk_error *err);

/*
 * Fill in what was not given: all belongs to whoever mounts, and to him alone; but a call_gid
 * without call_mode means that this group may call. -EPERM, with nothing filled in, where a
 * process that is not root's would give files to another user, or to a group that it is not in.
 */
int rkfs_access_complete(struct rkfs_access *access, struct rk_error *err);

/* The lines of --help. */
void rkfs_access_help(FILE *out);

/* Permission bits and group of the file of @attr. */
mode_t rkfs_access_mode(const struct rkfs_access *access, const struct rkfs_attr *attr);
gid_t rkfs_access_gid(const struct rkfs_access *access, const struct rkfs_attr *attr);

#endif
