/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/base/ini_file.h"
#include "tests/unit/unit.h"

/* Everything the handler saw, as "section|key|value\n". */
struct seen {
	char text[2048];
	const char *refuse; /* fail at this key */
	bool sections;	    /* tell of them too */
};

static int collect(void *ctx, const char *section, const char *key, const char *value,
		   struct rk_error *err)
{
	struct seen *seen = ctx;
	size_t len = strlen(seen->text);

	if (!key && seen->sections)
		snprintf(seen->text + len, sizeof(seen->text) - len, "[%s]\n", section);
	if (!key)
		return seen->refuse && !strcmp(section, seen->refuse)
			       ? rk_error_set(err, ERANGE, "no")
			       : 0;
	if (seen->refuse && !strcmp(key, seen->refuse))
		return rk_error_set(err, ERANGE, "%s: refused", key);
	snprintf(seen->text + len, sizeof(seen->text) - len, "%s|%s|%s\n", section, key, value);
	return 0;
}

static void assert_seen(const char *text, const char *want)
{
	struct seen seen = {.text = ""};
	struct rk_error err = {0};

	if (rk_ini_parse(text, strlen(text), "t.ini", collect, &seen, &err))
		fail_msg("%s", err.msg);
	assert_string_equal(seen.text, want);
}

static void assert_refused(const char *text, size_t len, const char *want, const char *before)
{
	struct seen seen = {.text = ""};
	struct rk_error err = {0};

	assert_int_equal(rk_ini_parse(text, len, "t.ini", collect, &seen, &err), -EINVAL);
	assert_int_equal(err.code, EINVAL);
	if (strncmp(err.msg, want, strlen(want)))
		fail_msg("\"%s\" does not begin with \"%s\"", err.msg, want);
	assert_string_equal(seen.text, before);
}

/* An empty one too, and before any of its keys. */
TEST(sections_are_told_of)
{
	static const char text[] = "[one]\n[two] ; empty\n\n[three]\nk = v\n[one]\n";
	struct seen seen = {.text = "", .sections = true};
	struct rk_error err = {0};

	assert_int_equal(rk_ini_parse(text, strlen(text), "t.ini", collect, &seen, &err), 0);
	assert_string_equal(seen.text, "[one]\n[two]\n[three]\nthree|k|v\n[one]\n");
	seen = (struct seen){.text = "", .refuse = "two"};
	assert_int_equal(rk_ini_parse(text, strlen(text), "t.ini", collect, &seen, &err), -ERANGE);
	assert_string_equal(err.msg, "t.ini:2: no");
	assert_string_equal(seen.text, "");
}

TEST(good_lines)
{
	assert_seen("", "");
	assert_seen("\n\n", "");
	assert_seen("a = 1", "|a|1\n");
	assert_seen("[s]\na=1\nb\t=\t2 3  \n", "s|a|1\ns|b|2 3\n");
	assert_seen("# c\n; c\n  # indented comment\n \t \n[s] ; why\na = 1 ; why\n", "s|a|1\n");
	assert_seen("[s]\na = x;y\nb =\nc = ; nothing\n", "s|a|x;y\ns|b|\ns|c|\n");
	assert_seen("[s]\na = b = c:d\n[t]\na = 2\n", "s|a|b = c:d\nt|a|2\n");
	assert_seen("\xEF\xBB\xBF[s]\na = \xC3\xA4 # no comment\n", "s|a|\xC3\xA4 # no comment\n");
}

TEST(bad_lines)
{
	static const struct {
		const char *line;
		const char *why;
	} rows[] = {
		{"  more", "an indented line"},
		{"\tb = 2", "an indented line"},
		{"word", "not \"key = value\""},
		{"b : 2", "not \"key = value\""},
		{"= 2", "no key"},
		{"b ; = 2", "a comment before the '='"},
		{"[s", "a section without"},
		{"[]", "a bad section name"},
		{"[a ;b]", "a bad section name"},
		{"[01234567890123456789012345678901234567890123456789]", "a bad section name"},
		{"[s] x", "text after [section]"},
		{"[s];x", "text after [section]"},
		{"b = 2\r", "a carriage return"},
		{"b = \x1b[31m", "a NUL or other control"},
		{"b = \x7f", "a NUL or other control"},
		{"# \x01", "a NUL or other control"},
	};
	char text[256], want[128];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(want, sizeof(want), "t.ini:4: %s", rows[i].why);
		/* Followed by a line, and as the last one. */
		snprintf(text, sizeof(text), "# c\n[s]\na = 1\n%s\nz = 9\n", rows[i].line);
		assert_refused(text, strlen(text), want, "s|a|1\n");
		snprintf(text, sizeof(text), "# c\n[s]\na = 1\n%s", rows[i].line);
		assert_refused(text, strlen(text), want, "s|a|1\n");
	}
	assert_refused("a = 1\nb = 2\0 3\n", 14, "t.ini:2: a NUL", "|a|1\n");
	assert_refused("\xEF\xBB\xBF\xEF\xBB\xBF= 1\n", 10, "t.ini:1: a byte order mark", "");
	assert_refused(" a = 1\n", 7, "t.ini:1: an indented", "");
}

TEST(line_length)
{
	char text[RK_INI_LINE_MAX + 16], want[RK_INI_LINE_MAX + 16];
	size_t len;

	for (int newline = 0; newline <= 1; newline++) {
		len = (size_t)snprintf(text, sizeof(text), "k=%0*d%s", RK_INI_LINE_MAX - 2, 7,
				       newline ? "\n" : "");
		assert_int_equal(len, RK_INI_LINE_MAX + newline);
		snprintf(want, sizeof(want), "|k|%0*d\n", RK_INI_LINE_MAX - 2, 7);
		assert_seen(text, want);

		len = (size_t)snprintf(text, sizeof(text), "k=%0*d%s", RK_INI_LINE_MAX - 1, 7,
				       newline ? "\n" : "");
		assert_refused(text, len, "t.ini:1: a line of 200 bytes; at most 199", "");
	}
}

TEST(handler_error_wins)
{
	static const char text[] = "[s]\na = 1\n\nb = 2\nc = 3\n junk\n";
	struct seen seen = {.refuse = "b"};
	struct rk_error err = {0};

	assert_int_equal(rk_ini_parse(text, strlen(text), "t.ini", collect, &seen, &err), -ERANGE);
	assert_string_equal(err.msg, "t.ini:4: b: refused");
	assert_string_equal(seen.text, "s|a|1\n");
	assert_int_equal(rk_ini_parse(text, strlen(text), "t.ini", collect, &seen, NULL), -ERANGE);
}

static void make_file(char *path, const char *text, size_t len)
{
	FILE *f;
	int fd;

	strcpy(path, "/tmp/rk_ini_XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	f = fdopen(fd, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static int parse_file(const char *path, rk_ini_handler handler, void *ctx, struct rk_error *err)
{
	struct rk_ini_text text;
	int rc = rk_ini_read_file(path, false, &text, err);

	if (rc)
		return rc;
	rc = rk_ini_parse(text.data, text.len, path, handler, ctx, err);
	free(text.data);
	return rc;
}

TEST(files)
{
	struct seen seen = {.text = ""};
	struct rk_error err = {0};
	char path[32], want[128];
	const size_t big = (1 << 20) + 1;
	char *text;

	make_file(path, "[s]\na = 1\nb\n", 12);
	assert_int_equal(parse_file(path, collect, &seen, &err), -EINVAL);
	snprintf(want, sizeof(want), "%s:3: not ", path);
	assert_memory_equal(err.msg, want, strlen(want));
	assert_string_equal(seen.text, "s|a|1\n");
	assert_int_equal(unlink(path), 0);

	assert_int_equal(parse_file(path, collect, &seen, &err), -ENOENT);
	assert_non_null(strstr(err.msg, path));
	assert_int_equal(parse_file("/", collect, &seen, &err), -EISDIR);
	assert_int_equal(parse_file("/dev/null", collect, &seen, &err), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(parse_file(path, collect, &seen, &err), -EINVAL);
	assert_int_equal(unlink(path), 0);

	text = malloc(big);
	assert_non_null(text);
	memset(text, '\n', big);
	make_file(path, text, big);
	assert_int_equal(parse_file(path, collect, &seen, &err), -EFBIG);
	assert_int_equal(truncate(path, (off_t)big - 1), 0);
	assert_int_equal(parse_file(path, collect, &seen, &err), 0);
	assert_int_equal(unlink(path), 0);
	free(text);
}

TEST(what_a_private_file_says_is_hidden)
{
	struct rk_ini_text text = {.is_private = true};
	struct rk_error err = {0};
	char shown[RK_ERROR_MAX];

	rk_error_set(&err, EINVAL, "/a.ini:12: 31415 is no key");
	rk_ini_hide(&text, "/a.ini", &err);
	rk_error_public(&err, shown);
	assert_string_equal(shown, "/a.ini:12: ***************");
	rk_error_prefix(&err, "reload");
	rk_error_show(&err, 1, 2, shown);
	assert_string_equal(shown, "reload: /a.ini:12: ***************");
	rk_error_show(&err, 2, 2, shown);
	assert_string_equal(shown, "reload: /a.ini:12: 31415 is no key");
	rk_error_show(&err, 0, 2, shown);
	assert_string_equal(shown, err.msg);

	text.is_private = false;
	rk_error_set(&err, EINVAL, "/a.ini:12: 31415 is no key");
	rk_ini_hide(&text, "/a.ini", &err);
	rk_error_public(&err, shown);
	assert_string_equal(shown, err.msg);
}
