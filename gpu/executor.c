// SPDX-License-Identifier: MIT
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gpu/crash.h"
#include "gpu/executor.h"
#include "gpu/packet.h"
#include "runtime/log.h"
#include "runtime/tensor.h"

/*
 * A block of the payload passes from thread to thread by way of the daemon, which orders it but
 * which ThreadSanitizer cannot see.
 */
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#define PAYLOAD_ACQUIRE(what) __tsan_acquire(what)
#define PAYLOAD_RELEASE(what) __tsan_release(what)
#else
#define PAYLOAD_ACQUIRE(what) ((void)(what))
#define PAYLOAD_RELEASE(what) ((void)(what))
#endif

/* A loaded kernel; immutable while it is in its slot. */
struct kernel {
	char id[2 * RK_WIRE_NAME_MAX];
	uint32_t nparams;
	struct rk_wire_param params[RK_WIRE_ARGS_MAX];
	void *handle; /* the backend's */
};

/*
 * The daemon promises that no message of a slot runs while it is unloaded;
 * users makes a broken promise an EBUSY instead of a use after free. A thread
 * counts itself in before it reads kernel, unload takes kernel away before it
 * reads users: in the one order of sequentially consistent operations, one of them sees the other.
 */
struct slot {
	_Atomic(struct kernel *) kernel;
	atomic_uint users;
};

struct executor_thread {
	struct rk_executor *executor;
	unsigned int index;
	pthread_t id;
};

struct rk_executor {
	struct rk_backend_env env;
	const struct rk_backend_ops *ops;
	void *backend;
	int messages;
	atomic_bool stopping;
	unsigned int nthreads; /* started */
	struct executor_thread threads[RK_WIRE_THREADS_MAX];
	struct slot slots[RK_WIRE_KERNELS_MAX];
};

static bool is_buffer(const struct rk_wire_param *param)
{
	return param->kind != RK_WIRE_ARG_SCALAR && param->kind != RK_WIRE_ARG_DIM;
}

/* Check @in against its parameter and translate it. */
static void bind_arg(const struct rk_executor *executor, const struct kernel *kernel,
		     unsigned int i, const struct rk_wire_arg *in, struct rk_backend_arg *out)
{
	const struct rk_wire_param *param = &kernel->params[i];
	uint64_t guard = param->kind == RK_WIRE_ARG_INPUT ? 0 : RK_WIRE_GUARD;
	uint64_t payload = executor->env.payload_bytes;
	size_t size = rk_dtype_info(param->dtype)->size;

	out->bytes = in->bytes;
	if (!is_buffer(param)) {
		if (in->bytes != size)
			rk_packet_violation("%s: argument %u has %" PRIu64
					    " bytes, its type has %zu",
					    kernel->id, i, in->bytes, size);
		out->value = in->value;
		return;
	}
	if (guard > payload || in->bytes > payload - guard ||
	    in->value > payload - guard - in->bytes)
		rk_packet_violation("%s: argument %u, %" PRIu64 " bytes at %" PRIu64
				    ", lies outside the payload",
				    kernel->id, i, in->bytes, in->value);
	if (in->value % size || in->bytes % size)
		rk_packet_violation("%s: argument %u, %" PRIu64 " bytes at %" PRIu64
				    ", is not aligned to its type",
				    kernel->id, i, in->bytes, in->value);
	out->buffer = executor->env.payload + in->value;
}

/* @len is the length the packet had. */
static void check_run(const struct rk_wire_run *run, size_t len)
{
	if (len < offsetof(struct rk_wire_run, args) || run->nargs > RK_WIRE_ARGS_MAX ||
	    len != offsetof(struct rk_wire_run, args) + run->nargs * sizeof(run->args[0]))
		rk_packet_violation("a run packet of %zu bytes does not fit its arguments", len);
	if (run->kernel >= RK_WIRE_KERNELS_MAX)
		rk_packet_violation("a run packet names kernel slot %" PRIu32, run->kernel);
}

static int run_kernel(const struct executor_thread *thread, const struct kernel *kernel,
		      const struct rk_wire_run *run, uint64_t *run_ns, struct rk_error *err)
{
	struct rk_executor *executor = thread->executor;
	struct rk_backend_arg args[RK_WIRE_ARGS_MAX];

	if (run->nargs != kernel->nparams)
		rk_packet_violation("%s: %" PRIu32 " arguments for %" PRIu32 " parameters",
				    kernel->id, run->nargs, kernel->nparams);
	for (unsigned int i = 0; i < run->nargs; i++)
		bind_arg(executor, kernel, i, &run->args[i], &args[i]);
	return executor->ops->run(executor->backend, kernel->handle, thread->index, args, run_ns,
				  err);
}

/* The slot is let go before the answer is sent: the daemon may unload it on seeing that. */
static int run_message(const struct executor_thread *thread, const struct rk_wire_run *run,
		       uint64_t *run_ns, struct rk_error *err)
{
	struct slot *slot = &thread->executor->slots[run->kernel];
	const struct kernel *kernel;
	int rc;

	atomic_fetch_add(&slot->users, 1);
	kernel = atomic_load(&slot->kernel);
	if (kernel)
		rc = run_kernel(thread, kernel, run, run_ns, err);
	else
		rc = rk_error_set(err, ENODEV, "kernel slot %" PRIu32 " is not loaded",
				  run->kernel);
	atomic_fetch_sub(&slot->users, 1);
	return rc;
}

/* Returns 0 or -errno of the send. */
static int answer(int messages, const struct rk_wire_run *run, int status, uint64_t run_ns,
		  const struct rk_error *err)
{
	struct rk_wire_done done;
	size_t len = offsetof(struct rk_wire_done, text);

	done.id = run->id;
	done.slot = run->slot;
	done.status = -status;
	done.run_ns = run_ns;
	if (status) {
		len = sizeof(done);
		memset(done.text, 0, sizeof(done.text));
		snprintf(done.text, sizeof(done.text), "%s", err->msg);
	}
	return rk_packet_send(messages, &done, len);
}

/* One message. False where there will be no more. */
static bool serve_one(const struct executor_thread *thread)
{
	struct rk_executor *executor = thread->executor;
	struct rk_wire_run run;
	struct rk_error err;
	uint64_t run_ns = 0;
	ssize_t len;
	int rc;

	len = rk_packet_recv(executor->messages, &run, sizeof(run));
	if (len == 0 && atomic_load(&executor->stopping))
		return false;
	if (len == 0)
		_exit(EXIT_SUCCESS); /* the daemon is gone, and nobody waits for what still runs */
	if (len < 0) {
		rk_log(RK_LOG_ERROR, "rk-worker: cannot receive messages: %s", strerror((int)-len));
		_exit(RK_WORKER_EXIT_FAILURE);
	}
	check_run(&run, (size_t)len);
	PAYLOAD_ACQUIRE(executor);
	rk_crash_enter(run.id);
	rc = run_message(thread, &run, &run_ns, &err);
	rk_crash_leave();
	PAYLOAD_RELEASE(executor);
	rc = answer(executor->messages, &run, rc, run_ns, &err);
	if (rc == -EPIPE)
		_exit(EXIT_SUCCESS);
	if (rc) {
		rk_log(RK_LOG_ERROR, "rk-worker: cannot answer a message: %s", strerror(-rc));
		_exit(RK_WORKER_EXIT_FAILURE);
	}
	return true;
}

static void *executor_main(void *arg)
{
	const struct executor_thread *thread = arg;
	char name[16];
	int rc;

	snprintf(name, sizeof(name), "rk-exec-%u", thread->index);
	rc = pthread_setname_np(pthread_self(), name);
	if (rc)
		rk_log(RK_LOG_DEBUG, "rk-worker: cannot name a thread: %s", strerror(rc));
	rk_crash_thread_begin();
	while (serve_one(thread))
		;
	rk_crash_thread_end();
	return NULL;
}

/*
 * Wake the threads that wait and join all. Packets already in the socket are served first.
 * Where that cannot be done, threads still use everything there is: the process can only end.
 */
static void stop_threads(struct rk_executor *executor)
{
	int rc = 0;

	atomic_store(&executor->stopping, true);
	if (shutdown(executor->messages, SHUT_RD) < 0)
		rc = errno;
	while (rc == 0 && executor->nthreads) {
		rc = pthread_join(executor->threads[executor->nthreads - 1].id, NULL);
		executor->nthreads--;
	}
	if (rc == 0)
		return;
	rk_log(RK_LOG_ERROR, "rk-worker: cannot stop the executor threads: %s", strerror(rc));
	_exit(RK_WORKER_EXIT_FAILURE);
}

int rk_executor_start(struct rk_executor **executor, const struct rk_backend_env *env, int messages,
		      const struct rk_backend_ops *ops, void *backend, struct rk_error *err)
{
	struct rk_executor *e = calloc(1, sizeof(*e));
	int rc;

	if (!e)
		return rk_error_set(err, ENOMEM, "no memory for the table of kernels");
	e->env = *env;
	e->ops = ops;
	e->backend = backend;
	e->messages = messages;
	while (e->nthreads < env->threads) {
		struct executor_thread *thread = &e->threads[e->nthreads];

		thread->executor = e;
		thread->index = e->nthreads;
		rc = pthread_create(&thread->id, NULL, executor_main, thread);
		if (rc) {
			unsigned int started = e->nthreads;

			stop_threads(e);
			free(e);
			return rk_error_set(err, rc, "cannot start thread %u of %u: %s",
					    started + 1, env->threads, strerror(rc));
		}
		e->nthreads++;
	}
	*executor = e;
	return 0;
}

static void close_library(int fd)
{
	if (fd >= 0)
		(void)close(fd); /* only read from */
}

int rk_executor_load(struct rk_executor *executor, const struct rk_wire_load *load, int library_fd,
		     struct rk_error *err)
{
	struct slot *slot = &executor->slots[load->kernel];
	struct kernel *kernel;
	int rc;

	if (atomic_load(&slot->kernel)) {
		close_library(library_fd);
		return rk_error_set(err, EEXIST, "kernel slot %" PRIu32 " is loaded already",
				    load->kernel);
	}
	kernel = calloc(1, sizeof(*kernel));
	if (!kernel) {
		close_library(library_fd);
		return rk_error_set(err, ENOMEM, "kernel %s: no memory to load it", load->id);
	}
	memcpy(kernel->id, load->id, sizeof(kernel->id));
	kernel->nparams = load->nparams;
	memcpy(kernel->params, load->params, sizeof(kernel->params));
	atomic_store(&executor->env.shared->loading_kernel, load->kernel + 1);
	rc = executor->ops->load(executor->backend, load, library_fd, &kernel->handle, err);
	atomic_store(&executor->env.shared->loading_kernel, 0);
	if (rc) {
		free(kernel);
		return rc;
	}
	atomic_store(&slot->kernel, kernel);
	return 0;
}

int rk_executor_unload(struct rk_executor *executor, uint32_t index, struct rk_error *err)
{
	struct slot *slot = &executor->slots[index];
	struct kernel *kernel = atomic_exchange(&slot->kernel, NULL);

	if (!kernel)
		return rk_error_set(err, ENODEV, "kernel slot %" PRIu32 " is not loaded", index);
	if (atomic_load(&slot->users)) {
		atomic_store(&slot->kernel, kernel);
		return rk_error_set(err, EBUSY, "kernel %s is running a message", kernel->id);
	}
	atomic_store(&executor->env.shared->loading_kernel, index + 1);
	executor->ops->unload(executor->backend, kernel->handle);
	atomic_store(&executor->env.shared->loading_kernel, 0);
	free(kernel);
	return 0;
}

void rk_executor_stop(struct rk_executor *executor)
{
	stop_threads(executor);
	for (uint32_t i = 0; i < RK_WIRE_KERNELS_MAX; i++)
		if (atomic_load(&executor->slots[i].kernel))
			rk_executor_unload(executor, i, NULL); /* no thread is left to hold it */
	free(executor);
}
