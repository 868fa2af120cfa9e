/* SPDX-License-Identifier: MIT */
/* The daemon: how it is made, the signals that end it, and how it is taken apart. */
#include "fs/mount/daemon_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "fs/call/call.h"
#include "fs/files/files.h"
#include "runtime/base/clock.h"
#include "runtime/base/log.h"
#include "runtime/base/memory_limit.h"

#define UMOUNT_GRACE_MS 1000
#define FORCE_MS	2000 /* how long an end that was asked for twice may be an orderly one */
#define DETACH_MS	500  /* how long that waits for the mount to be detached */

/* --- signals: a thread that does nothing else, so that nothing can keep it from doing so --- */

/* Where the mount may be detached from, whatever becomes of the rest of the daemon. */
struct detaching {
	dev_t dev;
	int done; /* an eventfd, not closed: this may hang */
};

static void *detach_there(void *arg)
{
	struct detaching *at = arg;

	/* what fails is tried again, and told, by the orderly end */
	(void)rkfs_detach(at->dev, NULL, RKFS_MOUNTINFO, NULL);
	rk_wake(at->done);
	return NULL;
}

/* Detach the mount, unless even that hangs: the directory above it may be on a dead file system. */
static void detach_mount(struct rkfs_daemon *d)
{
	struct detaching *at = malloc(sizeof(*at));
	struct pollfd done = {.events = POLLIN};
	pthread_t thread;

	if (!at)
		return;
	at->dev = d->dev;
	at->done = done.fd = eventfd(0, EFD_CLOEXEC);
	if (pthread_create(&thread, NULL, detach_there, at)) {
		free(at);
		return;
	}
	pthread_detach(thread);
	(void)poll(&done, 1, DETACH_MS);
}

/* End the process at once: threads may hang, and the mount goes with it. */
static void __attribute__((noreturn)) leave(struct rkfs_daemon *d, const char *why)
{
	struct rkfs_status status = {.exit_code = RKFS_EXIT_MOUNT};

	if (atomic_load(&d->ready))
		_exit(RKFS_EXIT_OK);
	snprintf(status.msg, sizeof(status.msg), "ended before it was ready: %s", why);
	if (d->params->status_fd < 0)
		dprintf(STDERR_FILENO, "mount.rkfs: %s\n", status.msg);
	else
		(void)!write(d->params->status_fd, &status, sizeof(status));
	_exit(RKFS_EXIT_MOUNT);
}

/* A second signal: the mount goes at once, and the rest of the daemon has a moment to end. */
static void force_end(struct rkfs_daemon *d)
{
	struct pollfd over = {.fd = d->ended, .events = POLLIN};

	detach_mount(d);
	if (poll(&over, 1, FORCE_MS) <= 0)
		leave(d, strsignal(atomic_load(&d->last_asked)));
}

static void on_signal(struct rkfs_daemon *d)
{
	struct signalfd_siginfo info;

	if (read(d->signals, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP) {
		atomic_store(&d->hup, true);
		rkfs_daemon_poke(d);
		return;
	}
	atomic_store(&d->last_asked, (int)info.ssi_signo);
	if (!atomic_load(&d->served))
		leave(d, strsignal((int)info.ssi_signo));
	if (atomic_exchange(&d->asked, true) || atomic_load(&d->ending)) {
		atomic_store(&d->force, true);
		rkfs_daemon_poke(d);
		force_end(d);
	}
	rkfs_daemon_poke(d);
}

static void *heed(void *arg)
{
	struct rkfs_daemon *d = arg;

	pthread_setname_np(pthread_self(), "rk-signals");
	for (;;) {
		bool served = atomic_load(&d->served);
		struct pollfd fds[] = {
			{.fd = d->ended, .events = POLLIN},
			{.fd = d->signals, .events = POLLIN},
			{.fd = served ? -1 : d->params->status_fd}, /* POLLERR, as in control */
		};

		if (poll(fds, 3, -1) < 0 && errno != EINTR)
			return NULL;
		if (fds[0].revents)
			return NULL;
		if (fds[1].revents)
			on_signal(d);
		if (fds[2].revents && !atomic_load(&d->served))
			leave(d, "whoever mounted it went away");
	}
}

/* --- putting it together --- */

/* Those that tell the daemon something. */
static sigset_t our_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	return set;
}

static int open_events(struct rkfs_daemon *d, struct rk_error *err)
{
	const sigset_t set = our_signals();

	d->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->watch_stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->ended = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (d->event < 0 || d->watch_stop < 0 || d->ended < 0 || d->signals < 0)
		return rk_error_set(err, errno, "cannot create descriptors: %m");
	return 0;
}

static void check_memory(const struct rk_config *config)
{
	uint64_t limit = rk_memory_limit("");

	if (config->max_buffered_bytes > limit)
		rk_log(RK_LOG_WARN,
		       "max_buffered_bytes is %" PRIu64
		       ", and the memory limit of this process or machine "
		       "%" PRIu64
		       ": where payloads need more than that, the kernel kills a process",
		       config->max_buffered_bytes, limit);
}

/* Mount, and take the connection over. What is mounted is known by d->dev. */
static int mount(struct rkfs_daemon *d, struct rk_error *err)
{
	const struct rkfs_options *o = d->params->options;
	struct rkfs_mountpoint *point = d->params->point;
	const struct rkfs_attach_params params = {
		.path = point->path,
		.dir = point->fd,
		.source = o->source,
		.options = o->fuse_options,
		.labels = (const char *const *)o->labels,
	};
	struct rkfs_attachment a;
	int rc = rkfs_attach(&params, &a, err);

	close(point->fd);
	point->fd = -1;
	if (rc)
		return rc;
	d->dev = a.dev;
	rc = rkfs_session_create(&d->fs, a.fuse, o->only_root, &d->session, err);
	if (rc)
		close(a.fuse);
	else
		rkfs_session_on_ready(d->session, rkfs_daemon_on_answered, d);
	return rc;
}

static int start_signals(struct rkfs_daemon *d, struct rk_error *err)
{
	int rc = open_events(d, err);

	if (rc)
		return rc;
	rc = pthread_create(&d->heeder, NULL, heed, d);
	d->heeded = !rc;
	return rc ? rk_error_set(err, rc, "cannot start the signal thread: %m") : 0;
}

static void stop_signals(struct rkfs_daemon *d)
{
	rk_wake(d->ended);
	if (d->heeded)
		pthread_join(d->heeder, NULL);
	close(d->event);
	close(d->watch_stop);
	close(d->signals);
	close(d->ended);
}

static int create(struct rkfs_daemon *d, struct rk_error *err)
{
	const struct rkfs_daemon_params *p = d->params;
	int rc;

	check_memory(p->config);
	rc = rkfs_init(&d->fs);
	if (rc)
		return rk_error_set(err, -rc, "cannot create the tree: %m");
	d->fs.mount = p->point->path;
	d->fs.access = p->options->access;
	d->fs.on_no_waiter = rkfs_daemon_on_all_read;
	d->fs.on_no_waiter_ctx = d;
	d->fs.follow_log = rkfs_daemon_on_follow_log;
	d->fs.follow_log_ctx = d;
	d->observer = (struct rk_runtime_observer){.tell = rkfs_daemon_on_news, .ctx = d};
	d->fs.observer.next = &d->observer;
	rc = rk_runtime_create(&d->fs.rt, p->sources, p->worker_fd, &d->fs.observer, err);
	if (!rc)
		rc = rk_metrics_create(&d->metrics, d->fs.rt, d->fs.mount, err);
	if (rc)
		return rc;
	rc = rkfs_calls_create(&d->fs.calls, rk_runtime_dispatch(d->fs.rt));
	if (rc)
		return rk_error_set(err, -rc, "cannot create the tree: %m");
	rkfs_calls_on_finished(d->fs.calls, rkfs_daemon_on_all_read, d);
	rk_log_on_trouble(rkfs_daemon_on_log_trouble, d);
	atomic_store(&d->served, true); /* from now on there is something to undo */
	return mount(d, err);
}

/*
 * Whether the loop has returned because of umount(2), which takes the mount away first; umount -f
 * does that just afterwards.
 */
static bool is_unmounted(struct rkfs_daemon *d)
{
	return rkfs_mounts_wait_gone(d->dev, -1, UMOUNT_GRACE_MS, RKFS_MOUNTINFO, NULL) == 0;
}

static int serve(struct rkfs_daemon *d, struct rk_error *err)
{
	pthread_t controller, watcher;
	int rc = 0;

	if (!d->params->options->nostart)
		rc = rk_runtime_command(d->fs.rt, RK_START, -1, NULL, err);
	if (rc)
		return rc;
	rc = pthread_create(&controller, NULL, rkfs_daemon_control, d);
	if (rc)
		return rk_error_set(err, rc, "cannot start the control thread: %m");
	rc = pthread_create(&watcher, NULL, rkfs_daemon_watch_mount, d);
	if (rc) /* served all the same; only umount -l goes unnoticed */
		rk_log(RK_LOG_WARN, "cannot watch the mount: %s", strerror(rc));
	if (rkfs_session_loop(d->session))
		rk_log(RK_LOG_ERROR, "the FUSE session ended with an error");
	if (!atomic_load(&d->over))
		atomic_store(&d->lost, !is_unmounted(d));
	atomic_store(&d->unserved, true);
	rkfs_daemon_poke(d);
	pthread_join(controller, NULL);
	rk_wake(d->watch_stop);
	if (!rc)
		pthread_join(watcher, NULL);
	return 0;
}

/*
 * The files are closed, but a codec thread, or who brings an answer, may be at work for one still,
 * and needs the runtime.
 */
static void finish_calls(struct rkfs_daemon *d)
{
	struct pollfd event = {.fd = d->event, .events = POLLIN};

	atomic_store(&d->reading, true); /* the last one pokes */
	while (rkfs_calls_unfinished(d->fs.calls)) {
		if (poll(&event, 1, -1) > 0)
			rk_wake_clear(d->event);
	}
}

/* Detach what is left of the mount, wherever it is by now: nobody answers there any more. */
static void detach(struct rkfs_daemon *d)
{
	struct rk_error err = {0};

	if (!d->dev || !rkfs_detach(d->dev, NULL, RKFS_MOUNTINFO, &err))
		return;
	rk_log(RK_LOG_ERROR, "%s", err.msg);
	if (!d->status.exit_code)
		rkfs_daemon_fail(d, err.msg);
}

static void destroy(struct rkfs_daemon *d)
{
	if (d->session)
		rkfs_session_destroy(d->session);
	detach(d);
	if (d->fs.calls)
		finish_calls(d);
	rk_log_on_trouble(NULL, NULL);
	if (d->fs.rt)
		rk_runtime_give_up(d->fs.rt);
	rkfs_commands_destroy(&d->fs);
	rk_metrics_destroy(d->metrics);
	rk_runtime_destroy(d->fs.rt);
	rkfs_calls_destroy(d->fs.calls);
	rkfs_destroy(&d->fs);
}

int rkfs_daemon_signals(struct rk_error *err)
{
	const sigset_t set = our_signals();

	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return rk_error_set(err, errno, "cannot set up signals: %m");
	return 0;
}

int rkfs_daemon_run(const struct rkfs_daemon_params *params)
{
	struct rkfs_daemon *d = calloc(1, sizeof(*d));
	struct rkfs_status status = {.exit_code = RKFS_EXIT_SYSTEM};
	struct rk_error err = {.code = ENOMEM, .msg = "no memory"};

	if (d) {
		d->params = params;
		d->status_fd = params->status_fd;
		d->log = *params->config;
		pthread_mutex_init(&d->log_lock, NULL);
		if (start_signals(d, &err) || rkfs_daemon_open_log(d, &err) || create(d, &err) ||
		    serve(d, &err))
			rkfs_daemon_fail(d, err.msg);
		destroy(d);
		status = d->status;
	} else {
		memcpy(status.msg, err.msg, sizeof(status.msg));
	}
	rk_log_stop_thread();
	if (d)
		stop_signals(d);
	/* Unmounted again by now: whoever reads this finds nothing left. */
	if (status.exit_code && params->status_fd >= 0 && d && d->status_fd >= 0)
		(void)!write(d->status_fd, &status, sizeof(status));
	else if (status.exit_code && params->status_fd < 0)
		fprintf(stderr, "mount.rkfs: %s\n", status.msg);
	free(d);
	return status.exit_code;
}
