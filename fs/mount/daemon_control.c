/* SPDX-License-Identifier: MIT */
/* The daemon's stages: the control thread, which moves on as far as what has happened allows. */
#include "fs/mount/daemon_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fs/call/call.h"
#include "fs/files/files.h"
#include "runtime/base/clock.h"
#include "runtime/base/log.h"

#define EOF_GRACE_NS RK_NS_PER_SEC /* for those who wait to read on until EOF */
#define REOPEN_MS    1000	   /* how long a reload waits for the log's file */

void rkfs_daemon_poke(const struct rkfs_daemon *d)
{
	rk_wake(d->event);
}

void rkfs_daemon_on_all_read(void *ctx)
{
	struct rkfs_daemon *d = ctx;

	if (atomic_load(&d->reading))
		rkfs_daemon_poke(d);
}

void rkfs_daemon_on_news(void *ctx, enum rk_news news)
{
	struct rkfs_daemon *d = ctx;

	if (news == RK_NEWS_STATE) {
		atomic_store(&d->changed, true);
		rkfs_daemon_poke(d);
	} else if (news == RK_NEWS_CONFIG) {
		rk_metrics_config_changed(d->metrics);
	}
}

void rkfs_daemon_on_answered(void *ctx)
{
	struct rkfs_daemon *d = ctx;

	atomic_store(&d->answered, true);
	rkfs_daemon_poke(d);
}

/* --- the end --- */

static void begin_end(struct rkfs_daemon *d, const char *why)
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

static void end_at_once(struct rkfs_daemon *d)
{
	d->read_until = rk_now_ns();
	(void)rk_runtime_command(d->fs.rt, RK_STOP, -1, NULL, NULL);
}

void rkfs_daemon_fail(struct rkfs_daemon *d, const char *why)
{
	d->status.exit_code = RKFS_EXIT_MOUNT;
	snprintf(d->status.msg, sizeof(d->status.msg), "%s", why);
}

static void fail_start(struct rkfs_daemon *d, const char *why)
{
	rkfs_daemon_fail(d, why);
	begin_end(d, "the runtime did not start");
}

/* --- the beginning --- */

/* Tell who waits that the mount is ready, and let go of his terminal. */
static void report_ready(struct rkfs_daemon *d)
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

static void check_start(struct rkfs_daemon *d)
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
static void lose(struct rkfs_daemon *d)
{
	static const char why[] =
		"the kernel has ended the connection (umount -f, its abort file, or a request "
		"timeout, fs.fuse.*_request_timeout): mount again";

	if (d->status.exit_code)
		return;
	rk_log(RK_LOG_ERROR, "%s", why);
	rkfs_daemon_fail(d, why);
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

int rkfs_daemon_open_log(struct rkfs_daemon *d, struct rk_error *err)
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
static void follow_log(struct rkfs_daemon *d, bool again, unsigned int patience_ms)
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

void rkfs_daemon_on_follow_log(void *ctx, bool again)
{
	follow_log(ctx, again, REOPEN_MS);
}

void rkfs_daemon_on_log_trouble(void *ctx, const char *sentence)
{
	struct rkfs_daemon *d = ctx;

	rk_runtime_trouble(d->fs.rt, RK_TROUBLE_LOG, sentence);
}

static void on_reloaded(void *ctx)
{
	struct rkfs_daemon *d = ctx;

	atomic_store(&d->reloaded, true);
	rkfs_daemon_poke(d);
}

static void begin_reload(struct rkfs_daemon *d)
{
	const struct rkfs_command reload = {.verb = RKFS_VERB_reload, .ms = -1};

	rkfs_notify_reloading();
	if (rkfs_command_spawn(&d->fs, &reload, on_reloaded, d))
		rkfs_notify_ready();
}

/* What the signal thread has to tell. */
static void heed_signals(struct rkfs_daemon *d)
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
static bool all_read(struct rkfs_daemon *d)
{
	uint64_t now = rk_now_ns();

	if (now >= d->read_until)
		return true;
	return !rkfs_calls_unfinished(d->fs.calls) &&
	       (now >= d->eof_until || !atomic_load(&d->fs.waiters));
}

static void tell_state(struct rkfs_daemon *d)
{
	char why[RK_ERROR_MAX];

	rk_runtime_failure(d->fs.rt, why);
	rkfs_notify_status(rk_state_name(rk_runtime_state(d->fs.rt)), why);
}

/* Move on as far as what has happened allows. */
static void advance(struct rkfs_daemon *d)
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

static int wait_ms(const struct rkfs_daemon *d)
{
	uint64_t now = rk_now_ns(), until = d->read_until;

	if (d->stage != STAGE_READING)
		return -1;
	if (d->eof_until > now)
		until = d->eof_until;
	return until > now ? (int)((until - now) / RK_NS_PER_MS) + 1 : 0;
}

void *rkfs_daemon_control(void *arg)
{
	struct rkfs_daemon *d = arg;

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
void *rkfs_daemon_watch_mount(void *arg)
{
	struct rk_error err = {0};
	struct rkfs_daemon *d = arg;
	int rc;

	pthread_setname_np(pthread_self(), "rk-mountwatch");
	rc = rkfs_mounts_wait_gone(d->dev, d->watch_stop, -1, RKFS_MOUNTINFO, &err);
	if (rc < 0)
		rk_log(RK_LOG_WARN, "umount -l will not be noticed: %s", err.msg);
	if (rc)
		return NULL;
	atomic_store(&d->gone, true);
	rkfs_daemon_poke(d);
	return NULL;
}
