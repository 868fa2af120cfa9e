/* SPDX-License-Identifier: MIT */
/*
 * The daemon as its two files see it: daemon_control.c, which moves it from stage to stage, and
 * daemon.c, which makes it, heeds signals and takes it apart.
 */
#ifndef RKFS_MOUNT_DAEMON_INTERNAL_H
#define RKFS_MOUNT_DAEMON_INTERNAL_H

#include <stdatomic.h>

#include "fs/base/rkfs.h"
#include "fs/mount/daemon.h"
#include "fs/session.h"
#include "runtime/base/thread.h"
#include "runtime/metrics/metrics.h"

/* Where the mount is in its life. */
enum stage {
	STAGE_STARTING, /* until it answers and the runtime is Running */
	STAGE_SERVING,
	STAGE_DRAINING, /* told to end: until the runtime is Stopped */
	STAGE_READING,	/* answers that are finished are let be read */
	STAGE_OVER,
};

struct rkfs_daemon {
	const struct rkfs_daemon_params *params;
	struct rkfs fs;
	struct rk_runtime_observer observer;
	struct rk_metrics *metrics;
	struct rkfs_session *session;
	int event; /* something below has changed */
	int signals;
	int ended;	       /* an eventfd: the end is reached */
	atomic_bool asked;     /* a signal has told us to end */
	atomic_bool force;     /* and another one, or we were ending already */
	atomic_bool ending;    /* for whatever reason */
	atomic_int last_asked; /* the last one's number */
	atomic_bool hup, reloaded;
	pthread_t heeder;   /* the signal thread */
	bool heeded;	    /* it was started */
	bool forced;	    /* the control thread's: it has heeded the second signal */
	atomic_bool ready;  /* who waits for it was told */
	atomic_bool served; /* it is being mounted: the end has to be an orderly one */
	int watch_stop;	    /* readable: the watch thread ends */
	_Atomic dev_t dev;
	atomic_bool answered; /* the kernel has talked to us */
	atomic_bool gone;     /* no mount of ours is left, though files may be open */
	atomic_bool over;     /* told the loop to return */
	atomic_bool lost;     /* it has returned by itself, and the mount is there still */
	atomic_bool unserved; /* the loop has returned */
	atomic_bool changed;  /* the state has */
	atomic_bool reading;  /* STAGE_READING: who has read all is news */
	/* The control thread's own. */
	enum stage stage;
	uint64_t read_until, eof_until;
	int status_fd;		  /* the signal thread's until served */
	pthread_mutex_t log_lock; /* the configuration that the log follows */
	struct rk_config log, scratch;
	struct rkfs_status status;
};

/* Have the control thread look at what has changed. Any thread. */
void rkfs_daemon_poke(const struct rkfs_daemon *d);

/* Tell it of what happens: for the session, the calls, the tree, the runtime and the log. */
void rkfs_daemon_on_answered(void *ctx);
void rkfs_daemon_on_all_read(void *ctx);
void rkfs_daemon_on_follow_log(void *ctx, bool again);
void rkfs_daemon_on_news(void *ctx, enum rk_news news);
void rkfs_daemon_on_log_trouble(void *ctx, const char *sentence);

/* The exit status says that it did not go as it should. For one thread at a time. */
void rkfs_daemon_fail(struct rkfs_daemon *d, const char *why);

/* Open the log where the configuration says, and start its thread. 0 or a negative errno. */
int rkfs_daemon_open_log(struct rkfs_daemon *d, struct rk_error *err);

/* The control thread, which ends at STAGE_OVER, and the one that watches mountinfo until then. */
void *rkfs_daemon_control(void *daemon);
void *rkfs_daemon_watch_mount(void *daemon);

#endif
