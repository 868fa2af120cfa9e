/* SPDX-License-Identifier: MIT */
/* The life of a mount: mount, start, serve, and the ordered end by signal, unmount or failure. */
#ifndef RKFS_MOUNT_DAEMON_H
#define RKFS_MOUNT_DAEMON_H

#include "fs/mount/internal.h"
#include "fs/mount/options.h"
#include "runtime/config/config.h"
#include "runtime/base/error.h"

/* What the process that forked the daemon is told, once. */
struct rkfs_status {
	int exit_code; /* enum rkfs_exit */
	char msg[RK_ERROR_MAX];
};

struct rkfs_daemon_params {
	const struct rkfs_options *options;
	const struct rk_config_sources *sources;
	const struct rk_config *config; /* as loaded from sources */
	struct rkfs_mountpoint *point;	/* its descriptor is closed once it is mounted */
	int worker_fd;			/* the rk-worker executable */
	int status_fd; /* a struct rkfs_status is written there and stdio is let go; -1: foreground
			*/
};

/*
 * Block the signals that rkfs_daemon_run waits for (SIGTERM, SIGINT, SIGHUP). Before any thread
 * and any fork of the daemon.
 */
int rkfs_daemon_signals(struct rk_error *err);

/*
 * Mount, serve, and return the exit code when it is over. Runs in the main thread; blocks for the
 * life of the mount. In the foreground errors go to stderr.
 */
int rkfs_daemon_run(const struct rkfs_daemon_params *params);

#endif
