/* SPDX-License-Identifier: MIT */
/* What parse.c, the roof, calls in the other files of the parser. */
#ifndef RK_RUNTIME_KERNEL_PARSE_INTERNAL_H
#define RK_RUNTIME_KERNEL_PARSE_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/error.h"
#include "runtime/kernel/manifest.h"

/*
 * words.c: words and names in the values of a description. Nothing here fails, locks or allocates.
 */

#define IDENTIFIER_RULE "a letter or '_', then letters, digits and '_', at most 63 in all"

bool rk_is_identifier(const char *s, size_t len);

/* Copy @len bytes and a NUL. */
void rk_copy_text(char *to, const char *from, size_t len);

/* Shrink [*s, *s + *len) to what is between its blanks. */
void rk_trim(const char **s, size_t *len);

/* The next of the words at *@pos, which @sep separates, trimmed; NULL past the last. */
const char *rk_next_word(const char **pos, const char *end, char sep, size_t *len);

/* parse.c and those below it */

/*
 * Sections may come in any order, but outputs refer to the dims of inputs, and
 * args and grid to all of them. So the text is read once per stage: every error is then
 * found inside the INI handler and carries its line.
 */
enum rk_manifest_stage {
	RK_STAGE_INPUTS,
	RK_STAGE_OUTPUTS, /* and scratch */
	RK_STAGE_ARGS,	  /* and all else that names ports or dims */
	RK_STAGE_CHECK,	  /* whether keys agree with each other */
	RK_STAGE_COUNT,
};

struct rk_builder {
	struct rk_manifest m;
	const char *dir; /* of the description, dir_len bytes; NULL = it is in no file */
	size_t dir_len;
	enum rk_manifest_stage stage;
	enum rk_wire_backend backend; /* in whose section the key is; _COUNT = in another */
	uint32_t given;		      /* bit i: keys[i] has been read */
};

/*
 * Read or check the value of a key, in the stage that the table of keys says. 0 or -EINVAL; the
 * sentence is without the key.
 */
typedef int rk_manifest_reader(struct rk_builder *b, const char *value, struct rk_error *err);

/* parse_port.c */

/*
 * The axis that a word describes, into *@axis, which is zero. @input is the input that it is an
 * axis of, whose new names are new dims; NULL = of none. The sentence is as above.
 */
int rk_axis_parse(struct rk_manifest *m, const struct rk_port *input, struct rk_axis *axis,
		  const char *word, size_t len, struct rk_error *err);

/* Once all inputs are read: whether some input binds every dim of the one called @key. */
int rk_port_check_bound(const struct rk_manifest *m, const char *key, struct rk_error *err);

/* parse_code.c: keys of every backend */
rk_manifest_reader rk_manifest_read_library, rk_manifest_read_entry;
rk_manifest_reader rk_manifest_read_args, rk_manifest_check_args;

/* parse_launch.c: keys of backends that launch, and batchable of [kernel] */
rk_manifest_reader rk_manifest_read_grid, rk_manifest_read_block, rk_manifest_read_shared;
rk_manifest_reader rk_manifest_read_cooperative;
/* Of keys that a resident kernel, which is one block, has no use for. */
rk_manifest_reader rk_manifest_check_batch;
rk_manifest_reader rk_manifest_read_batchable, rk_manifest_check_batchable;

/* The blocks, or their axes, that were not given; everything else is read. */
void rk_manifest_default_block(struct rk_manifest *m);

#endif
