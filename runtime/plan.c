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

int rk_plan_bind(struct rk_plan *plan, unsigned int index, unsigned int rank, const uint64_t *shape,
		 struct rk_error *err)
{
	const struct rk_port *port = &plan->manifest->inputs[index];
	struct rk_plan next = *plan;
	unsigned int i;
	int rc;

	if (plan->seen & 1u << index)
		return rk_error_set(err, EINVAL, "input '%s' is given twice", port->name);
	if (rank != port->rank)
		return rk_error_set(err, EINVAL, "input '%s' has %u axes in the request, not %u",
				    port->name, rank, port->rank);
	for (i = 0; i < rank; i++) {
		const struct rk_axis *axis = &port->axes[i];

		if (axis->dim >= 0) {
			rc = bind_dim(&next, index, axis->dim, shape[i], err);
			if (rc < 0)
				return rc;
		} else if (axis->size != shape[i]) {
			return rk_error_set(err, EINVAL,
					    "axis %u of input '%s' must be %" PRIu64
					    ", not %" PRIu64,
					    i, port->name, axis->size, shape[i]);
		}
	}
	next.seen |= 1u << index;
	*plan = next;
	return 0;
}

int rk_plan_complete(const struct rk_plan *plan, struct rk_error *err)
{
	const struct rk_manifest *m = plan->manifest;
	char names[RK_MAX_PORTS * (RK_NAME_MAX + 4)] = "";
	unsigned int i, missing = 0;
	size_t len = 0;

	for (i = 0; i < m->ninputs; i++) {
		if (plan->seen & 1u << i)
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

static uint64_t axis_size(const struct rk_plan *plan, const struct rk_axis *axis)
{
	return axis->dim < 0 ? axis->size : plan->dims[axis->dim];
}

/*
 * The extent of @port at the first aligned offset from *@end on, and @guard
 * bytes behind it; moves *@end. False where that exceeds @max.
 */
static bool place(const struct rk_plan *plan, const struct rk_port *port, uint64_t guard,
		  uint64_t max, uint64_t *end, struct rk_extent *extent)
{
	uint64_t count = 1, bytes, offset, next;
	bool empty = false;
	unsigned int i;

	/*
	 * An axis of 0 counts as 1 for the limit: the other axes of an empty
	 * tensor must stay sane too, as an encoder may have to walk them.
	 */
	for (i = 0; i < port->rank; i++) {
		uint64_t size = axis_size(plan, &port->axes[i]);

		empty |= size == 0;
		if (__builtin_mul_overflow(count, size ? size : 1, &count))
			return false;
	}
	if (__builtin_mul_overflow(count, rk_dtype_info(port->dtype)->size, &bytes) || bytes > max)
		return false;
	if (empty)
		count = bytes = 0;
	if (__builtin_add_overflow(*end, RK_WIRE_ALIGN - 1, &offset))
		return false;
	offset -= offset % RK_WIRE_ALIGN;
	if (__builtin_add_overflow(offset, bytes, &next) ||
	    __builtin_add_overflow(next, guard, &next) || next > max)
		return false;
	*extent = (struct rk_extent){.count = count, .bytes = bytes, .offset = offset};
	*end = next;
	return true;
}

static int place_all(const struct rk_plan *plan, const struct rk_port *ports, unsigned int nports,
		     uint64_t guard, uint64_t max, uint64_t *end, struct rk_extent *extents,
		     struct rk_error *err)
{
	unsigned int i;

	for (i = 0; i < nports; i++)
		if (!place(plan, &ports[i], guard, max, end, &extents[i]))
			return rk_error_set(err, EMSGSIZE,
					    "the request and its answer need more than the %" PRIu64
					    " bytes that max_message_bytes allows, at '%s'",
					    max, ports[i].name);
	return 0;
}

int rk_plan_layout(struct rk_plan *plan, uint64_t max_bytes, struct rk_error *err)
{
	const struct rk_manifest *m = plan->manifest;
	struct rk_plan next = *plan;
	uint64_t end = 0;
	int rc;

	rc = rk_plan_complete(plan, err);
	if (rc < 0)
		return rc;
	rc = place_all(plan, m->inputs, m->ninputs, 0, max_bytes, &end, next.inputs, err);
	if (rc < 0)
		return rc;
	rc = place_all(plan, m->outputs, m->noutputs, RK_WIRE_GUARD, max_bytes, &end, next.outputs,
		       err);
	if (rc < 0)
		return rc;
	next.block_bytes = end ? end : 1;
	*plan = next;
	return 0;
}

void rk_plan_output_shape(const struct rk_plan *plan, unsigned int index, uint64_t *shape)
{
	const struct rk_port *port = &plan->manifest->outputs[index];
	unsigned int i;

	for (i = 0; i < port->rank; i++)
		shape[i] = axis_size(plan, &port->axes[i]);
}

void rk_plan_clear(const struct rk_plan *plan, void *block)
{
	unsigned int i;

	for (i = 0; i < plan->manifest->noutputs; i++) {
		const struct rk_extent *extent = &plan->outputs[i];
		unsigned char *at = (unsigned char *)block + extent->offset;

		memset(at, 0, extent->bytes);
		memset(at + extent->bytes, RK_WIRE_GUARD_BYTE, RK_WIRE_GUARD);
	}
}

void rk_plan_wire(const struct rk_plan *plan, uint64_t block_offset, const void *block,
		  struct rk_wire_run *run)
{
	const struct rk_manifest *m = plan->manifest;
	unsigned int i;

	run->nargs = m->nparams;
	for (i = 0; i < m->nparams; i++) {
		const struct rk_param *param = &m->params[i];
		struct rk_wire_arg arg = {0};
		const struct rk_extent *extent;

		switch (param->kind) {
		case RK_WIRE_ARG_INPUT:
		case RK_WIRE_ARG_OUTPUT:
			extent = param->kind == RK_WIRE_ARG_INPUT ? &plan->inputs[param->index]
								  : &plan->outputs[param->index];
			arg.value = block_offset + extent->offset;
			arg.bytes = extent->bytes;
			break;
		case RK_WIRE_ARG_SCALAR:
			extent = &plan->inputs[param->index];
			arg.bytes = extent->bytes;
			memcpy(&arg.value, (const unsigned char *)block + extent->offset,
			       extent->bytes);
			break;
		case RK_WIRE_ARG_DIM:
			arg.value = plan->dims[param->index];
			arg.bytes = sizeof(arg.value);
			break;
		}
		run->args[i] = arg;
	}
}

int rk_plan_check(const struct rk_plan *plan, const void *block, struct rk_error *err)
{
	unsigned char guard[RK_WIRE_GUARD];
	unsigned int i;

	memset(guard, RK_WIRE_GUARD_BYTE, sizeof(guard));
	for (i = 0; i < plan->manifest->noutputs; i++) {
		const struct rk_extent *extent = &plan->outputs[i];
		const unsigned char *end =
			(const unsigned char *)block + extent->offset + extent->bytes;

		if (memcmp(end, guard, sizeof(guard)) != 0)
			return rk_error_set(err, EIO,
					    "the kernel %s wrote past the end of its output '%s' "
					    "(%" PRIu64 " bytes): its code does not match its "
					    "description",
					    plan->manifest->id, plan->manifest->outputs[i].name,
					    extent->bytes);
	}
	return 0;
}
