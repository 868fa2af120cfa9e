/* SPDX-License-Identifier: MIT */
/* Inputs, outputs and scratch of a description: names, types, axes, defaults. */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "runtime/base/json_number.h"
#include "runtime/kernel/parse.h"
#include "runtime/kernel/parse_internal.h"

/* A name must mean one thing; only an input and an output may share theirs. */
static int check_new_name(const struct rk_manifest *m, enum rk_port_section section,
			  const char *name, size_t len, struct rk_error *err)
{
	enum rk_port_section other;

	if (!rk_is_identifier(name, len))
		return rk_error_set(err, EINVAL, "'%.*s' is no name: " IDENTIFIER_RULE, (int)len,
				    name);
	if (strcmp(name, "__metadata__") == 0)
		return rk_error_set(err, EINVAL, "safetensors keeps this name for itself");
	if (rk_find_dim(m, name, len) >= 0)
		return rk_error_set(err, EINVAL, "'%.*s' is the name of a dim already", (int)len,
				    name);
	for (other = 0; other < RK_SECTION_COUNT; other++) {
		if (rk_find_port(m, other, name, len) < 0)
			continue;
		if (other == section)
			return rk_error_set(err, EINVAL, "this %s is described twice",
					    rk_port_sections[section].what);
		if (other == RK_SECTION_SCRATCH || section == RK_SECTION_SCRATCH)
			return rk_error_set(
				err, EINVAL, "'%.*s' is the name of an %s already", (int)len, name,
				other == RK_SECTION_SCRATCH ? "entry of [scratch]"
							    : rk_port_sections[other].what);
	}
	return 0;
}

/* Axes */

static int read_constant(const char *word, size_t len, uint64_t *value, struct rk_error *err)
{
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < len; i++)
		if (!isdigit((unsigned char)word[i]) || __builtin_mul_overflow(sum, 10, &sum) ||
		    __builtin_add_overflow(sum, (uint64_t)(word[i] - '0'), &sum))
			break;
	if (i < len || sum == 0 || sum > INT64_MAX)
		return rk_error_set(err, EINVAL,
				    "the constant '%.*s' is no integer from 1 to 2^63 - 1",
				    (int)len, word);
	*value = sum;
	return 0;
}

/* The dim called @name; in an input (@input, else NULL) a new name is a new dim. */
static int read_dim(struct rk_manifest *m, const struct rk_port *input, const char *name,
		    size_t len, struct rk_error *err)
{
	int dim = rk_find_dim(m, name, len);

	if (dim >= 0)
		return dim;
	if (!rk_is_identifier(name, len))
		return rk_error_set(err, EINVAL,
				    "'%.*s' is no dimension: write a positive integer, a name "
				    "(" IDENTIFIER_RULE "), or an expression like 2*n*m+1",
				    (int)len, name);
	if (!input)
		return rk_error_set(err, EINVAL,
				    "no input binds the dim '%.*s', so its size is unknown",
				    (int)len, name);
	if (rk_find_port(m, RK_SECTION_INPUTS, name, len) >= 0 ||
	    (strlen(input->name) == len && memcmp(input->name, name, len) == 0))
		return rk_error_set(err, EINVAL, "'%.*s' is the name of an input already", (int)len,
				    name);
	if (m->ndims == RK_MAX_DIMS)
		return rk_error_set(err, EINVAL, "more than %d names of dims", RK_MAX_DIMS);
	rk_copy_text(m->dims[m->ndims], name, len);
	return (int)m->ndims++;
}

static int read_factor(struct rk_manifest *m, const struct rk_port *input, struct rk_axis *axis,
		       const char *word, size_t len, struct rk_error *err)
{
	uint64_t constant;
	int rc;

	if (len && isdigit((unsigned char)word[0])) {
		rc = read_constant(word, len, &constant, err);
		if (rc < 0)
			return rc;
		if (__builtin_mul_overflow(axis->factor, constant, &axis->factor) ||
		    axis->factor > INT64_MAX)
			return rk_error_set(err, EINVAL,
					    "the product of the constants exceeds 2^63 - 1");
		return 0;
	}
	rc = read_dim(m, input, word, len, err);
	if (rc < 0)
		return rc;
	if (axis->ndims == RK_MAX_FACTORS)
		return rk_error_set(err, EINVAL, "more than %d names in one dimension",
				    RK_MAX_FACTORS);
	axis->dims[axis->ndims++] = (uint8_t)rc;
	return 0;
}

/* Where the sum in [@word, @word + @len) has its sign, or the end. */
static const char *find_sign(const char *word, size_t len)
{
	while (len && *word != '+' && *word != '-') {
		word++;
		len--;
	}
	return word;
}

/* "+ 1" at @sign into @axis. */
static int read_addend(struct rk_axis *axis, const char *sign, const char *end,
		       struct rk_error *err)
{
	const char *word = sign + 1;
	size_t len = (size_t)(end - word);
	uint64_t constant;
	int rc;

	rk_trim(&word, &len);
	rc = read_constant(word, len, &constant, err);
	if (rc < 0)
		return rc;
	axis->addend = *sign == '-' ? -(int64_t)constant : (int64_t)constant;
	if (axis->ndims)
		return 0;
	/* both at most 2^63 - 1 */
	axis->factor += (uint64_t)axis->addend;
	axis->addend = 0;
	if (axis->factor == 0 || axis->factor > INT64_MAX)
		return rk_error_set(err, EINVAL, "a constant dimension is from 1 to 2^63 - 1");
	return 0;
}

int rk_axis_parse(struct rk_manifest *m, const struct rk_port *input, struct rk_axis *axis,
		  const char *word, size_t len, struct rk_error *err)
{
	const char *end = word + len, *sign = find_sign(word, len), *pos = word, *factor;
	size_t factor_len;
	int rc;

	if (sign == word) /* nothing to add to; also the empty word: no name, and refused as one */
		return read_dim(m, input, word, len, err);
	axis->factor = 1;
	while ((factor = rk_next_word(&pos, sign, '*', &factor_len))) {
		rc = read_factor(m, input, axis, factor, factor_len, err);
		if (rc < 0)
			return rc;
	}
	if (sign < end) {
		rc = read_addend(axis, sign, end, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Whether a size of this axis alone tells the size of its dim. */
static bool binds(const struct rk_axis *axis, uint8_t dim)
{
	return axis->ndims == 1 && axis->factor == 1 && axis->dims[0] == dim;
}

static bool is_bound(const struct rk_manifest *m, uint8_t dim)
{
	unsigned int port, axis;

	for (port = 0; port < m->ninputs; port++)
		for (axis = 0; axis < m->inputs[port].rank; axis++)
			if (binds(&m->inputs[port].axes[axis], dim))
				return true;
	return false;
}

int rk_port_check_bound(const struct rk_manifest *m, const char *key, struct rk_error *err)
{
	int index = rk_find_port(m, RK_SECTION_INPUTS, key, strlen(key));
	const struct rk_port *port = &m->inputs[index];
	unsigned int i;

	for (i = 0; i < port->rank; i++)
		for (unsigned int k = 0; k < port->axes[i].ndims; k++) {
			const char *name = m->dims[port->axes[i].dims[k]];

			if (!is_bound(m, port->axes[i].dims[k]))
				return rk_error_set(err, EINVAL,
						    "nothing tells the size of the dim '%s': give "
						    "some input an axis %s, %s+1 or %s-1 (any "
						    "constant)",
						    name, name, name, name);
		}
	return 0;
}

/* Types and defaults */

/* By the rules for numbers in a JSON request. */
static int read_default(struct rk_port *port, const char *text, size_t len, struct rk_error *err)
{
	const char *type = rk_dtype_info(port->dtype)->name;
	struct rk_json_token token;
	char copy[RK_DEFAULT_MAX]; /* its NUL ends a number */
	int rc;

	if (len == 0 || len >= RK_DEFAULT_MAX)
		return rk_error_set(err, EINVAL, "a default has 1 to %d characters",
				    RK_DEFAULT_MAX - 1);
	rk_copy_text(copy, text, len);
	if (rk_json_check(copy, len, NULL, NULL) < 0)
		return rk_error_set(err, EINVAL,
				    "'%.*s' is no default for %s; write it as in a JSON request",
				    (int)len, text, type);
	(void)rk_json_next(copy, copy + len, &token);
	rc = rk_json_number_store(&token, port->dtype, port->default_value, err);
	if (rc < 0) {
		rk_error_prefix(err, "the default");
		return rc;
	}
	rk_copy_text(port->default_text, text, len);
	return 0;
}

static int read_axes(struct rk_manifest *m, struct rk_port *port, bool is_input, const char *type,
		     size_t len, struct rk_error *err)
{
	const char *bracket = memchr(type, '[', len), *end = type + len, *pos, *word;
	int rc;

	if (!bracket)
		return 0;
	if (memchr(bracket, ']', (size_t)(end - bracket)) != end - 1)
		return rk_error_set(err, EINVAL,
				    "'%.*s' does not end in its one ']'; write it as f32[n,4]",
				    (int)len, type);
	pos = bracket + 1;
	while ((word = rk_next_word(&pos, end - 1, ',', &len))) {
		if (port->rank == RK_MAX_RANK)
			return rk_error_set(err, EINVAL, "more than %d dimensions", RK_MAX_RANK);
		rc = rk_axis_parse(m, is_input ? port : NULL, &port->axes[port->rank], word, len,
				   err);
		if (rc < 0)
			return rc;
		port->rank++;
	}
	return 0;
}

/* "f32[n,4]" or "f64 = 0.5" into @port, whose name is set. */
static int read_type(struct rk_manifest *m, struct rk_port *port, bool is_input, const char *value,
		     struct rk_error *err)
{
	const char *equals = strchr(value, '='), *type = value, *bracket, *word;
	size_t len = equals ? (size_t)(equals - value) : strlen(value), word_len;
	int rc;

	rk_trim(&type, &len);
	word = type;
	bracket = memchr(type, '[', len);
	word_len = bracket ? (size_t)(bracket - type) : len;
	rk_trim(&word, &word_len);
	port->dtype = rk_dtype_find(word, word_len);
	if (port->dtype == RK_DTYPE_COUNT)
		return rk_error_set(err, EINVAL,
				    "'%.*s' is no element type; there are %s, alone or with "
				    "dimensions as in f32[n,4]",
				    (int)word_len, word, rk_dtype_names());
	rc = read_axes(m, port, is_input, type, len, err);
	if (rc < 0 || !equals)
		return rc;
	if (!is_input || port->rank)
		return rk_error_set(err, EINVAL, "only a scalar input can have a default");
	word = equals + 1;
	word_len = strlen(word);
	rk_trim(&word, &word_len);
	return read_default(port, word, word_len, err);
}

int rk_port_parse(struct rk_manifest *m, enum rk_port_section section, const char *key,
		  const char *value, struct rk_error *err)
{
	size_t len = strlen(key);
	struct rk_port *port;
	int rc = check_new_name(m, section, key, len, err);

	if (rc < 0)
		return rc;
	if (m->nports[section] == RK_MAX_PORTS)
		return rk_error_set(err, EINVAL, "more than %d %s", RK_MAX_PORTS,
				    rk_port_sections[section].name);
	port = &m->ports[section][m->nports[section]];
	rk_copy_text(port->name, key, len);
	rc = read_type(m, port, section == RK_SECTION_INPUTS, value, err);
	if (rc == 0)
		m->nports[section]++;
	return rc;
}
