/* SPDX-License-Identifier: MIT */
/*
 * f16 for C functions, which get it as float: before a run, inputs are widened into memory of the
 * thread's own; after it, outputs are narrowed from there (rounded to nearest even). Guard bytes
 * behind the widened outputs and scratch are copied to the payload, where the daemon looks at them.
 */
#ifndef RK_GPU_CPU_WIDEN_H
#define RK_GPU_CPU_WIDEN_H

#include <stdbool.h>

#include "gpu/base/backend.h"

/* Memory for the widened arguments of one thread; all zero = none yet. */
struct rk_widen {
	unsigned char *memory;
	uint64_t bytes;
};

/* Whether a kernel with these parameters needs any of this. */
bool rk_widen_needed(const struct rk_wire_param *params, unsigned int nparams);

/*
 * Fill @wide with @args; where a parameter is f16, with what the function is to get. @w is in use
 * until rk_widen_end. Returns 0 or -ENOMEM.
 */
int rk_widen_begin(struct rk_widen *w, const struct rk_wire_param *params, unsigned int nparams,
		   const struct rk_backend_arg *args, struct rk_backend_arg *wide,
		   struct rk_error *err);

/* The function has returned: put what it wrote into the payload, with the same arguments. */
void rk_widen_end(struct rk_widen *w, const struct rk_wire_param *params, unsigned int nparams,
		  const struct rk_backend_arg *args, const struct rk_backend_arg *wide);

/* Free the memory. */
void rk_widen_free(struct rk_widen *w);

#endif
