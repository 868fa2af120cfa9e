/* SPDX-License-Identifier: MIT */
/* What others get to see of a description: its ports as text, its wire form. */
#include "runtime/manifest.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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
	unsigned int i;

	if (axis->factor != 1 || axis->ndims == 0) {
		text_add(t, "%" PRIu64, axis->factor);
		times = "*";
	}
	for (i = 0; i < axis->ndims; i++) {
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
	unsigned int i;

	text_add(&t, "%s = %s", port->name, rk_dtype_info(port->dtype)->name);
	for (i = 0; i < port->rank; i++) {
		text_add(&t, "%c", i ? ',' : '[');
		add_axis(&t, m, &port->axes[i]);
	}
	if (port->rank)
		text_add(&t, "]");
	if (port->default_text[0])
		text_add(&t, " = %s", port->default_text);
	return t.len;
}

static enum rk_dtype param_dtype(const struct rk_manifest *m, const struct rk_param *param)
{
	switch (param->kind) {
	case RK_WIRE_ARG_INPUT:
	case RK_WIRE_ARG_SCALAR:
		return m->inputs[param->index].dtype;
	case RK_WIRE_ARG_OUTPUT:
		return m->outputs[param->index].dtype;
	case RK_WIRE_ARG_SCRATCH:
		return m->scratch[param->index].dtype;
	case RK_WIRE_ARG_DIM:
		break;
	}
	return RK_U64;
}

void rk_manifest_wire(const struct rk_manifest *m, struct rk_wire_load *load)
{
	unsigned int i;

	memcpy(load->library, m->library, sizeof(load->library));
	memcpy(load->entry, m->entry, sizeof(load->entry));
	memset(load->params, 0, sizeof(load->params));
	load->nparams = m->nparams;
	for (i = 0; i < m->nparams; i++) {
		load->params[i].kind = (uint8_t)m->params[i].kind;
		load->params[i].dtype = (uint8_t)param_dtype(m, &m->params[i]);
	}
}
