/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "runtime/base/log.h"
#include "tests/unit/unit.h"

#define STAMP	"0000-00-00T00:00:00.000Z"
#define THREADS 4
#define LINES	200

static char log_path[64];
static char contents[64 * 1024];

/* In place of libc's, to see what would be sent. Both, as _FORTIFY_SOURCE picks the second. */
static char syslog_line[2048];

void syslog(int priority, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void __syslog_chk(int priority, int flag, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void keep_syslog(int priority, const char *fmt, va_list ap)
{
	int len = snprintf(syslog_line, sizeof(syslog_line), "<%d>", priority);

	vsnprintf(syslog_line + len, sizeof(syslog_line) - len, fmt, ap);
}

void syslog(int priority, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	keep_syslog(priority, fmt, ap);
	va_end(ap);
}

void __syslog_chk(int priority, int flag, const char *fmt, ...)
{
	va_list ap;

	(void)flag;
	va_start(ap, fmt);
	keep_syslog(priority, fmt, ap);
	va_end(ap);
}

static int setup(void **state)
{
	int fd;

	(void)state;
	strcpy(log_path, "/tmp/rk_log_XXXXXX");
	fd = mkstemp(log_path);
	return fd < 0 ? -1 : close(fd);
}

static void log_to_stderr(void)
{
	assert_int_equal(rk_log_open(RK_LOG_TO_STDERR, NULL, false, NULL), 0);
}

static int teardown(void **state)
{
	(void)state;
	log_to_stderr();
	rk_log_set_sink(NULL, NULL);
	rk_log_set_level(RK_LOG_INFO);
	return unlink(log_path);
}

static void open_log(bool structured)
{
	struct rk_error err = {0};

	if (rk_log_open(RK_LOG_TO_FILE, log_path, structured, &err))
		fail_msg("%s", err.msg);
}

/* The file as a string, then emptied. */
static const char *take(void)
{
	FILE *f = fopen(log_path, "r");
	size_t len;

	assert_non_null(f);
	len = fread(contents, 1, sizeof(contents) - 1, f);
	contents[len] = '\0';
	assert_int_equal(fclose(f), 0);
	assert_int_equal(truncate(log_path, 0), 0);
	return contents;
}

static void assert_stamp(const char *text)
{
	assert_true(strlen(text) >= strlen(STAMP));
	for (size_t i = 0; i < strlen(STAMP); i++) {
		if (STAMP[i] == '0')
			assert_in_range(text[i], '0', '9');
		else
			assert_int_equal(text[i], STAMP[i]);
	}
}

#define RIG_TEST(name) TEST_WITH(name, setup, teardown)

RIG_TEST(names)
{
	static const char *const want[] = {"error", "warn", "info", "debug", "trace"};

	for (int i = 0; i < 5; i++)
		assert_string_equal(rk_log_level_name((enum rk_log_level)i), want[i]);
	assert_string_equal(rk_log_level_name((enum rk_log_level)5), "unknown");
	assert_string_equal(rk_log_level_name((enum rk_log_level) - 1), "unknown");
}

RIG_TEST(levels)
{
	assert_int_equal(rk_log_level(), RK_LOG_INFO);
	open_log(false);
	for (int threshold = RK_LOG_ERROR; threshold <= RK_LOG_TRACE; threshold++) {
		rk_log_set_level((enum rk_log_level)threshold);
		assert_int_equal(rk_log_level(), threshold);
		for (int level = RK_LOG_ERROR; level <= RK_LOG_TRACE; level++) {
			const char *text;

			rk_log((enum rk_log_level)level, "x");
			text = take();
			assert_int_equal(*text != '\0', level <= threshold);
		}
	}
	rk_log((enum rk_log_level)99, "x");
	rk_log((enum rk_log_level) - 1, "x");
	assert_string_equal(take(), "");
}

RIG_TEST(text_line)
{
	const char *text;

	open_log(false);
	rk_log(RK_LOG_WARN, "a %d\n\x1b[2J\x7f\xC2\x9B\xC3\xA4 %s", 7, "z");
	text = take();
	assert_stamp(text);
	assert_string_equal(text + strlen(STAMP), " rkfs: warn: a 7??[2J???\xC3\xA4 z\n");
}

RIG_TEST(json_line)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{"say \"hi\" \\ \xC3\xA4", "say \"hi\" \\ \xC3\xA4"},
		{"tab\tnl\n", "tab?nl?"},
		{"broken \xFF utf-8 \xC3\xA4", "broken ? utf-8 \xc3\xa4"},
	};

	open_log(true);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *stamp, *level, *msg, *text;
		json_error_t error;
		json_t *line;

		rk_log(RK_LOG_ERROR, "%s", rows[i].in);
		text = take();
		assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
		line = json_loads(text, 0, &error);
		assert_non_null(line);
		assert_int_equal(json_unpack(line, "{s:s, s:s, s:s !}", "time", &stamp, "level",
					     &level, "msg", &msg),
				 0);
		assert_stamp(stamp);
		assert_string_equal(level, "error");
		assert_string_equal(msg, rows[i].out);
		json_decref(line);
	}
}

RIG_TEST(long_line)
{
	char big[5000];
	const char *text;

	memset(big, 'a', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	open_log(false);
	rk_log(RK_LOG_INFO, "%s", big);
	text = take();
	assert_int_equal(strlen(text), strlen(STAMP " rkfs: info: \n") + 1023);
	assert_string_equal(text + strlen(text) - 5, "a...\n");
}

RIG_TEST(to_syslog)
{
	static const int priority[] = {3, 4, 6, 7, 7};

	assert_int_equal(rk_log_open(RK_LOG_TO_SYSLOG, NULL, false, NULL), 0);
	rk_log_set_level(RK_LOG_TRACE);
	for (int i = 0; i < 5; i++) {
		char want[32];

		rk_log((enum rk_log_level)i, "%s", "100%s");
		snprintf(want, sizeof(want), "<%d>100%%s", priority[i]);
		assert_string_equal(syslog_line, want);
	}
	assert_int_equal(rk_log_open(RK_LOG_TO_SYSLOG, NULL, true, NULL), 0);
	rk_log(RK_LOG_ERROR, "j");
	assert_non_null(strstr(syslog_line, "\"msg\":\"j\"}"));
}

RIG_TEST(to_stderr)
{
	int saved = dup(STDERR_FILENO);
	int fd = open(log_path, O_WRONLY | O_APPEND);

	assert_true(saved >= 0 && fd >= 0);
	assert_int_equal(rk_log_open(RK_LOG_TO_STDERR, NULL, false, NULL), 0);
	assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	rk_log(RK_LOG_INFO, "one");
	open_log(true);
	log_to_stderr();
	rk_log(RK_LOG_INFO, "two");
	assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
	assert_int_equal(close(fd), 0);
	assert_int_equal(close(saved), 0);
	assert_string_equal(take(), "rkfs: info: one\nrkfs: info: two\n");
}

static void check_journal(const char *text)
{
	static const char first[] = "<6>one\n<3>two\n<4>{\"time\":\"";
	const char *last = strrchr(text, '}');

	assert_memory_equal(text, first, sizeof(first) - 1);
	assert_non_null(last);
	assert_string_equal(last + 1, "\nrkfs: info: four\n");
}

/* systemd says by JOURNAL_STREAM which file its journal is. */
RIG_TEST(to_journal)
{
	int saved = dup(STDERR_FILENO);
	int fd = open(log_path, O_WRONLY | O_APPEND);
	struct stat st;
	char stream[64];

	assert_true(saved >= 0 && fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	assert_int_equal(setenv("JOURNAL_STREAM", stream, 1), 0);
	assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	assert_int_equal(rk_log_open(RK_LOG_TO_STDERR, NULL, false, NULL), 0);
	rk_log(RK_LOG_INFO, "one");
	rk_log(RK_LOG_ERROR, "two");
	assert_int_equal(rk_log_open(RK_LOG_TO_STDERR, NULL, true, NULL), 0);
	rk_log(RK_LOG_WARN, "three");
	/* another file than the one it names */
	assert_int_equal(setenv("JOURNAL_STREAM", "1:1", 1), 0);
	assert_int_equal(rk_log_open(RK_LOG_TO_STDERR, NULL, false, NULL), 0);
	rk_log(RK_LOG_INFO, "four");
	assert_int_equal(unsetenv("JOURNAL_STREAM"), 0);
	assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
	assert_int_equal(close(fd), 0);
	assert_int_equal(close(saved), 0);
	check_journal(take());
}

RIG_TEST(open_errors)
{
	struct rk_error err = {0};
	char path[128];

	open_log(false);
	assert_int_equal(rk_log_open(RK_LOG_TO_FILE, "/nonexistent/x", true, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "/nonexistent/x"));
	assert_int_equal(rk_log_open(RK_LOG_TO_FILE, NULL, true, &err), -EINVAL);
	assert_int_equal(rk_log_open(RK_LOG_TO_FILE, "", true, &err), -EINVAL);
	assert_int_equal(rk_log_open(RK_LOG_TO_FILE, "/", true, &err), -EISDIR);
	/* A FIFO without a reader: refused, not waited for. */
	snprintf(path, sizeof(path), "%s.fifo", log_path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(rk_log_open(RK_LOG_TO_FILE, path, true, &err), -ENXIO);
	assert_int_equal(unlink(path), 0);
	rk_log(RK_LOG_INFO, "still here");
	assert_non_null(strstr(take(), " rkfs: info: still here\n"));
}

RIG_TEST(file_flags)
{
	struct rk_error err = {0};
	char path[128];
	struct stat st;
	mode_t mask = umask(0);

	snprintf(path, sizeof(path), "%s.new", log_path);
	assert_int_equal(rk_log_open(RK_LOG_TO_FILE, path, false, &err), 0);
	umask(mask);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	/* appends, whoever truncates it meanwhile */
	rk_log(RK_LOG_INFO, "one");
	assert_int_equal(truncate(path, 0), 0);
	rk_log(RK_LOG_INFO, "two");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, strlen(STAMP " rkfs: info: two\n"));
	log_to_stderr();
	assert_int_equal(unlink(path), 0);
}

RIG_TEST(lost_lines)
{
	const char *text;

	assert_int_equal(rk_log_open(RK_LOG_TO_FILE, "/dev/full", false, NULL), 0);
	errno = ENOENT;
	rk_log(RK_LOG_INFO, "one");
	assert_int_equal(errno, ENOENT);
	rk_log(RK_LOG_INFO, "two");
	open_log(false);
	rk_log(RK_LOG_INFO, "three");
	text = take();
	assert_non_null(strstr(text, " rkfs: warn: 2 log lines could not be written before: No "
				     "space left on device\n"));
	assert_non_null(strstr(text, " rkfs: info: three\n"));
	rk_log(RK_LOG_INFO, "four");
	assert_null(strstr(take(), "could not"));
}

struct sunk {
	int count;
	enum rk_log_level level;
	char line[64];
};

static void sink(void *ctx, enum rk_log_level level, const char *line)
{
	struct sunk *sunk = ctx;

	sunk->count++;
	sunk->level = level;
	snprintf(sunk->line, sizeof(sunk->line), "%s", line);
}

RIG_TEST(to_sink)
{
	struct sunk sunk = {0};

	open_log(true);
	rk_log_set_sink(sink, &sunk);
	rk_log(RK_LOG_WARN, "hello\t%d", 1);
	rk_log(RK_LOG_DEBUG, "dropped");
	assert_int_equal(sunk.count, 1);
	assert_int_equal(sunk.level, RK_LOG_WARN);
	assert_string_equal(sunk.line, "hello?1");
	assert_string_equal(take(), "");
	rk_log_set_sink(NULL, NULL);
	rk_log(RK_LOG_WARN, "back");
	assert_int_equal(sunk.count, 1);
	assert_non_null(strstr(take(), "\"back\""));
}

static void *log_many(void *arg)
{
	for (int i = 0; i < LINES; i++)
		rk_log(RK_LOG_ERROR, "thread %d line %d.", *(int *)arg, i);
	return NULL;
}

/* Lines stay whole and in each thread's order, none is lost, whatever changes meanwhile. */
RIG_TEST(threads)
{
	pthread_t tid[THREADS];
	int id[THREADS], next[THREADS] = {0};
	const char *text;

	open_log(false);
	for (int i = 0; i < THREADS; i++) {
		id[i] = i;
		assert_int_equal(pthread_create(&tid[i], NULL, log_many, &id[i]), 0);
	}
	for (int i = 0; i < LINES; i++) {
		rk_log_set_level(i % 2 ? RK_LOG_TRACE : RK_LOG_ERROR);
		open_log(false);
	}
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(tid[i], NULL), 0);
	for (text = take(); *text; text = strchr(text, '\n') + 1) {
		int thread, line, used = 0;

		assert_stamp(text);
		assert_int_equal(sscanf(text + strlen(STAMP), " rkfs: error: thread %d line %d.%n",
					&thread, &line, &used),
				 2);
		assert_int_equal(text[strlen(STAMP) + used], '\n');
		assert_in_range(thread, 0, THREADS - 1);
		assert_int_equal(line, next[thread]);
		next[thread]++;
	}
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(next[i], LINES);
}
