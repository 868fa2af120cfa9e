/* SPDX-License-Identifier: MIT */
/* The daemon: from the mount to the last answer, and the signals that end it. */
#include "fs/mount/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "fs/call/call.h"
#include "fs/files/files.h"
#include "fs/session.h"
#include "runtime/base/clock.h"
#include "runtime/base/log.h"
#include "runtime/base/memory_limit.h"
#include "runtime/base/thread.h"
#include "runtime/metrics/metrics.h"

#define UMOUNT_GRACE_MS 1000
#define EOF_GRACE_NS	RK_NS_PER_SEC /* for those who wait to read on until EOF */
#define FORCE_MS	2000 /* how long an end that was asked for twice may be an orderly one */
#define DETACH_MS	500  /* how long that waits for the mount to be detached */
#define REOPEN_MS	1000 /* how long a reload waits for the log's file */

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

static void poke(const struct daemon *d)
{
	rk_wake(d->event);
}

static void on_all_read(void *ctx)
{
	struct daemon *d = ctx;

	if (atomic_load(&d->reading))
		poke(d);
}

static void on_news(void *ctx, enum rk_news news)
{
	struct daemon *d = ctx;

	if (news == RK_NEWS_STATE) {
		atomic_store(&d->changed, true);
		poke(d);
	} else if (news == RK_NEWS_CONFIG) {
		rk_metrics_config_changed(d->metrics);
	}
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

	if (d->stage >= STAGE_DRAINING)
		return;
	atomic_store(&d->ending, true);
	rk_log(RK_LOG_INFO, "ending: %s", why);
	rkfs_notify_stopping();
	if (d->stage == STAGE_STARTING && d->status_fd >= 0 && !d->status.exit_code) {
		d->status.exit_code = RKFS_EXIT_MOUNT;
		snprintf(d->status.msg, sizeof(d->status.msg),
			 "ended before the runtime was Running: %s", why);
	}
	d->stage = STAGE_DRAINING;
	d->read_until = rk_now_ns() + d->params->config->drain_timeout * RK_NS_PER_MS;
	/* What cannot drain is stopped; a drain under way keeps its deadline. */
	if (rk_runtime_command(d->fs.rt,
			       state == RK_RUNNING || state == RK_DRAINING ? RK_DRAIN : RK_STOP, -1,
			       NULL, NULL))
		(void)rk_runtime_command(d->fs.rt, RK_STOP, -1, NULL, NULL);
}

static void end_at_once(struct daemon *d)
{
	d->read_until = rk_now_ns();
	(void)rk_runtime_command(d->fs.rt, RK_STOP, -1, NULL, NULL);
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
	atomic_store(&d->ready, true);
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

/* Where the log goes: log_file, else stderr in the foreground, else syslog. */
static enum rk_log_dest log_dest(const struct rk_config *config, bool foreground, bool *structured)
{
	*structured = config->structured_logging;
	if (config->log_file[0])
		return RK_LOG_TO_FILE;
	if (!foreground)
		return RK_LOG_TO_SYSLOG;
	if (isatty(STDERR_FILENO))
		*structured = false; /* a person at a terminal reads text */
	return RK_LOG_TO_STDERR;
}

static int open_log(struct daemon *d, struct rk_error *err)
{
	bool structured;
	enum rk_log_dest dest = log_dest(&d->log, d->params->options->foreground, &structured);
	int rc = rk_log_open(dest, d->log.log_file, structured, err);

	if (!rc)
		rc = rk_log_start_thread(err);
	return rc;
}

/*
 * Follow the fields of the log, which a reset may have put into effect. With @again the file is
 * opened anew even if they are the same, since somebody may have renamed it. Waits for that up to
 * @patience_ms, which is 0 in the control thread.
 */
static void follow_log(struct daemon *d, bool again, unsigned int patience_ms)
{
	const bool foreground = d->params->options->foreground;
	char path[RK_CONFIG_TEXT_MAX];
	enum rk_log_dest dest;
	bool structured;

	pthread_mutex_lock(&d->log_lock);
	rk_runtime_config(d->fs.rt, &d->scratch);
	again = again || strcmp(d->scratch.log_file, d->log.log_file) != 0 ||
		d->scratch.structured_logging != d->log.structured_logging;
	d->log = d->scratch;
	dest = log_dest(&d->log, foreground, &structured);
	snprintf(path, sizeof(path), "%s", d->log.log_file);
	pthread_mutex_unlock(&d->log_lock);
	if (again)
		rk_log_reopen(dest, path, structured, patience_ms);
}

static void on_follow_log(void *ctx, bool again)
{
	follow_log(ctx, again, REOPEN_MS);
}

static void on_log_trouble(void *ctx, const char *sentence)
{
	struct daemon *d = ctx;

	rk_runtime_trouble(d->fs.rt, RK_TROUBLE_LOG, sentence);
}

static void on_reloaded(void *ctx)
{
	struct daemon *d = ctx;

	atomic_store(&d->reloaded, true);
	poke(d);
}

static void begin_reload(struct daemon *d)
{
	const struct rkfs_command reload = {.verb = RKFS_VERB_reload, .ms = -1};

	rkfs_notify_reloading();
	if (rkfs_command_spawn(&d->fs, &reload, on_reloaded, d))
		rkfs_notify_ready();
}

/* What the signal thread has to tell. */
static void heed_signals(struct daemon *d)
{
	if (atomic_exchange(&d->hup, false))
		begin_reload(d);
	if (atomic_exchange(&d->reloaded, false))
		rkfs_notify_ready();
	if (atomic_load(&d->asked))
		begin_end(d, strsignal(atomic_load(&d->last_asked)));
	if (atomic_load(&d->force) && !d->forced) {
		d->forced = true;
		end_at_once(d);
	}
}

/* Whether all who had something to read have read it, or have had time enough. */
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
	heed_signals(d);
	if (atomic_exchange(&d->changed, false)) {
		follow_log(d, false, 0);
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
		rk_runtime_give_up(d->fs.rt); /* whoever has written a reload is answered too */
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
			{.fd = d->status_fd}, /* POLLERR: nobody waits for the mount any more */
		};

		if (poll(fds, 2, wait_ms(d)) < 0 && errno != EINTR) {
			rk_log(RK_LOG_ERROR, "poll: %m");
			end_at_once(d);
			break;
		}
		if (fds[0].revents)
			rk_wake_clear(d->event);
		if (fds[1].revents && d->stage == STAGE_STARTING)
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
static void detach_mount(struct daemon *d)
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
static void __attribute__((noreturn)) leave(struct daemon *d, const char *why)
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
static void force_end(struct daemon *d)
{
	struct pollfd over = {.fd = d->ended, .events = POLLIN};

	detach_mount(d);
	if (poll(&over, 1, FORCE_MS) <= 0)
		leave(d, strsignal(atomic_load(&d->last_asked)));
}

static void on_signal(struct daemon *d)
{
	struct signalfd_siginfo info;

	if (read(d->signals, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP) {
		atomic_store(&d->hup, true);
		poke(d);
		return;
	}
	atomic_store(&d->last_asked, (int)info.ssi_signo);
	if (!atomic_load(&d->served))
		leave(d, strsignal((int)info.ssi_signo));
	if (atomic_exchange(&d->asked, true) || atomic_load(&d->ending)) {
		atomic_store(&d->force, true);
		poke(d);
		force_end(d);
	}
	poke(d);
}

static void *heed(void *arg)
{
	struct daemon *d = arg;

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

static int open_events(struct daemon *d, struct rk_error *err)
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

static int start_signals(struct daemon *d, struct rk_error *err)
{
	int rc = open_events(d, err);

	if (rc)
		return rc;
	rc = pthread_create(&d->heeder, NULL, heed, d);
	d->heeded = !rc;
	return rc ? rk_error_set(err, rc, "cannot start the signal thread: %m") : 0;
}

static void stop_signals(struct daemon *d)
{
	rk_wake(d->ended);
	if (d->heeded)
		pthread_join(d->heeder, NULL);
	close(d->event);
	close(d->watch_stop);
	close(d->signals);
	close(d->ended);
}

static int create(struct daemon *d, struct rk_error *err)
{
	const struct rkfs_daemon_params *p = d->params;
	int rc;

	check_memory(p->config);
	rc = rkfs_init(&d->fs);
	if (rc)
		return rk_error_set(err, -rc, "cannot create the tree: %m");
	d->fs.mount = p->point->path;
	d->fs.access = p->options->access;
	d->fs.on_no_waiter = on_all_read;
	d->fs.on_no_waiter_ctx = d;
	d->fs.follow_log = on_follow_log;
	d->fs.follow_log_ctx = d;
	d->observer = (struct rk_runtime_observer){.tell = on_news, .ctx = d};
	d->fs.observer.next = &d->observer;
	rc = rk_runtime_create(&d->fs.rt, p->sources, p->worker_fd, &d->fs.observer, err);
	if (!rc)
		rc = rk_metrics_create(&d->metrics, d->fs.rt, d->fs.mount, err);
	if (rc)
		return rc;
	rc = rkfs_calls_create(&d->fs.calls, rk_runtime_dispatch(d->fs.rt));
	if (rc)
		return rk_error_set(err, -rc, "cannot create the tree: %m");
	rkfs_calls_on_finished(d->fs.calls, on_all_read, d);
	rk_log_on_trouble(on_log_trouble, d);
	atomic_store(&d->served, true); /* from now on there is something to undo */
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
		return rk_error_set(err, rc, "cannot start the control thread: %m");
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
	rk_wake(d->watch_stop);
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

	atomic_store(&d->reading, true); /* the last one pokes */
	while (rkfs_calls_unfinished(d->fs.calls)) {
		if (poll(&event, 1, -1) > 0)
			rk_wake_clear(d->event);
	}
}

/* Detach what is left of the mount, wherever it is by now: nobody answers there any more. */
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
	struct daemon *d = calloc(1, sizeof(*d));
	struct rkfs_status status = {.exit_code = RKFS_EXIT_SYSTEM};
	struct rk_error err = {.code = ENOMEM, .msg = "no memory"};

	if (d) {
		d->params = params;
		d->status_fd = params->status_fd;
		d->log = *params->config;
		pthread_mutex_init(&d->log_lock, NULL);
		if (start_signals(d, &err) || open_log(d, &err) || create(d, &err) ||
		    serve(d, &err))
			fail(d, err.msg);
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
