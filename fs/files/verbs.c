/* SPDX-License-Identifier: MIT */
/* The verbs of control: from a written line to a command, and to the runtime. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fs/files/files.h"
#include "runtime/base/nearest.h"
#include "runtime/config/config.h"

#define DRAIN_SECS_MAX 86400
#define SHOWN	       "%.40s" /* of what was written, in a sentence */

static const struct {
	const char *name;
	bool secs, reads;
} verbs[RKFS_VERB_COUNT] = {
#define RKFS_VERB(name, secs, reads, allowed, run) {#name, secs, reads},
#include "fs/files/verbs.def"
};

const char *rkfs_verb_name(enum rkfs_verb verb)
{
	return verbs[verb].name;
}

bool rkfs_verb_reads(enum rkfs_verb verb)
{
	return verbs[verb].reads;
}

bool rkfs_verb_allowed(struct rk_runtime *rt, enum rkfs_verb verb)
{
	switch (verb) {
#define RKFS_VERB(name, secs, reads, allowed, run)                                                 \
	case RKFS_VERB_##name:                                                                     \
		return allowed;
#include "fs/files/verbs.def"
	case RKFS_VERB_COUNT:
		break;
	}
	return false;
}

int rkfs_verb_run(struct rk_runtime *rt, enum rkfs_verb verb, int64_t ms,
		  const struct rk_caller *caller)
{
	switch (verb) {
#define RKFS_VERB(name, secs, reads, allowed, run)                                                 \
	case RKFS_VERB_##name:                                                                     \
		return run;
#include "fs/files/verbs.def"
	case RKFS_VERB_COUNT:
		break;
	}
	return -EINVAL;
}

/* --- parsing --- */

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
	for (size_t i = 0; i < RKFS_VERB_COUNT && at < sizeof(list); i++)
		at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%s%s", i ? ", " : "",
				       verbs[i].name, verbs[i].secs ? " [SECS]" : "");
	return rk_error_set(err, EINVAL, "%s; the verbs are %s", why, list);
}

/* "SECS": in the notation of drain_timeout, so that each takes what the other does. */
static int parse_secs(const char *verb, const char *text, int64_t *ms, struct rk_error *err)
{
	uint64_t n;

	if (!rk_config_duration(text, &n) || n > DRAIN_SECS_MAX * 1000)
		return rk_error_set(err, EINVAL,
				    "control: %s " SHOWN
				    ": SECS is a whole number from 0 to %d, or a "
				    "duration such as 500ms, 5s, 1m or 2h",
				    verb, text, DRAIN_SECS_MAX);
	*ms = (int64_t)n;
	return 0;
}

static int no_verb(const char *word, struct rk_error *err)
{
	char hint[RK_NEAREST_HINT_MAX];
	struct rk_nearest near;

	rk_nearest_init(&near, word, strlen(word));
	for (size_t i = 0; i < RKFS_VERB_COUNT; i++)
		rk_nearest_try(&near, verbs[i].name);
	return refuse(err, "control: no verb is called '" SHOWN "'%s", word,
		      rk_nearest_hint(&near, "", hint));
}

int rkfs_verb_parse(const char *text, size_t len, struct rkfs_command *command,
		    struct rk_error *err)
{
	struct rkfs_command parsed = {.ms = -1};
	char line[RKFS_LINE_MAX + 1], *arg;
	struct rk_error why;
	int rc = rkfs_line_read("control", text, len, line, &why);

	if (rc == -EINVAL)
		return refuse(err, "%s", why.msg);
	if (rc)
		return rk_error_set(err, -rc, "%s", why.msg);
	arg = line + strcspn(line, " \t");
	if (*arg) {
		*arg++ = '\0';
		arg += strspn(arg, " \t");
	}
	while (parsed.verb < RKFS_VERB_COUNT && strcmp(verbs[parsed.verb].name, line))
		parsed.verb++;
	if (parsed.verb == RKFS_VERB_COUNT)
		return no_verb(line, err);
	if (*arg && !verbs[parsed.verb].secs)
		return refuse(err, "control: %s takes no argument", line);
	if (*arg)
		rc = parse_secs(line, arg, &parsed.ms, err);
	if (!rc)
		*command = parsed;
	return rc;
}
