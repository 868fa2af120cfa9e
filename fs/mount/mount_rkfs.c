/* SPDX-License-Identifier: MIT */
/* mount.rkfs: arguments, checks, the daemonizing fork, exit codes. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/mount/daemon.h"
#include "fs/mount/internal.h"
#include "fs/mount/options.h"
#include "fs/session.h"
#include "runtime/config/config.h"
#include "runtime/base/home.h"
#include "runtime/base/log.h"
#include "runtime/metrics/metrics.h"
#include "runtime/base/memory_limit.h"

#define MMAP_THRESHOLD (128 * 1024) /* bytes: what glibc starts with */

static int complain(int exit_code, const struct rk_error *err)
{
	fprintf(stderr, "mount.rkfs: %s\n", err->msg);
	return exit_code;
}

static int open_executable(const char *path, struct rk_error *err)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return rk_error_set(err, errno, "%s: %m", path);
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || !(st.st_mode & 0111)) {
		close(fd);
		return rk_error_set(err, EACCES, "%s is not an executable file", path);
	}
	return fd;
}

/*
 * The worker beside this program, else the installed one. Kept open and executed through the
 * descriptor, so that an upgrade never mixes versions.
 */
static int open_worker(struct rk_error *err)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - sizeof("rk-worker"));
	char *slash;
	int fd;

	if (n > 0) {
		path[n] = '\0';
		slash = strrchr(path, '/');
		if (slash) {
			strcpy(slash + 1, "rk-worker");
			fd = open_executable(path, err);
			if (fd >= 0)
				return fd;
		}
	}
	return open_executable(RK_LIBEXECDIR "/rk-worker", err);
}

/* The daemon, in its own session. */
static int be_daemon(struct rkfs_daemon_params *p)
{
	if (setsid() < 0)
		return RKFS_EXIT_SYSTEM;
	return rkfs_daemon_run(p);
}

/* The process that was called: wait for the daemon's word. */
static int await_daemon(int fd)
{
	struct rkfs_status status;
	ssize_t n;

	do
		n = read(fd, &status, sizeof(status));
	while (n < 0 && errno == EINTR);
	if (n != sizeof(status)) {
		fprintf(stderr, "mount.rkfs: the daemon died while it was starting\n");
		return RKFS_EXIT_MOUNT;
	}
	status.msg[sizeof(status.msg) - 1] = '\0';
	if (status.exit_code)
		fprintf(stderr, "mount.rkfs: %s\n", status.msg);
	return status.exit_code;
}

static int daemonize(struct rkfs_daemon_params *p)
{
	int fds[2];
	sigset_t all;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC)) {
		perror("mount.rkfs: pipe");
		return RKFS_EXIT_SYSTEM;
	}
	pid = fork();
	if (pid < 0) {
		perror("mount.rkfs: fork");
		return RKFS_EXIT_SYSTEM;
	}
	if (pid == 0) {
		close(fds[0]);
		p->status_fd = fds[1];
		return be_daemon(p);
	}
	close(fds[1]);
	/* Ctrl-C ends the wait; the daemon sees the pipe close and undoes the mount. */
	sigemptyset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	return await_daemon(fds[0]);
}

static int mount_at(const struct rkfs_options *o, const struct rk_config_sources *sources,
		    const struct rk_config *config, int worker_fd)
{
	struct rkfs_daemon_params p = {
		.options = o,
		.sources = sources,
		.config = config,
		.worker_fd = worker_fd,
		.status_fd = -1,
	};
	struct rk_error err = {0};
	struct rkfs_mountpoint point;
	int rc;

	if (rkfs_mountpoint_prepare(o->dir, RKFS_MOUNTINFO, o->fake, &point, &err))
		return complain(RKFS_EXIT_MOUNT, &err);
	p.point = &point;
	if (chdir("/")) { /* every path is absolute by now; a daemon keeps no other busy */
		perror("mount.rkfs: /");
		rc = RKFS_EXIT_SYSTEM;
	} else if (o->fake) {
		rc = RKFS_EXIT_OK;
	} else if (rkfs_daemon_signals(&err)) {
		rc = complain(RKFS_EXIT_SYSTEM, &err);
	} else if (!o->foreground) {
		if (rkfs_session_limit(err.msg, sizeof(err.msg)))
			fprintf(stderr, "mount.rkfs: warning: %s\n", err.msg);
		rc = daemonize(&p);
	} else {
		rc = rkfs_daemon_run(&p);
	}
	if (!rc && o->verbose && !o->fake && !o->foreground && p.status_fd < 0)
		printf("mount.rkfs: %s mounted on %s\n", o->source, point.path);
	rkfs_mountpoint_free(&point);
	return rc;
}

/* All files of ours are open or read by now; of another namespace (-N) nothing else is wanted. */
static int mount_there(const struct rkfs_options *o, const struct rk_config_sources *sources,
		       const struct rk_config *config)
{
	struct rk_error err = {0};
	int rc, worker = open_worker(&err);

	if (worker < 0)
		return complain(RKFS_EXIT_SYSTEM, &err);
	if (o->mount_ns && (rk_home_keep(&err) || rkfs_mountpoint_enter_ns(o->mount_ns, &err)))
		rc = complain(RKFS_EXIT_MOUNT, &err);
	else
		rc = mount_at(o, sources, config, worker);
	close(worker);
	return rc;
}

static int run(struct rkfs_options *o, int argc, char **argv)
{
	struct rk_config_sources sources = {.environ = (const char *const *)environ};
	struct rk_config *config;
	struct rk_error err = {0};
	int rc = rkfs_options_parse(o, argc, argv, &err);

	if (rc)
		return complain(rc == -ENOMEM ? RKFS_EXIT_SYSTEM : RKFS_EXIT_USAGE, &err);
	if (o->version)
		return printf("mount.rkfs (rkfs) %s\n", RK_VERSION) < 0;
	if (o->help)
		return rkfs_options_help(stdout) ? RKFS_EXIT_SYSTEM : RKFS_EXIT_OK;
	if (rkfs_inherit_daemon(&err))
		return complain(RKFS_EXIT_SYSTEM, &err);
	sources.file = o->config;
	sources.options = (const char *const *)o->config_options;
	sources.payload_bytes = rk_memory_for_payloads();
	config = malloc(sizeof(*config));
	if (!config) {
		perror("mount.rkfs");
		return RKFS_EXIT_SYSTEM;
	}
	rc = rk_config_load(config, &sources, &err);
	if (!rc && !o->foreground && !rk_metrics_textfile_name(config->metrics_textfile))
		fprintf(stderr,
			"mount.rkfs: warning: metrics_textfile: %s does not end in .prom: "
			"node_exporter does not read it\n",
			config->metrics_textfile);
	sources.loaded = config;
	rc = rc ? complain(RKFS_EXIT_MOUNT, &err) : mount_there(o, &sources, config);
	free(config);
	return rc;
}

int main(int argc, char **argv)
{
	struct rkfs_options o;
	struct rk_error err;
	int rc;

	if (rkfs_inherit_stdio(&err))
		return complain(RKFS_EXIT_SYSTEM, &err);
	if (getauxval(AT_SECURE)) { /* whoever calls it chooses its files and its environment */
		fputs("mount.rkfs: it must not be setuid, setgid or have file capabilities; "
		      "fusermount3 mounts for users\n",
		      stderr);
		return RKFS_EXIT_USAGE;
	}
	/* fixed, or it grows with the largest block freed and large ones stay with the process */
	mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD);
	rkfs_options_init(&o);
	rc = run(&o, argc, argv);
	rkfs_options_free(&o);
	return rc;
}
