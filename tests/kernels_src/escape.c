/* SPDX-License-Identifier: MIT */
/* Kernels that try to leave their worker, and say how far they came. */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <unistd.h>

void escape_user(uint32_t *uid);
void escape_fork(uint32_t *error);
void escape_ptrace(int32_t pid, uint32_t *error);
void escape_environment(uint32_t *found);

void escape_user(uint32_t *uid)
{
	*uid = getuid();
}

/* A child of a child, which is nobody's any more, and would outlive the worker. */
void escape_fork(uint32_t *error)
{
	pid_t pid = fork();

	if (pid == 0) {
		if (fork() == 0)
			for (;;)
				pause();
		_exit(0);
	}
	*error = pid < 0 ? (uint32_t)errno : 0;
}

void escape_ptrace(int32_t pid, uint32_t *error)
{
	*error = ptrace(PTRACE_SEIZE, pid, NULL, NULL) ? (uint32_t)errno : 0;
}

/* Variables that are none of a kernel's business. */
void escape_environment(uint32_t *found)
{
	*found = (getenv("HOME") != NULL) + (getenv("SECRET") != NULL);
}
