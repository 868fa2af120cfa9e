/* SPDX-License-Identifier: MIT */
/* Looks up the user of workers. */
#include "runtime/supervisor/user.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

#define ENTRY_MAX 16384 /* bytes of the strings of one user's entry */

/* 0 with *@found, or the errno of the name service. */
static int look_up(const char *name, struct passwd *entry, char *strings, size_t size, bool *found)
{
	struct passwd *result = NULL;
	int rc = getpwnam_r(name, entry, strings, size, &result);

	*found = result;
	/* what some name services say of a name that they do not know */
	return rc == ENOENT || rc == ESRCH ? 0 : rc;
}

static void take_groups(const char *name, struct rk_worker_user *user)
{
	int n = RK_WORKER_GROUPS_MAX;

	/* -1 where he has more: those that fit are there */
	user->ngroups =
		getgrouplist(name, user->gid, user->groups, &n) < 0 ? RK_WORKER_GROUPS_MAX : n;
}

int rk_worker_user_find(const char *name, struct rk_worker_user *user, struct rk_error *err)
{
	struct rk_worker_user got = {0};
	char strings[ENTRY_MAX];
	struct passwd entry;
	bool found, chosen = *name;
	int rc;

	if (!chosen && geteuid() != 0) {
		*user = got;
		return 0;
	}
	name = chosen ? name : RK_WORKER_USER;
	rc = look_up(name, &entry, strings, sizeof(strings), &found);
	if (rc)
		return rk_error_set(err, rc, "worker_user: cannot look up %.64s: %m", name);
	if (!found && chosen)
		return rk_error_set(err, EINVAL,
				    "worker_user: there is no user %.64s; make it, or name another",
				    name);
	if (found && entry.pw_uid != geteuid()) {
		if (geteuid() != 0)
			return rk_error_set(err, EPERM,
					    "worker_user: only root may have workers run as %.64s; "
					    "leave it empty",
					    name);
		got.other = true;
		got.uid = entry.pw_uid;
		got.gid = entry.pw_gid;
		take_groups(name, &got);
	}
	*user = got;
	return 0;
}
