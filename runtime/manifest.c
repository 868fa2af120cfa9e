/* SPDX-License-Identifier: MIT */
#include "runtime/manifest.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define IDENTIFIER_RULE "a letter or '_', then letters, digits and '_', at most 63 in all"

/*
 * Sections may come in any order, but outputs refer to the dims of inputs, and
 * args to all of them. So the text is read once per stage: every error is then
 * found inside the INI handler and carries its line.
 */
enum stage {
	STAGE_INPUTS,
	STAGE_OUTPUTS,
	STAGE_ARGS,
	STAGE_COUNT,
};

struct builder {
	struct rk_manifest m;
	enum stage stage;
	uint32_t given; /* bit i: keys[i] has been read */
};

static bool is_identifier(const char *s, size_t len)
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

static void copy(char *to, const char *from, size_t len)
{
	memcpy(to, from, len);
	to[len] = '\0';
}

/* Shrink [*s, *s + *len) to what is between its blanks. */
static void trim(const char **s, size_t *len)
{
	while (*len && isspace((unsigned char)**s)) {
		(*s)++;
		(*len)--;
	}
	while (*len && isspace((unsigned char)(*s)[*len - 1]))
		(*len)--;
}

/* The next of the comma-separated words at *@pos, trimmed; NULL past the last. */
static const char *next_word(const char **pos, const char *end, size_t *len)
{
	const char *word = *pos, *comma;

	if (!word)
		return NULL;
	comma = memchr(word, ',', (size_t)(end - word));
	*len = (size_t)((comma ? comma : end) - word);
	*pos = comma ? comma + 1 : NULL;
	trim(&word, len);
	return word;
}

static int find_name(const char *name, size_t len, const void *table, size_t stride,
		     unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		const char *row = (const char *)table + i * stride;

		if (strlen(row) == len && memcmp(row, name, len) == 0)
			return (int)i;
	}
	return -1;
}

static int find_port(const struct rk_port *ports, unsigned int count, const char *name, size_t len)
{
	return find_name(name, len, ports[0].name, sizeof(ports[0]), count);
}

static int find_dim(const struct rk_manifest *m, const char *name, size_t len)
{
	return find_name(name, len, m->dims, sizeof(m->dims[0]), m->ndims);
}

/* [kernel] and [cpu] */

static int read_id(struct rk_manifest *m, const char *value, struct rk_error *err)
{
	size_t domain = id_part(value), name;

	name = domain && value[domain] == '/' ? id_part(value + domain + 1) : 0;
	if (name == 0 || value[domain + 1 + name])
		return rk_error_set(err, EINVAL,
				    "'%s' is no DOMAIN/NAME: each begins with a-z or 0-9, goes on "
				    "with a-z, 0-9, '_' and '-', and has at most %d characters",
				    value, RK_NAME_MAX - 1);
	copy(m->domain, value, domain);
	copy(m->name, value + domain + 1, name);
	copy(m->id, value, domain + 1 + name);
	return 0;
}

static int read_mode(struct rk_manifest *m, const char *value, struct rk_error *err)
{
	if (strcmp(value, "ring") == 0)
		return rk_error_set(err, EINVAL,
				    "this version has no ring kernels yet; use mode = batch");
	if (strcmp(value, "batch") != 0)
		return rk_error_set(err, EINVAL, "'%s' is no mode; use batch", value);
	copy(m->mode, value, strlen(value));
	return 0;
}

static int read_description(struct rk_manifest *m, const char *value, struct rk_error *err)
{
	size_t len = strlen(value);

	if (len >= sizeof(m->description))
		return rk_error_set(err, EINVAL, "longer than %zu bytes",
				    sizeof(m->description) - 1);
	copy(m->description, value, len);
	return 0;
}

static int read_version(struct rk_manifest *m, const char *value, struct rk_error *err)
{
	size_t i, len = strlen(value);

	for (i = 0; i < len; i++)
		if (!isalnum((unsigned char)value[i]) && !strchr("._+~-", value[i]))
			break;
	if (len == 0 || i < len || len >= sizeof(m->version))
		return rk_error_set(err, EINVAL,
				    "'%s' is no version: 1 to %zu letters, digits and . _ + ~ -",
				    value, sizeof(m->version) - 1);
	copy(m->version, value, len);
	return 0;
}

static int read_library(struct rk_manifest *m, const char *value, struct rk_error *err)
{
	size_t len = strlen(value);

	/* The worker's directory and library path are no business of a description. */
	if (strcmp(value, "builtin") != 0 && value[0] != '/')
		return rk_error_set(err, EINVAL,
				    "'%s' is neither builtin nor the absolute path of a "
				    "shared object",
				    value);
	if (len >= sizeof(m->library))
		return rk_error_set(err, EINVAL, "longer than %zu bytes", sizeof(m->library) - 1);
	copy(m->library, value, len);
	return 0;
}

static int read_entry(struct rk_manifest *m, const char *value, struct rk_error *err)
{
	size_t len = strlen(value);

	if (!is_identifier(value, len))
		return rk_error_set(err, EINVAL, "'%s' is no C function's name: " IDENTIFIER_RULE,
				    value);
	copy(m->entry, value, len);
	return 0;
}

/* [inputs] and [outputs] */

/* A name must mean one thing; only an input and an output may share theirs. */
static int check_new_name(const struct rk_manifest *m, const char *name, size_t len,
			  struct rk_error *err)
{
	if (!is_identifier(name, len))
		return rk_error_set(err, EINVAL, "'%.*s' is no name: " IDENTIFIER_RULE, (int)len,
				    name);
	if (find_dim(m, name, len) >= 0)
		return rk_error_set(err, EINVAL, "'%.*s' is the name of a dim already", (int)len,
				    name);
	return 0;
}

static int read_dim(struct rk_manifest *m, const struct rk_port *port, bool is_input,
		    const char *name, size_t len, struct rk_error *err)
{
	int dim = find_dim(m, name, len);

	if (dim >= 0)
		return dim;
	if (!is_identifier(name, len))
		return rk_error_set(err, EINVAL,
				    "'%.*s' is no dimension: write a positive integer or a name "
				    "(" IDENTIFIER_RULE ")",
				    (int)len, name);
	if (!is_input)
		return rk_error_set(err, EINVAL,
				    "no input binds the dim '%.*s', so its size is unknown",
				    (int)len, name);
	if (find_port(m->inputs, m->ninputs, name, len) >= 0 ||
	    find_name(name, len, port->name, sizeof(*port), 1) >= 0)
		return rk_error_set(err, EINVAL, "'%.*s' is the name of an input already", (int)len,
				    name);
	if (m->ndims == RK_MAX_DIMS)
		return rk_error_set(err, EINVAL, "more than %d names of dims", RK_MAX_DIMS);
	copy(m->dims[m->ndims], name, len);
	return (int)m->ndims++;
}

static int read_axis(struct rk_manifest *m, struct rk_port *port, bool is_input, const char *word,
		     size_t len, struct rk_error *err)
{
	struct rk_axis axis = {.dim = -1};
	size_t i;
	int dim;

	if (port->rank == RK_MAX_RANK)
		return rk_error_set(err, EINVAL, "more than %d dimensions", RK_MAX_RANK);
	if (len && isdigit((unsigned char)word[0])) {
		for (i = 0; i < len; i++)
			if (!isdigit((unsigned char)word[i]) ||
			    __builtin_mul_overflow(axis.size, 10, &axis.size) ||
			    __builtin_add_overflow(axis.size, word[i] - '0', &axis.size))
				break;
		if (i < len || axis.size == 0)
			return rk_error_set(err, EINVAL,
					    "the constant dimension '%.*s' is no integer from 1 "
					    "to 2^64 - 1",
					    (int)len, word);
	} else {
		dim = read_dim(m, port, is_input, word, len, err);
		if (dim < 0)
			return dim;
		axis.dim = dim;
	}
	port->axes[port->rank++] = axis;
	return 0;
}

/* "f32[n,4]" into @port, whose name is set. */
static int read_type(struct rk_manifest *m, struct rk_port *port, bool is_input, const char *value,
		     struct rk_error *err)
{
	const char *end = value + strlen(value), *bracket = strchr(value, '['), *word, *pos;
	size_t len = (size_t)((bracket ? bracket : end) - value);
	int rc;

	word = value;
	trim(&word, &len);
	port->dtype = rk_dtype_find(word, len);
	if (port->dtype == RK_DTYPE_COUNT)
		return rk_error_set(err, EINVAL,
				    "'%.*s' is no element type; there are %s, alone or with "
				    "dimensions as in f32[n,4]",
				    (int)len, word, rk_dtype_names());
	if (!bracket)
		return 0;
	if (strchr(bracket, ']') != end - 1)
		return rk_error_set(err, EINVAL,
				    "'%s' does not end in its one ']'; write it as f32[n,4]",
				    value);
	pos = bracket + 1;
	while ((word = next_word(&pos, end - 1, &len))) {
		rc = read_axis(m, port, is_input, word, len, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int read_port(struct rk_manifest *m, bool is_input, const char *key, const char *value,
		     struct rk_error *err)
{
	unsigned int *count = is_input ? &m->ninputs : &m->noutputs;
	struct rk_port *ports = is_input ? m->inputs : m->outputs;
	const char *what = is_input ? "input" : "output";
	struct rk_port port = {0};
	size_t len = strlen(key);
	int rc;

	rc = check_new_name(m, key, len, err);
	if (rc < 0)
		return rc;
	if (find_port(ports, *count, key, len) >= 0)
		return rk_error_set(err, EINVAL, "this %s is described twice", what);
	if (*count == RK_MAX_PORTS)
		return rk_error_set(err, EINVAL, "more than %d %ss", RK_MAX_PORTS, what);
	copy(port.name, key, len);
	rc = read_type(m, &port, is_input, value, err);
	if (rc < 0)
		return rc;
	ports[(*count)++] = port;
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
	int in, out, dim;

	in = out_only ? -1 : find_port(m->inputs, m->ninputs, name, len - skip);
	out = in_only ? -1 : find_port(m->outputs, m->noutputs, name, len - skip);
	dim = skip ? -1 : find_dim(m, name, len);
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
	else if (dim >= 0)
		*param = (struct rk_param){.kind = RK_WIRE_ARG_DIM, .index = (unsigned int)dim};
	else
		return rk_error_set(err, EINVAL,
				    "'%.*s' is no input, no output and no dim of an input",
				    (int)len, word);
	return 0;
}

/* Every port once, or the function gets too few arguments or one twice; dims as often as it likes.
 */
static int check_args(const struct rk_manifest *m, bool is_input, struct rk_error *err)
{
	const struct rk_port *ports = is_input ? m->inputs : m->outputs;
	unsigned int count = is_input ? m->ninputs : m->noutputs, port, i, uses;

	for (port = 0; port < count; port++) {
		for (uses = i = 0; i < m->nparams; i++)
			uses += m->params[i].kind != RK_WIRE_ARG_DIM &&
				m->params[i].index == port &&
				(m->params[i].kind == RK_WIRE_ARG_OUTPUT) != is_input;
		if (uses != 1)
			return rk_error_set(err, EINVAL,
					    "%s '%s' is %s: args names every input and every "
					    "output once",
					    is_input ? "input" : "output", ports[port].name,
					    uses ? "repeated" : "missing");
	}
	return 0;
}

static int read_args(struct rk_manifest *m, const char *value, struct rk_error *err)
{
	const char *pos = value, *end = value + strlen(value), *word;
	size_t len;
	int rc;

	while ((word = next_word(&pos, end, &len))) {
		if (m->nparams == RK_WIRE_ARGS_MAX)
			return rk_error_set(err, EINVAL, "more than %d arguments",
					    RK_WIRE_ARGS_MAX);
		rc = resolve(m, word, len, &m->params[m->nparams], err);
		if (rc < 0)
			return rc;
		m->nparams++;
	}
	rc = check_args(m, true, err);
	return rc < 0 ? rc : check_args(m, false, err);
}

/* The keys with a fixed meaning. Those without a reader are for a backend that is not here yet. */
static const struct key {
	const char *section, *name;
	enum stage stage;
	bool required;
	int (*read)(struct rk_manifest *m, const char *value, struct rk_error *err);
} keys[] = {
	{"kernel", "id", STAGE_INPUTS, true, read_id},
	{"kernel", "mode", STAGE_INPUTS, false, read_mode},
	{"kernel", "description", STAGE_INPUTS, false, read_description},
	{"kernel", "version", STAGE_INPUTS, false, read_version},
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
			    "[cpu] and [cuda]",
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
		rc = keys[i].read(&b->m, value, err);
	if (rc < 0)
		rk_error_prefix(err, "%s", keys[i].name);
	return rc;
}

static int on_pair(void *ctx, const char *section, const char *key, const char *value,
		   struct rk_error *err)
{
	struct builder *b = ctx;
	bool is_input = strcmp(section, "inputs") == 0;
	size_t i;
	int rc = 0;

	if (is_input || strcmp(section, "outputs") == 0) {
		if (b->stage == (is_input ? STAGE_INPUTS : STAGE_OUTPUTS))
			rc = read_port(&b->m, is_input, key, value, err);
		if (rc < 0)
			rk_error_prefix(err, "%s", key);
		return rc;
	}
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

int rk_manifest_parse(struct rk_manifest *m, const char *text, size_t len, const char *name,
		      struct rk_error *err)
{
	struct builder b = {
		.m = {.mode = "batch", .version = "1.0", .library = "builtin"},
	};
	int rc;

	for (b.stage = STAGE_INPUTS; b.stage < STAGE_COUNT; b.stage++) {
		rc = rk_ini_parse(text, len, name, on_pair, &b, err);
		if (rc < 0)
			return rc;
		rc = check_complete(&b, name, err);
		if (rc < 0)
			return rc;
	}
	*m = b.m;
	return 0;
}
