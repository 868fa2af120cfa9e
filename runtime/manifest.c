/* SPDX-License-Identifier: MIT */
#include "runtime/manifest.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/config_value.h"
#include "runtime/manifest_internal.h"

/*
 * Sections may come in any order, but outputs refer to the dims of inputs, and
 * args to all of them. So the text is read once per stage: every error is then
 * found inside the INI handler and carries its line.
 */
enum stage {
	STAGE_INPUTS,
	STAGE_OUTPUTS, /* and scratch */
	STAGE_ARGS,
	STAGE_COUNT,
};

struct builder {
	struct rk_manifest m;
	const char *dir; /* of the description, dir_len bytes; NULL = it is in no file */
	size_t dir_len;
	enum stage stage;
	uint32_t given; /* bit i: keys[i] has been read */
};

bool rk_is_identifier(const char *s, size_t len)
{
	size_t i;

	if (len == 0 || len >= RK_NAME_MAX || isdigit((unsigned char)s[0]))
		return false;
	for (i = 0; i < len; i++)
		if (!isalnum((unsigned char)s[i]) && s[i] != '_')
			return false;
	return true;
}

/* The longest prefix of @s that is a name as domains and kernels have it. */
static size_t id_part(const char *s)
{
	size_t len = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_-");

	return s[0] == '_' || s[0] == '-' || len >= RK_NAME_MAX ? 0 : len;
}

void rk_copy_text(char *to, const char *from, size_t len)
{
	memcpy(to, from, len);
	to[len] = '\0';
}

void rk_trim(const char **s, size_t *len)
{
	while (*len && isspace((unsigned char)**s)) {
		(*s)++;
		(*len)--;
	}
	while (*len && isspace((unsigned char)(*s)[*len - 1]))
		(*len)--;
}

const char *rk_next_word(const char **pos, const char *end, char sep, size_t *len)
{
	const char *word = *pos, *stop;

	if (!word)
		return NULL;
	stop = memchr(word, sep, (size_t)(end - word));
	*len = (size_t)((stop ? stop : end) - word);
	*pos = stop ? stop + 1 : NULL;
	rk_trim(&word, len);
	return word;
}

/* [kernel] and [cpu] */

static int read_id(struct builder *b, const char *value, struct rk_error *err)
{
	struct rk_manifest *m = &b->m;
	size_t domain = id_part(value), name;

	name = domain && value[domain] == '/' ? id_part(value + domain + 1) : 0;
	if (name == 0 || value[domain + 1 + name])
		return rk_error_set(err, EINVAL,
				    "'%s' is no DOMAIN/NAME: each begins with a-z or 0-9, goes on "
				    "with a-z, 0-9, '_' and '-', and has at most %d characters",
				    value, RK_NAME_MAX - 1);
	rk_copy_text(m->domain, value, domain);
	rk_copy_text(m->name, value + domain + 1, name);
	rk_copy_text(m->id, value, domain + 1 + name);
	return 0;
}

static int read_mode(struct builder *b, const char *value, struct rk_error *err)
{
	struct rk_manifest *m = &b->m;
	if (strcmp(value, "ring") == 0)
		return rk_error_set(err, EINVAL,
				    "this version has no ring kernels yet; use mode = batch");
	if (strcmp(value, "batch") != 0)
		return rk_error_set(err, EINVAL, "'%s' is no mode; use batch", value);
	rk_copy_text(m->mode, value, strlen(value));
	return 0;
}

static int read_description(struct builder *b, const char *value, struct rk_error *err)
{
	struct rk_manifest *m = &b->m;
	size_t len = strlen(value);

	if (len >= sizeof(m->description))
		return rk_error_set(err, EINVAL, "longer than %zu bytes",
				    sizeof(m->description) - 1);
	rk_copy_text(m->description, value, len);
	return 0;
}

static int read_version(struct builder *b, const char *value, struct rk_error *err)
{
	struct rk_manifest *m = &b->m;
	size_t i, len = strlen(value);

	for (i = 0; i < len; i++)
		if (!isalnum((unsigned char)value[i]) && !strchr("._+~-", value[i]))
			break;
	if (len == 0 || i < len || len >= sizeof(m->version))
		return rk_error_set(err, EINVAL,
				    "'%s' is no version: 1 to %zu letters, digits and . _ + ~ -",
				    value, sizeof(m->version) - 1);
	rk_copy_text(m->version, value, len);
	return 0;
}

/* A setting of the configuration that a description sets for its kernel alone. */
static int read_setting(const char *field_name, size_t offset, struct builder *b, const char *value,
			struct rk_error *err)
{
	const struct rk_config_field *field = rk_config_find(field_name);
	struct rk_config config;
	int rc;

	rc = rk_config_value_parse(&config, field, value, err);
	if (rc == 0)
		memcpy((char *)&b->m + offset, (char *)&config + field->offset, sizeof(uint64_t));
	return rc;
}

static int read_timeout(struct builder *b, const char *value, struct rk_error *err)
{
	return read_setting("message_timeout", offsetof(struct rk_manifest, timeout_ms), b, value,
			    err);
}

static int read_max_queue_depth(struct builder *b, const char *value, struct rk_error *err)
{
	return read_setting("max_queue_depth", offsetof(struct rk_manifest, max_queue_depth), b,
			    value, err);
}

static int read_library(struct builder *b, const char *value, struct rk_error *err)
{
	bool is_builtin = strcmp(value, "builtin") == 0;
	bool is_relative = !is_builtin && value[0] != '/';
	int n;

	/* The worker's directory and library path are no business of a description. */
	if (value[0] == '\0' || (is_relative && !b->dir))
		return rk_error_set(err, EINVAL,
				    "'%s' is neither builtin nor the %spath of a shared object",
				    value, b->dir ? "" : "absolute ");
	n = snprintf(b->m.library, sizeof(b->m.library), "%.*s%s",
		     is_relative ? (int)b->dir_len : 0, is_relative ? b->dir : "", value);
	if (n < 0 || (size_t)n >= sizeof(b->m.library))
		return rk_error_set(err, EINVAL, "the path of the library is longer than %zu bytes",
				    sizeof(b->m.library) - 1);
	return 0;
}

static int read_entry(struct builder *b, const char *value, struct rk_error *err)
{
	struct rk_manifest *m = &b->m;
	size_t len = strlen(value);

	if (!rk_is_identifier(value, len))
		return rk_error_set(err, EINVAL, "'%s' is no C function's name: " IDENTIFIER_RULE,
				    value);
	rk_copy_text(m->entry, value, len);
	return 0;
}

/* args */

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
	else
		return rk_error_set(err, EINVAL,
				    "'%.*s' is no input, no output, no scratch and no dim of an "
				    "input",
				    (int)(len + skip), word);
	return 0;
}

/* The section whose ports a parameter of @kind names; RK_SECTION_COUNT = none. */
static enum rk_port_section section_of(enum rk_wire_arg_kind kind)
{
	switch (kind) {
	case RK_WIRE_ARG_INPUT:
	case RK_WIRE_ARG_SCALAR:
		return RK_SECTION_INPUTS;
	case RK_WIRE_ARG_OUTPUT:
		return RK_SECTION_OUTPUTS;
	case RK_WIRE_ARG_SCRATCH:
		return RK_SECTION_SCRATCH;
	case RK_WIRE_ARG_DIM:
		break;
	}
	return RK_SECTION_COUNT;
}

/* Every port once, or the function gets too few arguments or one twice; dims as often as it likes.
 */
static int check_args(struct rk_manifest *m, struct rk_error *err)
{
	enum rk_port_section section;
	unsigned int *count, port, i, uses;
	const struct rk_port *ports;

	for (section = 0; section < RK_SECTION_COUNT; section++) {
		ports = rk_section_ports(m, section, &count);
		for (port = 0; port < *count; port++) {
			for (uses = i = 0; i < m->nparams; i++)
				uses += section_of(m->params[i].kind) == section &&
					m->params[i].index == port;
			if (uses == 1)
				continue;
			return rk_error_set(err, EINVAL,
					    "%s '%s' is %s: args names every input, output and "
					    "scratch once",
					    rk_port_sections[section].what, ports[port].name,
					    uses ? "repeated" : "missing");
		}
	}
	return 0;
}

static int read_args(struct builder *b, const char *value, struct rk_error *err)
{
	struct rk_manifest *m = &b->m;
	const char *pos = value, *end = value + strlen(value), *word;
	size_t len;
	int rc;

	while ((word = rk_next_word(&pos, end, ',', &len))) {
		if (m->nparams == RK_WIRE_ARGS_MAX)
			return rk_error_set(err, EINVAL, "more than %d arguments",
					    RK_WIRE_ARGS_MAX);
		rc = resolve(m, word, len, &m->params[m->nparams], err);
		if (rc < 0)
			return rc;
		m->nparams++;
	}
	return check_args(m, err);
}

/* The keys with a fixed meaning. Those without a reader are for a backend that is not here yet. */
static const struct key {
	const char *section, *name;
	enum stage stage;
	bool required;
	int (*read)(struct builder *b, const char *value, struct rk_error *err);
} keys[] = {
	{"kernel", "id", STAGE_INPUTS, true, read_id},
	{"kernel", "mode", STAGE_INPUTS, false, read_mode},
	{"kernel", "description", STAGE_INPUTS, false, read_description},
	{"kernel", "version", STAGE_INPUTS, false, read_version},
	{"kernel", "timeout", STAGE_INPUTS, false, read_timeout},
	{"kernel", "max_queue_depth", STAGE_INPUTS, false, read_max_queue_depth},
	{"cpu", "library", STAGE_INPUTS, false, read_library},
	{"cpu", "entry", STAGE_INPUTS, true, read_entry},
	{"cpu", "args", STAGE_ARGS, true, read_args},
	{"cuda", "module", STAGE_INPUTS, false, NULL},
	{"cuda", "entry", STAGE_INPUTS, false, NULL},
	{"cuda", "args", STAGE_INPUTS, false, NULL},
	{"cuda", "grid", STAGE_INPUTS, false, NULL},
	{"cuda", "block", STAGE_INPUTS, false, NULL},
};

#define NKEYS (sizeof(keys) / sizeof(keys[0]))

static int unknown_key(const char *section, const char *key, struct rk_error *err)
{
	char names[128] = "";
	size_t i, len = 0;

	for (i = 0; i < NKEYS; i++)
		if (strcmp(keys[i].section, section) == 0)
			len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s",
						len ? ", " : "", keys[i].name);
	if (len)
		return rk_error_set(err, EINVAL, "%s: unknown key; [%s] has %s", key, section,
				    names);
	if (section[0] == '\0')
		return rk_error_set(err, EINVAL,
				    "%s: this line is in no section; begin with [kernel]", key);
	return rk_error_set(err, EINVAL,
			    "%s: unknown section [%s]; there are [kernel], [inputs], [outputs], "
			    "[scratch], [cpu] and [cuda]",
			    key, section);
}

static int read_key(struct builder *b, size_t i, const char *value, struct rk_error *err)
{
	int rc = 0;

	if (keys[i].stage != b->stage)
		return 0;
	if (b->given & 1u << i)
		return rk_error_set(err, EINVAL, "%s: this key is given twice", keys[i].name);
	b->given |= 1u << i;
	if (keys[i].read)
		rc = keys[i].read(b, value, err);
	if (rc < 0)
		rk_error_prefix(err, "%s", keys[i].name);
	return rc;
}

static int on_port(struct builder *b, enum rk_port_section section, const char *key,
		   const char *value, struct rk_error *err)
{
	bool is_input = section == RK_SECTION_INPUTS;
	int rc = 0;

	if (b->stage == (is_input ? STAGE_INPUTS : STAGE_OUTPUTS))
		rc = rk_manifest_read_port(&b->m, section, key, value, err);
	else if (is_input && b->stage == STAGE_OUTPUTS)
		rc = rk_manifest_check_bound(&b->m, key, err);
	if (rc < 0)
		rk_error_prefix(err, "%s", key);
	return rc;
}

static int on_pair(void *ctx, const char *section, const char *key, const char *value,
		   struct rk_error *err)
{
	struct builder *b = ctx;
	size_t i;

	for (i = 0; i < RK_SECTION_COUNT; i++)
		if (strcmp(section, rk_port_sections[i].section) == 0)
			return on_port(b, (enum rk_port_section)i, key, value, err);
	for (i = 0; i < NKEYS; i++)
		if (strcmp(keys[i].section, section) == 0 && strcmp(keys[i].name, key) == 0)
			return read_key(b, i, value, err);
	return unknown_key(section, key, err);
}

/* What should have been read by now. What is wrong in a line is said first, as it may be why. */
static int check_complete(const struct builder *b, const char *name, struct rk_error *err)
{
	size_t i;

	if (b->stage < STAGE_OUTPUTS)
		return 0;
	for (i = 0; i < NKEYS; i++)
		if (keys[i].required && keys[i].stage <= b->stage && !(b->given & 1u << i))
			return rk_error_set(err, EINVAL, "%s: %s is missing in [%s]", name,
					    keys[i].name, keys[i].section);
	if (b->stage == STAGE_OUTPUTS && b->m.noutputs == 0)
		return rk_error_set(err, EINVAL,
				    "%s: [outputs] is missing or empty; a kernel answers with at "
				    "least one output",
				    name);
	return 0;
}

static int parse(struct rk_manifest *m, const char *text, size_t len, const char *name,
		 const char *dir, size_t dir_len, struct rk_error *err)
{
	struct builder b;
	int rc;

	memset(&b, 0, sizeof(b)); /* padding too: rk_manifest_equal compares bytes */
	strcpy(b.m.mode, "batch");
	strcpy(b.m.version, "1.0");
	strcpy(b.m.library, "builtin");
	b.dir = dir;
	b.dir_len = dir_len;
	for (b.stage = STAGE_INPUTS; b.stage < STAGE_COUNT; b.stage++) {
		rc = rk_ini_parse(text, len, name, on_pair, &b, err);
		if (rc < 0)
			return rc;
		rc = check_complete(&b, name, err);
		if (rc < 0)
			return rc;
	}
	memcpy(m, &b.m, sizeof(*m));
	return 0;
}

int rk_manifest_parse(struct rk_manifest *m, const char *text, size_t len, const char *name,
		      struct rk_error *err)
{
	return parse(m, text, len, name, NULL, 0, err);
}

int rk_manifest_parse_file(struct rk_manifest *m, const char *path, struct rk_error *err)
{
	const char *dir = path[0] == '/' ? path : NULL;
	size_t dir_len = dir ? (size_t)(strrchr(path, '/') + 1 - path) : 0, len;
	char *text;
	int rc;

	rc = rk_ini_read_file(path, &text, &len, err);
	if (rc < 0)
		return rc;
	rc = parse(m, text, len, path, dir, dir_len, err);
	free(text);
	return rc;
}

bool rk_manifest_equal(const struct rk_manifest *a, const struct rk_manifest *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}
