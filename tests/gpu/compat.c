/* SPDX-License-Identifier: MIT */
/*
 * For the bundle: what the C library has since 2.36 only, so that the programs run on machines with
 * an older one too.
 */
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <unistd.h>

int pidfd_open(pid_t pid, unsigned int flags)
{
	return (int)syscall(SYS_pidfd_open, pid, flags);
}

int pidfd_send_signal(int fd, int signal, siginfo_t *info, unsigned int flags)
{
	return (int)syscall(SYS_pidfd_send_signal, fd, signal, info, flags);
}
