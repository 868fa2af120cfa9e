/* SPDX-License-Identifier: MIT */
/* Sections of the backends, as far as they are alike: library, entry, args. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "runtime/kernel/parse_internal.h"

/* The code that the section being read describes. */
static struct rk_code *code_of(struct rk_builder *b)
{
	return &b->m.code[b->backend];
}

int rk_manifest_read_library(struct rk_builder *b, const char *value, struct rk_error *err)
{
	const char *what = rk_backends[b->backend].what;
	struct rk_code *code = code_of(b);
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

int rk_manifest_read_entry(struct rk_builder *b, const char *value, struct rk_error *err)
{
	size_t len = strlen(value);

	if (!rk_is_identifier(value, len))
		return rk_error_set(err, EINVAL, "'%s' is no C function's name: " IDENTIFIER_RULE,
				    value);
	rk_copy_text(code_of(b)->entry, value, len);
	return 0;
}

/* args */

static bool is_state(const struct rk_manifest *m, const char *word, size_t len)
{
	return m->state_bytes && len == strlen("state") && memcmp(word, "state", len) == 0;
}

/* The parameter that port @index of a section is. */
static struct rk_param port_param(const struct rk_manifest *m, enum rk_port_section section,
				  unsigned int index)
{
	static const enum rk_wire_arg_kind kinds[RK_SECTION_COUNT] = {
		[RK_SECTION_INPUTS] = RK_WIRE_ARG_INPUT,
		[RK_SECTION_OUTPUTS] = RK_WIRE_ARG_OUTPUT,
		[RK_SECTION_SCRATCH] = RK_WIRE_ARG_SCRATCH,
	};
	bool is_scalar = section == RK_SECTION_INPUTS && m->inputs[index].rank == 0;

	return (struct rk_param){.kind = is_scalar ? RK_WIRE_ARG_SCALAR : kinds[section],
				 .index = index};
}

/* What one word of args names. */
static int resolve(const struct rk_manifest *m, const char *word, size_t len,
		   struct rk_param *param, struct rk_error *err)
{
	bool in_only = len > 3 && memcmp(word, "in.", 3) == 0;
	bool out_only = len > 4 && memcmp(word, "out.", 4) == 0;
	size_t skip = in_only ? 3 : out_only ? 4 : 0;
	const char *name = word + skip;
	int ports[RK_SECTION_COUNT], dim;
	enum rk_port_section section;

	len -= skip;
	ports[RK_SECTION_INPUTS] = out_only ? -1 : rk_find_port(m, RK_SECTION_INPUTS, name, len);
	ports[RK_SECTION_OUTPUTS] = in_only ? -1 : rk_find_port(m, RK_SECTION_OUTPUTS, name, len);
	ports[RK_SECTION_SCRATCH] = skip ? -1 : rk_find_port(m, RK_SECTION_SCRATCH, name, len);
	dim = skip ? -1 : rk_find_dim(m, name, len);
	if (ports[RK_SECTION_INPUTS] >= 0 && ports[RK_SECTION_OUTPUTS] >= 0)
		return rk_error_set(err, EINVAL,
				    "'%.*s' is an input and an output: write in.%.*s or out.%.*s",
				    (int)len, word, (int)len, word, (int)len, word);
	for (section = 0; section < RK_SECTION_COUNT; section++)
		if (ports[section] >= 0) {
			*param = port_param(m, section, (unsigned int)ports[section]);
			return 0;
		}
	if (dim >= 0)
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

int rk_manifest_read_args(struct rk_builder *b, const char *value, struct rk_error *err)
{
	const char *pos = value, *end = value + strlen(value), *word;
	struct rk_code *code = code_of(b);
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

/* How often args names @param. */
static unsigned int count(const struct rk_code *code, struct rk_param param)
{
	unsigned int i, uses = 0;

	for (i = 0; i < code->nparams; i++)
		uses += code->params[i].kind == param.kind && code->params[i].index == param.index;
	return uses;
}

/* What one backend's code needs to work with, another's may do without. */
static int check_private(struct rk_builder *b, struct rk_param param, const char *what,
			 const char *name, struct rk_error *err)
{
	enum rk_wire_backend backend;
	unsigned int all = 0;

	if (count(code_of(b), param) > 1)
		return rk_error_set(err, EINVAL, "%s'%s' is repeated: args names it once", what,
				    name);
	for (backend = 0; backend < RK_WIRE_BACKEND_COUNT; backend++)
		all += count(&b->m.code[backend], param);
	if (all == 0)
		return rk_error_set(err, EINVAL, "%s'%s' is missing: no args names it", what, name);
	return 0;
}

/* Every port once, or the function gets too few arguments or one twice; dims as often as it likes.
 */
int rk_manifest_check_args(struct rk_builder *b, const char *value, struct rk_error *err)
{
	const struct rk_manifest *m = &b->m;
	enum rk_port_section section;
	unsigned int port, uses;
	int rc;

	(void)value;
	for (section = 0; section < RK_SECTION_SCRATCH; section++)
		for (port = 0; port < m->nports[section]; port++) {
			uses = count(code_of(b), port_param(m, section, port));
			if (uses != 1)
				return rk_error_set(
					err, EINVAL,
					"%s '%s' is %s: args names every input and output once",
					rk_port_sections[section].what,
					m->ports[section][port].name,
					uses ? "repeated" : "missing");
		}
	for (port = 0; port < m->nscratch; port++) {
		rc = check_private(b, port_param(m, RK_SECTION_SCRATCH, port), "scratch ",
				   m->scratch[port].name, err);
		if (rc < 0)
			return rc;
	}
	if (m->state_bytes == 0)
		return 0;
	return check_private(b, (struct rk_param){.kind = RK_WIRE_ARG_STATE}, "", "state", err);
}
