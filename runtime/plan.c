/* SPDX-License-Identifier: MIT */
#include "runtime/plan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void rk_plan_init(struct rk_plan *plan, const struct rk_manifest *manifest)
{
	*plan = (struct rk_plan){.manifest = manifest};
}

/* Bind one named dim, or see that it agrees with who bound it. */
static int bind_dim(struct rk_plan *plan, unsigned int index, int dim, uint64_t size,
		    struct rk_error *err)
{
	const struct rk_manifest *m = plan->manifest;

	if (!(plan->bound & 1u << dim)) {
		plan->bound |= 1u << dim;
		plan->dims[dim] = size;
		plan->binder[dim] = (uint8_t)index;
		return 0;
	}
	if (plan->dims[dim] == size)
		return 0;
	return rk_error_set(err, EINVAL,
			    "the shapes disagree: dim %s is %" PRIu64 " in input '%s' but %" PRIu64
			    " in input '%s'",
			    m->dims[dim], plan->dims[dim], m->inputs[plan->binder[dim]].name, size,
			    m->inputs[index].name);
}

/* An axis NAME, NAME+C or NAME-C: its size tells NAME. */
static bool is_binding(const struct rk_axis *axis)
{
	return axis->ndims == 1 && axis->factor == 1;
}

/* What an expression comes to: 0, -EDOM below zero, -ERANGE from 2^64 on. */
static int evaluate(const struct rk_plan *plan, const struct rk_axis *axis, uint64_t *size)
{
	uint64_t addend = axis->addend < 0 ? 0 - (uint64_t)axis->addend : (uint64_t)axis->addend;
	uint64_t product = axis->factor;
	bool overflow = false;
	unsigned int i;

	for (i = 0; i < axis->ndims; i++) {
		uint64_t dim = plan->dims[axis->dims[i]];

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

/* "axis 1 of input 'a'"; with its expression where that is more than a name or a constant. */
static int axis_error(const struct rk_plan *plan, const char *what, const struct rk_port *port,
		      unsigned int i, struct rk_error *err, const char *why)
{
	const struct rk_axis *axis = &port->axes[i];
	char text[128];

	rk_axis_print(plan->manifest, axis, text, sizeof(text));
	return rk_error_set(err, EINVAL, "axis %u of %s '%s'%s%s%s %s", i, what, port->name,
			    axis->ndims ? " (" : "", axis->ndims ? text : "",
			    axis->ndims ? ")" : "", why);
}

static int wrong_size(const struct rk_plan *plan, const struct rk_port *port, unsigned int i,
		      const char *must, uint64_t wanted, uint64_t size, struct rk_error *err)
{
	char why[80];

	snprintf(why, sizeof(why), "must be %s%" PRIu64 ", not %" PRIu64, must, wanted, size);
	return axis_error(plan, "input", port, i, err, why);
}

static int bind_axis(struct rk_plan *plan, unsigned int index, unsigned int i, uint64_t size,
		     struct rk_error *err)
{
	const struct rk_port *port = &plan->manifest->inputs[index];
	const struct rk_axis *axis = &port->axes[i];

	if (axis->ndims == 0 && axis->factor != size)
		return wrong_size(plan, port, i, "", axis->factor, size, err);
	if (!is_binding(axis))
		return 0;
	if (axis->addend > 0 && size < (uint64_t)axis->addend)
		return wrong_size(plan, port, i, "at least ", (uint64_t)axis->addend, size, err);
	if (axis->addend < 0 && size > UINT64_MAX + (uint64_t)axis->addend)
		return axis_error(plan, "input", port, i, err, "is too large");
	return bind_dim(plan, index, axis->dims[0], size - (uint64_t)axis->addend, err);
}

int rk_plan_bind_shown(struct rk_plan *plan, unsigned int index, unsigned int shown,
		       const uint64_t *shape, struct rk_error *err)
{
	const struct rk_port *port = &plan->manifest->inputs[index];
	struct rk_plan next = *plan;
	unsigned int i;
	int rc;

	if (plan->seen & 1u << index)
		return rk_error_set(err, EINVAL, "input '%s' is given twice", port->name);
	for (i = 0; i < shown; i++) {
		rc = bind_axis(&next, index, i, shape[i], err);
		if (rc < 0)
			return rc;
		next.shapes[index][i] = shape[i];
	}
	next.shown[index] = (uint8_t)shown;
	next.seen |= 1u << index;
	*plan = next;
	return 0;
}

int rk_plan_bind(struct rk_plan *plan, unsigned int index, unsigned int rank, const uint64_t *shape,
		 struct rk_error *err)
{
	const struct rk_port *port = &plan->manifest->inputs[index];

	if (rank != port->rank)
		return rk_error_set(err, EINVAL, "input '%s' has %u axes in the request, not %u",
				    port->name, rank, port->rank);
	return rk_plan_bind_shown(plan, index, rank, shape, err);
}

void rk_plan_set_dim(struct rk_plan *plan, unsigned int dim, uint64_t size)
{
	plan->bound |= 1u << dim;
	plan->dims[dim] = size;
}

static int check_missing(const struct rk_plan *plan, struct rk_error *err)
{
	const struct rk_manifest *m = plan->manifest;
	char names[RK_MAX_PORTS * (RK_NAME_MAX + 4)] = "";
	unsigned int i, missing = 0;
	size_t len = 0;

	for (i = 0; i < m->ninputs; i++) {
		if (plan->seen & 1u << i || m->inputs[i].default_text[0])
			continue;
		len += (size_t)snprintf(names + len, sizeof(names) - len, "%s'%s'",
					missing ? ", " : "", m->inputs[i].name);
		missing++;
	}
	if (missing == 0)
		return 0;
	return rk_error_set(err, EINVAL, "the request lacks %s %s",
			    missing == 1 ? "the input" : "the inputs", names);
}

/* The least that every axis which the data does not show allows. */
static void settle_hidden(struct rk_plan *plan)
{
	const struct rk_manifest *m = plan->manifest;
	uint32_t bound = plan->bound;
	unsigned int i, k;

	for (i = 0; i < m->ninputs; i++)
		for (k = plan->shown[i]; k < m->inputs[i].rank; k++) {
			const struct rk_axis *axis = &m->inputs[i].axes[k];
			uint64_t least = axis->addend < 0 ? 0 - (uint64_t)axis->addend : 0;

			if (!is_binding(axis) || bound & 1u << axis->dims[0])
				continue;
			plan->bound |= 1u << axis->dims[0];
			if (plan->dims[axis->dims[0]] < least)
				plan->dims[axis->dims[0]] = least;
		}
}

/* The size of axis @i of @port, which must not be negative. */
static int axis_size(const struct rk_plan *plan, const char *what, const struct rk_port *port,
		     unsigned int i, uint64_t *size, struct rk_error *err)
{
	int rc = evaluate(plan, &port->axes[i], size);

	if (rc == -EDOM)
		return axis_error(plan, what, port, i, err,
				  "would be negative with the shapes of this request");
	if (rc < 0) {
		axis_error(plan, what, port, i, err, "would be 2^64 or more");
		return rk_error_set(err, EMSGSIZE, "%s", err ? err->msg : "");
	}
	return 0;
}

int rk_plan_complete(struct rk_plan *plan, struct rk_error *err)
{
	const struct rk_manifest *m = plan->manifest;
	struct rk_plan next = *plan;
	uint64_t size;
	unsigned int i, k;
	int rc;

	rc = check_missing(plan, err);
	if (rc < 0)
		return rc;
	settle_hidden(&next);
	for (i = 0; i < m->ninputs; i++)
		for (k = 0; k < m->inputs[i].rank; k++) {
			rc = axis_size(&next, "input", &m->inputs[i], k, &size, err);
			if (rc < 0)
				return rc;
			if (k < next.shown[i] && size != next.shapes[i][k])
				return wrong_size(&next, &m->inputs[i], k, "", size,
						  next.shapes[i][k], err);
		}
	*plan = next;
	return 0;
}

/* The sections of a description whose ports lie in the block, in the block's order. */
struct section {
	const char *what;
	const struct rk_port *ports;
	struct rk_extent *extents;
	unsigned int count;
	uint64_t guard; /* bytes behind each */
};

#define SECTIONS 3

static void get_sections(const struct rk_plan *plan, struct section section[SECTIONS])
{
	const struct rk_manifest *m = plan->manifest;
	struct rk_plan *p = (struct rk_plan *)plan; /* written to by layout alone */

	section[0] = (struct section){"input", m->inputs, p->inputs, m->ninputs, 0};
	section[1] = (struct section){"output", m->outputs, p->outputs, m->noutputs, RK_WIRE_GUARD};
	section[2] =
		(struct section){"scratch", m->scratch, p->scratch, m->nscratch, RK_WIRE_GUARD};
}

static int too_large(const struct rk_port *port, uint64_t max, struct rk_error *err)
{
	return rk_error_set(err, EMSGSIZE,
			    "the request and its answer need more than the %" PRIu64
			    " bytes that max_message_bytes allows, at '%s'",
			    max, port->name);
}

/* The number of elements of @port and (@padded) what it would be were its axes of 0 axes of 1. */
static int count_elements(const struct rk_plan *plan, const char *what, const struct rk_port *port,
			  uint64_t max, uint64_t *count, uint64_t *padded, struct rk_error *err)
{
	bool empty = false;
	unsigned int i;
	int rc;

	*padded = 1;
	for (i = 0; i < port->rank; i++) {
		uint64_t size;

		rc = axis_size(plan, what, port, i, &size, err);
		if (rc < 0)
			return rc;
		empty |= size == 0;
		if (__builtin_mul_overflow(*padded, size ? size : 1, padded))
			return too_large(port, max, err);
	}
	*count = empty ? 0 : *padded;
	return 0;
}

/*
 * The extent of port @i at the first aligned offset from *@end on, and the guard
 * bytes behind it; moves *@end.
 */
static int place(const struct rk_plan *plan, const struct section *section, unsigned int i,
		 uint64_t max, uint64_t *end, struct rk_error *err)
{
	const struct rk_port *port = &section->ports[i];
	uint64_t size = rk_dtype_info(port->dtype)->size;
	uint64_t count = 0, padded = 0, bytes, offset, next;
	int rc;

	/*
	 * An axis of 0 counts as 1 for the limit: the other axes of an empty
	 * tensor must stay sane too, as an encoder may have to walk them.
	 */
	rc = count_elements(plan, section->what, port, max, &count, &padded, err);
	if (rc < 0)
		return rc;
	if (__builtin_mul_overflow(padded, size, &bytes) || bytes > max ||
	    __builtin_add_overflow(*end, RK_WIRE_ALIGN - 1, &offset))
		return too_large(port, max, err);
	bytes = count * size;
	offset -= offset % RK_WIRE_ALIGN;
	if (__builtin_add_overflow(offset, bytes, &next) ||
	    __builtin_add_overflow(next, section->guard, &next) || next > max)
		return too_large(port, max, err);
	section->extents[i] = (struct rk_extent){.count = count, .bytes = bytes, .offset = offset};
	*end = next;
	return 0;
}

int rk_plan_layout(struct rk_plan *plan, uint64_t max_bytes, struct rk_error *err)
{
	struct section sections[SECTIONS];
	struct rk_plan next = *plan;
	unsigned int s, i;
	uint64_t end = 0;
	int rc;

	rc = rk_plan_complete(&next, err);
	if (rc < 0)
		return rc;
	get_sections(&next, sections);
	for (s = 0; s < SECTIONS; s++)
		for (i = 0; i < sections[s].count; i++) {
			rc = place(&next, &sections[s], i, max_bytes, &end, err);
			if (rc < 0)
				return rc;
		}
	next.block_bytes = end ? end : 1;
	*plan = next;
	return 0;
}

void rk_plan_output_shape(const struct rk_plan *plan, unsigned int index, uint64_t *shape)
{
	const struct rk_port *port = &plan->manifest->outputs[index];
	unsigned int i;

	for (i = 0; i < port->rank; i++)
		(void)evaluate(plan, &port->axes[i], &shape[i]); /* layout has seen that it works */
}

void rk_plan_clear(const struct rk_plan *plan, void *block)
{
	const struct rk_manifest *m = plan->manifest;
	struct section sections[SECTIONS];
	unsigned int s, i;

	for (i = 0; i < m->ninputs; i++)
		if (!(plan->seen & 1u << i))
			memcpy((unsigned char *)block + plan->inputs[i].offset,
			       m->inputs[i].default_value, plan->inputs[i].bytes);
	get_sections(plan, sections);
	for (s = 0; s < SECTIONS; s++)
		for (i = 0; sections[s].guard && i < sections[s].count; i++) {
			const struct rk_extent *extent = &sections[s].extents[i];
			unsigned char *at = (unsigned char *)block + extent->offset;

			memset(at, 0, extent->bytes);
			memset(at + extent->bytes, RK_WIRE_GUARD_BYTE, sections[s].guard);
		}
}

uint64_t rk_plan_clear_bytes(const struct rk_plan *plan)
{
	struct section sections[SECTIONS];
	uint64_t sum = 0;
	unsigned int s, i;

	get_sections(plan, sections);
	for (s = 0; s < SECTIONS; s++)
		for (i = 0; sections[s].guard && i < sections[s].count; i++)
			sum += sections[s].extents[i].bytes + sections[s].guard;
	return sum;
}

int rk_plan_check_bools(const struct rk_plan *plan, const void *block, struct rk_error *err)
{
	const struct rk_manifest *m = plan->manifest;
	unsigned int i;
	uint64_t k;

	for (i = 0; i < m->ninputs; i++) {
		const struct rk_extent *extent = &plan->inputs[i];
		const unsigned char *at = (const unsigned char *)block + extent->offset;

		if (m->inputs[i].dtype != RK_BOOL)
			continue;
		for (k = 0; k < extent->count; k++)
			if (at[k] > 1)
				return rk_error_set(err, EINVAL,
						    "input '%s': element %" PRIu64
						    " is %u; a bool is 0 or 1",
						    m->inputs[i].name, k, at[k]);
	}
	return 0;
}

/* Where the port that a parameter names lies; NULL for a dim. */
static const struct rk_extent *extent_of(const struct rk_plan *plan, const struct rk_param *param)
{
	switch (param->kind) {
	case RK_WIRE_ARG_INPUT:
	case RK_WIRE_ARG_SCALAR:
		return &plan->inputs[param->index];
	case RK_WIRE_ARG_OUTPUT:
		return &plan->outputs[param->index];
	case RK_WIRE_ARG_SCRATCH:
		return &plan->scratch[param->index];
	case RK_WIRE_ARG_DIM:
		break;
	}
	return NULL;
}

void rk_plan_wire(const struct rk_plan *plan, uint64_t block_offset, const void *block,
		  struct rk_wire_run *run)
{
	const struct rk_manifest *m = plan->manifest;
	unsigned int i;

	run->nargs = m->nparams;
	for (i = 0; i < m->nparams; i++) {
		const struct rk_param *param = &m->params[i];
		const struct rk_extent *extent = extent_of(plan, param);
		struct rk_wire_arg arg = {.bytes = sizeof(arg.value)};

		if (extent)
			arg.bytes = extent->bytes;
		if (param->kind == RK_WIRE_ARG_DIM)
			arg.value = plan->dims[param->index];
		else if (param->kind == RK_WIRE_ARG_SCALAR)
			memcpy(&arg.value, (const unsigned char *)block + extent->offset,
			       extent->bytes);
		else
			arg.value = block_offset + extent->offset;
		run->args[i] = arg;
	}
}

int rk_plan_check(const struct rk_plan *plan, const void *block, struct rk_error *err)
{
	struct section sections[SECTIONS];
	unsigned char guard[RK_WIRE_GUARD];
	unsigned int s, i;

	memset(guard, RK_WIRE_GUARD_BYTE, sizeof(guard));
	get_sections(plan, sections);
	for (s = 0; s < SECTIONS; s++)
		for (i = 0; sections[s].guard && i < sections[s].count; i++) {
			const struct rk_extent *extent = &sections[s].extents[i];

			if (memcmp((const unsigned char *)block + extent->offset + extent->bytes,
				   guard, sizeof(guard)) == 0)
				continue;
			return rk_error_set(err, EIO,
					    "the kernel %s wrote past the end of its %s '%s' "
					    "(%" PRIu64 " bytes): its code does not match its "
					    "description",
					    plan->manifest->id, sections[s].what,
					    sections[s].ports[i].name, extent->bytes);
		}
	return 0;
}
