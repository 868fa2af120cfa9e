/* SPDX-License-Identifier: MIT */
/* How a description has its kernel launched: grid ... of a backend, and batchable of [kernel]. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/config/config.h"
#include "runtime/kernel/parse_internal.h"

#define BLOCK_MAX   1024 /* threads, of which 64 at most along the third axis */
#define BLOCK_Z_MAX 64

/* Of the section being read. */
static struct rk_launch *launch_of(struct rk_builder *b)
{
	return &b->m.code[b->backend].launch;
}

int rk_manifest_check_batch(struct rk_builder *b, const char *value, struct rk_error *err)
{
	(void)value;
	if (b->m.mode == RK_WIRE_BATCH)
		return 0;
	return rk_error_set(err, EINVAL,
			    "a kernel with mode = ring is one block; leave this key out");
}

int rk_manifest_read_grid(struct rk_builder *b, const char *value, struct rk_error *err)
{
	const char *pos = value, *end = value + strlen(value), *word;
	struct rk_launch *launch = launch_of(b);
	size_t len;
	int rc;

	while ((word = rk_next_word(&pos, end, ',', &len))) {
		if (launch->naxes == RK_WIRE_AXES)
			return rk_error_set(err, EINVAL,
					    "more than %d axes; write the threads that a message "
					    "wants along each, as in n, 2*m",
					    RK_WIRE_AXES);
		rc = rk_axis_parse(&b->m, NULL, &launch->grid[launch->naxes], word, len, err);
		if (rc < 0)
			return rc;
		launch->naxes++;
	}
	return 0;
}

/* A count from 1 to @max; 0 where it is none. */
static uint32_t read_count(const char *word, size_t len, uint32_t max)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++) {
		if (!isdigit((unsigned char)word[i]))
			return 0;
		sum = sum * 10 + (uint32_t)(word[i] - '0');
		if (sum > max)
			return 0;
	}
	return sum;
}

int rk_manifest_read_block(struct rk_builder *b, const char *value, struct rk_error *err)
{
	const char *pos = value, *end = value + strlen(value), *word;
	uint32_t *block = launch_of(b)->block, threads = 1;
	unsigned int axis = 0;
	size_t len;

	while ((word = rk_next_word(&pos, end, ',', &len))) {
		uint32_t max = axis == RK_WIRE_AXES - 1 ? BLOCK_Z_MAX : BLOCK_MAX;

		if (axis == RK_WIRE_AXES)
			return rk_error_set(err, EINVAL, "a block has at most %d axes",
					    RK_WIRE_AXES);
		block[axis] = read_count(word, len, max);
		if (block[axis] == 0)
			return rk_error_set(err, EINVAL,
					    "'%.*s' is no number of threads from 1 to %u for axis "
					    "%u of a block",
					    (int)len, word, max, axis);
		threads *= block[axis++]; /* at most 2^26 */
	}
	if (threads > BLOCK_MAX)
		return rk_error_set(err, EINVAL,
				    "a block of %u threads; CUDA allows %d at most, all axes "
				    "multiplied",
				    threads, BLOCK_MAX);
	return 0;
}

static bool launches(const struct rk_manifest *m, enum rk_wire_backend backend)
{
	return m->code[backend].given && rk_backends[backend].launches;
}

void rk_manifest_default_block(struct rk_manifest *m)
{
	static const uint32_t usual[RK_WIRE_AXES + 1][RK_WIRE_AXES] = {
		{256}, /* a ring */
		{256},
		{16, 16},
		{8, 8, 4},
	};
	enum rk_wire_backend backend;
	unsigned int axis;

	for (backend = 0; backend < RK_WIRE_BACKEND_COUNT; backend++) {
		struct rk_launch *launch = &m->code[backend].launch;

		if (!launches(m, backend))
			continue;
		if (launch->block[0] == 0)
			memcpy(launch->block, usual[launch->naxes], sizeof(launch->block));
		for (axis = 0; axis < RK_WIRE_AXES; axis++)
			if (launch->block[axis] == 0)
				launch->block[axis] = 1;
	}
}

int rk_manifest_read_shared(struct rk_builder *b, const char *value, struct rk_error *err)
{
	/* the most that any device has for a block */
	static const struct rk_config_field field = {
		.type = RK_CONFIG_SIZE, .size = sizeof(uint64_t), .min = "0", .max = "227K"};
	uint64_t bytes;
	int rc = rk_config_value_parse(&field, value, &bytes, err);

	if (rc == 0)
		launch_of(b)->shared_bytes = (uint32_t)bytes;
	return rc;
}

int rk_manifest_read_cooperative(struct rk_builder *b, const char *value, struct rk_error *err)
{
	static const struct rk_config_field field = {.type = RK_CONFIG_BOOL, .size = sizeof(bool)};

	return rk_config_value_parse(&field, value, &launch_of(b)->cooperative, err);
}

/* batchable */

int rk_manifest_read_batchable(struct rk_builder *b, const char *value, struct rk_error *err)
{
	int dim = rk_find_dim(&b->m, value, strlen(value));
	enum rk_wire_backend backend;
	const char *able = NULL;
	bool any = false;

	if (b->m.mode != RK_WIRE_BATCH)
		return rk_error_set(err, EINVAL,
				    "only messages of a kernel with mode = batch are launched "
				    "together; leave it out");
	for (backend = 0; backend < RK_WIRE_BACKEND_COUNT; backend++) {
		any |= launches(&b->m, backend);
		if (rk_backends[backend].launches)
			able = rk_backends[backend].name;
	}
	if (!any)
		return rk_error_set(err, EINVAL,
				    "only [%s] launches messages together; leave it out, or "
				    "describe the kernel there",
				    able);
	if (dim < 0)
		return rk_error_set(err, EINVAL, "'%s' is no dim of an input", value);
	b->m.fused_dim = 1 + (unsigned int)dim;
	return 0;
}

static bool is_plain(const struct rk_axis *axis, unsigned int dim)
{
	return axis->ndims == 1 && axis->dims[0] == dim && axis->factor == 1 && axis->addend == 0;
}

/* Whether those of several messages, one after the other, are the port of one message. */
static int check_port(const struct rk_manifest *m, enum rk_port_section section,
		      const struct rk_port *port, unsigned int dim, struct rk_error *err)
{
	const char *what = rk_port_sections[section].what, *name = m->dims[dim];

	if (port->rank == 0 && section == RK_SECTION_INPUTS)
		return 0;
	if (port->rank == 0 || !is_plain(&port->axes[0], dim))
		return rk_error_set(err, EINVAL,
				    "the first axis of %s '%s' is not %s: messages are put one "
				    "after the other along it, so all but scalar inputs have %s "
				    "as their first axis",
				    what, port->name, name, name);
	for (unsigned int i = 1; i < port->rank; i++)
		if (rk_axis_has(&port->axes[i], dim))
			return rk_error_set(err, EINVAL,
					    "axis %u of %s '%s' has %s in it, which only the first "
					    "axis may have",
					    i, what, port->name, name);
	return 0;
}

static bool grid_has(const struct rk_launch *launch, unsigned int dim)
{
	for (unsigned int i = 0; i < launch->naxes; i++)
		if (rk_axis_has(&launch->grid[i], dim))
			return true;
	return false;
}

static bool args_have(const struct rk_code *code, unsigned int dim)
{
	for (unsigned int i = 0; i < code->nparams; i++)
		if (code->params[i].kind == RK_WIRE_ARG_DIM && code->params[i].index == dim)
			return true;
	return false;
}

int rk_manifest_check_batchable(struct rk_builder *b, const char *value, struct rk_error *err)
{
	struct rk_manifest *m = &b->m;
	unsigned int dim = m->fused_dim - 1, i;
	enum rk_port_section section;
	enum rk_wire_backend backend;
	int rc;

	for (section = 0; section < RK_SECTION_COUNT; section++)
		for (i = 0; i < m->nports[section]; i++) {
			rc = check_port(m, section, &m->ports[section][i], dim, err);
			if (rc < 0)
				return rc;
		}
	for (backend = 0; backend < RK_WIRE_BACKEND_COUNT; backend++) {
		if (!launches(m, backend))
			continue;
		if (!grid_has(&m->code[backend].launch, dim))
			return rk_error_set(err, EINVAL,
					    "grid of [%s] does not grow with %s: several messages "
					    "would get the threads of one",
					    rk_backends[backend].name, value);
		if (!args_have(&m->code[backend], dim))
			return rk_error_set(err, EINVAL,
					    "args of [%s] lacks %s: the kernel could not tell how "
					    "much several messages are",
					    rk_backends[backend].name, value);
	}
	return 0;
}
