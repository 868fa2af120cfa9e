/* SPDX-License-Identifier: MIT */
/* A plan from the shapes of a request to the layout of its block, and the grid of its launch. */
#include "runtime/request/plan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define AXIS_TEXT 128

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

/* "axis 1 of input 'a'"; with its expression where that is more than a name or a constant. */
static int axis_error(const struct rk_plan *plan, const char *what, const struct rk_port *port,
		      unsigned int i, struct rk_error *err, const char *why)
{
	const struct rk_axis *axis = &port->axes[i];
	char text[AXIS_TEXT];

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
	int rc;

	if (plan->seen & 1u << index)
		return rk_error_set(err, EINVAL, "input '%s' is given twice", port->name);
	for (unsigned int i = 0; i < shown; i++) {
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

	for (unsigned int i = 0; i < m->ninputs; i++)
		for (unsigned int k = plan->shown[i]; k < m->inputs[i].rank; k++) {
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
	int rc = rk_axis_evaluate(&port->axes[i], plan->dims, size);

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
	int rc = check_missing(plan, err);

	if (rc < 0)
		return rc;
	settle_hidden(&next);
	for (unsigned int i = 0; i < m->ninputs; i++)
		for (unsigned int k = 0; k < m->inputs[i].rank; k++) {
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
	int rc;

	*padded = 1;
	for (unsigned int i = 0; i < port->rank; i++) {
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
static int place(struct rk_plan *plan, enum rk_port_section section, unsigned int i, uint64_t max,
		 uint64_t *end, struct rk_error *err)
{
	const struct rk_port *port = &plan->manifest->ports[section][i];
	uint64_t guard = section == RK_SECTION_INPUTS ? 0 : RK_WIRE_GUARD;
	uint64_t size = rk_dtype_info(port->dtype)->size;
	uint64_t count = 0, padded = 0, bytes, offset, next;
	int rc;

	/*
	 * An axis of 0 counts as 1 for the limit: the other axes of an empty
	 * tensor must stay sane too, as an encoder may have to walk them.
	 */
	rc = count_elements(plan, rk_port_sections[section].what, port, max, &count, &padded, err);
	if (rc < 0)
		return rc;
	if (__builtin_mul_overflow(padded, size, &bytes) || bytes > max ||
	    __builtin_add_overflow(*end, RK_WIRE_ALIGN - 1, &offset))
		return too_large(port, max, err);
	bytes = count * size;
	offset -= offset % RK_WIRE_ALIGN;
	if (__builtin_add_overflow(offset, bytes, &next) ||
	    __builtin_add_overflow(next, guard, &next) || next > max)
		return too_large(port, max, err);
	plan->extents[section][i] =
		(struct rk_extent){.count = count, .bytes = bytes, .offset = offset};
	*end = next;
	return 0;
}

int rk_plan_grid(const struct rk_plan *plan, enum rk_wire_backend backend, uint64_t fused_size,
		 uint32_t grid[RK_WIRE_AXES], struct rk_error *err)
{
	static const uint32_t most[RK_WIRE_AXES] = {INT32_MAX, 65535, 65535};
	const struct rk_manifest *m = plan->manifest;
	const struct rk_launch *launch = &m->code[backend].launch;
	uint64_t dims[RK_MAX_DIMS];

	memcpy(dims, plan->dims, sizeof(dims));
	if (m->fused_dim)
		dims[m->fused_dim - 1] = fused_size;
	for (unsigned int i = 0; i < RK_WIRE_AXES; i++)
		grid[i] = launch->block[i] ? 1 : 0;
	for (unsigned int i = 0; i < launch->naxes; i++) {
		uint64_t threads = 0, blocks;
		int rc = rk_axis_evaluate(&launch->grid[i], dims, &threads);
		char text[AXIS_TEXT];

		/* -EDOM: fewer than none are none */
		blocks = threads / launch->block[i] + (threads % launch->block[i] != 0);
		if (rc == -ERANGE || blocks > most[i]) {
			rk_axis_print(m, &launch->grid[i], text, sizeof(text));
			return rk_error_set(err, EINVAL,
					    "axis %u of the grid (%s) needs %s%" PRIu64
					    " blocks of %" PRIu32 " threads; CUDA has %" PRIu32
					    " at most",
					    i, text, rc == -ERANGE ? "more than " : "",
					    rc == -ERANGE ? UINT64_MAX / launch->block[i] : blocks,
					    launch->block[i], most[i]);
		}
		if (blocks)
			grid[i] = (uint32_t)blocks;
	}
	return 0;
}

/* What rk_plan_grid() wants for one message. */
static uint64_t fused_size(const struct rk_plan *plan)
{
	unsigned int dim = plan->manifest->fused_dim;

	return dim ? plan->dims[dim - 1] : 0;
}

int rk_plan_layout(struct rk_plan *plan, uint64_t max_bytes, struct rk_error *err)
{
	struct rk_plan next = *plan;
	uint32_t grid[RK_WIRE_AXES];
	enum rk_wire_backend backend;
	enum rk_port_section s;
	uint64_t end = 0;
	int rc = rk_plan_complete(&next, err);

	if (rc < 0)
		return rc;
	for (s = 0; s < RK_SECTION_COUNT; s++)
		for (unsigned int i = 0; i < next.manifest->nports[s]; i++) {
			rc = place(&next, s, i, max_bytes, &end, err);
			if (rc < 0)
				return rc;
		}
	for (backend = 0; backend < RK_WIRE_BACKEND_COUNT; backend++) {
		rc = rk_plan_grid(&next, backend, fused_size(&next), grid, err);
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

	/* layout has seen that it works */
	for (unsigned int i = 0; i < port->rank; i++)
		(void)rk_axis_evaluate(&port->axes[i], plan->dims, &shape[i]);
}
