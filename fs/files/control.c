/* SPDX-License-Identifier: MIT */
/* control: the verbs, and what is written, as text. */
#include "fs/files/control.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fs/files/command.h"
#include "fs/files/files.h"
#include "runtime/config/config.h"
#include "runtime/base/nearest.h"

#define DRAIN_SECS_MAX 86400
#define SHOWN_MAX      40 /* bytes of what was written that a sentence repeats */

static const struct verb {
	const char *name;
	enum rk_trigger trigger;
	bool reload; /* instead of a trigger */
	bool secs;   /* takes an optional argument */
} verbs[] = {
	{.name = "start", .trigger = RK_START},
	{.name = "drain", .trigger = RK_DRAIN, .secs = true},
	{.name = "resume", .trigger = RK_RESUME},
	{.name = "stop", .trigger = RK_STOP},
	{.name = "reset", .trigger = RK_RESET},
	{.name = "reload", .reload = true},
};

#define NVERBS (sizeof(verbs) / sizeof(verbs[0]))

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static int check_byte(const char *what, unsigned char c, struct rk_error *err)
{
	if (c == '\n')
		return rk_error_set(err, EINVAL, "%s: one write is one line: write them one by one",
				    what);
	if (c == '\r')
		return rk_error_set(err, EINVAL,
				    "%s: a carriage return at the end: write a plain newline",
				    what);
	if ((c < ' ' && c != '\t') || c > '~')
		return rk_error_set(err, EINVAL, "%s: byte 0x%02x is not printable ASCII", what, c);
	return 0;
}

int rkfs_control_trim(const char *what, const char *text, size_t len, const char **word,
		      size_t *wordlen, struct rk_error *err)
{
	int rc;

	if (len > RKFS_COMMAND_MAX)
		return rk_error_set(err, EMSGSIZE, "%s: %zu bytes are too long: %d at the most",
				    what, len, RKFS_COMMAND_MAX);
	if (len && text[len - 1] == '\n')
		len--;
	for (size_t i = 0; i < len; i++) {
		rc = check_byte(what, (unsigned char)text[i], err);
		if (rc)
			return rc;
	}
	while (len && is_blank(text[len - 1]))
		len--;
	while (len && is_blank(*text)) {
		text++;
		len--;
	}
	if (!len)
		return rk_error_set(err, EINVAL, "%s: nothing but blanks was written", what);
	*word = text;
	*wordlen = len;
	return 0;
}

static int shown(size_t len)
{
	return len < SHOWN_MAX ? (int)len : SHOWN_MAX;
}

/* A refusal that says what there is: "@fmt; the verbs are start, ...". */
static int refuse(struct rk_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int refuse(struct rk_error *err, const char *fmt, ...)
{
	char why[RK_ERROR_MAX / 2], list[RK_ERROR_MAX / 2];
	size_t at = 0;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	for (size_t i = 0; i < NVERBS && at < sizeof(list); i++)
		at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%s%s", i ? ", " : "",
				       verbs[i].name, verbs[i].secs ? " [SECS]" : "");
	return rk_error_set(err, EINVAL, "%s; the verbs are %s", why, list);
}

/* "SECS": in the notation of drain_timeout, so that each takes what the other does. */
static int parse_secs(const char *text, size_t len, int64_t *ms, struct rk_error *err)
{
	char copy[SHOWN_MAX];
	uint64_t n;

	if (len < sizeof(copy)) {
		memcpy(copy, text, len);
		copy[len] = '\0';
		if (rk_config_duration(copy, &n) && n <= DRAIN_SECS_MAX * 1000) {
			*ms = (int64_t)n;
			return 0;
		}
	}
	return rk_error_set(err, EINVAL,
			    "control: drain %.*s: SECS is a whole number from 0 to %d, or a "
			    "duration such as 500ms, 5s, 1m or 2h",
			    shown(len), text, DRAIN_SECS_MAX);
}

static const struct verb *find_verb(const char *word, size_t len)
{
	for (size_t i = 0; i < NVERBS; i++)
		if (strlen(verbs[i].name) == len && !memcmp(verbs[i].name, word, len))
			return &verbs[i];
	return NULL;
}

static int no_verb(const char *word, size_t len, struct rk_error *err)
{
	char hint[RK_NEAREST_HINT_MAX];
	struct rk_nearest near;

	rk_nearest_init(&near, word, len);
	for (size_t i = 0; i < NVERBS; i++)
		rk_nearest_try(&near, verbs[i].name);
	return refuse(err, "control: no verb is called '%.*s'%s", shown(len), word,
		      rk_nearest_hint(&near, "", hint));
}

/* Cut *@text in two at its first blank: returns the length of the word before it. */
static size_t next_word(const char **text, size_t *len)
{
	size_t word = 0;

	while (word < *len && !is_blank((*text)[word]))
		word++;
	*text += word;
	*len -= word;
	while (*len && is_blank(**text)) {
		++*text;
		--*len;
	}
	return word;
}

int rkfs_control_parse(const char *text, size_t len, struct rkfs_command *command,
		       struct rk_error *err)
{
	struct rkfs_command parsed = {.drain_ms = -1};
	const struct verb *verb;
	struct rk_error why;
	const char *word;
	size_t wordlen;
	int rc;

	rc = rkfs_control_trim("control", text, len, &text, &len, &why);
	if (rc == -EINVAL)
		return refuse(err, "%s", why.msg);
	if (rc)
		return rk_error_set(err, -rc, "%s", why.msg);
	word = text;
	wordlen = next_word(&text, &len);
	verb = find_verb(word, wordlen);
	if (!verb)
		return no_verb(word, wordlen, err);
	if (len && !verb->secs)
		return refuse(err, "control: %s takes no argument", verb->name);
	if (len)
		rc = parse_secs(text, len, &parsed.drain_ms, err);
	if (rc)
		return rc;
	parsed.reload = verb->reload;
	parsed.trigger = verb->trigger;
	*command = parsed;
	return 0;
}

static bool allowed(struct rk_runtime *rt, const struct verb *verb)
{
	return verb->reload ? rk_runtime_allows_reload(rt) : rk_runtime_allows(rt, verb->trigger);
}

int rkfs_control_show(const struct rkfs_attr *attr, const struct rkfs_subject *subject,
		      struct rkfs_textbuf *out)
{
	const char *between = "";

	(void)attr;
	for (size_t i = 0; i < NVERBS; i++) {
		if (!allowed(subject->fs->rt, &verbs[i]))
			continue;
		rkfs_textbuf_printf(out, "%s%s", between, verbs[i].name);
		between = " ";
	}
	rkfs_textbuf_append(out, "\n", 1);
	return 0;
}

int rkfs_control_command(struct rkfs_file *file, const struct rk_caller *caller, const char *text,
			 size_t len)
{
	struct rkfs *fs = file->subject.fs;
	struct rkfs_command command;
	struct rk_error err;
	int rc;

	rc = rkfs_control_parse(text, len, &command, &err);
	if (rc)
		return rk_runtime_refuse(fs->rt, "a write", caller, &err);
	if (rkfs_command_reads(&command))
		return rkfs_command_run(file, &command, caller);
	return rk_runtime_command(fs->rt, command.trigger, command.drain_ms, caller, &err);
}
