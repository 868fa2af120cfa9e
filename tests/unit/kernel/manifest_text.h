/* SPDX-License-Identifier: MIT */
/* Descriptions as text, for the tests of runtime/manifest*.c. */
#ifndef RK_TESTS_MANIFEST_TEXT_H
#define RK_TESTS_MANIFEST_TEXT_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/kernel/parse.h"
#include "tests/unit/unit.h"

#define KERNEL "[kernel]\nid = d/k\n"
#define IN     "[inputs]\na = f32[n]\n"
#define OUT    "[outputs]\nc = f32[n]\n"
#define CPU    "[cpu]\nentry = f\nargs = a, c, n\n"
#define CUDA   "[cuda]\nentry = g\nargs = a, c, n\ngrid = n\n"
#define RING   KERNEL "mode = ring\n" IN OUT

static inline int parse(struct rk_manifest *m, const char *text, struct rk_error *err)
{
	return rk_manifest_parse(m, text, strlen(text), "t.ini", err);
}

static inline void parse_good(struct rk_manifest *m, const char *text)
{
	struct rk_error err = {0};

	if (parse(m, text, &err) != 0)
		fail_msg("refused: %s\n%s", err.msg, text);
}

/* etc/kernels.d/@name, *@len bytes; the caller frees. */
static inline char *read_shipped(const char *name, size_t *len)
{
	char path[1024];
	char *text = malloc(4096);
	FILE *file;

	assert_non_null(text);
	snprintf(path, sizeof(path), "%s/etc/kernels.d/%s", RK_SOURCE_DIR, name);
	file = fopen(path, "r");
	assert_non_null(file);
	*len = fread(text, 1, 4096, file);
	assert_in_range(*len, 1, 4095);
	assert_int_equal(fclose(file), 0);
	return text;
}

/* A description that is refused, and the words that tell the user what and where. */
struct refused {
	const char *text, *words;
};

/* *@r is refused as it says, and changes nothing. */
static inline void check_refused(const struct refused *r)
{
	struct rk_manifest m, before;
	struct rk_error err = {0};

	memset(&before, 0x11, sizeof(before));
	m = before;
	if (parse(&m, r->text, &err) != -EINVAL)
		fail_msg("accepted:\n%s", r->text);
	assert_int_equal(err.code, EINVAL);
	if (strncmp(err.msg, "t.ini:", 6) != 0 || !strstr(err.msg, r->words))
		fail_msg("\"%s\" lacks \"%s\"", err.msg, r->words);
	assert_memory_equal(&m, &before, sizeof(m));
	assert_int_equal(parse(&m, r->text, NULL), -EINVAL);
}

#endif
