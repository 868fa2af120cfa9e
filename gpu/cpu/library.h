/* SPDX-License-Identifier: MIT */
/* Users' shared libraries in this process. For the control thread only. */
#ifndef RK_GPU_CPU_LIBRARY_H
#define RK_GPU_CPU_LIBRARY_H

#include <sys/queue.h>

#include "runtime/base/error.h"
#include "runtime/base/wire.h"

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

#endif
