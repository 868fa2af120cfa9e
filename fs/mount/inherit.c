/* SPDX-License-Identifier: MIT */
/* What a program inherits from whoever started it. */
#include "fs/mount/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define STACK_BYTES (8UL << 20) /* of a thread: the usual limit of a shell */

int rkfs_inherit_stdio(struct rk_error *err)
{
	for (int fd = 0; fd < 3; fd++) {
		/* the other way round: its use stays an error */
		int flags = fd == STDIN_FILENO ? O_WRONLY : O_RDONLY;

		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		/* the lowest number that is free is @fd */
		if (open("/dev/null", flags | O_NOCTTY) != fd)
			return rk_error_set(err, errno ? errno : EBADF, "/dev/null: %m");
	}
	return 0;
}

/*
 * A large request is a large file to the kernel, and years of CPU time are normal for a daemon.
 * RLIMIT_STACK is left alone: it moves where memory is mapped.
 */
static const struct {
	int resource;
	bool lift; /* the hard limit too */
} limits[] = {
	{RLIMIT_FSIZE, true},	 {RLIMIT_CPU, true},	     {RLIMIT_AS, false},
	{RLIMIT_DATA, false},	 {RLIMIT_NOFILE, false},     {RLIMIT_NPROC, false},
	{RLIMIT_MEMLOCK, false}, {RLIMIT_SIGPENDING, false},
};

static int raise_limits(struct rk_error *err)
{
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		const struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
		struct rlimit limit;

		if (limits[i].lift && setrlimit(limits[i].resource, &none) == 0)
			continue;
		if (getrlimit(limits[i].resource, &limit) < 0)
			return rk_error_set(err, errno, "cannot read a limit: %m");
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(limits[i].resource, &limit) < 0)
			return rk_error_set(err, errno, "cannot raise a limit: %m");
	}
	return 0;
}

/* A core file would hold what users sent. Whoever looks for a mistake raises the limit by
 * prlimit(1). */
static int leave_no_core(struct rk_error *err)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_CORE, &limit) < 0)
		return rk_error_set(err, errno, "cannot read a limit: %m");
	limit.rlim_cur = 0;
	return setrlimit(RLIMIT_CORE, &limit) ? rk_error_set(err, errno, "cannot set a limit: %m")
					      : 0;
}

/* A thread's stack is by default as large as the shell's limit says, however small that is. */
static int set_stack(struct rk_error *err)
{
	pthread_attr_t attr;
	int rc = pthread_attr_init(&attr);

	if (!rc) {
		rc = pthread_attr_setstacksize(&attr, STACK_BYTES);
		if (!rc)
			rc = pthread_setattr_default_np(&attr);
		pthread_attr_destroy(&attr);
	}
	return rc ? rk_error_set(err, rc, "cannot set the size of stacks: %m") : 0;
}

/*
 * An ignored SIGCHLD would take the exit status of every child away. A write past a limit, or to
 * nobody, shall be an error and not the end.
 */
static int reset_signals(struct rk_error *err)
{
	sigset_t none;

	sigemptyset(&none);
	if (signal(SIGCHLD, SIG_DFL) == SIG_ERR || signal(SIGPIPE, SIG_IGN) == SIG_ERR ||
	    signal(SIGXFSZ, SIG_IGN) == SIG_ERR || sigprocmask(SIG_SETMASK, &none, NULL))
		return rk_error_set(err, errno, "cannot reset signals: %m");
	return 0;
}

int rkfs_inherit_daemon(struct rk_error *err)
{
	int rc = reset_signals(err);

	if (!rc)
		rc = raise_limits(err);
	if (!rc)
		rc = leave_no_core(err);
	if (!rc)
		rc = set_stack(err);
	umask(S_IWGRP | S_IWOTH);
	return rc;
}
