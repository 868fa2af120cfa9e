/* SPDX-License-Identifier: MIT */
/* Messages: the threads that run them, and the table of loaded kernels. */
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

#include "gpu/base/cancel.h"
#include "gpu/base/crash.h"
#include "gpu/base/packet.h"
#include "gpu/base/thread.h"
#include "gpu/executor.h"
#include "runtime/base/log.h"
#include "runtime/base/tensor.h"

/*
 * A block of the payload passes from thread to thread by way of the daemon. That orders the
 * accesses, but ThreadSanitizer cannot see it.
 */
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#define PAYLOAD_ACQUIRE(what) __tsan_acquire(what)
#define PAYLOAD_RELEASE(what) __tsan_release(what)
#else
#define PAYLOAD_ACQUIRE(what) ((void)(what))
#define PAYLOAD_RELEASE(what) ((void)(what))
#endif

#define RUN_HEAD offsetof(struct rk_wire_run, args)
#define HOLD_NS	 20000 /* that an answer waits for others of its packet */
/* arguments that a packet has room for, of all its messages together */
#define ROWS_MAX (RK_WIRE_RUN_MAX / sizeof(struct rk_wire_arg))

/* A loaded kernel; immutable while it is in its slot. */
struct kernel {
	char id[2 * RK_WIRE_NAME_MAX];
	uint32_t nparams;
	struct rk_wire_param params[RK_WIRE_ARGS_MAX];
	const struct rk_executor_backend *on;
	bool fuses;    /* takes several messages as one */
	bool has_grid; /* is launched in blocks */
	void *handle;  /* the backend's */
};

/*
 * The daemon promises that no message of a slot runs while it is unloaded; users makes an EBUSY of
 * a broken promise, not a use after free. A thread counts itself in before it reads kernel, and
 * unload takes kernel away before it reads users: sequentially consistent operations have one
 * order, so that at least one of the two sees what the other did.
 */
struct slot {
	_Atomic(struct kernel *) kernel;
	atomic_uint users;
};

struct executor_thread {
	struct rk_executor *executor;
	unsigned int index;
	pthread_t id;
	struct rk_wire_run *packet;  /* RK_WIRE_RUN_MAX bytes */
	struct rk_backend_arg *args; /* ROWS_MAX */
};

struct rk_executor {
	struct rk_backend_env env;
	struct rk_executor_backend backends[RK_WIRE_BACKEND_COUNT];
	int messages;
	atomic_bool stopping;
	unsigned int nthreads; /* started */
	struct executor_thread threads[RK_BACKEND_THREADS_MAX];
	struct slot slots[RK_WIRE_KERNELS_MAX];
};

/* Message @i of the run, from 0 on; message 0 has its id and arguments in the run itself. */
static const struct rk_wire_more *more_of(const struct rk_wire_run *run, uint32_t i)
{
	size_t args = run->nargs * sizeof(struct rk_wire_arg);

	return (const void *)((const char *)run + RUN_HEAD + args +
			      (i - 1) * (sizeof(struct rk_wire_more) + args));
}

static uint64_t id_of(const struct rk_wire_run *run, uint32_t i)
{
	return i ? more_of(run, i)->id : run->id;
}

static const struct rk_wire_arg *args_of(const struct rk_wire_run *run, uint32_t i)
{
	return i ? more_of(run, i)->args : run->args;
}

/* The run at byte @at of the packet. */
static const struct rk_wire_run *run_at(const struct executor_thread *thread, size_t at)
{
	return (const void *)((const char *)thread->packet + at);
}

/* Of a run whose nargs is checked. */
static size_t length_of(const struct rk_wire_run *run)
{
	size_t args = run->nargs * sizeof(struct rk_wire_arg);

	return RUN_HEAD + args + run->nmore * (sizeof(struct rk_wire_more) + args);
}

/* Check @in against its parameter and translate it. */
static void bind_arg(const struct rk_executor *executor, const struct kernel *kernel,
		     unsigned int i, const struct rk_wire_arg *in, struct rk_backend_arg *out)
{
	const struct rk_wire_param *param = &kernel->params[i];
	uint64_t guard = rk_param_guard(param);
	uint64_t payload = executor->env.payload_bytes;
	size_t size = rk_dtype_info(param->dtype)->size;

	out->bytes = in->bytes;
	if (param->kind == RK_WIRE_ARG_STATE) {
		if (in->bytes || in->value)
			rk_packet_violation("%s: argument %u is the state and comes with a value",
					    kernel->id, i);
		out->value = 0;
		return;
	}
	if (rk_param_is_value(param)) {
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

/* Check the run at @run, of which @len bytes are there. Returns how many are its own. */
static size_t check_run(const struct rk_executor *executor, const struct rk_wire_run *run,
			size_t len)
{
	uint64_t own;

	if (len < RUN_HEAD || run->nargs > RK_WIRE_ARGS_MAX)
		rk_packet_violation("a run packet of %zu bytes does not fit its arguments", len);
	own = length_of(run);
	if (own > len)
		rk_packet_violation("a run packet of %zu bytes does not fit its arguments", len);
	if (run->slot >= executor->env.threads)
		rk_packet_violation("a run packet names slot %" PRIu32, run->slot);
	if (run->kernel >= RK_WIRE_KERNELS_MAX)
		rk_packet_violation("a run packet names kernel slot %" PRIu32, run->kernel);
	if (run->spaces) /* of all arguments */
		rk_packet_violation("a run packet names spaces %#" PRIx64, run->spaces);
	return own;
}

/* Check all of a packet before any of it runs. @len is the length that it had. */
static void check_packet(const struct executor_thread *thread, size_t len)
{
	const struct rk_wire_run *run;

	if (len == 0 || len > RK_WIRE_RUN_MAX)
		rk_packet_violation("a run packet of %zu bytes", len);
	for (size_t at = 0; at < len; at += check_run(thread->executor, run, len - at)) {
		run = run_at(thread, at);
		if (len - at >= RUN_HEAD && run->slot != thread->packet->slot)
			rk_packet_violation("runs for slots %" PRIu32 " and %" PRIu32
					    " in one packet",
					    thread->packet->slot, run->slot);
	}
}

/*
 * Several messages can be one run. Their scalars must be the same, and their dims but for the fused
 * one.
 */
static void check_several(const struct kernel *kernel, const struct rk_wire_run *run)
{
	if (!kernel->fuses)
		rk_packet_violation("%s: %" PRIu32 " messages in one run", kernel->id,
				    run->nmore + 1);
	for (uint32_t m = 1; m <= run->nmore; m++)
		for (uint32_t i = 0; i < run->nargs; i++) {
			const struct rk_wire_param *param = &kernel->params[i];

			if (rk_param_is_value(param) && !param->fused &&
			    memcmp(&args_of(run, m)[i].value, &run->args[i].value,
				   rk_dtype_info(param->dtype)->size) != 0)
				rk_packet_violation("%s: argument %" PRIu32
						    " is not the same in all messages of a run",
						    kernel->id, i);
		}
}

static int run_kernel(const struct executor_thread *thread, const struct kernel *kernel,
		      const struct rk_wire_run *in, uint64_t *run_ns, struct rk_error *err)
{
	struct rk_backend_run run = {.thread = thread->index,
				     .count = in->nmore + 1,
				     .message = in->id,
				     .args = thread->args};

	if (in->nargs != kernel->nparams)
		rk_packet_violation("%s: %" PRIu32 " arguments for %" PRIu32 " parameters",
				    kernel->id, in->nargs, kernel->nparams);
	if (in->nmore)
		check_several(kernel, in);
	for (unsigned int axis = 0; axis < RK_WIRE_AXES; axis++) {
		run.grid[axis] = in->grid[axis];
		if (kernel->has_grid && in->grid[axis] == 0)
			rk_packet_violation("%s: a grid of 0 blocks", kernel->id);
	}
	for (uint32_t m = 0; m <= in->nmore; m++)
		for (unsigned int i = 0; i < in->nargs; i++)
			bind_arg(thread->executor, kernel, i, &args_of(in, m)[i],
				 &thread->args[m * in->nargs + i]);
	return kernel->on->ops->run(kernel->on->backend, kernel->handle, &run, run_ns, err);
}

/*
 * The slot is let go before the answer is sent, because the daemon may unload the kernel when it
 * sees the answer.
 */
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

/* The packet of answers that is being built. */
struct answers {
	int messages;	  /* the socket */
	uint64_t held_ns; /* how long its first one has waited for others */
	size_t len;
	_Alignas(struct rk_wire_done) char packet[RK_WIRE_DONE_MAX];
};

static void send_answers(struct answers *answers)
{
	int rc = rk_packet_send(answers->messages, answers->packet, answers->len);

	if (rc == -EPIPE)
		_exit(EXIT_SUCCESS);
	if (rc) {
		rk_log(RK_LOG_ERROR, "rk-worker: cannot answer a message: %s", strerror(-rc));
		_exit(RK_WORKER_EXIT_FAILURE);
	}
	answers->len = 0;
	answers->held_ns = 0;
}

/* Answer each message of @run. What is sent later goes with what others of the packet answer. */
static void answer(struct answers *answers, const struct rk_wire_run *run, int status,
		   uint64_t run_ns, const struct rk_error *err)
{
	struct rk_wire_done done = {.slot = run->slot, .status = -status, .run_ns = run_ns};
	size_t len = status ? sizeof(done) : offsetof(struct rk_wire_done, text);

	if (status)
		snprintf(done.text, sizeof(done.text), "%s", err->msg);
	for (uint32_t m = 0; m <= run->nmore; m++) {
		done.id = id_of(run, m);
		if (len > sizeof(answers->packet) - answers->len)
			send_answers(answers);
		memcpy(answers->packet + answers->len, &done, len);
		answers->len += len;
	}
}

/* Run the messages of @run. Returns the time that it took. */
static uint64_t serve_run(const struct executor_thread *thread, const struct rk_wire_run *run,
			  struct answers *answers)
{
	struct rk_executor *executor = thread->executor;
	struct rk_wire_shared *shared = executor->env.shared;
	struct rk_error err;
	uint64_t run_ns = 0;
	int rc;

	PAYLOAD_ACQUIRE(executor);
	atomic_store(&shared->begun[run->slot], run->id);
	rk_crash_enter(run->id);
	rk_cancel_enter(&shared->cancelled[run->slot], run->id);
	rc = run_message(thread, run, &run_ns, &err);
	rk_cancel_leave();
	rk_crash_leave();
	PAYLOAD_RELEASE(executor);
	answer(answers, run, rc, run_ns, &err);
	return run_ns;
}

/* Serve one packet. False where no more will come. */
static bool serve_one(const struct executor_thread *thread)
{
	struct rk_executor *executor = thread->executor;
	struct answers answers; /* what is not set here is written before it is sent */
	const struct rk_wire_run *run;
	ssize_t len = rk_packet_recv(executor->messages, thread->packet, RK_WIRE_RUN_MAX);

	if (len == 0 && atomic_load(&executor->stopping))
		return false;
	if (len == 0)
		_exit(EXIT_SUCCESS); /* the daemon is gone, and nobody waits for what is still
					running */
	if (len < 0) {
		rk_log(RK_LOG_ERROR, "rk-worker: cannot receive messages: %s", strerror((int)-len));
		_exit(RK_WORKER_EXIT_FAILURE);
	}
	check_packet(thread, (size_t)len);
	answers.messages = executor->messages;
	answers.held_ns = answers.len = 0;
	for (size_t at = 0; at < (size_t)len; at += length_of(run)) {
		run = run_at(thread, at);
		answers.held_ns += serve_run(thread, run, &answers);
		if (answers.held_ns > HOLD_NS)
			send_answers(&answers);
	}
	if (answers.len)
		send_answers(&answers);
	return true;
}

static void *executor_main(void *arg)
{
	const struct executor_thread *thread = arg;

	rk_thread_name("rk-exec-%u", thread->index);
	rk_crash_thread_begin();
	while (serve_one(thread))
		;
	rk_crash_thread_end();
	return NULL;
}

/*
 * Wake the threads that wait, and join all. Packets that are in the socket already are served
 * first. Where the threads cannot be stopped, they still use everything there is, and the process
 * can only end.
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

static void free_executor(struct rk_executor *executor)
{
	for (unsigned int i = 0; i < RK_BACKEND_THREADS_MAX; i++) {
		free(executor->threads[i].packet);
		free(executor->threads[i].args);
	}
	free(executor);
}

/* Returns 0 or a negative errno. */
static int start_thread(struct rk_executor *executor, unsigned int index)
{
	struct executor_thread *thread = &executor->threads[index];

	thread->executor = executor;
	thread->index = index;
	thread->packet = malloc(RK_WIRE_RUN_MAX);
	thread->args = calloc(ROWS_MAX, sizeof(*thread->args));
	if (!thread->packet || !thread->args)
		return -ENOMEM;
	return -pthread_create(&thread->id, NULL, executor_main, thread);
}

int rk_executor_start(struct rk_executor **executor, const struct rk_backend_env *env, int messages,
		      const struct rk_executor_backend *backends, struct rk_error *err)
{
	struct rk_executor *e = calloc(1, sizeof(*e));

	if (!e)
		return rk_error_set(err, ENOMEM, "no memory for the table of kernels");
	e->env = *env;
	memcpy(e->backends, backends, sizeof(e->backends));
	e->messages = messages;
	while (e->nthreads < env->threads) {
		unsigned int started = e->nthreads;
		int rc = start_thread(e, started);

		if (rc) {
			stop_threads(e);
			free_executor(e);
			return rk_error_set(err, -rc, "cannot start thread %u of %u: %m",
					    started + 1, env->threads);
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

/* What the executor has to know of the kernel that is loaded. */
static void describe(const struct rk_executor *executor, struct kernel *kernel,
		     const struct rk_wire_load *load)
{
	memcpy(kernel->id, load->id, sizeof(kernel->id));
	kernel->nparams = load->nparams;
	memcpy(kernel->params, load->params, sizeof(kernel->params));
	kernel->on = &executor->backends[load->backend];
	kernel->has_grid = rk_backends[load->backend].launches && load->mode == RK_WIRE_BATCH;
	for (uint32_t i = 0; i < load->nparams; i++)
		kernel->fuses |= load->params[i].fused && kernel->on->ops->fuses;
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
	describe(executor, kernel, load);
	atomic_store(&executor->env.shared->loading_kernel, load->kernel + 1);
	rc = kernel->on->ops->load(kernel->on->backend, load, library_fd, &kernel->handle, err);
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
	kernel->on->ops->unload(kernel->on->backend, kernel->handle);
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
	free_executor(executor);
}
