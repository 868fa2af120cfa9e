/* SPDX-License-Identifier: MIT */
/* A description as data: what it holds under a name, its axes, its text, its wire form. */
#include "runtime/kernel/manifest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const struct rk_port_section_info rk_port_sections[RK_SECTION_COUNT] = {
	[RK_SECTION_INPUTS] = {"inputs", "input"},
	[RK_SECTION_OUTPUTS] = {"outputs", "output"},
	[RK_SECTION_SCRATCH] = {"scratch", "scratch"},
};

bool rk_manifest_equal(const struct rk_manifest *a, const struct rk_manifest *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static int find_name(const char *name, size_t len, const void *table, size_t stride,
		     unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		const char *row = (const char *)table + i * stride;

		if (strlen(row) == len && memcmp(row, name, len) == 0)
			return (int)i;
	}
	return -1;
}

int rk_find_port(const struct rk_manifest *m, enum rk_port_section section, const char *name,
		 size_t len)
{
	const struct rk_port *ports = m->ports[section];

	return find_name(name, len, ports[0].name, sizeof(ports[0]), m->nports[section]);
}

int rk_find_dim(const struct rk_manifest *m, const char *name, size_t len)
{
	return find_name(name, len, m->dims, sizeof(m->dims[0]), m->ndims);
}

bool rk_axis_has(const struct rk_axis *axis, unsigned int dim)
{
	for (unsigned int i = 0; i < axis->ndims; i++)
		if (axis->dims[i] == dim)
			return true;
	return false;
}

int rk_axis_evaluate(const struct rk_axis *axis, const uint64_t *dims, uint64_t *size)
{
	uint64_t addend = axis->addend < 0 ? 0 - (uint64_t)axis->addend : (uint64_t)axis->addend;
	uint64_t product = axis->factor;
	bool overflow = false;

	for (unsigned int i = 0; i < axis->ndims; i++) {
		uint64_t dim = dims[axis->dims[i]];

		if (dim == 0)
			overflow = false;
		overflow |= __builtin_mul_overflow(product, dim, &product);
		if (dim == 0)
			break;
	}
	if (!overflow && axis->addend < 0 && product < addend)
		return -EDOM;
	if (axis->addend < 0)
		product -= addend;
	else
		overflow |= __builtin_add_overflow(product, addend, &product);
	if (overflow)
		return -ERANGE;
	*size = product;
	return 0;
}

/* Text that is put together piece by piece; counts what it would need. */
struct text {
	char *buf;
	size_t size, len;
};

static void text_add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void text_add(struct text *t, const char *fmt, ...)
{
	size_t used = t->len < t->size ? t->len : t->size;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->buf + used, t->size - used, fmt, ap);
	va_end(ap);
	if (n > 0)
		t->len += (size_t)n;
}

static void add_axis(struct text *t, const struct rk_manifest *m, const struct rk_axis *axis)
{
	const char *times = "";

	if (axis->factor != 1 || axis->ndims == 0) {
		text_add(t, "%" PRIu64, axis->factor);
		times = "*";
	}
	for (unsigned int i = 0; i < axis->ndims; i++) {
		text_add(t, "%s%s", times, m->dims[axis->dims[i]]);
		times = "*";
	}
	if (axis->addend)
		text_add(t, "%+" PRId64, axis->addend);
}

size_t rk_axis_print(const struct rk_manifest *m, const struct rk_axis *axis, char *buf,
		     size_t size)
{
	struct text t = {.buf = buf, .size = size};

	add_axis(&t, m, axis);
	return t.len;
}

size_t rk_port_print(const struct rk_manifest *m, const struct rk_port *port, char *buf,
		     size_t size)
{
	struct text t = {.buf = buf, .size = size};

	text_add(&t, "%s = %s", port->name, rk_dtype_info(port->dtype)->name);
	for (unsigned int i = 0; i < port->rank; i++) {
		text_add(&t, "%c", i ? ',' : '[');
		add_axis(&t, m, &port->axes[i]);
	}
	if (port->rank)
		text_add(&t, "]");
	if (port->default_text[0])
		text_add(&t, " = %s", port->default_text);
	return t.len;
}

enum rk_port_section rk_param_section(const struct rk_param *param)
{
	switch (param->kind) {
	case RK_WIRE_ARG_INPUT:
	case RK_WIRE_ARG_SCALAR:
		return RK_SECTION_INPUTS;
	case RK_WIRE_ARG_OUTPUT:
		return RK_SECTION_OUTPUTS;
	case RK_WIRE_ARG_SCRATCH:
		return RK_SECTION_SCRATCH;
	case RK_WIRE_ARG_DIM:
	case RK_WIRE_ARG_STATE:
		break;
	}
	return RK_SECTION_COUNT;
}

static enum rk_dtype param_dtype(const struct rk_manifest *m, const struct rk_param *param)
{
	enum rk_port_section section = rk_param_section(param);

	if (section < RK_SECTION_COUNT)
		return m->ports[section][param->index].dtype;
	return param->kind == RK_WIRE_ARG_STATE ? RK_U8 : RK_U64;
}

void rk_manifest_wire(const struct rk_manifest *m, enum rk_wire_backend backend,
		      struct rk_wire_load *load)
{
	const struct rk_code *code = &m->code[backend];

	load->nparams = code->nparams;
	load->backend = (uint8_t)backend;
	load->mode = (uint8_t)m->mode;
	load->cooperative = code->launch.cooperative;
	memset(load->reserved, 0, sizeof(load->reserved));
	load->state_bytes = m->state_bytes;
	memcpy(load->block, code->launch.block, sizeof(load->block));
	load->shared_bytes = code->launch.shared_bytes;
	memcpy(load->library, code->library, sizeof(load->library));
	memcpy(load->entry, code->entry, sizeof(load->entry));
	memset(load->params, 0, sizeof(load->params));
	for (unsigned int i = 0; i < code->nparams; i++) {
		const struct rk_param *param = &code->params[i];

		load->params[i].kind = (uint8_t)param->kind;
		load->params[i].dtype = (uint8_t)param_dtype(m, param);
		load->params[i].fused = rk_backends[backend].launches && m->fused_dim &&
					param->kind == RK_WIRE_ARG_DIM &&
					param->index == m->fused_dim - 1;
	}
}

const char *rk_mode_name(enum rk_wire_mode mode)
{
	return mode == RK_WIRE_RING ? "ring" : "batch";
}
