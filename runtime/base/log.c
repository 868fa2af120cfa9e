/* SPDX-License-Identifier: MIT */
/* The log: its lines, its destinations, and the thread that writes them. */
#include "runtime/base/log.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "runtime/base/clock.h"
#include "runtime/base/log_file.h"
#include "runtime/base/thread.h"

#define LOG_TEXT_MAX 1024 /* of a message, with its NUL; longer ones end in "..." */
#define LOG_TIME_MAX 40
#define LOG_QUEUED   1024	   /* lines that may wait for the writer thread */
#define LOG_END_NS   RK_NS_PER_SEC /* how long the end of the thread may take */
#define LOG_STUCK_NS                                                                               \
	(3 * RK_NS_PER_SEC) /* a file that has not taken its line by then is trouble               \
			     */

static const struct {
	const char *name;
	int priority; /* of syslog(3) */
} log_levels[] = {
	[RK_LOG_ERROR] = {"error", LOG_ERR},   [RK_LOG_WARN] = {"warn", LOG_WARNING},
	[RK_LOG_INFO] = {"info", LOG_INFO},    [RK_LOG_DEBUG] = {"debug", LOG_DEBUG},
	[RK_LOG_TRACE] = {"trace", LOG_DEBUG},
};

#define LOG_LEVELS (sizeof(log_levels) / sizeof(log_levels[0]))

static _Atomic int log_level = RK_LOG_INFO;

/* What can be wrong with a file, the worst first. */
enum {
	LOG_WRITE_TROUBLE,
	LOG_OPEN_TROUBLE,
	LOG_TROUBLES,
};

/* Where lines go. A file is opened and written to by a helper process, which may hang for us. */
struct log_target {
	enum rk_log_dest dest;
	bool structured;
	bool journal; /* stderr is systemd's journal, which wants "<PRIORITY>" before a line */
	struct rk_log_file file; /* only for RK_LOG_TO_FILE */
};

/*
 * Guards log_out, and keeps lines whole and in order. It is held while the destination is written
 * to; once the writer thread runs, no other thread waits for it.
 */
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

static struct {
	struct log_target now;
	struct log_target next; /* being opened: its helper was asked and has not answered */
	void (*sink)(void *ctx, enum rk_log_level level, const char *line);
	void *sink_ctx;
	unsigned long lost; /* lines that could not be written, not reported yet */
	int lost_errno;
	char trouble[LOG_TROUBLES][RK_ERROR_MAX]; /* "" = none */
	bool untold; /* the observer has not been told of the last change */
} log_out = {
	.now = {.dest = RK_LOG_TO_STDERR, .file.helper = {.sock = -1}},
	.next = {.file.helper = {.sock = -1}},
};

/* A line on its way to the writer thread. */
struct log_line {
	STAILQ_ENTRY(log_line) link;
	enum rk_log_level level;
	char stamp[LOG_TIME_MAX];
	char text[];
};

/* Between the writer thread and all others; its lock is never held while a line is written. */
static struct {
	pthread_mutex_t lock;
	int wake; /* an eventfd, written when there is work; -1 before the thread exists */
	STAILQ_HEAD(, log_line) lines;
	size_t count;
	unsigned long dropped; /* not reported yet */
	bool running;
	uint64_t quit_ns; /* when the thread must have ended; 0 = it need not end */
	bool stuck;	  /* the thread hangs in the destination and holds log_lock */
	pthread_t thread;
	/* Orders to open another destination: the number of the last one, and of the last carried
	 * out. */
	uint64_t ordered, opened;
	bool ended;		/* the thread is about to end */
	pthread_cond_t changed; /* opened or ended has changed; CLOCK_MONOTONIC */
	bool has_order;
	struct log_target order;
} log_queue = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.wake = -1,
	.lines = STAILQ_HEAD_INITIALIZER(log_queue.lines),
};

/* Who is told of trouble. Its lock is held during the call, and is taken inside log_lock. */
static struct {
	pthread_mutex_t lock;
	void (*fn)(void *ctx, const char *sentence);
	void *ctx;
} log_observer = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Locking a default mutex that is used correctly cannot fail; if it does, memory is corrupt. */
static void log_acquire(void)
{
	if (pthread_mutex_lock(&log_lock))
		abort();
}

static void log_release(void)
{
	if (pthread_mutex_unlock(&log_lock))
		abort();
}

const char *rk_log_level_name(enum rk_log_level level)
{
	return (size_t)level < LOG_LEVELS ? log_levels[level].name : "unknown";
}

void rk_log_set_level(enum rk_log_level level)
{
	atomic_store_explicit(&log_level, (int)level, memory_order_relaxed);
}

enum rk_log_level rk_log_level(void)
{
	return (enum rk_log_level)atomic_load_explicit(&log_level, memory_order_relaxed);
}

/* RFC 3339, UTC, milliseconds. */
static void log_timestamp(char *buf, size_t size)
{
	struct timespec now;
	struct tm tm;
	size_t len = 0;

	if (!clock_gettime(CLOCK_REALTIME, &now) && gmtime_r(&now.tv_sec, &tm))
		len = strftime(buf, size, "%Y-%m-%dT%H:%M:%S", &tm);
	if (len)
		snprintf(buf + len, size - len, ".%03ldZ", now.tv_nsec / 1000000);
	else
		snprintf(buf, size, "-");
}

/* One JSON object without a newline, malloc'ed; NULL if memory is short. */
static char *log_json(const char *stamp, enum rk_log_level level, const char *text)
{
	json_t *line = json_pack("{s:s, s:s, s:s}", "time", stamp, "level",
				 rk_log_level_name(level), "msg", text);
	char *out;

	if (!line)
		return NULL;
	out = json_dumps(line, JSON_COMPACT);
	json_decref(line);
	return out;
}

static bool is_writer(void)
{
	RK_GUARD(&log_queue.lock);
	return log_queue.running && pthread_equal(log_queue.thread, pthread_self());
}

/* --- trouble, which an operator should know of and cannot read in the log --- */

/* @sentence "" means that it is over. The caller holds log_lock. */
static void log_trouble(int which, const char *sentence)
{
	char(*all)[RK_ERROR_MAX] = log_out.trouble;

	if (strcmp(all[which], sentence)) {
		snprintf(all[which], sizeof(all[which]), "%s", sentence);
		log_out.untold = true;
	}
	/* As long as there is no writer or observer it is kept, and told with a later line. */
	if (!log_out.untold || !is_writer())
		return;
	RK_GUARD(&log_observer.lock);
	if (log_observer.fn) {
		log_observer.fn(
			log_observer.ctx,
			all[all[LOG_WRITE_TROUBLE][0] ? LOG_WRITE_TROUBLE : LOG_OPEN_TROUBLE]);
		log_out.untold = false;
	}
}

/* Lines cannot be written. */
static void __attribute__((format(printf, 1, 2))) log_blocked(const char *fmt, ...)
{
	char sentence[RK_ERROR_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	log_trouble(LOG_WRITE_TROUBLE, sentence);
}

/* A line was lost. */
static void log_lose(int code)
{
	log_out.lost++;
	log_out.lost_errno = code;
	if (log_out.now.dest == RK_LOG_TO_FILE)
		log_blocked("log_file %.180s: lines are lost: %s", log_out.now.file.path,
			    strerror(code));
}

/* --- destinations --- */

/* Close the file of @t if it has one and that does not hang. */
static void target_close(struct log_target *t)
{
	int rc = rk_log_file_close(&t->file);

	if (rc)
		rk_log(RK_LOG_WARN, "closing the log file %s: %s; lines may be missing there",
		       t->file.path, strerror(-rc));
}

/* Whether stderr is the stream to the journal that systemd opened: JOURNAL_STREAM says its inode.
 */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

/* Make *@t, which is taken over, the destination. Returns the former one, to be closed. */
static struct log_target target_switch_locked(struct log_target *t)
{
	struct log_target old = log_out.now;

	t->journal = t->dest == RK_LOG_TO_STDERR && stderr_is_journal();
	if (old.dest == RK_LOG_TO_SYSLOG && t->dest != RK_LOG_TO_SYSLOG)
		closelog();
	if (t->dest == RK_LOG_TO_SYSLOG)
		openlog("rkfs", LOG_PID, LOG_DAEMON);
	log_out.now = *t;
	t->file.helper = RK_HELPER_NONE;
	return old;
}

/* --- the writer thread, while it waits --- */

/* Let whoever waits for an order go on: it was carried out, or has failed. */
static void order_done(void)
{
	RK_GUARD(&log_queue.lock);
	log_queue.opened = log_queue.ordered;
	pthread_cond_broadcast(&log_queue.changed);
}

static void order_failed(const struct rk_error *err)
{
	order_done();
	log_trouble(LOG_OPEN_TROUBLE, err->msg);
	rk_log(RK_LOG_ERROR, "%s; lines go where they went before", err->msg);
}

static void adopt_next(void)
{
	struct log_target old = target_switch_locked(&log_out.next);

	order_done();
	log_trouble(LOG_WRITE_TROUBLE, "");
	log_trouble(LOG_OPEN_TROUBLE, "");
	target_close(&old);
}

/*
 * Whether @t is being opened, or is a descriptor of ours and open: it cannot have been renamed, and
 * may be another by now.
 */
static bool is_under_way(const struct log_target *t)
{
	const struct log_target *is =
		rk_log_file_is_descriptor(t->file.path) ? &log_out.now : &log_out.next;

	return is->file.helper.sock >= 0 && t->dest == is->dest &&
	       t->structured == is->structured && !strcmp(t->file.path, is->file.path);
}

/* Begin to carry out the newest order, if there is one. True where the destination is another now.
 */
static bool take_order(void)
{
	struct rk_error err = {0};
	bool ordered;

	rk_wake_clear(log_queue.wake);
	pthread_mutex_lock(&log_queue.lock);
	ordered = log_queue.has_order && !is_under_way(&log_queue.order);
	log_queue.has_order = false;
	if (ordered) {
		rk_helper_end(&log_out.next.file.helper); /* an older one that hangs */
		log_out.next = log_queue.order;
		log_out.next.file.helper = RK_HELPER_NONE;
	}
	pthread_mutex_unlock(&log_queue.lock);
	if (!ordered)
		return false;
	if (log_out.next.dest != RK_LOG_TO_FILE) {
		adopt_next();
		return true;
	}
	if (rk_log_file_open(&log_out.next.file, &err))
		order_failed(&err);
	return false;
}

/* The helper of the next destination has answered. True if the destination has changed. */
static bool finish_order(void)
{
	struct rk_error err = {0};

	if (rk_log_file_opened(&log_out.next.file, &err)) {
		order_failed(&err);
		return false;
	}
	adopt_next();
	return true;
}

/* Milliseconds until the thread must end or, while a line waits since @since_ns, until it is stuck.
 */
static int writer_timeout(uint64_t since_ns)
{
	uint64_t now = rk_now_ns(), until = since_ns ? since_ns + LOG_STUCK_NS : 0;

	if (since_ns && now >= until)
		until = 0; /* it was told to end */
	pthread_mutex_lock(&log_queue.lock);
	if (log_queue.quit_ns && (!until || log_queue.quit_ns < until))
		until = log_queue.quit_ns;
	pthread_mutex_unlock(&log_queue.lock);
	if (!until)
		return -1;
	return until > now ? (int)((until - now) / RK_NS_PER_MS) + 1 : 0;
}

static bool writer_is_late(void)
{
	RK_GUARD(&log_queue.lock);
	return log_queue.quit_ns && rk_now_ns() >= log_queue.quit_ns;
}

/*
 * Wait for something to do or, if a line was sent at @since_ns, for its answer. 0: there is one,
 * or no line is waited for. -EAGAIN: the destination has changed. -ETIMEDOUT: the thread must
 * end.
 */
static int writer_wait(uint64_t since_ns)
{
	for (;;) {
		struct pollfd fds[] = {
			{.fd = since_ns ? log_out.now.file.helper.sock : -1, .events = POLLIN},
			{.fd = log_queue.wake, .events = POLLIN},
			{.fd = log_out.next.file.helper.sock, .events = POLLIN},
		};

		if (poll(fds, 3, writer_timeout(since_ns)) < 0 && errno != EINTR)
			return -ETIMEDOUT;
		if (fds[0].revents)
			return 0;
		if ((fds[1].revents && take_order()) || (fds[2].revents && finish_order()))
			return -EAGAIN;
		if (writer_is_late())
			return -ETIMEDOUT;
		if (!since_ns)
			return 0;
		if (rk_now_ns() >= since_ns + LOG_STUCK_NS)
			log_blocked("log_file %.180s takes no lines: its file system does not "
				    "answer",
				    log_out.now.file.path);
	}
}

/* --- lines --- */

/* -EAGAIN: the line must be written again, to another destination. */
static int log_write_file(const char *line, size_t len)
{
	struct rk_helper *h = &log_out.now.file.helper;
	struct rk_helper_reply reply;
	int rc = h->sock < 0 ? -EIO : rk_log_file_send(&log_out.now.file, line, len);

	if (!rc)
		rc = is_writer() ? writer_wait(rk_now_ns()) : rk_helper_wait(h, -1, -1);
	if (rc == -EAGAIN)
		return rc;
	if (!rc)
		rc = rk_helper_receive(h, &reply);
	if (!rc)
		rc = reply.rc;
	else
		rk_helper_end(h); /* it hangs and there is no more time, or it has died */
	if (rc)
		log_lose(-rc);
	else
		log_trouble(LOG_WRITE_TROUBLE, "");
	return 0;
}

static int log_write_stderr(const char *line, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDERR_FILENO, line, len);

		if (n >= 0) {
			line += n;
			len -= (size_t)n;
		} else if (errno != EINTR) {
			log_lose(errno);
			break;
		}
	}
	return 0;
}

/* -EAGAIN: the line must be written again, to another destination. */
static int log_emit_once(enum rk_log_level level, const char *stamp, const char *text)
{
	const struct log_target *to = &log_out.now;
	char plain[LOG_TIME_MAX + LOG_TEXT_MAX + 32];
	char *json = NULL, *for_journal = NULL;
	const char *line = plain;
	int len, rc = 0;

	if (to->structured)
		json = log_json(stamp, level, text);
	if (to->dest == RK_LOG_TO_SYSLOG) {
		syslog(log_levels[level].priority, "%s", json ? json : text);
		free(json);
		return 0;
	}
	if (to->dest == RK_LOG_TO_STDERR && to->journal) {
		len = asprintf(&for_journal, "<%d>%s\n", log_levels[level].priority,
			       json ? json : text);
		line = for_journal;
	} else if (json) {
		len = (int)strlen(json);
		json[len++] = '\n'; /* over the NUL: one write(2), so that lines stay whole */
		line = json;
	} else {
		bool timed = to->dest == RK_LOG_TO_FILE;

		len = snprintf(plain, sizeof(plain), "%s%srkfs: %s: %s\n", timed ? stamp : "",
			       timed ? " " : "", rk_log_level_name(level), text);
	}
	if (len < 0)
		log_lose(ENOMEM);
	else if (to->dest == RK_LOG_TO_FILE)
		rc = log_write_file(line, (size_t)len);
	else
		rc = log_write_stderr(line, (size_t)len);
	free(json);
	free(for_journal);
	return rc;
}

static void log_emit_locked(enum rk_log_level level, const char *stamp, const char *text)
{
	while (log_emit_once(level, stamp, text) == -EAGAIN)
		;
}

/* Lines were lost: say so as soon as a line can be written again. */
static void log_emit_lost_locked(const char *stamp)
{
	unsigned long lost = log_out.lost;
	char text[160];

	if (!lost)
		return;
	snprintf(text, sizeof(text), "%lu log lines could not be written before: %s", lost,
		 strerror(log_out.lost_errno));
	log_out.lost = 0;
	log_emit_locked(RK_LOG_WARN, stamp, text);
	if (log_out.lost)
		log_out.lost = lost;
}

/* Write a line in this thread. */
static void log_now(enum rk_log_level level, const char *stamp, const char *text)
{
	log_acquire();
	if (log_out.sink) {
		log_out.sink(log_out.sink_ctx, level, text);
	} else {
		log_emit_lost_locked(stamp);
		log_emit_locked(level, stamp, text);
	}
	log_release();
}

/* Leave a line to the writer thread; false where there is none. A line that finds no room is
 * counted. */
static bool log_enqueue(enum rk_log_level level, const char *stamp, const char *text)
{
	size_t len = strlen(text) + 1;
	bool running;

	RK_GUARD(&log_queue.lock);
	running = log_queue.running || log_queue.stuck;
	if (running) {
		struct log_line *line = NULL;

		if (log_queue.count < LOG_QUEUED)
			line = malloc(sizeof(*line) + len);
		if (line) {
			line->level = level;
			memcpy(line->stamp, stamp, sizeof(line->stamp));
			memcpy(line->text, text, len);
			STAILQ_INSERT_TAIL(&log_queue.lines, line, link);
			log_queue.count++;
			rk_wake(log_queue.wake);
		} else {
			log_queue.dropped++;
		}
	}
	return running;
}

static void log_write_queued(struct log_line *line, unsigned long dropped)
{
	if (dropped) {
		char text[80];

		snprintf(text, sizeof(text), "%lu log lines found no room and were dropped",
			 dropped);
		log_now(RK_LOG_WARN, line->stamp, text);
	}
	log_now(line->level, line->stamp, line->text);
	free(line);
}

/* The next line, off the queue, or NULL; *@dropped is how many are missing before it. */
static struct log_line *next_line(unsigned long *dropped, bool *quit)
{
	struct log_line *line;

	RK_GUARD(&log_queue.lock);
	line = STAILQ_FIRST(&log_queue.lines);
	*quit = log_queue.quit_ns;
	if (line) {
		STAILQ_REMOVE_HEAD(&log_queue.lines, link);
		log_queue.count--;
		*dropped = log_queue.dropped;
		log_queue.dropped = 0;
	}
	return line;
}

static void *log_writer(void *unused)
{
	unsigned long dropped;
	int rc = 0;

	(void)unused;
	pthread_setname_np(pthread_self(), "rk-log");
	while (rc != -ETIMEDOUT) {
		bool quit;
		struct log_line *line = next_line(&dropped, &quit);

		if (line) {
			log_write_queued(line, dropped);
			rc = writer_is_late() ? -ETIMEDOUT : 0;
		} else if (quit) {
			break;
		} else {
			log_acquire();
			rc = writer_wait(0);
			log_release();
		}
	}
	RK_GUARD(&log_queue.lock);
	log_queue.ended = true;
	pthread_cond_broadcast(&log_queue.changed);
	return NULL;
}

static int log_queue_init(struct rk_error *err)
{
	int rc;

	if (log_queue.wake >= 0)
		return 0;
	rc = rk_cond_init(&log_queue.changed);
	if (rc)
		return rk_error_set(err, rc, "cannot start the log thread: %m");
	log_queue.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return log_queue.wake < 0 ? rk_error_set(err, errno, "cannot start the log thread: %m") : 0;
}

int rk_log_start_thread(struct rk_error *err)
{
	int rc = log_queue_init(err);

	if (rc)
		return rc;
	pthread_mutex_lock(&log_queue.lock);
	log_queue.quit_ns = 0;
	log_queue.ended = false;
	rc = rk_thread_start(&log_queue.thread, log_writer, NULL);
	log_queue.running = !rc;
	pthread_mutex_unlock(&log_queue.lock);
	return rc ? rk_error_set(err, rc, "cannot start the log thread: %m") : 0;
}

void rk_log_stop_thread(void)
{
	struct timespec until;
	bool was, stuck;
	int rc = 0;

	pthread_mutex_lock(&log_queue.lock);
	was = log_queue.running && !log_queue.quit_ns;
	log_queue.quit_ns = rk_now_ns() + LOG_END_NS;
	/* a little longer, because the thread itself gives up a file that hangs */
	until = rk_timespec(log_queue.quit_ns + LOG_END_NS / 4);
	pthread_mutex_unlock(&log_queue.lock);
	if (!was)
		return;
	rk_wake(log_queue.wake);
	pthread_mutex_lock(&log_queue.lock);
	while (!log_queue.ended && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&log_queue.changed, &log_queue.lock, &until);
	/* A destination that hangs must not keep the process; the thread ends with it. */
	log_queue.stuck = !log_queue.ended;
	log_queue.running = false; /* later lines are written by the thread that logs them */
	stuck = log_queue.stuck;
	pthread_mutex_unlock(&log_queue.lock);
	if (stuck)
		pthread_detach(log_queue.thread);
	else
		pthread_join(log_queue.thread, NULL);
}

void rk_log(enum rk_log_level level, const char *fmt, ...)
{
	static const char cut[] = "...";
	char stamp[LOG_TIME_MAX];
	char text[LOG_TEXT_MAX];
	int saved = errno;
	va_list ap;
	int len;

	if ((int)level > atomic_load_explicit(&log_level, memory_order_relaxed) ||
	    (size_t)level >= LOG_LEVELS)
		return;
	va_start(ap, fmt);
	len = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (len < 0)
		snprintf(text, sizeof(text), "a line that cannot be formatted: %s", fmt);
	else if ((size_t)len >= sizeof(text))
		memcpy(text + sizeof(text) - sizeof(cut), cut, sizeof(cut));
	rk_text_clean(text, sizeof(text), "");
	log_timestamp(stamp, sizeof(stamp));
	if (!log_enqueue(level, stamp, text))
		log_now(level, stamp, text);
	errno = saved;
}

void rk_log_set_sink(void (*sink)(void *ctx, enum rk_log_level level, const char *line), void *ctx)
{
	log_acquire();
	log_out.sink = sink;
	log_out.sink_ctx = ctx;
	log_release();
}

int rk_log_open(enum rk_log_dest dest, const char *path, bool structured, struct rk_error *err)
{
	struct log_target to = {
		.dest = dest, .structured = structured, .file.helper = {.sock = -1}};
	struct log_target old;
	int rc;

	if (dest == RK_LOG_TO_FILE) {
		if (!path || !*path)
			return rk_error_set(err, EINVAL, "log file: the path is empty");
		snprintf(to.file.path, sizeof(to.file.path), "%s", path);
		rc = rk_log_file_open(&to.file, err);
		if (rc)
			return rc;
		(void)rk_helper_wait(&to.file.helper, -1, -1); /* the next call tells what failed */
		rc = rk_log_file_opened(&to.file, err);
		if (rc)
			return rc;
	}
	log_acquire();
	old = target_switch_locked(&to);
	log_release();
	target_close(&old);
	return 0;
}

void rk_log_reopen(enum rk_log_dest dest, const char *path, bool structured,
		   unsigned int patience_ms)
{
	const struct timespec until = rk_timespec(rk_now_ns() + patience_ms * RK_NS_PER_MS);
	uint64_t number;
	int rc = 0;

	RK_GUARD(&log_queue.lock);
	if (log_queue.running) {
		log_queue.order = (struct log_target){.dest = dest, .structured = structured};
		log_queue.has_order = true;
		snprintf(log_queue.order.file.path, sizeof(log_queue.order.file.path), "%s", path);
		number = ++log_queue.ordered;
		rk_wake(log_queue.wake);
		while (log_queue.opened < number && log_queue.running && rc != ETIMEDOUT)
			rc = pthread_cond_timedwait(&log_queue.changed, &log_queue.lock, &until);
	}
}

void rk_log_on_trouble(void (*fn)(void *ctx, const char *sentence), void *ctx)
{
	RK_GUARD(&log_observer.lock);
	log_observer.fn = fn;
	log_observer.ctx = ctx;
}
