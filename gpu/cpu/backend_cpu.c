// SPDX-License-Identifier: MIT
/*
 * The CPU backend: kernels are C functions, called through libffi in the executor's own thread, or,
 * in mode ring, in a thread of the kernel's own.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fenv.h>
#include <ffi.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gpu/base/library.h"
#include "gpu/base/parallel.h"
#include "gpu/base/param.h"
#include "gpu/cpu/backend_cpu.h"
#include "gpu/cpu/builtin.h"
#include "gpu/cpu/elf.h"
#include "gpu/cpu/ring.h"
#include "gpu/cpu/widen.h"
#include "runtime/base/clock.h"
#include "runtime/base/log.h"
#include "runtime/base/tensor.h"

/*
 * A user's library in this process. The loader knows it by the path /proc/self/fd/N, and gives the
 * old library to whoever opens a path that it knows. So fd stays open, and its number taken, for as
 * long as the loader has the library. That can be longer than its last kernel lives, where the
 * loader keeps it (linked with -z nodelete, or C++ with unique symbols).
 */
struct library {
	SLIST_ENTRY(library) link;
	dev_t dev; /* of the memfd: the same one is the same library */
	ino_t ino;
	int fd;
	unsigned int users; /* kernels */
};

struct cpu {
	unsigned int threads;
	struct rk_widen *widen;		 /* one per executor thread */
	SLIST_HEAD(, library) libraries; /* for the control thread only */
};

/* A prepared call. */
struct cpu_kernel {
	struct library *library; /* NULL: built in */
	void *handle;		 /* of library, from dlopen */
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

static void print_fd_path(char path[32], int fd)
{
	snprintf(path, 32, "/proc/self/fd/%d", fd);
}

static void *open_fd(int fd, int flags)
{
	char path[32];

	print_fd_path(path, fd);
	return dlopen(path, flags);
}

/* What the loader says of the library at descriptor @fd, with its path as the user knows it. */
static int loader_error(int fd, const char *path, struct rk_error *err)
{
	const char *text = dlerror(), *at;
	char fd_path[32];
	size_t len;

	if (!text)
		text = "the loader gives no reason";
	print_fd_path(fd_path, fd);
	len = strlen(fd_path);
	at = strstr(text, fd_path);
	if (!at)
		return rk_error_set(err, ENOEXEC, "%s", text);
	if (at == text && strncmp(at + len, ": ", 2) == 0)
		return rk_error_set(err, ENOEXEC, "%s", at + len + 2);
	return rk_error_set(err, ENOEXEC, "%.*s%s%s", (int)(at - text), text,
			    rk_library_path_shown(path), at + len);
}

/*
 * Forget @lib and close its descriptor, if no kernel uses it and the loader has let go of it too.
 */
static void drop_library(struct cpu *cpu, struct library *lib)
{
	void *still;

	if (lib->users)
		return;
	still = open_fd(lib->fd, RTLD_LAZY | RTLD_NOLOAD);
	if (still) {
		(void)dlclose(still);
		return;
	}
	SLIST_REMOVE(&cpu->libraries, lib, library, link);
	if (close(lib->fd) < 0)
		rk_log(RK_LOG_WARN, "rk-worker: cannot close a library: %s", strerror(errno));
	free(lib);
}

/*
 * Find the library in the memfd @fd, which this takes, or note it as a new one, which is not open
 * yet.
 */
static int get_library(struct cpu *cpu, int fd, struct library **library, struct rk_error *err)
{
	struct library *lib;
	struct stat st;
	int rc = rk_elf_check(fd, err);

	if (rc == 0 && fstat(fd, &st) < 0)
		rc = rk_error_set(err, errno, "cannot be examined: %s", strerror(errno));
	if (rc)
		goto fail;
	SLIST_FOREACH (lib, &cpu->libraries, link) {
		if (lib->dev != st.st_dev || lib->ino != st.st_ino)
			continue;
		(void)close(fd);
		*library = lib;
		return 0;
	}
	if (open_fd(fd, RTLD_LAZY | RTLD_NOLOAD)) {
		rc = rk_error_set(err, EBADF,
				  "cannot be loaded: some kernel closed a descriptor that is not "
				  "its own (%d)",
				  fd);
		goto fail;
	}
	lib = calloc(1, sizeof(*lib));
	if (!lib) {
		rc = rk_error_set(err, ENOMEM, "no memory to load it");
		goto fail;
	}
	lib->dev = st.st_dev;
	lib->ino = st.st_ino;
	lib->fd = fd;
	SLIST_INSERT_HEAD(&cpu->libraries, lib, link);
	*library = lib;
	return 0;
fail:
	(void)close(fd);
	return rc;
}

static void leave_library(struct cpu *cpu, struct cpu_kernel *k)
{
	if (!k->library)
		return;
	if (dlclose(k->handle))
		rk_log(RK_LOG_WARN, "rk-worker: cannot unload a library: %s", dlerror());
	k->library->users--;
	drop_library(cpu, k->library);
}

/* Find the entry in the library at @fd, which this takes. */
static int use_library(struct cpu *cpu, struct cpu_kernel *k, const struct rk_wire_load *load,
		       int fd, struct rk_error *err)
{
	struct library *lib = NULL;
	int rc = get_library(cpu, fd, &lib, err);

	if (rc)
		return rc;
	k->handle = open_fd(lib->fd, RTLD_NOW | RTLD_LOCAL);
	if (!k->handle) {
		rc = loader_error(lib->fd, load->library, err);
		drop_library(cpu, lib);
		return rc;
	}
	k->library = lib;
	lib->users++;
	*(void **)&k->fn = dlsym(k->handle, load->entry);
	if (k->fn)
		return 0;
	leave_library(cpu, k);
	return rk_error_set(err, ENOENT, "has no function '%s' (nm -D lists those it has)",
			    load->entry);
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
	int rc;

	if (!k) {
		if (library_fd >= 0)
			(void)close(library_fd);
		return rk_error_set(err, ENOMEM, "kernel %s: no memory to load it", load->id);
	}
	if (library_fd < 0) {
		rc = rk_cpu_builtin(load, &k->fn, err);
	} else {
		rc = use_library(backend, k, load, library_fd, err);
		if (rc)
			rk_error_prefix(err, "kernel %s: %s", load->id,
					rk_library_path_shown(load->library));
	}
	if (rc == 0) {
		rc = prepare(k, load, err);
		if (rc)
			leave_library(backend, k);
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
	struct cpu_kernel *k = kernel;

	if (k->ring)
		rk_cpu_ring_stop(k->ring);
	leave_library(backend, k);
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
	if (k->library)
		fegetenv(&env);
	start = rk_now_ns();
	ffi_call(&k->cif, k->fn, NULL, addresses);
	*call->run_ns = rk_now_ns() - start;
	if (k->library)
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

/*
 * The loader knows the libraries that are left for as long as the process lives, so their numbers
 * stay taken.
 */
static void cpu_close(void *backend)
{
	struct cpu *cpu = backend;
	struct library *lib;

	rk_parallel_stop();
	while ((lib = SLIST_FIRST(&cpu->libraries))) {
		SLIST_REMOVE_HEAD(&cpu->libraries, link);
		free(lib);
	}
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
