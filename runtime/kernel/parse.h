/* SPDX-License-Identifier: MIT */
/* Descriptions from text. Needs no lock; only rk_manifest_parse_file() blocks. */
#ifndef RK_RUNTIME_KERNEL_PARSE_H
#define RK_RUNTIME_KERNEL_PARSE_H

#include <stddef.h>

#include "runtime/base/error.h"
#include "runtime/kernel/manifest.h"

struct rk_files;

/* parse.c */

/*
 * Parse a description of @len bytes; @name is used in sentences ("NAME:LINE: key: ...").
 * Returns 0 or -EINVAL (malformed line, unknown section or key, missing key, bad
 * id, unknown dtype, dim that no input binds, repeated name, args entry that names
 * nothing, no outputs, ...): the sentence says what is allowed. Or -ENOMEM.
 * As there is no directory to start from, a relative library or module is refused.
 */
int rk_manifest_parse(struct rk_manifest *m, const char *text, size_t len, const char *name,
		      struct rk_error *err);

/*
 * The same for the file @path, read once. A relative library counts from the file's
 * directory, as @path spells it, and is refused where @path itself is relative. Also fails as
 * rk_files_read does, which @files is for (NULL = this process reads).
 */
int rk_manifest_parse_file(struct rk_manifest *m, struct rk_files *files, const char *path,
			   struct rk_error *err);

/* parse_port.c */

/*
 * Add the port that a line describes to @section, as rk_port_print() writes it, @key being what is
 * before the first '='. Returns 0, -EINVAL or -ENOMEM; the sentence is without the key.
 */
int rk_port_parse(struct rk_manifest *m, enum rk_port_section section, const char *key,
		  const char *value, struct rk_error *err);

#endif
