/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/files/files.h"
#include "fs/node.h"
#include "runtime/base/log.h"
#include "tests/unit/unit.h"

#define RIG_TEST(name) TEST_WITH(name, setup, teardown)

TEST(good)
{
	static const struct {
		const char *text;
		enum rkfs_verb verb;
		int64_t ms;
	} cases[] = {
		{"start", RKFS_VERB_start, -1},
		{"start\n", RKFS_VERB_start, -1},
		{"  \t start \t\n", RKFS_VERB_start, -1},
		{"drain", RKFS_VERB_drain, -1},
		{"drain \n", RKFS_VERB_drain, -1},
		{"drain 0\n", RKFS_VERB_drain, 0},
		{"drain 86400", RKFS_VERB_drain, 86400000},
		{"drain\t 007 \n", RKFS_VERB_drain, 7000},
		{"drain 5s", RKFS_VERB_drain, 5000},
		{"drain 24h\n", RKFS_VERB_drain, 86400000},
		{"drain 250ms", RKFS_VERB_drain, 250},
		{"resume\n", RKFS_VERB_resume, -1},
		{"stop\n", RKFS_VERB_stop, -1},
		{"reset\n", RKFS_VERB_reset, -1},
		{"reload\n", RKFS_VERB_reload, -1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rkfs_command c;
		struct rk_error err;

		assert_int_equal(rkfs_verb_parse(cases[i].text, strlen(cases[i].text), &c, &err),
				 0);
		assert_int_equal(c.verb, cases[i].verb);
		assert_int_equal(c.ms, cases[i].ms);
	}
}

#define BAD(text, says)                                                                            \
	{                                                                                          \
		text, sizeof(text) - 1, says                                                       \
	}

TEST(bad)
{
	static const struct {
		const char *text;
		size_t len;
		const char *says; /* a part of the sentence */
	} cases[] = {
		BAD("", "nothing"),
		BAD("\n", "nothing"),
		BAD(" \t \n", "nothing"),
		BAD("start\r\n", "carriage return"),
		BAD("start\r", "carriage return"),
		BAD("start\n\n", "one by one"),
		BAD("drain\nstop\n", "one by one"),
		BAD("\nstart", "one by one"),
		BAD("start\0", "0x00"),
		BAD("\0start", "0x00"),
		BAD("st\303\244rt", "0xc3"),
		BAD("start\177", "0x7f"),
		BAD("frobnicate", "'frobnicate'"),
		BAD("START", "'START'"),
		BAD("starts", "'starts'"),
		BAD("star", "'star'"),
		BAD("ready", "'ready'"),
		BAD("drained", "'drained'"),
		BAD("fault", "'fault'"),
		BAD("%s%n", "'%s%n'"),
		BAD("start now", "start takes no argument"),
		BAD("start 5", "start takes no argument"),
		BAD("reload x", "reload takes no argument"),
		BAD("drain -1", "drain -1"),
		BAD("drain +1", "drain +1"),
		BAD("drain 1.5", "drain 1.5"),
		BAD("drain 0x10", "drain 0x10"),
		BAD("drain 86401", "86400"),
		BAD("drain 18446744073709551621", "86400"),
		BAD("drain 99999999999999999999999999999999999999", "86400"),
		BAD("drain 5 6", "drain 5 6"),
		BAD("drain five", "drain five"),
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rkfs_command c = {.ms = 77};
		struct rk_error err = {0};

		assert_int_equal(rkfs_verb_parse(cases[i].text, cases[i].len, &c, &err), -EINVAL);
		assert_int_equal(err.code, EINVAL);
		if (!strstr(err.msg, cases[i].says))
			fail_msg("case %zu: '%s' does not say '%s'", i, err.msg, cases[i].says);
		assert_int_equal(c.ms, 77);
		assert_int_equal(rkfs_verb_parse(cases[i].text, cases[i].len, &c, NULL), -EINVAL);
	}
}

TEST(length)
{
	char text[RKFS_LINE_MAX + 1];
	struct rkfs_command c;
	struct rk_error err;

	memset(text, ' ', sizeof(text));
	memcpy(text, "stop", 4);
	assert_int_equal(rkfs_verb_parse(text, RKFS_LINE_MAX, &c, &err), 0);
	assert_int_equal(c.verb, RKFS_VERB_stop);
	assert_int_equal(rkfs_verb_parse(text, RKFS_LINE_MAX + 1, &c, &err), -EMSGSIZE);
	assert_non_null(strstr(err.msg, "4096"));
	/* what is repeated of a long word is cut */
	memset(text, 'x', RKFS_LINE_MAX);
	assert_int_equal(rkfs_verb_parse(text, RKFS_LINE_MAX, &c, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "reload"));
}

TEST(sentence_lists_verbs)
{
	static const char *const names[] = {"start", "drain [SECS]", "resume",
					    "stop",  "reset",	     "reload"};
	struct rkfs_command c;
	struct rk_error err;

	assert_int_equal(rkfs_verb_parse("?", 1, &c, &err), -EINVAL);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_non_null(strstr(err.msg, names[i]));
}

/* --- the file, over a runtime that is not started --- */

static struct rkfs fs;

static int setup(void **state)
{
	static const char *const options[] = {"preset=development", NULL};
	const struct rk_config_sources sources = {.options = options};
	struct rk_error err;

	(void)state;
	return rkfs_init(&fs) || rk_runtime_create(&fs.rt, &sources, -1, &fs.observer, &err);
}

static int teardown(void **state)
{
	(void)state;
	rk_runtime_destroy(fs.rt);
	rkfs_destroy(&fs);
	memset(&fs, 0, sizeof(fs));
	return 0;
}

/* As the one who writes sees it: a command that reads files is waited for. */
static ssize_t write_all(struct rkfs_file *file, const struct rk_caller *caller, const char *text)
{
	ssize_t n;

	while ((n = rkfs_write(file, caller, text, strlen(text))) == -EAGAIN)
		sched_yield();
	return n;
}

static int command(const char *text)
{
	const struct rk_caller caller = {0};
	struct rkfs_file *file;
	struct rkfs_entry found;
	ssize_t n;

	assert_int_equal(rkfs_lookup(&fs, RKFS_ROOT_INO, "control", &found), 0);
	assert_int_equal(rkfs_open(&fs, found.node, &caller, O_WRONLY, &file), 0);
	n = write_all(file, &caller, text);
	rkfs_file_unref(file);
	return n < 0 ? (int)n : 0;
}

static const char *status(void)
{
	static char sentence[RK_ERROR_MAX];

	rk_runtime_status(fs.rt, 0, sentence);
	return sentence;
}

static void assert_shows(const char *expected)
{
	const struct rkfs_subject subject = {.fs = &fs};
	struct rkfs_textbuf out;

	rkfs_textbuf_init(&out);
	assert_int_equal(rkfs_control_show(NULL, &subject, &out), 0);
	assert_int_equal(out.len, strlen(expected));
	assert_memory_equal(out.data, expected, out.len);
	rkfs_textbuf_free(&out);
}

RIG_TEST(store)
{
	assert_int_equal(command("frobnicate\n"), -EINVAL);
	assert_non_null(strstr(status(), "frobnicate"));
	assert_int_equal(rk_runtime_state(fs.rt), RK_CREATED);
	assert_int_equal(command("resume\n"), -EBUSY);
	assert_non_null(strstr(status(), "resume"));
	assert_non_null(strstr(status(), "Created"));
	assert_int_equal(command("stop\n"), 0);
	assert_int_equal(rk_runtime_state(fs.rt), RK_STOPPED);
	assert_string_equal(status(), "ok");
	assert_int_equal(command("start\n"), -EBUSY);
	assert_int_equal(command("reload\n"), 0);
	assert_string_equal(status(), "ok");
	assert_int_equal(command("reset\n"), 0);
	assert_int_equal(rk_runtime_state(fs.rt), RK_CREATED);
}

/* --- the log --- */

static char logged[4][RK_ERROR_MAX + 64];
static unsigned int nlogged;

static void on_line(void *ctx, enum rk_log_level level, const char *line)
{
	(void)ctx;
	assert_true(nlogged < 4);
	snprintf(logged[nlogged++], sizeof(logged[0]), "%s: %s", rk_log_level_name(level), line);
}

/* A row as that of config/FIELD or kernels/D/N/enable, found by opening it as a client does. */
static void store(const char *dir, const char *name, const char *text)
{
	const struct rk_caller caller = {.uid = 12, .pid = 345};
	struct rkfs_file *file;
	struct rkfs_entry entry = {.node = RKFS_ROOT_INO};
	char path[64], *save = NULL;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	for (char *word = strtok_r(path, "/", &save); word; word = strtok_r(NULL, "/", &save))
		assert_int_equal(rkfs_lookup(&fs, entry.node, word, &entry), 0);
	assert_int_equal(rkfs_open(&fs, entry.node, &caller, O_WRONLY, &file), 0);
	nlogged = 0;
	rk_log_set_sink(on_line, NULL);
	(void)write_all(file, &caller, text);
	rk_log_set_sink(NULL, NULL);
	rkfs_file_unref(file);
}

/* Such a write is one line, which is @expected and goes on. */
static void assert_logs(const char *dir, const char *name, const char *text, const char *expected)
{
	store(dir, name, text);
	if (nlogged != 1 || strncmp(logged[0], expected, strlen(expected)) != 0)
		fail_msg("'%s' to %s is %u lines, '%s' instead of '%s'", text, name, nlogged,
			 nlogged ? logged[0] : "", expected);
}

#define REFUSED "warn: a write from uid 12 pid 345 refused: "

RIG_TEST(log)
{
	assert_logs("", "control", "strat",
		    REFUSED "control: no verb is called 'strat' (did you mean start?); the verbs");
	assert_logs("", "control", "stop\nstop\n", REFUSED "control: one write is one line");
	assert_logs("", "control", "\x1b[2J", REFUSED "control: byte 0x1b");
	assert_logs("", "control", "resume", "warn: resume from uid 12 pid 345 refused: resume: ");
	assert_logs("", "control", "reload", "info: reload from uid 12 pid 345");
	assert_logs("health", "check", "2", REFUSED "check: write 1");
	assert_logs("health", "check", "1", "warn: check from uid 12 pid 345 refused: check: ");
	assert_logs("kernels/core/echo", "enable", "maybe", REFUSED "enable of core/echo: write 1");
	assert_logs("kernels/core/echo", "enable", "0",
		    "info: disable core/echo from uid 12 pid 345");
	assert_logs("config", "max_queue_depth", " ",
		    REFUSED "max_queue_depth: nothing but blanks");
	assert_logs(
		"config", "max_queue_depth", "x",
		"warn: max_queue_depth = x from uid 12 pid 345 refused: max_queue_depth: \"x\"");
	assert_logs("config", "max_queue_depth", "7\n",
		    "info: max_queue_depth = 7 from uid 12 pid 345");
	assert_logs("config", "preset", "testing",
		    "warn: preset = testing from uid 12 pid 345 refused");
	/* the level is in effect for the very line that says so */
	store("config", "log_level", "warn");
	assert_int_equal(nlogged, 0);
	store("", "control", "reset");
	assert_int_equal(nlogged, 0);
	assert_logs("config", "log_level", "info", "info: log_level = info from uid 12 pid 345");
	/* a signal's reload has no writer */
	nlogged = 0;
	rk_log_set_sink(on_line, NULL);
	assert_int_equal(rk_runtime_reload(fs.rt, NULL, NULL), 0);
	rk_log_set_sink(NULL, NULL);
	assert_string_equal(logged[0], "info: reload from the daemon");
}

/* A command that cannot be started is refused as any other. */
RIG_TEST(no_thread)
{
	pthread_attr_t fits, huge;

	assert_int_equal(pthread_getattr_default_np(&fits), 0);
	assert_int_equal(pthread_getattr_default_np(&huge), 0);
	assert_int_equal(pthread_attr_setstacksize(&huge, (size_t)1 << 47), 0);
	assert_int_equal(pthread_setattr_default_np(&huge), 0);
	assert_logs("", "control", "reload",
		    "warn: reload from uid 12 pid 345 refused: reload: cannot start a thread: ");
	assert_int_equal(pthread_setattr_default_np(&fits), 0);
	assert_non_null(strstr(status(), "reload: cannot start a thread: "));
	assert_int_equal(command("reload"), 0);
	pthread_attr_destroy(&fits);
	pthread_attr_destroy(&huge);
}

RIG_TEST(show)
{
	assert_shows("start stop reset reload\n");
	assert_int_equal(command("stop"), 0);
	assert_shows("drain stop reset reload\n");
}
