/* SPDX-License-Identifier: MIT */
/* Runs fusermount3, and hands on why it refuses. */
#include "fs/mount/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/scm.h"

#define HELPER	"fusermount3"
#define COMM_FD 3 /* what _FUSE_COMMFD says: the helper sends the connection through it */

extern char **environ;

/* A helper on its way. */
struct helper {
	pid_t pid;
	int said; /* the reading end of its stderr */
};

/* The environment and the socket's number. Owned by the caller; the strings are borrowed. */
static char **make_environment(char *comm)
{
	size_t n = 0;
	char **env;

	while (environ[n])
		n++;
	env = calloc(n + 2, sizeof(*env));
	if (env) {
		memcpy(env, environ, n * sizeof(*env));
		env[n] = comm;
	}
	return env;
}

/* @comm (-1: none) becomes the helper's descriptor COMM_FD. */
static int add_actions(posix_spawn_file_actions_t *actions, int comm, int said)
{
	int rc = posix_spawn_file_actions_adddup2(actions, said, STDERR_FILENO);

	if (!rc)
		rc = posix_spawn_file_actions_adddup2(actions, said, STDOUT_FILENO);
	if (!rc && comm >= 0)
		rc = posix_spawn_file_actions_adddup2(actions, comm, COMM_FD);
	return rc;
}

/* Copies of @strings, up to a NULL, in one block that the caller frees; NULL: no memory. */
static char **copy_strings(const char *const *strings)
{
	size_t n = 0, size = sizeof(char *);
	char **copies, *at;

	for (; strings[n]; n++)
		size += sizeof(char *) + strlen(strings[n]) + 1;
	copies = malloc(size);
	if (!copies)
		return NULL;
	at = (char *)(copies + n + 1);
	for (size_t i = 0; i < n; i++) {
		copies[i] = at;
		at = stpcpy(at, strings[i]) + 1;
	}
	copies[n] = NULL;
	return copies;
}

static int spawn(struct helper *h, const char *const *args, int comm, int said)
{
	char variable[] = "_FUSE_COMMFD=3";
	posix_spawn_file_actions_t actions;
	char **argv, **env;
	int rc = posix_spawn_file_actions_init(&actions);

	if (rc)
		return rc;
	argv = copy_strings(args);
	env = make_environment(comm >= 0 ? variable : NULL);
	rc = argv && env ? add_actions(&actions, comm, said) : ENOMEM;
	if (!rc)
		rc = posix_spawnp(&h->pid, argv[0], &actions, NULL, argv, env);
	posix_spawn_file_actions_destroy(&actions);
	free(env);
	free(argv);
	return rc;
}

static int start(struct helper *h, const char *const *args, int comm, struct rk_error *err)
{
	int fds[2], rc;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return rk_error_set(err, errno, "cannot make a pipe: %m");
	rc = spawn(h, args, comm, fds[1]);
	close(fds[1]);
	h->said = fds[0];
	if (!rc)
		return 0;
	close(fds[0]);
	if (rc == ENOENT)
		return rk_error_set(err, rc, HELPER " is not installed (package fuse3)");
	return rk_error_set(err, rc, HELPER ": %m");
}

/* The first line that it has said, without a newline, and its exit status, or -1. */
static int finish(struct helper *h, char *line, size_t size)
{
	FILE *f = fdopen(h->said, "r");
	char more[256];
	int status;

	line[0] = '\0';
	if (f) {
		if (fgets(line, (int)size, f))
			line[strcspn(line, "\n")] = '\0';
		while (fgets(more, sizeof(more), f))
			; /* until it closes it */
		fclose(f);
	} else {
		close(h->said);
	}
	while (waitpid(h->pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int refusal(int status, const char *line, struct rk_error *err)
{
	if (*line)
		return rk_error_set(err, EPERM, "%.400s", line);
	return rk_error_set(err, EPERM, HELPER " ended with status %d", status);
}

/* The descriptor that comes through @sock, or -1 where the helper ends without sending one. */
static int receive(int sock)
{
	int fd, flags = 0;
	char byte;

	(void)rk_scm_receive(sock, &byte, 1, &fd, &flags);
	return fd;
}

int rkfs_fusermount_mount(const char *path, const char *options, int *fd, struct rk_error *err)
{
	const char *const args[] = {HELPER, "-o", options, "--", path, NULL};
	struct helper h;
	int socks[2], got, rc, status;
	char line[RK_ERROR_MAX];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks) < 0)
		return rk_error_set(err, errno, "cannot create a socket pair: %m");
	rc = start(&h, args, socks[1], err);
	close(socks[1]);
	got = rc ? -1 : receive(socks[0]);
	close(socks[0]);
	if (rc)
		return rc;
	status = finish(&h, line, sizeof(line));
	if (got < 0)
		return refusal(status, line, err);
	*fd = got;
	return 0;
}

int rkfs_fusermount_unmount(const char *path, struct rk_error *err)
{
	const char *const args[] = {HELPER, "-u", "-z", "--", path, NULL};
	struct helper h;
	char line[RK_ERROR_MAX];
	int rc = start(&h, args, -1, err);

	if (!rc) {
		int status = finish(&h, line, sizeof(line));

		if (status)
			rc = refusal(status, line, err);
	}
	return rc;
}
