/* SPDX-License-Identifier: MIT */
/* A new worker gives up what it does not need, before it executes its program. */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/supervisor/internal.h"

/*
 * The user's own processes, and those of other workers, count for RLIMIT_NPROC, and pinned memory
 * for RLIMIT_MEMLOCK: root was bound by neither. Whoever may not lift them keeps those he has.
 */
static bool set_limits(void)
{
	static const int lifted[] = {RLIMIT_NPROC, RLIMIT_MEMLOCK};
	const struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY}, zero = {0, 0};

	for (size_t i = 0; i < sizeof(lifted) / sizeof(lifted[0]); i++)
		if (setrlimit(lifted[i], &none) && errno != EPERM)
			return false;
	/* what users sent would be in a core file */
	return !setrlimit(RLIMIT_CORE, &zero);
}

/* So that not even a program with capabilities of its own has any. */
static bool drop_bounds(void)
{
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) && errno != EPERM)
			return false;
	return true;
}

static bool become(const struct rk_worker_user *user)
{
	/* not the library's functions, which would tell threads that this process does not have */
	return !syscall(SYS_setgroups, (size_t)user->ngroups, user->groups) &&
	       !syscall(SYS_setresgid, user->gid, user->gid, user->gid) &&
	       !syscall(SYS_setresuid, user->uid, user->uid, user->uid);
}

static bool drop_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};

	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
		return false;
	return !syscall(SYS_capset, &header, none);
}

bool rk_confine(const struct rk_worker_user *user, const struct sock_fprog *filter)
{
	if (!set_limits() || !drop_bounds() || (user->other && !become(user)))
		return false;
	/* after the user, whose change clears it */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
		return false;
	if (!drop_capabilities() || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return false;
	return !filter || !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter, 0, 0);
}
