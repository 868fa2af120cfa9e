/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/control.h"
#include "fs/node.h"

#define RELOAD -1

static void test_good(void **state)
{
	static const struct {
		const char *text;
		int trigger; /* enum rk_trigger or RELOAD */
		int64_t secs;
	} cases[] = {
		{"start", RK_START, -1},	   {"start\n", RK_START, -1},
		{"  \t start \t\n", RK_START, -1}, {"drain", RK_DRAIN, -1},
		{"drain \n", RK_DRAIN, -1},	   {"drain 0\n", RK_DRAIN, 0},
		{"drain 86400", RK_DRAIN, 86400},  {"drain\t 007 \n", RK_DRAIN, 7},
		{"resume\n", RK_RESUME, -1},	   {"stop\n", RK_STOP, -1},
		{"reset\n", RK_RESET, -1},	   {"reload\n", RELOAD, -1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rkfs_command c;
		struct rk_error err;

		assert_int_equal(rkfs_control_parse(cases[i].text, strlen(cases[i].text), &c, &err),
				 0);
		assert_int_equal(c.reload, cases[i].trigger == RELOAD);
		if (!c.reload)
			assert_int_equal(c.trigger, cases[i].trigger);
		assert_int_equal(c.secs, cases[i].secs);
	}
}

#define BAD(text, says)                                                                            \
	{                                                                                          \
		text, sizeof(text) - 1, says                                                       \
	}

static void test_bad(void **state)
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

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rkfs_command c = {.secs = 77};
		struct rk_error err = {0};

		assert_int_equal(rkfs_control_parse(cases[i].text, cases[i].len, &c, &err),
				 -EINVAL);
		assert_int_equal(err.code, EINVAL);
		if (!strstr(err.msg, cases[i].says))
			fail_msg("case %zu: '%s' does not say '%s'", i, err.msg, cases[i].says);
		assert_int_equal(c.secs, 77);
		assert_int_equal(rkfs_control_parse(cases[i].text, cases[i].len, &c, NULL),
				 -EINVAL);
	}
}

static void test_length(void **state)
{
	char text[RKFS_COMMAND_MAX + 1];
	struct rkfs_command c;
	struct rk_error err;

	(void)state;
	memset(text, ' ', sizeof(text));
	memcpy(text, "stop", 4);
	assert_int_equal(rkfs_control_parse(text, RKFS_COMMAND_MAX, &c, &err), 0);
	assert_int_equal(c.trigger, RK_STOP);
	assert_int_equal(rkfs_control_parse(text, RKFS_COMMAND_MAX + 1, &c, &err), -EMSGSIZE);
	assert_non_null(strstr(err.msg, "4096"));
	/* what is repeated of a long word is cut */
	memset(text, 'x', RKFS_COMMAND_MAX);
	assert_int_equal(rkfs_control_parse(text, RKFS_COMMAND_MAX, &c, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "reload"));
}

static void test_sentence_lists_verbs(void **state)
{
	static const char *const names[] = {"start", "drain [SECS]", "resume",
					    "stop",  "reset",	     "reload"};
	struct rkfs_command c;
	struct rk_error err;

	(void)state;
	assert_int_equal(rkfs_control_parse("?", 1, &c, &err), -EINVAL);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_non_null(strstr(err.msg, names[i]));
}

/* --- the file, over a runtime that is not started --- */

static struct rkfs fs;

static int setup(void **state)
{
	static const char *const options[] = {"preset=development", NULL};
	const struct rk_config_sources sources = {.options = options};
	const struct rk_runtime_observer observer = rkfs_observer(&fs);
	struct rk_error err;

	(void)state;
	return rkfs_init(&fs) || rk_runtime_create(&fs.rt, &sources, -1, &observer, &err);
}

static int teardown(void **state)
{
	(void)state;
	rk_runtime_destroy(fs.rt);
	rkfs_destroy(&fs);
	memset(&fs, 0, sizeof(fs));
	return 0;
}

static int command(const char *text)
{
	const struct rkfs_subject subject = {.fs = &fs};
	const struct rk_caller caller = {0};

	return rkfs_control_store(NULL, &subject, &caller, text, strlen(text));
}

static const char *status(void)
{
	static char sentence[RK_ERROR_MAX];

	rk_runtime_status(fs.rt, sentence);
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

static void test_store(void **state)
{
	(void)state;
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

static void test_show(void **state)
{
	(void)state;
	assert_shows("start stop reset reload\n");
	assert_int_equal(command("stop"), 0);
	assert_shows("drain stop reset reload\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_length),
		cmocka_unit_test(test_sentence_lists_verbs),
		cmocka_unit_test_setup_teardown(test_store, setup, teardown),
		cmocka_unit_test_setup_teardown(test_show, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
