/* SPDX-License-Identifier: MIT */
/* What the files of the CPU backend share. */
#ifndef RK_GPU_CPU_INTERNAL_H
#define RK_GPU_CPU_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "gpu/base/backend.h"
#include "runtime/base/error.h"
#include "runtime/base/wire.h"

/* builtin.c: the built-in kernels on the CPU. */

/*
 * The C function of the built-in that @load names. Returns 0; -ENOENT: there is none; -EINVAL: it
 * takes other arguments than @load says, or a larger state. Never blocks.
 */
int rk_cpu_builtin(const struct rk_wire_load *load, void (**fn)(void), struct rk_error *err);

/* elf.c */

/*
 * Whether the file @fd is a whole shared library for this machine. The loader takes that for
 * granted: a library that is cut off kills it with SIGBUS, and of one for another machine it says
 * that there is no such file. Returns 0; -ENOEXEC with a sentence that begins in lower case and
 * names no file ("is not a shared library (ELF file)"); a negative errno of reading. @fd is only
 * read, and keeps its offset.
 */
int rk_elf_check(int fd, struct rk_error *err);

/* library.c: users' shared libraries in this process. For the control thread only. */

struct rk_cpu_library;

SLIST_HEAD(rk_cpu_libraries, rk_cpu_library);

/* A kernel's hold on its library; all zero: it has none. */
struct rk_cpu_hold {
	struct rk_cpu_library *library;
	void *handle; /* from dlopen */
};

/*
 * Find the function load->entry in the library in the memfd @fd, which this takes; the same memfd
 * is one library for all its kernels. *@hold is for rk_cpu_library_leave. Returns 0; -ENOEXEC: it
 * cannot be loaded here; -ENOENT: it has no such function; -ENOMEM; another negative errno. The
 * sentence then names neither kernel nor library. Blocks as the loader does.
 */
int rk_cpu_library_use(struct rk_cpu_libraries *libraries, const struct rk_wire_load *load, int fd,
		       struct rk_cpu_hold *hold, void (**fn)(void), struct rk_error *err);

/* No run of the kernel is under way. Without a library it does nothing. */
void rk_cpu_library_leave(struct rk_cpu_libraries *libraries, const struct rk_cpu_hold *hold);

/*
 * Forget all of them; no kernel uses one. The loader knows those that are left for as long as the
 * process lives, so their numbers stay taken.
 */
void rk_cpu_libraries_forget(struct rk_cpu_libraries *libraries);

/*
 * ring.c: a kernel of mode ring on the CPU: a thread of its own, and memory that stays from message
 * to message. All functions but rk_cpu_ring_run are for the control thread.
 */

struct rk_cpu_ring;

/* One message, in the ring's thread. @state is NULL where the kernel has none. */
typedef void rk_cpu_ring_fn(void *ctx, void *state);

/*
 * Start the thread, rk-ring-@number, and allocate @state_bytes of zeroes (0: none), aligned to 64.
 * *@ring belongs to the caller. Returns 0, -ENOMEM, or the negative errno of pthread_create.
 */
int rk_cpu_ring_start(struct rk_cpu_ring **ring, uint32_t number, uint64_t state_bytes,
		      struct rk_error *err);

/*
 * Have the thread call @fn, and wait for its end. Where the process dies meanwhile, @message is
 * blamed (gpu/base/crash.h). Any thread; callers that come at the same time are served one by one,
 * in the order in which they came.
 */
void rk_cpu_ring_run(struct rk_cpu_ring *ring, uint64_t message, rk_cpu_ring_fn *fn, void *ctx);

/*
 * End the thread, wait for it, and free the state; nobody is inside rk_cpu_ring_run. Ends the
 * process with RK_WORKER_EXIT_FAILURE where the thread cannot be waited for.
 */
void rk_cpu_ring_stop(struct rk_cpu_ring *ring);

/*
 * widen.c: f16 for C functions, which get it as float: before a run, inputs are widened into memory
 * of the thread's own; after it, outputs are narrowed from there (rounded to nearest even). Guard
 * bytes behind the widened outputs and scratch are copied to the payload, where the daemon looks at
 * them.
 */

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
