/* SPDX-License-Identifier: MIT */
/*
 * A backend runs kernels on one kind of device. All that the worker knows of it is its struct
 * rk_backend_ops.
 *
 * Threads: the control thread alone calls open, close, load and unload, one at a time. The executor
 * threads call run, many at once, also for the same kernel, and also while the control thread loads
 * or unloads another one. A kernel is never unloaded while a run of it is under way, and close
 * comes after the last run and unload. No lock is held across any of these calls. Each may block as
 * long as the device does: the daemon ends a worker that takes too long. A thread of its own calls
 * check, one at a time, beside all others, between open and close.
 */
#ifndef RK_GPU_BASE_BACKEND_H
#define RK_GPU_BASE_BACKEND_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/base/error.h"
#include "runtime/base/wire.h"

/* What a parameter of a kernel is: a buffer, a value or the state. */

/* Whether it is passed as the address of a buffer in the payload. */
static inline bool rk_param_is_buffer(const struct rk_wire_param *param)
{
	return param->kind == RK_WIRE_ARG_INPUT || param->kind == RK_WIRE_ARG_OUTPUT ||
	       param->kind == RK_WIRE_ARG_SCRATCH;
}

/* Whether it is passed by value. */
static inline bool rk_param_is_value(const struct rk_wire_param *param)
{
	return param->kind == RK_WIRE_ARG_SCALAR || param->kind == RK_WIRE_ARG_DIM;
}

/* Bytes behind its buffer that tell of a kernel which writes too far: 0 where it writes nothing. */
static inline uint64_t rk_param_guard(const struct rk_wire_param *param)
{
	return param->kind == RK_WIRE_ARG_OUTPUT || param->kind == RK_WIRE_ARG_SCRATCH
		       ? RK_WIRE_GUARD
		       : 0;
}

#define RK_BACKEND_THREADS_MAX (RK_WIRE_THREADS_MAX + 1) /* one for health probes */

/* What a backend is opened with. All of it stays valid until close. */
struct rk_backend_env {
	unsigned int threads;	       /* executor threads: run's @thread is below it */
	unsigned int spare;	       /* how many of these are idle but for health probes */
	uint8_t *payload;	       /* the mapped payload: every buffer lies in it */
	uint64_t payload_bytes;	       /* its size */
	struct rk_wire_shared *shared; /* device memory accounting, for the backend to keep */
	const struct rk_wire_device_settings *device;
};

/*
 * One argument of a run, checked: a buffer lies inside the payload, aligned to
 * its dtype and a multiple of it in length, with the guard bytes of an output or scratch behind it.
 * The address of value (= of buffer) is what libffi and cuLaunchKernel want as the address of a
 * host-side argument.
 */
struct rk_backend_arg {
	union {
		void *buffer;	/* RK_WIRE_ARG_INPUT, _OUTPUT, _SCRATCH */
		uint64_t value; /* RK_WIRE_ARG_SCALAR, _DIM: the value's bytes come first */
	};
	uint64_t bytes; /* of the buffer or of the value; a buffer of 0 is allowed; STATE: 0 */
};

/* One run: a message, or several as one (runtime/base/wire.h, struct rk_wire_run). */
struct rk_backend_run {
	unsigned int thread; /* which executor calls; below env->threads */
	unsigned int count;  /* messages, at least 1; 1 where the backend does not fuse */
	uint32_t grid[RK_WIRE_AXES];
	uint64_t message; /* id of the first one */
	/* count rows of as many as the load packet had parameters, one after the other */
	const struct rk_backend_arg *args;
};

struct rk_backend_ops {
	bool fuses; /* runs several messages as one */
	/* 1 + enum rk_wire_library that open opens, which may end the process; 0 = none */
	unsigned int driver;

	/*
	 * Take the device. What is needed of @env later is copied. *@backend belongs to the caller
	 * until close; NULL is a legal value of it. Returns 0; -ENODEV where there is no such
	 * device or driver; another negative errno where it does not work.
	 */
	int (*open)(const struct rk_backend_env *env, void **backend, struct rk_error *err);

	/*
	 * The device's UUID as NVML has it, "GPU-...", valid until close, and its *@index among
	 * those that the driver shows. NULL: there is no device.
	 */
	const char *(*uuid)(void *backend, uint32_t *index);

	/* Give the device back. Every kernel is unloaded by then. */
	void (*close)(void *backend);

	/*
	 * Prepare the kernel that @load describes (its parameters are valid, its strings
	 * terminated), so that run allocates nothing. @library_fd is a sealed memfd with the
	 * library's bytes, or -1 where load->library is "builtin"; it belongs to the backend from
	 * here on, whatever is returned. *@kernel belongs to the caller until unload. Returns 0;
	 * -ENOENT: there is no such built-in or entry; -ENOEXEC: the library cannot be loaded here;
	 * -EINVAL: the signature cannot be called; -ENOTSUP: this backend does not do that;
	 * -ENOMEM.
	 */
	int (*load)(void *backend, const struct rk_wire_load *load, int library_fd, void **kernel,
		    struct rk_error *err);

	void (*unload)(void *backend, void *kernel);

	/*
	 * Run @kernel once and wait for its end: its outputs are in the payload on return. *@run_ns
	 * is the time that the kernel itself took, in nanoseconds. Returns 0, or a negative errno
	 * for all of its messages (-EIO: the kernel failed; -ENOMEM: there is no device memory, or
	 * it would be over the limit). An error that spoils the device for this process does not
	 * return: rk_fatal() (gpu/base/crash.h). Runs of a kernel in RK_WIRE_RING come one at a
	 * time.
	 */
	int (*run)(void *backend, void *kernel, const struct rk_backend_run *run, uint64_t *run_ns,
		   struct rk_error *err);

	/*
	 * Whether the device still answers: asks the driver something that goes to the device, and
	 * hangs if the device does. Returns 0, or -EIO with the reason; an error that spoils the
	 * process does not return, as in run. NULL: there is no device.
	 */
	int (*check)(void *backend, struct rk_error *err);
};

#endif
