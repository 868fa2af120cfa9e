/* SPDX-License-Identifier: MIT */
/*
 * INI files through inih, with the line numbers, refusals and limits that inih lacks as Debian
 * builds it. Errors are: a line longer than RK_INI_LINE_MAX, which inih would split; an indented
 * line, which would repeat a key; NUL and other control bytes; and a line that is not
 * "key = value", "[section]" or a comment. Nothing else includes <ini.h>.
 */
#ifndef RK_RUNTIME_BASE_INI_FILE_H
#define RK_RUNTIME_BASE_INI_FILE_H

#include <stdbool.h>
#include <stdio.h>

#include "runtime/base/error.h"

#define RK_INI_LINE_MAX 199 /* inih's own buffer is 200 bytes and splits longer lines silently */

/*
 * Called once per "[section]" line, with @key and @value NULL, and once per "key = value" line with
 * blanks trimmed and inline comments (" ;") removed. Returns 0, or a negative errno with a sentence
 * in @err, which ends the parse; the sentence gets "NAME:LINE: " put in front.
 */
typedef int (*rk_ini_handler)(void *ctx, const char *section, const char *key, const char *value,
			      struct rk_error *err);

/*
 * Parse @text of @len bytes (need not be NUL-terminated). @name is used in sentences.
 * Returns 0, the handler's error, or -EINVAL for a malformed line. The first error ends it.
 */
int rk_ini_parse(const char *text, size_t len, const char *name, rk_ini_handler handler, void *ctx,
		 struct rk_error *err);

/* What a file holds. */
struct rk_ini_text {
	char *data; /* malloc'ed, without a NUL; the caller's */
	size_t len;
	bool is_private; /* not everybody may read the file */
};

/*
 * Read a whole file, where it is to be @trusted only one that rk_trust_open takes. Fails with the
 * errno of open and read (EISDIR for a directory, EFBIG over 1 MiB) or ENOMEM.
 */
int rk_ini_read_file(const char *path, bool trusted, struct rk_ini_text *text,
		     struct rk_error *err);

/*
 * Hide what the sentence in @err, which begins with @name and a line, tells of a file that not
 * everybody may read.
 */
void rk_ini_hide(const struct rk_ini_text *text, const char *name, struct rk_error *err);

#endif
