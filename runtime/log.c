/* SPDX-License-Identifier: MIT */
#include "runtime/log.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define LOG_TEXT_MAX 1024 /* of a message, with its NUL; longer ones end in "..." */
#define LOG_TIME_MAX 40
#define LOG_QUEUED   1024 /* lines that may wait for the writer thread */
#define LOG_END_SECS 1	  /* how long the end of it may take */

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

/* Guards log_out and makes lines whole and in order. Held while the destination is written to. */
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

/* A line on its way to the writer thread. */
struct log_line {
	STAILQ_ENTRY(log_line) link;
	enum rk_log_level level;
	char stamp[LOG_TIME_MAX];
	char text[];
};

/* Between rk_log and the writer thread; its lock is never held while anything is written. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t work;
	STAILQ_HEAD(, log_line) lines;
	size_t count;
	unsigned long dropped; /* not reported yet */
	bool running, quit;
	bool stuck; /* the thread hangs in the destination and holds log_lock */
	pthread_t thread;
} log_queue = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.work = PTHREAD_COND_INITIALIZER,
	.lines = STAILQ_HEAD_INITIALIZER(log_queue.lines),
};

static struct {
	enum rk_log_dest dest;
	int fd; /* open for RK_LOG_TO_FILE alone */
	bool structured;
	bool journal; /* stderr is systemd's journal, which reads "<PRIORITY>" before a line */
	void (*sink)(void *ctx, enum rk_log_level level, const char *line);
	void *sink_ctx;
	unsigned long lost; /* lines that could not be written, not reported yet */
	int lost_errno;
} log_out = {.dest = RK_LOG_TO_STDERR, .fd = -1};

/* A default mutex that is used correctly cannot fail; if it does, memory is corrupt. */
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

/* Bytes that could end the line, or drive a terminal (C0, DEL, and C1 as UTF-8). */
static void log_sanitize(char *text)
{
	for (unsigned char *p = (unsigned char *)text; *p; p++) {
		bool c1 = *p == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f;

		if (!c1 && *p >= ' ' && *p != 0x7f)
			continue;
		*p = '?';
		if (c1)
			*++p = '?';
	}
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

/* One JSON object without a newline, malloc'ed; NULL where memory is short. */
static char *log_json(const char *stamp, enum rk_log_level level, const char *text)
{
	char ascii[LOG_TEXT_MAX];
	json_t *msg = json_string(text);
	json_t *line;
	char *out;

	if (!msg) {
		/* Not UTF-8, which JSON cannot hold. */
		size_t len = strlen(text);

		for (size_t i = 0; i <= len; i++)
			ascii[i] = (unsigned char)text[i] < 0x80 ? text[i] : '?';
		msg = json_string(ascii);
	}
	line = json_pack("{s:s, s:s, s:o}", "time", stamp, "level", rk_log_level_name(level), "msg",
			 msg);
	if (!line)
		return NULL; /* json_pack has dropped msg */
	out = json_dumps(line, JSON_COMPACT);
	json_decref(line);
	return out;
}

/* A line was lost. */
static void log_lose(int code)
{
	log_out.lost++;
	log_out.lost_errno = code;
}

static void log_write(int fd, const char *line, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, line, len);

		if (n >= 0) {
			line += n;
			len -= (size_t)n;
		} else if (errno != EINTR) {
			log_lose(errno);
			return;
		}
	}
}

static void log_emit_locked(enum rk_log_level level, const char *stamp, const char *text)
{
	char plain[LOG_TIME_MAX + LOG_TEXT_MAX + 32];
	char *json = NULL, *for_journal = NULL;
	const char *line = plain;
	int len;

	if (log_out.structured)
		json = log_json(stamp, level, text);
	if (log_out.dest == RK_LOG_TO_SYSLOG) {
		syslog(log_levels[level].priority, "%s", json ? json : text);
		free(json);
		return;
	}
	if (log_out.dest == RK_LOG_TO_STDERR && log_out.journal) {
		len = asprintf(&for_journal, "<%d>%s\n", log_levels[level].priority,
			       json ? json : text);
		line = for_journal;
	} else if (json) {
		len = (int)strlen(json);
		json[len++] = '\n'; /* over the NUL: one write(2), so that lines stay whole */
		line = json;
	} else {
		bool timed = log_out.dest == RK_LOG_TO_FILE;

		len = snprintf(plain, sizeof(plain), "%s%srkfs: %s: %s\n", timed ? stamp : "",
			       timed ? " " : "", rk_log_level_name(level), text);
	}
	if (len >= 0)
		log_write(log_out.dest == RK_LOG_TO_FILE ? log_out.fd : STDERR_FILENO, line,
			  (size_t)len);
	else
		log_lose(ENOMEM);
	free(json);
	free(for_journal);
}

/* Lines were lost: say so as soon as a line gets through again. */
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

	pthread_mutex_lock(&log_queue.lock);
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
			pthread_cond_signal(&log_queue.work);
		} else {
			log_queue.dropped++;
		}
	}
	pthread_mutex_unlock(&log_queue.lock);
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

static void *log_writer(void *unused)
{
	(void)unused;
	pthread_setname_np(pthread_self(), "rk-log");
	pthread_mutex_lock(&log_queue.lock);
	for (;;) {
		struct log_line *line = STAILQ_FIRST(&log_queue.lines);
		unsigned long dropped = log_queue.dropped;

		if (line) {
			STAILQ_REMOVE_HEAD(&log_queue.lines, link);
			log_queue.count--;
			log_queue.dropped = 0;
			pthread_mutex_unlock(&log_queue.lock);
			log_write_queued(line, dropped);
			pthread_mutex_lock(&log_queue.lock);
		} else if (log_queue.quit) {
			break;
		} else {
			pthread_cond_wait(&log_queue.work, &log_queue.lock);
		}
	}
	pthread_mutex_unlock(&log_queue.lock);
	return NULL;
}

int rk_log_start_thread(struct rk_error *err)
{
	sigset_t all, old;
	int rc;

	sigfillset(&all); /* signals are the main program's */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_mutex_lock(&log_queue.lock);
	log_queue.quit = false;
	rc = pthread_create(&log_queue.thread, NULL, log_writer, NULL);
	log_queue.running = !rc;
	pthread_mutex_unlock(&log_queue.lock);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return rc ? rk_error_set(err, rc, "cannot start the log thread: %s", strerror(rc)) : 0;
}

void rk_log_stop_thread(void)
{
	struct timespec until;
	bool was;

	pthread_mutex_lock(&log_queue.lock);
	was = log_queue.running;
	log_queue.running = false; /* later lines are written by whoever logs them */
	log_queue.quit = true;
	pthread_cond_signal(&log_queue.work);
	pthread_mutex_unlock(&log_queue.lock);
	if (!was)
		return;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += LOG_END_SECS;
	/* A destination that hangs must not keep the process: it takes the thread with it. */
	if (pthread_timedjoin_np(log_queue.thread, NULL, &until)) {
		pthread_mutex_lock(&log_queue.lock);
		log_queue.stuck = true;
		pthread_mutex_unlock(&log_queue.lock);
		pthread_detach(log_queue.thread);
	}
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
	log_sanitize(text);
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

/* Takes over @fd; whatever was open before is closed. */
static void log_switch(enum rk_log_dest dest, int fd, bool structured)
{
	bool journal = dest == RK_LOG_TO_STDERR && stderr_is_journal();
	enum rk_log_dest old_dest;
	int old_fd, rc = 0;

	log_acquire();
	old_dest = log_out.dest;
	old_fd = log_out.fd;
	if (old_dest == RK_LOG_TO_SYSLOG && dest != RK_LOG_TO_SYSLOG)
		closelog();
	if (dest == RK_LOG_TO_SYSLOG)
		openlog("rkfs", LOG_PID, LOG_DAEMON);
	log_out.dest = dest;
	log_out.fd = fd;
	log_out.structured = structured;
	log_out.journal = journal;
	if (old_fd >= 0 && close(old_fd) < 0)
		rc = errno;
	log_release();
	if (rc)
		rk_log(RK_LOG_WARN, "closing the former log file: %s; lines may be missing there",
		       strerror(rc));
}

int rk_log_open(enum rk_log_dest dest, const char *path, bool structured, struct rk_error *err)
{
	int fd = -1;

	if (dest == RK_LOG_TO_FILE) {
		if (!path || !*path)
			return rk_error_set(err, EINVAL, "log file: the path is empty");
		/* O_NONBLOCK: a FIFO that nobody reads must not hang the runtime. */
		fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
			  0640);
		if (fd < 0)
			return rk_error_set(err, errno, "log file %s: cannot open: %s", path,
					    strerror(errno));
	}
	log_switch(dest, fd, structured);
	return 0;
}

void rk_log_close(void)
{
	log_switch(RK_LOG_TO_STDERR, -1, false);
}
