/* SPDX-License-Identifier: MIT */
/*
 * Which backends there are, a row each: all that depends on which it is, apart from what its
 * folder in gpu/ does. Constants only.
 */
#ifndef RK_RUNTIME_BASE_BACKENDS_H
#define RK_RUNTIME_BASE_BACKENDS_H

#include <stdbool.h>

/*
 * X(ID, NAME, LIBRARY, WHAT, LAUNCHES), in the order of their numbers on the wire:
 *   ID        RK_WIRE_ID is the number
 *   NAME      in the configuration, on the wire, in kernels/D/N/backend, and of the section of a
 *             description with the code for it
 *   LIBRARY   the key of that section that says where the code is
 *   WHAT      what lies there, for sentences
 *   LAUNCHES  1: in blocks of threads, of several messages at once where the kernel allows: the
 *             section has grid, block, shared and cooperative; 0: a call for each message
 * The first one is always there: it runs the kernels that have no code for another.
 */
#define RK_BACKENDS(X)                                                                             \
	X(CPU, cpu, "library", "shared object", 0)                                                 \
	X(CUDA, cuda, "module", "CUDA module (fatbin, cubin or PTX)", 1)

enum rk_wire_backend {
#define X(id, ...) RK_WIRE_##id,
	RK_BACKENDS(X)
#undef X
	RK_WIRE_BACKEND_COUNT,
};

struct rk_backend_info {
	const char *name;
	const char *library;
	const char *what;
	bool launches;
};

extern const struct rk_backend_info rk_backends[RK_WIRE_BACKEND_COUNT];

/* The one called @name; RK_WIRE_BACKEND_COUNT where there is none. */
enum rk_wire_backend rk_backend_named(const char *name);

/* ", cpu, cuda" */
#define RK_BACKEND_COMMA_NAME(id, name, ...) ", " #name
#define RK_BACKEND_COMMA_NAMES		     RK_BACKENDS(RK_BACKEND_COMMA_NAME)

/* "[cpu] and [cuda]" */
#define RK_BACKEND_AND_SECTION(id, name, ...) " and [" #name "]"
#define RK_BACKEND_SECTIONS		      (&RK_BACKENDS(RK_BACKEND_AND_SECTION)[sizeof(" and ") - 1])

#endif
