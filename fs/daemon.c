/* SPDX-License-Identifier: MIT */
#include "fs/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "fs/attach.h"
#include "fs/call.h"
#include "fs/mountinfo.h"
#include "fs/notify.h"
#include "fs/session.h"
#include "runtime/clock.h"
#include "runtime/log.h"
#include "runtime/memory_limit.h"

#define UMOUNT_GRACE_MS 1000
#define EOF_GRACE_NS	RK_NS_PER_SEC /* for those who wait to read on until EOF */

/* Where the mount is in its life. */
enum stage {
	STAGE_STARTING, /* until it answers and the runtime is Running */
	STAGE_SERVING,
	STAGE_DRAINING, /* told to end: until the runtime is Stopped */
	STAGE_READING,	/* answers that are finished are let be read */
	STAGE_OVER,
};

struct daemon {
	const struct rkfs_daemon_params *params;
	struct rkfs fs;
	struct rk_runtime_observer tree; /* the tree's own observer */
	struct rkfs_session *session;
	int event; /* something below has changed */
	int signals;
	int watch_stop; /* readable: the watch thread ends */
	dev_t dev;
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
	struct rk_config log, scratch; /* the configuration that the log follows */
	int status_fd;
	struct rkfs_status status;
};

static void poke_fd(int fd)
{
	const uint64_t one = 1;

	(void)!write(fd, &one, sizeof(one)); /* a full counter is readable all the same */
}

static void poke(void *ctx)
{
	poke_fd(((struct daemon *)ctx)->event);
}

static void on_all_read(void *ctx)
{
	struct daemon *d = ctx;

	if (atomic_load(&d->reading))
		poke(d);
}

static void on_state(void *ctx)
{
	struct daemon *d = ctx;

	d->tree.state(d->tree.ctx);
	atomic_store(&d->changed, true);
	poke(d);
}

static void on_event(void *ctx)
{
	struct daemon *d = ctx;

	d->tree.event(d->tree.ctx);
}

static void on_room(void *ctx, struct rk_kernel *k)
{
	struct daemon *d = ctx;

	d->tree.room(d->tree.ctx, k);
}

static void on_health(void *ctx)
{
	struct daemon *d = ctx;

	d->tree.health(d->tree.ctx);
}

static void on_answered(void *ctx)
{
	struct daemon *d = ctx;

	atomic_store(&d->answered, true);
	poke(d);
}

/* --- the end --- */

static void begin_end(struct daemon *d, const char *why)
{
	enum rk_state state = rk_runtime_state(d->fs.rt);
	struct rk_error err = {0};

	if (d->stage >= STAGE_DRAINING)
		return;
	rk_log(RK_LOG_INFO, "ending: %s", why);
	rkfs_notify_stopping();
	d->stage = STAGE_DRAINING;
	d->read_until = rk_now_ns() + d->params->config->drain_timeout * RK_NS_PER_MS;
	/* What cannot drain is stopped; a drain under way keeps its deadline. */
	if (rk_runtime_command(d->fs.rt,
			       state == RK_RUNNING || state == RK_DRAINING ? RK_DRAIN : RK_STOP, -1,
			       NULL, &err) &&
	    rk_runtime_command(d->fs.rt, RK_STOP, -1, NULL, &err))
		rk_log(RK_LOG_ERROR, "%s", err.msg);
}

static void end_at_once(struct daemon *d)
{
	struct rk_error err = {0};

	d->read_until = rk_now_ns();
	if (rk_runtime_command(d->fs.rt, RK_STOP, -1, NULL, &err))
		rk_log(RK_LOG_ERROR, "%s", err.msg);
}

/* The exit status says that it did not go as it should. */
static void fail(struct daemon *d, const char *why)
{
	d->status.exit_code = RKFS_EXIT_MOUNT;
	snprintf(d->status.msg, sizeof(d->status.msg), "%s", why);
}

static void fail_start(struct daemon *d, const char *why)
{
	fail(d, why);
	begin_end(d, "the runtime did not start");
}

/* --- the beginning --- */

/* Tell who waits that the mount is ready, and let go of his terminal. */
static void report_ready(struct daemon *d)
{
	const struct rkfs_options *o = d->params->options;
	int null;

	d->stage = STAGE_SERVING;
	rkfs_notify_ready();
	if (o->ready_fd >= 0 && (write(o->ready_fd, "\n", 1) != 1 || close(o->ready_fd)))
		rk_log(RK_LOG_WARN, "cannot write to --ready-fd: %m");
	if (d->status_fd < 0)
		return;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
		rk_log(RK_LOG_WARN, "cannot let go of the terminal: %m");
	if (null >= 0)
		close(null);
	if (write(d->status_fd, &d->status, sizeof(d->status)) != sizeof(d->status))
		begin_end(d, "whoever mounted it went away");
	close(d->status_fd);
	d->status_fd = -1;
}

static void check_start(struct daemon *d)
{
	enum rk_state state = rk_runtime_state(d->fs.rt);
	char why[RK_ERROR_MAX];

	if (state == RK_FAILED) {
		rk_runtime_failure(d->fs.rt, why);
		fail_start(d, why);
	} else if (atomic_load(&d->answered) && state != RK_STARTING) {
		/* Created with nostart; or already driven on by somebody quick. */
		report_ready(d);
	}
}

/* Nobody can be answered any more, and the mount has to be made anew. */
static void lose(struct daemon *d)
{
	static const char why[] =
		"the kernel has ended the connection (umount -f, its abort file, or a request "
		"timeout, fs.fuse.*_request_timeout): mount again";

	if (d->status.exit_code)
		return;
	rk_log(RK_LOG_ERROR, "%s", why);
	fail(d, why);
	begin_end(d, "the connection was lost");
	end_at_once(d);
}

/* --- the control thread --- */

int rkfs_daemon_log(const struct rk_config *config, bool foreground, struct rk_error *err)
{
	enum rk_log_dest dest = foreground ? RK_LOG_TO_STDERR : RK_LOG_TO_SYSLOG;
	bool structured = config->structured_logging;

	if (config->log_file[0])
		dest = RK_LOG_TO_FILE;
	else if (foreground && isatty(STDERR_FILENO))
		structured = false; /* a person at a terminal reads text */
	return rk_log_open(dest, config->log_file, structured, err);
}

/* A reset has put pending fields into effect: the log's are ours to follow. */
static void follow_log(struct daemon *d)
{
	struct rk_error err = {0};

	rk_runtime_config(d->fs.rt, &d->scratch);
	if (!strcmp(d->scratch.log_file, d->log.log_file) &&
	    d->scratch.structured_logging == d->log.structured_logging)
		return;
	d->log = d->scratch;
	if (rkfs_daemon_log(&d->log, d->params->options->foreground, &err))
		rk_log(RK_LOG_ERROR, "%s", err.msg);
}

static void on_signal(struct daemon *d)
{
	struct signalfd_siginfo info;
	struct rk_error err = {0};

	if (read(d->signals, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP) {
		rkfs_notify_reloading();
		(void)rk_runtime_reload(d->fs.rt, NULL, &err); /* logs and sets the status itself */
		rkfs_notify_ready();
	} else if (d->stage < STAGE_DRAINING)
		begin_end(d, strsignal((int)info.ssi_signo));
	else
		end_at_once(d);
}

/* Nobody has anything left to read, or had time enough. */
static bool all_read(struct daemon *d)
{
	uint64_t now = rk_now_ns();

	if (now >= d->read_until)
		return true;
	return !rkfs_calls_unfinished(d->fs.calls) &&
	       (now >= d->eof_until || !atomic_load(&d->fs.waiters));
}

static void tell_state(struct daemon *d)
{
	char why[RK_ERROR_MAX];

	rk_runtime_failure(d->fs.rt, why);
	rkfs_notify_status(rk_state_name(rk_runtime_state(d->fs.rt)), why);
}

/* Move on as far as what has happened allows. */
static void advance(struct daemon *d)
{
	if (atomic_exchange(&d->changed, false)) {
		follow_log(d);
		tell_state(d);
	}
	if (d->stage == STAGE_STARTING)
		check_start(d);
	if (atomic_load(&d->lost) && d->stage < STAGE_READING)
		lose(d);
	else if (atomic_load(&d->unserved) || atomic_load(&d->gone))
		begin_end(d, "unmounted");
	if (d->stage == STAGE_DRAINING && rk_runtime_state(d->fs.rt) == RK_STOPPED) {
		d->stage = STAGE_READING;
		d->eof_until = rk_now_ns() + EOF_GRACE_NS;
		if (d->eof_until > d->read_until)
			d->eof_until = d->read_until;
		atomic_store(&d->reading, true);
		rkfs_end_waiters(&d->fs);
	}
	if (d->stage == STAGE_READING && (atomic_load(&d->unserved) || all_read(d)))
		d->stage = STAGE_OVER;
}

static int wait_ms(const struct daemon *d)
{
	uint64_t now = rk_now_ns(), until = d->read_until;

	if (d->stage != STAGE_READING)
		return -1;
	if (d->eof_until > now)
		until = d->eof_until;
	return until > now ? (int)((until - now) / RK_NS_PER_MS) + 1 : 0;
}

static void *control(void *arg)
{
	struct daemon *d = arg;

	pthread_setname_np(pthread_self(), "rk-control");
	for (advance(d); d->stage != STAGE_OVER; advance(d)) {
		struct pollfd fds[] = {
			{.fd = d->event, .events = POLLIN},
			{.fd = d->signals, .events = POLLIN},
			{.fd = d->status_fd}, /* POLLERR: nobody waits for the mount any more */
		};
		uint64_t count;

		if (poll(fds, 3, wait_ms(d)) < 0 && errno != EINTR) {
			rk_log(RK_LOG_ERROR, "poll: %m");
			end_at_once(d);
			break;
		}
		if (fds[0].revents)
			(void)!read(d->event, &count, sizeof(count));
		if (fds[1].revents)
			on_signal(d);
		if (fds[2].revents && d->stage == STAGE_STARTING)
			begin_end(d, "whoever mounted it went away");
	}
	atomic_store(&d->over, true);
	rkfs_session_exit(d->session);
	return NULL;
}

/* umount -l tells the daemon nothing while files are open, so mountinfo is watched. */
static void *watch_mount(void *arg)
{
	struct rk_error err = {0};
	struct daemon *d = arg;
	int rc;

	pthread_setname_np(pthread_self(), "rk-mountwatch");
	rc = rkfs_mounts_wait_gone(d->dev, d->watch_stop, -1, RKFS_MOUNTINFO, &err);
	if (rc < 0)
		rk_log(RK_LOG_WARN, "umount -l will not be noticed: %s", err.msg);
	if (rc)
		return NULL;
	atomic_store(&d->gone, true);
	poke(d);
	return NULL;
}

/* --- putting it together --- */

static int open_events(struct daemon *d, struct rk_error *err)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	d->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->watch_stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (d->event < 0 || d->watch_stop < 0 || d->signals < 0)
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
static int mount(struct daemon *d, struct rk_error *err)
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
		rkfs_session_on_ready(d->session, on_answered, d);
	return rc;
}

static int create(struct daemon *d, struct rk_error *err)
{
	const struct rk_runtime_observer observer = {on_state, on_event, on_room, on_health, d};
	const struct rkfs_daemon_params *p = d->params;
	int rc = open_events(d, err);

	if (!rc)
		rc = rk_log_start_thread(err);
	if (rc)
		return rc;
	check_memory(p->config);
	rc = rkfs_init(&d->fs);
	if (!rc)
		rc = rkfs_calls_create(&d->fs.calls);
	if (rc)
		return rk_error_set(err, -rc, "cannot create the tree: %s", strerror(-rc));
	d->fs.access = p->options->access;
	rkfs_calls_on_finished(d->fs.calls, on_all_read, d);
	d->fs.on_no_waiter = on_all_read;
	d->fs.on_no_waiter_ctx = d;
	d->tree = rkfs_observer(&d->fs);
	rc = rk_runtime_create(&d->fs.rt, p->sources, p->point->path, p->worker_fd, &observer, err);
	if (rc)
		return rc;
	return mount(d, err);
}

/*
 * Whether the loop has returned because of umount(2), which takes the mount away first; umount -f
 * does that just afterwards.
 */
static bool is_unmounted(struct daemon *d)
{
	return rkfs_mounts_wait_gone(d->dev, -1, UMOUNT_GRACE_MS, RKFS_MOUNTINFO, NULL) == 0;
}

static int serve(struct daemon *d, struct rk_error *err)
{
	pthread_t controller, watcher;
	int rc = 0;

	if (!d->params->options->nostart)
		rc = rk_runtime_command(d->fs.rt, RK_START, -1, NULL, err);
	if (rc)
		return rc;
	rc = pthread_create(&controller, NULL, control, d);
	if (rc)
		return rk_error_set(err, rc, "cannot start the control thread: %s", strerror(rc));
	rc = pthread_create(&watcher, NULL, watch_mount, d);
	if (rc) /* served all the same; only umount -l goes unnoticed */
		rk_log(RK_LOG_WARN, "cannot watch the mount: %s", strerror(rc));
	if (rkfs_session_loop(d->session))
		rk_log(RK_LOG_ERROR, "the FUSE session ended with an error");
	if (!atomic_load(&d->over))
		atomic_store(&d->lost, !is_unmounted(d));
	atomic_store(&d->unserved, true);
	poke(d);
	pthread_join(controller, NULL);
	poke_fd(d->watch_stop);
	if (!rc)
		pthread_join(watcher, NULL);
	return 0;
}

/*
 * The files are closed, but a codec thread, or who brings an answer, may be at work for one still,
 * and needs the runtime.
 */
static void finish_calls(struct daemon *d)
{
	struct pollfd event = {.fd = d->event, .events = POLLIN};
	uint64_t count;

	atomic_store(&d->reading, true); /* the last one pokes */
	while (rkfs_calls_unfinished(d->fs.calls)) {
		if (poll(&event, 1, -1) > 0)
			(void)!read(d->event, &count, sizeof(count));
	}
}

/* Whatever is left of the mount, wherever it is by now, would be a dead one. */
static void detach(struct daemon *d)
{
	struct rk_error err = {0};

	if (!d->dev || !rkfs_detach(d->dev, NULL, RKFS_MOUNTINFO, &err))
		return;
	rk_log(RK_LOG_ERROR, "%s", err.msg);
	if (!d->status.exit_code)
		fail(d, err.msg);
}

static void destroy(struct daemon *d)
{
	if (d->session)
		rkfs_session_destroy(d->session);
	detach(d);
	if (d->fs.calls)
		finish_calls(d);
	rk_runtime_destroy(d->fs.rt);
	rkfs_calls_destroy(d->fs.calls);
	rkfs_destroy(&d->fs);
	close(d->event);
	close(d->watch_stop);
	close(d->signals);
}

int rkfs_daemon_signals(struct rk_error *err)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return rk_error_set(err, errno, "cannot set up signals: %m");
	return 0;
}

int rkfs_daemon_run(const struct rkfs_daemon_params *params)
{
	struct daemon *d = calloc(1, sizeof(*d));
	struct rkfs_status status = {.exit_code = RKFS_EXIT_SYSTEM};
	struct rk_error err = {.code = ENOMEM, .msg = "no memory"};

	if (d) {
		d->params = params;
		d->status_fd = params->status_fd;
		d->log = *params->config;
		if (create(d, &err) || serve(d, &err))
			fail(d, err.msg);
		destroy(d);
		status = d->status;
	} else {
		memcpy(status.msg, err.msg, sizeof(status.msg));
	}
	rk_log_stop_thread();
	/* Unmounted again by now: whoever reads this finds nothing left. */
	if (status.exit_code && params->status_fd >= 0 && d && d->status_fd >= 0)
		(void)!write(d->status_fd, &status, sizeof(status));
	else if (status.exit_code && params->status_fd < 0)
		fprintf(stderr, "mount.rkfs: %s\n", status.msg);
	free(d);
	return status.exit_code;
}
