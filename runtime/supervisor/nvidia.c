/* SPDX-License-Identifier: MIT */
/* What the driver of NVIDIA needs of root, done before a worker gives that up. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/supervisor/internal.h"

#define GPUS	    "/proc/driver/nvidia/gpus"
#define DEVICES_MAX 32
#define MINOR_ROOM  12 /* of any int with its NUL */

/* Devices of the driver, as far as it is loaded; at least one. */
static int count_devices(void)
{
	DIR *dir = opendir(GPUS);
	struct dirent *entry;
	int n = 0;

	if (!dir)
		return 1;
	while (n < DEVICES_MAX && (entry = readdir(dir)))
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n ? n : 1;
}

static void __attribute__((noreturn)) execute(const char *path)
{
	static char name[] = "nvidia-modprobe", memory[] = "-u", device[] = "-c";
	static char *const environment[] = {NULL};
	char minors[DEVICES_MAX][MINOR_ROOM];
	char *argv[2 * DEVICES_MAX + 3];
	int n = count_devices(), argc = 0;

	argv[argc++] = name;
	argv[argc++] = memory;
	for (int i = 0; i < n; i++) {
		snprintf(minors[i], sizeof(minors[i]), "%d", i);
		argv[argc++] = device;
		argv[argc++] = minors[i];
	}
	argv[argc] = NULL;
	execve(path, argv, environment);
	_exit(1);
}

void rk_nvidia_load(const char *path, int timeout_ms)
{
	struct pollfd dead = {.events = POLLIN};
	pid_t pid;

	if (access(path, X_OK))
		return;
	pid = fork();
	if (pid == 0)
		execute(path);
	if (pid < 0)
		return;
	dead.fd = pidfd_open(pid, 0);
	while (dead.fd >= 0 && poll(&dead, 1, timeout_ms) < 0 && errno == EINTR)
		;
	if (dead.fd < 0 || !dead.revents)
		kill(pid, SIGKILL);
	/* one that does not even die of that is left behind */
	waitpid(pid, NULL, WNOHANG);
	if (dead.fd >= 0)
		close(dead.fd);
}

static bool has(const gid_t *groups, int n, gid_t gid)
{
	for (int i = 0; i < n; i++)
		if (groups[i] == gid)
			return true;
	return false;
}

int rk_nvidia_groups(const char *dev, gid_t *groups, int n, int max)
{
	static const char *const patterns[] = {"nvidia*", "nvidia-caps/nvidia-cap*"};
	char pattern[256];
	glob_t found = {0};
	struct stat st;

	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
		snprintf(pattern, sizeof(pattern), "%s/%s", dev, patterns[i]);
		if (glob(pattern, i ? GLOB_APPEND : 0, NULL, &found) == GLOB_NOSPACE)
			break;
	}
	for (size_t i = 0; n < max && i < found.gl_pathc; i++)
		/* root's group may do more than use a device */
		if (!stat(found.gl_pathv[i], &st) && !S_ISDIR(st.st_mode) && st.st_gid != 0 &&
		    st.st_mode & (S_IRGRP | S_IWGRP) && !has(groups, n, st.st_gid))
			groups[n++] = st.st_gid;
	globfree(&found);
	return n;
}
