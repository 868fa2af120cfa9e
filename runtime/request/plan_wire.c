/* SPDX-License-Identifier: MIT */
/* What a laid out plan is for: the block before and after the run, and the arguments. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "runtime/request/plan.h"

void rk_plan_prepare(const struct rk_plan *plan, void *block)
{
	const struct rk_manifest *m = plan->manifest;
	enum rk_port_section s;

	for (unsigned int i = 0; i < m->ninputs; i++)
		if (!(plan->seen & 1u << i))
			memcpy((unsigned char *)block + plan->inputs[i].offset,
			       m->inputs[i].default_value, plan->inputs[i].bytes);
	for (s = RK_SECTION_OUTPUTS; s < RK_SECTION_COUNT; s++)
		for (unsigned int i = 0; i < m->nports[s]; i++) {
			const struct rk_extent *extent = &plan->extents[s][i];

			memset((unsigned char *)block + extent->offset + extent->bytes,
			       RK_WIRE_GUARD_BYTE, RK_WIRE_GUARD);
		}
}

uint64_t rk_plan_bool_bytes(const struct rk_plan *plan)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < plan->manifest->ninputs; i++)
		if (plan->manifest->inputs[i].dtype == RK_BOOL)
			sum += plan->inputs[i].bytes;
	return sum;
}

int rk_plan_check_bools(const struct rk_plan *plan, const void *block, struct rk_error *err)
{
	const struct rk_manifest *m = plan->manifest;

	for (unsigned int i = 0; i < m->ninputs; i++) {
		const struct rk_extent *extent = &plan->inputs[i];
		const unsigned char *at = (const unsigned char *)block + extent->offset;

		if (m->inputs[i].dtype != RK_BOOL)
			continue;
		for (uint64_t k = 0; k < extent->count; k++)
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
	enum rk_port_section section = rk_param_section(param);

	return section < RK_SECTION_COUNT ? &plan->extents[section][param->index] : NULL;
}

uint32_t rk_plan_wire(const struct rk_plan *plan, enum rk_wire_backend backend,
		      uint64_t block_offset, const void *block, struct rk_wire_arg *args)
{
	const struct rk_code *code = &plan->manifest->code[backend];

	for (unsigned int i = 0; i < code->nparams; i++) {
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

bool rk_plan_fuses(const struct rk_plan *a, const void *block_a, const struct rk_plan *b,
		   const void *block_b)
{
	const struct rk_manifest *m = a->manifest;

	if (m->fused_dim == 0)
		return false;
	for (unsigned int i = 0; i < m->ndims; i++)
		if (i != m->fused_dim - 1 && a->dims[i] != b->dims[i])
			return false;
	for (unsigned int i = 0; i < m->ninputs; i++)
		if (m->inputs[i].rank == 0 &&
		    memcmp((const unsigned char *)block_a + a->inputs[i].offset,
			   (const unsigned char *)block_b + b->inputs[i].offset,
			   a->inputs[i].bytes) != 0)
			return false;
	return true;
}

int rk_plan_check(const struct rk_plan *plan, const void *block, struct rk_error *err)
{
	const struct rk_manifest *m = plan->manifest;
	unsigned char guard[RK_WIRE_GUARD];
	enum rk_port_section s;

	memset(guard, RK_WIRE_GUARD_BYTE, sizeof(guard));
	for (s = RK_SECTION_OUTPUTS; s < RK_SECTION_COUNT; s++)
		for (unsigned int i = 0; i < m->nports[s]; i++) {
			const struct rk_extent *extent = &plan->extents[s][i];

			if (memcmp((const unsigned char *)block + extent->offset + extent->bytes,
				   guard, sizeof(guard)) == 0)
				continue;
			return rk_error_set(err, EIO,
					    "the kernel %s wrote past the end of its %s '%s' "
					    "(%" PRIu64 " bytes): its code does not match its "
					    "description",
					    m->id, rk_port_sections[s].what, m->ports[s][i].name,
					    extent->bytes);
		}
	return 0;
}
