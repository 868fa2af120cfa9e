/* SPDX-License-Identifier: MIT */
/* Where this process comes from, if it has gone elsewhere to mount. */
#include "runtime/base/home.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>

static int home = -1; /* set before there is another thread */

int rk_home_keep(struct rk_error *err)
{
	home = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	return home < 0 ? rk_error_set(err, errno, "/proc/self/ns/mnt: %m") : 0;
}

bool rk_home_enter(void)
{
	return home < 0 || setns(home, CLONE_NEWNS) == 0;
}
