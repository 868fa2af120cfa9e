/* SPDX-License-Identifier: MIT */
/* The two parts of a plan: plan.c (from the shapes to the layout), plan_wire.c (the run). */
#ifndef RK_RUNTIME_REQUEST_PLAN_INTERNAL_H
#define RK_RUNTIME_REQUEST_PLAN_INTERNAL_H

#include "runtime/request/plan.h"

/* A section of a description whose ports lie in the block. */
struct rk_plan_section {
	const char *what;
	const struct rk_port *ports;
	struct rk_extent *extents;
	unsigned int count;
	uint64_t guard; /* bytes behind each */
};

#define RK_PLAN_SECTIONS 3

/* All of them, in the block's order. */
void rk_plan_sections(const struct rk_plan *plan, struct rk_plan_section section[RK_PLAN_SECTIONS]);

/* What an expression comes to: 0, -EDOM below zero, -ERANGE from 2^64 on. */
int rk_axis_evaluate(const struct rk_axis *axis, const uint64_t *dims, uint64_t *size);

#endif
