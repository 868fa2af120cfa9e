// SPDX-License-Identifier: MIT
/* Sections [cpu] and [cuda] of a description, as far as they are alike: library, entry, args. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "runtime/kernel/parse_internal.h"
#include "runtime/kernel/words.h"

static bool is_cuda(const struct rk_builder *b, const struct rk_code *code)
{
	return code == &b->m.code[RK_WIRE_CUDA];
}

int rk_manifest_read_library(struct rk_builder *b, struct rk_code *code, const char *value,
			     struct rk_error *err)
{
	const char *what =
		is_cuda(b, code) ? "CUDA module (fatbin, cubin or PTX)" : "shared object";
	bool is_builtin = strcmp(value, "builtin") == 0;
	bool is_relative = !is_builtin && value[0] != '/';
	int n;

	/* The worker's directory and library path are no business of a description. */
	if (value[0] == '\0' || (is_relative && !b->dir))
		return rk_error_set(err, EINVAL, "'%s' is neither builtin nor the %spath of a %s",
				    value, b->dir ? "" : "absolute ", what);
	n = snprintf(code->library, sizeof(code->library), "%.*s%s",
		     is_relative ? (int)b->dir_len : 0, is_relative ? b->dir : "", value);
	if (n < 0 || (size_t)n >= sizeof(code->library))
		return rk_error_set(err, EINVAL, "the path of the %s is longer than %zu bytes",
				    what, sizeof(code->library) - 1);
	return 0;
}

int rk_manifest_read_entry(struct rk_builder *b, struct rk_code *code, const char *value,
			   struct rk_error *err)
{
	size_t len = strlen(value);

	(void)b;
	if (!rk_is_identifier(value, len))
		return rk_error_set(err, EINVAL, "'%s' is no C function's name: " IDENTIFIER_RULE,
				    value);
	rk_copy_text(code->entry, value, len);
	return 0;
}

/* args */

static bool is_state(const struct rk_manifest *m, const char *word, size_t len)
{
	return m->state_bytes && len == strlen("state") && memcmp(word, "state", len) == 0;
}

/* What one word of args names. */
static int resolve(const struct rk_manifest *m, const char *word, size_t len,
		   struct rk_param *param, struct rk_error *err)
{
	bool in_only = len > 3 && memcmp(word, "in.", 3) == 0;
	bool out_only = len > 4 && memcmp(word, "out.", 4) == 0;
	size_t skip = in_only ? 3 : out_only ? 4 : 0;
	const char *name = word + skip;
	int in, out, scratch, dim;

	len -= skip;
	in = out_only ? -1 : rk_find_port(m, RK_SECTION_INPUTS, name, len);
	out = in_only ? -1 : rk_find_port(m, RK_SECTION_OUTPUTS, name, len);
	scratch = skip ? -1 : rk_find_port(m, RK_SECTION_SCRATCH, name, len);
	dim = skip ? -1 : rk_find_dim(m, name, len);
	if (in >= 0 && out >= 0)
		return rk_error_set(err, EINVAL,
				    "'%.*s' is an input and an output: write in.%.*s or out.%.*s",
				    (int)len, word, (int)len, word, (int)len, word);
	if (in >= 0)
		*param = (struct rk_param){.kind = m->inputs[in].rank ? RK_WIRE_ARG_INPUT
								      : RK_WIRE_ARG_SCALAR,
					   .index = (unsigned int)in};
	else if (out >= 0)
		*param = (struct rk_param){.kind = RK_WIRE_ARG_OUTPUT, .index = (unsigned int)out};
	else if (scratch >= 0)
		*param = (struct rk_param){.kind = RK_WIRE_ARG_SCRATCH,
					   .index = (unsigned int)scratch};
	else if (dim >= 0)
		*param = (struct rk_param){.kind = RK_WIRE_ARG_DIM, .index = (unsigned int)dim};
	else if (is_state(m, word, len + skip))
		*param = (struct rk_param){.kind = RK_WIRE_ARG_STATE};
	else
		return rk_error_set(err, EINVAL,
				    "'%.*s' is no input, no output, no scratch and no dim of an "
				    "input",
				    (int)(len + skip), word);
	return 0;
}

int rk_manifest_read_args(struct rk_builder *b, struct rk_code *code, const char *value,
			  struct rk_error *err)
{
	const char *pos = value, *end = value + strlen(value), *word;
	size_t len;
	int rc;

	while ((word = rk_next_word(&pos, end, ',', &len))) {
		if (code->nparams == RK_WIRE_ARGS_MAX)
			return rk_error_set(err, EINVAL, "more than %d arguments",
					    RK_WIRE_ARGS_MAX);
		rc = resolve(&b->m, word, len, &code->params[code->nparams], err);
		if (rc < 0)
			return rc;
		code->nparams++;
	}
	return 0;
}

static unsigned int count_port(const struct rk_code *code, enum rk_port_section section,
			       unsigned int port)
{
	unsigned int i, uses = 0;

	for (i = 0; i < code->nparams; i++)
		uses += rk_param_section(&code->params[i]) == section &&
			code->params[i].index == port;
	return uses;
}

static unsigned int count_state(const struct rk_code *code)
{
	unsigned int i, uses = 0;

	for (i = 0; i < code->nparams; i++)
		uses += code->params[i].kind == RK_WIRE_ARG_STATE;
	return uses;
}

/* What one backend's code needs to work with, the other's may do without. */
static int check_private(unsigned int uses, unsigned int others, const char *what, const char *name,
			 struct rk_error *err)
{
	if (uses > 1)
		return rk_error_set(err, EINVAL, "%s'%s' is repeated: args names it once", what,
				    name);
	if (uses + others == 0)
		return rk_error_set(err, EINVAL, "%s'%s' is missing: no args names it", what, name);
	return 0;
}

/* Every port once, or the function gets too few arguments or one twice; dims as often as it likes.
 */
int rk_manifest_check_args(struct rk_builder *b, struct rk_code *code, const char *value,
			   struct rk_error *err)
{
	const struct rk_code *other = &b->m.code[is_cuda(b, code) ? RK_WIRE_CPU : RK_WIRE_CUDA];
	enum rk_port_section section;
	unsigned int port, uses;
	int rc;

	(void)value;
	for (section = 0; section < RK_SECTION_SCRATCH; section++) {
		for (port = 0; port < b->m.nports[section]; port++) {
			uses = count_port(code, section, port);
			if (uses != 1)
				return rk_error_set(
					err, EINVAL,
					"%s '%s' is %s: args names every input and output once",
					rk_port_sections[section].what,
					b->m.ports[section][port].name,
					uses ? "repeated" : "missing");
		}
	}
	for (port = 0; port < b->m.nscratch; port++) {
		rc = check_private(count_port(code, RK_SECTION_SCRATCH, port),
				   count_port(other, RK_SECTION_SCRATCH, port), "scratch ",
				   b->m.scratch[port].name, err);
		if (rc < 0)
			return rc;
	}
	if (b->m.state_bytes == 0)
		return 0;
	return check_private(count_state(code), count_state(other), "", "state", err);
}
