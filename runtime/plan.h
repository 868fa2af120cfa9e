/* SPDX-License-Identifier: MIT */
/*
 * A plan: one request's shapes bound to a kernel's description. It says how
 * large every input and output is, where each lies in the message's block of
 * payload memory, and what the kernel's parameters are.
 *
 * Used in order: init, bind every input, layout, then (with a block) clear and
 * wire before the run, check after it. A plan is plain data owned by one message; no locks.
 */
#ifndef RK_RUNTIME_PLAN_H
#define RK_RUNTIME_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gpu/wire.h"
#include "runtime/error.h"
#include "runtime/manifest.h"

/* Where one input or output lies. */
struct rk_extent {
	uint64_t count;	 /* elements; 1 for a scalar */
	uint64_t bytes;	 /* count * element size */
	uint64_t offset; /* from the start of the block, a multiple of RK_WIRE_ALIGN */
};

struct rk_plan {
	const struct rk_manifest *manifest; /* borrowed */
	uint64_t dims[RK_MAX_DIMS];	    /* bound sizes */
	uint32_t bound;			    /* bit i: dims[i] is bound */
	uint32_t seen;			    /* bit i: input i is bound */
	/* who bound dims[i], for the sentence when another input disagrees */
	uint8_t binder[RK_MAX_DIMS];
	struct rk_extent inputs[RK_MAX_PORTS];
	struct rk_extent outputs[RK_MAX_PORTS];
	uint64_t block_bytes; /* of the whole block, guards included; at least 1 */
};

void rk_plan_init(struct rk_plan *plan, const struct rk_manifest *manifest);

/*
 * Bind input @index to a tensor of @rank axes. Returns 0, or -EINVAL: wrong rank, a constant
 * axis of another size, a dim that another input bound to another size
 * (the sentence names dim, both inputs and both sizes), or an input that is bound already.
 * An axis of 0 is allowed for a named dim. A failure leaves @plan unchanged.
 */
int rk_plan_bind(struct rk_plan *plan, unsigned int index, unsigned int rank, const uint64_t *shape,
		 struct rk_error *err);

/* Whether every input is bound. Returns 0, or -EINVAL naming those that are missing. */
int rk_plan_complete(const struct rk_plan *plan, struct rk_error *err);

/*
 * Compute all extents and block_bytes. Fails as rk_plan_complete does, and with -EMSGSIZE
 * where block_bytes would exceed @max_bytes (or overflow), or where a tensor that an axis
 * of 0 makes empty would exceed it were that axis 1.
 * Every output is followed by RK_WIRE_GUARD bytes.
 */
int rk_plan_layout(struct rk_plan *plan, uint64_t max_bytes, struct rk_error *err);

/* The shape of output @index, in elements per axis, into @shape[rank]. */
void rk_plan_output_shape(const struct rk_plan *plan, unsigned int index, uint64_t *shape);

/* Zero the outputs and set their guard bytes. @block has block_bytes. */
void rk_plan_clear(const struct rk_plan *plan, void *block);

/*
 * Fill nargs and args of @run for a block that starts at @block_offset of the
 * payload memfd and at @block in memory (scalars are read there).
 */
void rk_plan_wire(const struct rk_plan *plan, uint64_t block_offset, const void *block,
		  struct rk_wire_run *run);

/*
 * Whether the guard bytes are whole. Returns 0, or -EIO naming the output that
 * the kernel wrote past.
 */
int rk_plan_check(const struct rk_plan *plan, const void *block, struct rk_error *err);

#endif
