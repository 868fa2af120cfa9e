// SPDX-License-Identifier: MIT
/* What a laid out plan is for: the block before and after the run, arguments, and the launch. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "runtime/request/plan_internal.h"

#define AXIS_TEXT 128

int rk_axis_evaluate(const struct rk_axis *axis, const uint64_t *dims, uint64_t *size)
{
	uint64_t addend = axis->addend < 0 ? 0 - (uint64_t)axis->addend : (uint64_t)axis->addend;
	uint64_t product = axis->factor;
	bool overflow = false;
	unsigned int i;

	for (i = 0; i < axis->ndims; i++) {
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

void rk_plan_clear(const struct rk_plan *plan, void *block)
{
	const struct rk_manifest *m = plan->manifest;
	struct rk_plan_section sections[RK_PLAN_SECTIONS];
	unsigned int s, i;

	for (i = 0; i < m->ninputs; i++)
		if (!(plan->seen & 1u << i))
			memcpy((unsigned char *)block + plan->inputs[i].offset,
			       m->inputs[i].default_value, plan->inputs[i].bytes);
	rk_plan_sections(plan, sections);
	for (s = 0; s < RK_PLAN_SECTIONS; s++)
		for (i = 0; sections[s].guard && i < sections[s].count; i++) {
			const struct rk_extent *extent = &sections[s].extents[i];
			unsigned char *at = (unsigned char *)block + extent->offset;

			memset(at, 0, extent->bytes);
			memset(at + extent->bytes, RK_WIRE_GUARD_BYTE, sections[s].guard);
		}
}

uint64_t rk_plan_clear_bytes(const struct rk_plan *plan)
{
	struct rk_plan_section sections[RK_PLAN_SECTIONS];
	uint64_t sum = 0;
	unsigned int s, i;

	rk_plan_sections(plan, sections);
	for (s = 0; s < RK_PLAN_SECTIONS; s++)
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

/* Where the port that a parameter names lies; NULL where it is none. */
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
	case RK_WIRE_ARG_STATE:
		break;
	}
	return NULL;
}

uint32_t rk_plan_wire(const struct rk_plan *plan, enum rk_wire_backend backend,
		      uint64_t block_offset, const void *block, struct rk_wire_arg *args)
{
	const struct rk_code *code = &plan->manifest->code[backend];
	unsigned int i;

	for (i = 0; i < code->nparams; i++) {
		const struct rk_param *param = &code->params[i];
		const struct rk_extent *extent = extent_of(plan, param);
		struct rk_wire_arg arg = {0};

		if (param->kind == RK_WIRE_ARG_DIM) {
			arg.value = plan->dims[param->index];
			arg.bytes = sizeof(arg.value);
		} else if (param->kind == RK_WIRE_ARG_SCALAR) {
			memcpy(&arg.value, (const unsigned char *)block + extent->offset,
			       extent->bytes);
			arg.bytes = extent->bytes;
		} else if (extent) {
			arg.value = block_offset + extent->offset;
			arg.bytes = extent->bytes;
		}
		args[i] = arg;
	}
	return code->nparams;
}

int rk_plan_grid(const struct rk_plan *plan, uint64_t fused_size, uint32_t grid[RK_WIRE_AXES],
		 struct rk_error *err)
{
	static const uint32_t most[RK_WIRE_AXES] = {INT32_MAX, 65535, 65535};
	const struct rk_manifest *m = plan->manifest;
	const struct rk_launch *launch = &m->launch;
	uint64_t dims[RK_MAX_DIMS];
	unsigned int i;

	memcpy(dims, plan->dims, sizeof(dims));
	if (m->fused_dim)
		dims[m->fused_dim - 1] = fused_size;
	for (i = 0; i < RK_WIRE_AXES; i++)
		grid[i] = 1;
	for (i = 0; i < launch->naxes; i++) {
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

bool rk_plan_fuses(const struct rk_plan *a, const void *block_a, const struct rk_plan *b,
		   const void *block_b)
{
	const struct rk_manifest *m = a->manifest;
	unsigned int i;

	if (m->fused_dim == 0)
		return false;
	for (i = 0; i < m->ndims; i++)
		if (i != m->fused_dim - 1 && a->dims[i] != b->dims[i])
			return false;
	for (i = 0; i < m->ninputs; i++)
		if (m->inputs[i].rank == 0 &&
		    memcmp((const unsigned char *)block_a + a->inputs[i].offset,
			   (const unsigned char *)block_b + b->inputs[i].offset,
			   a->inputs[i].bytes) != 0)
			return false;
	return true;
}

int rk_plan_check(const struct rk_plan *plan, const void *block, struct rk_error *err)
{
	struct rk_plan_section sections[RK_PLAN_SECTIONS];
	unsigned char guard[RK_WIRE_GUARD];
	unsigned int s, i;

	memset(guard, RK_WIRE_GUARD_BYTE, sizeof(guard));
	rk_plan_sections(plan, sections);
	for (s = 0; s < RK_PLAN_SECTIONS; s++)
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
