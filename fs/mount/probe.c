/* SPDX-License-Identifier: MIT */
/* Whether a mount answers. */
#include "fs/mount/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/clock.h"

#define PROBE_TRIES 100

static void probe_child(const char *path, int fd) __attribute__((noreturn));
static void probe_child(const char *path, int fd)
{
	struct statfs st;
	int code, tries = 0;

	/* it may outlive us in the kernel: it must hold no descriptor that somebody waits on */
	if (fd > 0)
		close_range(0, (unsigned int)fd - 1, 0);
	close_range((unsigned int)fd + 1, ~0U, 0);
	/* EIO: a thread of a daemon that is being killed had taken the question, as others may */
	do
		code = statfs(path, &st) < 0 ? errno : 0;
	while (code == EIO && ++tries < PROBE_TRIES);
	_exit(write(fd, &code, sizeof(code)) == (ssize_t)sizeof(code) ? 0 : 1);
}

/* The child's answer from @fd: 0 or a positive errno; ETIMEDOUT where none comes in time. */
static int probe_answer(int fd)
{
	uint64_t deadline = rk_now_ns() + RKFS_PROBE_MS * RK_NS_PER_MS;
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	int code, n;
	ssize_t got;

	do {
		uint64_t now = rk_now_ns();

		n = poll(&pfd, 1, now < deadline ? (int)((deadline - now) / RK_NS_PER_MS) + 1 : 0);
	} while (n < 0 && errno == EINTR);
	if (n == 0)
		return ETIMEDOUT;
	if (n < 0)
		return errno;
	got = read(fd, &code, sizeof(code));
	return got == (ssize_t)sizeof(code) ? code : EIO;
}

int rkfs_probe(const char *path, int *code, struct rk_error *err)
{
	int fds[2], rc;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return rk_error_set(err, errno, RKFS_PATH ": cannot make a pipe: %m", path);
	pid = fork();
	if (pid == 0)
		probe_child(path, fds[1]);
	rc = errno;
	close(fds[1]);
	if (pid < 0) {
		close(fds[0]);
		return rk_error_set(err, rc, RKFS_PATH ": cannot fork: %m", path);
	}
	*code = probe_answer(fds[0]);
	close(fds[0]);
	/* stuck in the kernel it does not die: it is left to init then */
	if (*code == ETIMEDOUT)
		kill(pid, SIGKILL);
	while (waitpid(pid, NULL, *code == ETIMEDOUT ? WNOHANG : 0) < 0 && errno == EINTR)
		;
	return 0;
}

bool rkfs_probe_is_dead(int code)
{
	/* the second: aborted through /sys/fs/fuse/connections */
	return code == ENOTCONN || code == ECONNABORTED;
}
