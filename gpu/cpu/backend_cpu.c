/* SPDX-License-Identifier: MIT */
/*
 * The CPU backend: kernels are C functions, called through libffi in the executor's own thread, or,
 * in mode ring, in a thread of the kernel's own.
 */
#include <errno.h>
#include <fenv.h>
#include <ffi.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gpu/base/library.h"
#include "gpu/base/parallel.h"
#include "gpu/cpu/backend_cpu.h"
#include "gpu/cpu/internal.h"
#include "runtime/base/clock.h"
#include "runtime/base/log.h"
#include "runtime/base/tensor.h"

struct cpu {
	unsigned int threads;
	struct rk_widen *widen;		   /* one per executor thread */
	struct rk_cpu_libraries libraries; /* for the control thread only */
};

/* A prepared call. */
struct cpu_kernel {
	struct rk_cpu_hold hold; /* its library is NULL: the kernel is built in */
	ffi_cif cif;
	ffi_type *types[RK_WIRE_ARGS_MAX]; /* what cif points into */
	void (*fn)(void);
	bool widens; /* some parameter is f16 */
	struct rk_wire_param params[RK_WIRE_ARGS_MAX];
	struct rk_cpu_ring *ring; /* NULL: batch */
};

/* One run, for the thread that does it. */
struct call {
	struct cpu *cpu;
	struct cpu_kernel *kernel;
	const struct rk_backend_run *run;
	uint64_t *run_ns;
	struct rk_error *err;
	int rc;
};

/* The C type of a dtype passed by value. */
static ffi_type *const value_types[RK_DTYPE_COUNT] = {
	[RK_F16] = &ffi_type_float,  [RK_F32] = &ffi_type_float,  [RK_F64] = &ffi_type_double,
	[RK_I8] = &ffi_type_sint8,   [RK_I16] = &ffi_type_sint16, [RK_I32] = &ffi_type_sint32,
	[RK_I64] = &ffi_type_sint64, [RK_U8] = &ffi_type_uint8,	  [RK_U16] = &ffi_type_uint16,
	[RK_U32] = &ffi_type_uint32, [RK_U64] = &ffi_type_uint64, [RK_BOOL] = &ffi_type_uint8,
};

static ffi_type *ffi_param_type(const struct rk_wire_param *param)
{
	if (rk_param_is_value(param))
		return value_types[param->dtype];
	return &ffi_type_pointer;
}

/* Prepare what calls of the function need. */
static int prepare(struct cpu_kernel *k, const struct rk_wire_load *load, struct rk_error *err)
{
	int rc;

	for (unsigned int i = 0; i < load->nparams; i++)
		k->types[i] = ffi_param_type(&load->params[i]);
	k->widens = rk_widen_needed(load->params, load->nparams);
	memcpy(k->params, load->params, sizeof(k->params));
	if (ffi_prep_cif(&k->cif, FFI_DEFAULT_ABI, load->nparams, &ffi_type_void, k->types) !=
	    FFI_OK)
		return rk_error_set(err, EINVAL, "kernel %s: libffi cannot call this signature",
				    load->id);
	if (load->mode != RK_WIRE_RING)
		return 0;
	rc = rk_cpu_ring_start(&k->ring, load->kernel, load->state_bytes, err);
	return rc ? rk_error_prefix(err, "kernel %s", load->id) : 0;
}

static int cpu_load(void *backend, const struct rk_wire_load *load, int library_fd, void **kernel,
		    struct rk_error *err)
{
	struct cpu_kernel *k = calloc(1, sizeof(*k));
	struct cpu *cpu = backend;
	int rc;

	if (!k) {
		if (library_fd >= 0)
			(void)close(library_fd);
		return rk_error_set(err, ENOMEM, "kernel %s: no memory to load it", load->id);
	}
	if (library_fd < 0) {
		rc = rk_cpu_builtin(load, &k->fn, err);
	} else {
		rc = rk_cpu_library_use(&cpu->libraries, load, library_fd, &k->hold, &k->fn, err);
		if (rc)
			rk_error_prefix(err, "kernel %s: %s", load->id,
					rk_library_path_shown(load->library));
	}
	if (rc == 0) {
		rc = prepare(k, load, err);
		if (rc)
			rk_cpu_library_leave(&cpu->libraries, &k->hold);
	}
	if (rc) {
		free(k);
		return rc;
	}
	*kernel = k;
	return 0;
}

static void cpu_unload(void *backend, void *kernel)
{
	struct cpu *cpu = backend;
	struct cpu_kernel *k = kernel;

	if (k->ring)
		rk_cpu_ring_stop(k->ring);
	rk_cpu_library_leave(&cpu->libraries, &k->hold);
	free(k);
}

/*
 * Call the function, in the thread that is to run it. @args are those of call, but for the state.
 */
static int call_function(const struct call *call, const struct rk_backend_arg *args)
{
	struct cpu_kernel *k = call->kernel;
	struct rk_widen *widen = &call->cpu->widen[call->run->thread];
	struct rk_backend_arg given[RK_WIRE_ARGS_MAX]; /* what libffi takes may be written to */
	void *addresses[RK_WIRE_ARGS_MAX];
	uint64_t start;
	fenv_t env;

	if (!k->widens)
		memcpy(given, args, k->cif.nargs * sizeof(*given));
	else if (rk_widen_begin(widen, k->params, k->cif.nargs, args, given, call->err))
		return -ENOMEM;
	for (unsigned int i = 0; i < k->cif.nargs; i++)
		addresses[i] = &given[i].value;
	/* the next kernel in this thread must not round as a user's function left it */
	if (k->hold.library)
		fegetenv(&env);
	start = rk_now_ns();
	ffi_call(&k->cif, k->fn, NULL, addresses);
	*call->run_ns = rk_now_ns() - start;
	if (k->hold.library)
		fesetenv(&env);
	if (k->widens)
		rk_widen_end(widen, k->params, k->cif.nargs, args, given);
	return 0;
}

/* In the ring's thread. The executor's thread, whose memory for f16 is used, waits meanwhile. */
static void call_in_ring(void *ctx, void *state)
{
	struct call *call = ctx;
	const struct cpu_kernel *k = call->kernel;
	struct rk_backend_arg args[RK_WIRE_ARGS_MAX];

	for (unsigned int i = 0; i < k->cif.nargs; i++) {
		args[i] = call->run->args[i];
		if (k->params[i].kind == RK_WIRE_ARG_STATE)
			args[i].buffer = state;
	}
	call->rc = call_function(call, args);
}

static int cpu_run(void *backend, void *kernel, const struct rk_backend_run *run, uint64_t *run_ns,
		   struct rk_error *err)
{
	struct cpu_kernel *k = kernel;
	struct call call = {.cpu = backend, .kernel = k, .run = run, .run_ns = run_ns, .err = err};

	if (!k->ring)
		return call_function(&call, run->args);
	rk_cpu_ring_run(k->ring, run->message, call_in_ring, &call);
	return call.rc;
}

static int cpu_open(const struct rk_backend_env *env, void **backend, struct rk_error *err)
{
	struct cpu *cpu = calloc(1, sizeof(*cpu));
	int rc;

	if (cpu)
		cpu->widen = calloc(env->threads, sizeof(*cpu->widen));
	if (!cpu || !cpu->widen) {
		free(cpu);
		return rk_error_set(err, ENOMEM, "no memory for the CPU backend");
	}
	rc = rk_parallel_start(env->threads - env->spare, err);
	if (rc) {
		free(cpu->widen);
		free(cpu);
		return rc;
	}
	cpu->threads = env->threads;
	SLIST_INIT(&cpu->libraries);
	*backend = cpu;
	return 0;
}

static void cpu_close(void *backend)
{
	struct cpu *cpu = backend;

	rk_parallel_stop();
	rk_cpu_libraries_forget(&cpu->libraries);
	for (unsigned int i = 0; i < cpu->threads; i++)
		rk_widen_free(&cpu->widen[i]);
	free(cpu->widen);
	free(cpu);
}

const struct rk_backend_ops rk_backend_cpu = {
	.open = cpu_open,
	.close = cpu_close,
	.load = cpu_load,
	.unload = cpu_unload,
	.run = cpu_run,
};
