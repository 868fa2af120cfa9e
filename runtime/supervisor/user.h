/* SPDX-License-Identifier: MIT */
/* Who a worker is, and with it every kernel. No locks. */
#ifndef RK_RUNTIME_SUPERVISOR_USER_H
#define RK_RUNTIME_SUPERVISOR_USER_H

#include <stdbool.h>
#include <sys/types.h>

#include "runtime/base/error.h"

#define RK_WORKER_GROUPS_MAX 32 /* supplementary ones; a user's further ones are left out */
#define RK_WORKER_USER	     "rkfs"

struct rk_worker_user {
	bool other; /* not the user of the daemon: the rest counts */
	uid_t uid;
	gid_t gid;
	int ngroups;
	gid_t groups[RK_WORKER_GROUPS_MAX];
};

/*
 * Look up the user @name and his groups. "" means RK_WORKER_USER where the daemon is root and there
 * is such a user, else the user of the daemon. Returns 0; -EINVAL: there is no such user; -EPERM:
 * only root may choose another one than itself; or the errno of the name service. Blocks for the
 * name service.
 */
int rk_worker_user_find(const char *name, struct rk_worker_user *user, struct rk_error *err);

#endif
