/* SPDX-License-Identifier: MIT */
/*
 * A plan: one request's shapes bound to a kernel's description. It says how
 * large every input, output and scratch is, where each lies in the message's block of
 * payload memory, and what the kernel's parameters are.
 *
 * Used in order: init, bind the inputs in any order, layout, then (with a block) prepare and
 * wire before the run, check after it. An input with a default need not be bound. A plan is plain
 * data owned by one message; no locks.
 */
#ifndef RK_RUNTIME_REQUEST_PLAN_H
#define RK_RUNTIME_REQUEST_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/base/wire.h"
#include "runtime/base/error.h"
#include "runtime/kernel/manifest.h"

/* Where one input, output or scratch lies. */
struct rk_extent {
	uint64_t count;	 /* elements; 1 for a scalar */
	uint64_t bytes;	 /* count * element size */
	uint64_t offset; /* from the start of the block, a multiple of RK_WIRE_ALIGN */
};

struct rk_plan {
	const struct rk_manifest *manifest; /* borrowed */
	uint64_t dims[RK_MAX_DIMS];	    /* bound sizes */
	uint32_t bound;			    /* bit i: dims[i] is bound */
	uint32_t seen;			    /* bit i: input i is bound: the request has it */
	/* who bound dims[i], for the sentence when another input disagrees */
	uint8_t binder[RK_MAX_DIMS];
	/* the inputs' axes as the request shows them, and how many it shows */
	uint64_t shapes[RK_MAX_PORTS][RK_MAX_RANK];
	uint8_t shown[RK_MAX_PORTS];
	union { /* by enum rk_port_section, or by name */
		struct rk_extent extents[RK_SECTION_COUNT][RK_MAX_PORTS];
		struct {
			struct rk_extent inputs[RK_MAX_PORTS];
			struct rk_extent outputs[RK_MAX_PORTS];
			struct rk_extent scratch[RK_MAX_PORTS];
		};
	};
	uint64_t block_bytes; /* of the whole block, guards included; at least 1 */
};

void rk_plan_init(struct rk_plan *plan, const struct rk_manifest *manifest);

/*
 * Bind input @index to a tensor of @rank axes. Returns 0, or -EINVAL: wrong rank, a constant
 * axis of another size, an axis NAME+C or NAME-C of a size that no NAME gives, a dim that another
 * input bound to another size (the sentence names dim, both inputs and both sizes), or an input
 * that is bound already. Axes with other expressions are checked by rk_plan_complete. An axis of 0
 * is allowed for a named dim. A failure leaves @plan unchanged.
 */
int rk_plan_bind(struct rk_plan *plan, unsigned int index, unsigned int rank, const uint64_t *shape,
		 struct rk_error *err);

/*
 * The same where the data shows only the first @shown axes of the input (nothing below an empty
 * array does): the others are what the rest of the request says, else as small as can be.
 */
int rk_plan_bind_shown(struct rk_plan *plan, unsigned int index, unsigned int shown,
		       const uint64_t *shape, struct rk_error *err);

/* Say the size of a dim that is not bound, for data whose axes do not show at all (raw). */
void rk_plan_set_dim(struct rk_plan *plan, unsigned int dim, uint64_t size);

/*
 * All inputs are there: settle the dims that no data shows and check every axis against its
 * expression. Returns 0, or -EINVAL naming the inputs that are missing or the axis that does not
 * fit.
 */
int rk_plan_complete(struct rk_plan *plan, struct rk_error *err);

/*
 * Compute all extents and block_bytes. Fails as rk_plan_complete does, with -EINVAL where an axis
 * would be negative or where a backend could not launch the message (rk_plan_grid), and with
 * -EMSGSIZE where block_bytes would exceed @max_bytes (or overflow), or where a tensor that an axis
 * of 0 makes empty would exceed it were that axis 1.
 * The inputs lie in the order of the description, then the outputs, then the scratch; every
 * output and scratch is followed by RK_WIRE_GUARD bytes. A failure leaves @plan unchanged.
 */
int rk_plan_layout(struct rk_plan *plan, uint64_t max_bytes, struct rk_error *err);

/* The shape of output @index, in elements per axis, into @shape[rank]. */
void rk_plan_output_shape(const struct rk_plan *plan, unsigned int index, uint64_t *shape);

/*
 * Set the guard bytes of outputs and scratch, and store the defaults of inputs that the request
 * leaves out. @block has block_bytes. Outputs and scratch have to be zero, as they are in a new
 * block of payload memory: clearing them would touch all of its pages.
 */
void rk_plan_prepare(const struct rk_plan *plan, void *block);

/* How many bytes rk_plan_check_bools reads. */
uint64_t rk_plan_bool_bytes(const struct rk_plan *plan);

/* Whether the bool inputs in @block are all 0 or 1: 0, or -EINVAL naming input and element. */
int rk_plan_check_bools(const struct rk_plan *plan, const void *block, struct rk_error *err);

/*
 * Fill @args, one for each parameter of the code for @backend, for a block that starts at
 * @block_offset of the payload memfd and at @block in memory (scalars are read there). Returns how
 * many.
 */
uint32_t rk_plan_wire(const struct rk_plan *plan, enum rk_wire_backend backend,
		      uint64_t block_offset, const void *block, struct rk_wire_arg *args);

/*
 * The blocks that a launch on @backend needs, by axis: threads wanted, divided by the block,
 * rounded up, at least 1 (also where the threads come out below zero, and for axes that are not
 * given); 0 each where the code there has no blocks.
 * @fused_size is the size of the fused dim for the launch: the sum of several messages', or what
 * plan has for it (any value where there is none). Returns 0, or -EINVAL where an axis needs more
 * blocks than CUDA has (2^31 - 1, 65535, 65535): the sentence names axis and number. rk_plan_layout
 * has seen to it that a message by itself fits.
 */
int rk_plan_grid(const struct rk_plan *plan, enum rk_wire_backend backend, uint64_t fused_size,
		 uint32_t grid[RK_WIRE_AXES], struct rk_error *err);

/*
 * Whether two messages of one kernel can run as one: it has a fused dim, and scalars (read from
 * the blocks) and all other dims are the same. Both are laid out.
 */
bool rk_plan_fuses(const struct rk_plan *a, const void *block_a, const struct rk_plan *b,
		   const void *block_b);

/*
 * Whether the guard bytes are whole. Returns 0, or -EIO naming the output or
 * scratch that the kernel wrote past.
 */
int rk_plan_check(const struct rk_plan *plan, const void *block, struct rk_error *err);

#endif
