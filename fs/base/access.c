/* SPDX-License-Identifier: MIT */
/* The options of -o that say who may do what, and the bits that follow from them. */
#include "fs/base/access.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/attr.h"

#define NOT_GIVEN  UINT_MAX /* which is no id either, see chown(2) */
#define OWNER_MODE 0600
#define GROUP_MODE 0660

enum key {
	UID,
	GID,
	CONTROL_MODE,
	CALL_GID,
	CALL_MODE,
};

static const struct option {
	const char *key, *value, *help;
} options[] = {
	[UID] = {"uid", "USER", "owner of the files (default: who mounts)"},
	[GID] = {"gid", "GROUP", "group of the files (default: who mounts)"},
	[CONTROL_MODE] = {"control_mode", "MODE", "who may control, as in 0660 (default: 0600)"},
	[CALL_GID] = {"call_gid", "GROUP", "group that may call kernels (default: gid)"},
	[CALL_MODE] = {"call_mode", "MODE", "who may call (default: 0600, 0660 with call_gid)"},
};

#define NOPTIONS (sizeof(options) / sizeof(options[0]))

void rkfs_access_init(struct rkfs_access *access)
{
	*access = (struct rkfs_access){NOT_GIVEN, NOT_GIVEN, NOT_GIVEN, NOT_GIVEN, NOT_GIVEN};
}

static size_t find_option(const char *key, size_t len)
{
	size_t i;

	for (i = 0; i < NOPTIONS; i++)
		if (strlen(options[i].key) == len && !memcmp(options[i].key, key, len))
			break;
	return i;
}

bool rkfs_access_is_option(const char *key, size_t len)
{
	return find_option(key, len) < NOPTIONS;
}

void rkfs_access_nearest(struct rk_nearest *near)
{
	for (size_t i = 0; i < NOPTIONS; i++)
		rk_nearest_try(near, options[i].key);
}

/* A number in @base without sign or prefix, at most @max; NOT_GIVEN where @text is none. */
static unsigned int parse_number(const char *text, int base, unsigned int max)
{
	unsigned long n;
	char *end;

	if (!isdigit((unsigned char)*text))
		return NOT_GIVEN;
	errno = 0;
	n = strtoul(text, &end, base);
	return errno || *end || n > max ? NOT_GIVEN : (unsigned int)n;
}

/* The id of user or group @name. -ENOENT (of which getpwnam(3) has many forms), or why the
 * database cannot be read. */
static int find_id(bool group, const char *name, unsigned int *id)
{
	const struct passwd *user = NULL;
	const struct group *members = NULL;

	*id = parse_number(name, 10, NOT_GIVEN - 1);
	if (*id != NOT_GIVEN)
		return 0;
	errno = 0;
	if (group)
		members = getgrnam(name);
	else
		user = getpwnam(name);
	if (members)
		*id = members->gr_gid;
	else if (user)
		*id = user->pw_uid;
	else if (errno && errno != ENOENT && errno != ESRCH && errno != EBADF && errno != EPERM)
		return -errno;
	else
		return -ENOENT;
	return 0;
}

static int parse_id(bool group, const char *item, const char *value, unsigned int *id,
		    struct rk_error *err)
{
	const char *what = group ? "group" : "user";
	int rc = find_id(group, value, id);

	if (rc == -ENOENT)
		return rk_error_set(err, EINVAL,
				    "-o %.100s: there is no such %s; it must be the name of a %s, "
				    "or a number from 0 to %u",
				    item, what, what, NOT_GIVEN - 1);
	if (rc)
		return rk_error_set(err, -rc,
				    "-o %.100s: cannot look up that %s: %m; a number will do", item,
				    what);
	return 0;
}

/* Read and write bits alone, and the owner has both. */
static int parse_control_mode(const char *item, const char *value, mode_t *mode,
			      struct rk_error *err)
{
	unsigned int bits = parse_number(value, 8, 0777);

	if (bits == NOT_GIVEN || (bits & ~0066U) != OWNER_MODE)
		return rk_error_set(
			err, EINVAL,
			"-o %.100s: must be an octal number with 6 for the owner and 0, "
			"2, 4 or 6 for the group and for others, such as 0660",
			item);
	*mode = bits;
	return 0;
}

/* A call is written and read: who may do one of them alone may do nothing. */
static int parse_call_mode(const char *item, const char *value, mode_t *mode, struct rk_error *err)
{
	unsigned int bits = parse_number(value, 8, 0777);

	if (bits == NOT_GIVEN || (bits & ~0066U) != OWNER_MODE ||
	    (bits & 0044) >> 1 != (bits & 0022))
		return rk_error_set(err, EINVAL,
				    "-o %.100s: must be an octal number with 6 for the owner and 0 "
				    "or 6 for the group and for others, such as 0660",
				    item);
	*mode = bits;
	return 0;
}

int rkfs_access_set(struct rkfs_access *access, const char *item, struct rk_error *err)
{
	size_t len = strcspn(item, "=");
	size_t i = find_option(item, len);
	const char *value = item + len + 1;

	if (!item[len] || !*value)
		return rk_error_set(err, EINVAL, "-o %.60s: needs a value, as in -o %s=%s", item,
				    options[i].key, options[i].value);
	switch ((enum key)i) {
	case UID:
		return parse_id(false, item, value, &access->uid, err);
	case GID:
		return parse_id(true, item, value, &access->gid, err);
	case CALL_GID:
		return parse_id(true, item, value, &access->call_gid, err);
	case CONTROL_MODE:
		return parse_control_mode(item, value, &access->control_mode, err);
	case CALL_MODE:
		return parse_call_mode(item, value, &access->call_mode, err);
	}
	return rk_error_set(err, EINVAL, "-o %.60s: there is no such option", item);
}

/* As chgrp(1): one's own alone. */
static int check_group(enum key key, gid_t gid, struct rk_error *err)
{
	if (gid != getegid() && !group_member(gid))
		return rk_error_set(err, EPERM,
				    "-o %s=%u: only root may name a group that he is not in; leave "
				    "it out, or name one of your own",
				    options[key].key, gid);
	return 0;
}

int rkfs_access_complete(struct rkfs_access *access, struct rk_error *err)
{
	struct rkfs_access a = *access;
	int rc = 0;

	if (a.uid == NOT_GIVEN)
		a.uid = geteuid();
	if (a.gid == NOT_GIVEN)
		a.gid = getegid();
	if (a.control_mode == NOT_GIVEN)
		a.control_mode = OWNER_MODE;
	if (a.call_mode == NOT_GIVEN)
		a.call_mode = a.call_gid == NOT_GIVEN ? OWNER_MODE : GROUP_MODE;
	if (a.call_gid == NOT_GIVEN)
		a.call_gid = a.gid;
	if (geteuid() != 0) {
		if (a.uid != geteuid())
			return rk_error_set(err, EPERM,
					    "-o uid=%u: only root may give the files to another "
					    "user; leave it out: they belong to user %u",
					    a.uid, geteuid());
		rc = check_group(GID, a.gid, err);
		if (!rc)
			rc = check_group(CALL_GID, a.call_gid, err);
	}
	if (!rc)
		*access = a;
	return rc;
}

void rkfs_access_help(FILE *out)
{
	for (size_t i = 0; i < NOPTIONS; i++) {
		int n = fprintf(out, "  %s=%s", options[i].key, options[i].value);

		fprintf(out, "%*s%s\n", n < 34 ? 34 - n : 1, "", options[i].help);
	}
}

/*
 * Who may read a file by its row's bits may always do so. Files that take writes are those to
 * command with, which follow control, and call files, which are streams.
 */
mode_t rkfs_access_mode(const struct rkfs_access *access, const struct rkfs_attr *attr)
{
	const mode_t readable = attr->mode & 0444;

	if (!(attr->mode & 0222))
		return attr->mode;
	if (attr->stream)
		return access->call_mode;
	return readable ? readable | access->control_mode : access->control_mode & 0222;
}

gid_t rkfs_access_gid(const struct rkfs_access *access, const struct rkfs_attr *attr)
{
	return attr->stream && attr->mode & 0222 ? access->call_gid : access->gid;
}
