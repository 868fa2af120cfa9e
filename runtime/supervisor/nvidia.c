/* SPDX-License-Identifier: MIT */
/* What the driver of NVIDIA needs of root, done before a worker gives that up. */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/clock.h"
#include "runtime/supervisor/internal.h"

/* as many as the program takes: one more is for the driver's own node */
#define MINORS_MAX	 63
#define CAPABILITIES_MAX 256
#define ARGUMENTS_MAX	 (2 * (1 + MINORS_MAX + CAPABILITIES_MAX) + 2)
#define MINOR_ROOM	 12 /* of any int with its NUL */
#define LINE_MAX_BYTES	 256

static void __attribute__((noreturn)) execute(const char *path, char *const *arguments)
{
	static char *const environment[] = {NULL};

	execve(path, arguments, environment);
	_exit(1);
}

/* Run @path, but not beyond @until, a time of the monotonic clock; 0 = for as long as it takes. */
static void run(const char *path, char *const *arguments, uint64_t until)
{
	struct pollfd dead = {.events = POLLIN};
	pid_t pid = fork();
	int left = -1;

	if (pid == 0)
		execute(path, arguments);
	if (pid < 0)
		return;
	dead.fd = pidfd_open(pid, 0);
	do {
		uint64_t now = rk_now_ns();

		if (until)
			left = now < until ? (int)((until - now) / 1000000) : 0;
	} while (dead.fd >= 0 && poll(&dead, 1, left) < 0 && errno == EINTR);
	if (dead.fd < 0 || !dead.revents)
		kill(pid, SIGKILL);
	/* one that does not even die of that is left behind */
	waitpid(pid, NULL, WNOHANG);
	if (dead.fd >= 0)
		close(dead.fd);
}

/* The number of the node of the card that the file @path is about, into @minor; false = none. */
static bool read_minor(const char *path, char minor[MINOR_ROOM])
{
	FILE *f = fopen(path, "re");
	char line[LINE_MAX_BYTES];
	bool found = false;
	int number;

	while (f && !found && fgets(line, sizeof(line), f))
		found = sscanf(line, "Device Minor: %d", &number) == 1 && number >= 0;
	if (f)
		fclose(f);
	if (found)
		snprintf(minor, MINOR_ROOM, "%d", number);
	return found;
}

static void find(const char *proc, const char *what, int flags, glob_t *found)
{
	char pattern[PATH_MAX];

	snprintf(pattern, sizeof(pattern), "%s/%s", proc, what);
	glob(pattern, flags, NULL, found);
}

/* The nodes of every card, of the driver itself, and of what MIG divides cards into. */
static void make_nodes(const char *path, const char *proc, char *name, uint64_t until)
{
	static char device[] = "-c", capability[] = "-f", control[] = "255";
	char minors[MINORS_MAX][MINOR_ROOM];
	char *arguments[ARGUMENTS_MAX] = {name, device, control};
	glob_t cards = {0}, parts = {0};
	int n = 3;

	find(proc, "gpus/*/information", 0, &cards);
	find(proc, "capabilities/gpu*/mig/gi*/access", 0, &parts);
	find(proc, "capabilities/gpu*/mig/gi*/ci*/access", GLOB_APPEND, &parts);
	for (size_t i = 0; i < cards.gl_pathc && i < MINORS_MAX; i++) {
		if (!read_minor(cards.gl_pathv[i], minors[i]))
			continue;
		arguments[n++] = device;
		arguments[n++] = minors[i];
	}
	for (size_t i = 0; i < parts.gl_pathc && i < CAPABILITIES_MAX; i++) {
		arguments[n++] = capability;
		arguments[n++] = parts.gl_pathv[i];
	}
	run(path, arguments, until);
	globfree(&cards);
	globfree(&parts);
}

void rk_nvidia_load(const char *path, const char *proc, int timeout_ms)
{
	static char name[] = "nvidia-modprobe", memory[] = "-u", device[] = "-c", first[] = "0";
	uint64_t until = timeout_ms < 0 ? 0 : rk_now_ns() + (uint64_t)timeout_ms * 1000000;

	if (access(path, X_OK))
		return;
	/* which cards there are is known once the module is loaded */
	run(path, (char *const[]){name, NULL}, until);
	make_nodes(path, proc, name, until);
	/* with -u, the number is that of the node of unified memory, and no card's */
	run(path, (char *const[]){name, memory, device, first, NULL}, until);
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
