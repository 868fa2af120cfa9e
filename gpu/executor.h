/* SPDX-License-Identifier: MIT */
/*
 * The message side of a worker: the threads that take struct rk_wire_run off the messages socket,
 * run them on their kernel's backend and answer, and the table of loaded kernels.
 *
 * A packet that breaks the protocol, and the daemon's death, end the process from within these
 * threads. Load, unload and stop are for the control thread alone.
 */
#ifndef RK_GPU_EXECUTOR_H
#define RK_GPU_EXECUTOR_H

#include "gpu/base/backend.h"
#include "runtime/base/error.h"
#include "runtime/base/wire.h"

struct rk_executor;

/* A backend that is open. */
struct rk_executor_backend {
	const struct rk_backend_ops *ops; /* NULL: the worker does not have it */
	void *backend;
};

/*
 * Start env->threads threads on the socket @messages. They run on @backends, of which there are
 * RK_WIRE_BACKEND_COUNT; all is borrowed until rk_executor_stop(). *@executor belongs to the
 * caller. Returns 0, -ENOMEM, or the negative errno of pthread_create(3), and leaves no thread
 * behind then.
 */
int rk_executor_start(struct rk_executor **executor, const struct rk_backend_env *env, int messages,
		      const struct rk_executor_backend *backends, struct rk_error *err);

/*
 * Load the kernel of a checked packet, for a backend that is open, into its slot, which must be
 * free. @library_fd is what the backend's load takes; it no longer belongs to the caller, whatever
 * is returned. Returns 0, -EEXIST (the slot is taken), -ENOMEM, or the error of the backend's load.
 * Blocks as the backend does.
 */
int rk_executor_load(struct rk_executor *executor, const struct rk_wire_load *load, int library_fd,
		     struct rk_error *err);

/*
 * Unload slot @kernel, which is below RK_WIRE_KERNELS_MAX. Returns 0; -ENODEV: it is not loaded;
 * -EBUSY: a message of it is running (it stays loaded).
 */
int rk_executor_unload(struct rk_executor *executor, uint32_t kernel, struct rk_error *err);

/*
 * Take no packet that the daemon sends from now on (it gets EPIPE), run and answer those that were
 * sent before, wait for the threads, unload every kernel and free all. Blocks until the kernels
 * that run have ended. Ends the process with RK_WORKER_EXIT_FAILURE where the threads cannot be
 * stopped.
 */
void rk_executor_stop(struct rk_executor *executor);

#endif
