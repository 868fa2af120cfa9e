// SPDX-License-Identifier: MIT
/* The CPU backend: kernels are C functions, called through libffi in the executor's own thread. */
#include <errno.h>
#include <ffi.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gpu/backend.h"
#include "gpu/builtin.h"

#define NSEC_PER_SEC 1000000000LL

/* A prepared call. */
struct cpu_kernel {
	ffi_cif cif;
	ffi_type *types[RK_WIRE_ARGS_MAX]; /* what cif points into */
	void (*fn)(void);
};

struct builtin {
	const char *entry;
	void (*fn)(void);
	unsigned int nparams;
	struct rk_wire_param params[RK_WIRE_ARGS_MAX];
};

/* clang-format off */
static const struct builtin builtins[] = {
#define X(name, ...)                                                                               \
	{.entry = #name,                                                                           \
	 .fn = (void (*)(void))rk_kernel_##name,                                                   \
	 .nparams = sizeof((struct rk_wire_param[]){__VA_ARGS__}) / sizeof(struct rk_wire_param),  \
	 .params = {__VA_ARGS__}},
	RK_BUILTINS(X)
#undef X
};
/* clang-format on */

#define BUILTIN_COUNT (sizeof(builtins) / sizeof(builtins[0]))

static const char *const kind_words[] = {
	[RK_WIRE_ARG_INPUT] = "input",
	[RK_WIRE_ARG_OUTPUT] = "output",
	[RK_WIRE_ARG_SCALAR] = "scalar",
	[RK_WIRE_ARG_DIM] = "dim",
};

/* The C type of a dtype passed by value. */
static ffi_type *ffi_value_type(enum rk_dtype dtype)
{
	const struct rk_dtype_info *info = rk_dtype_info(dtype);

	switch (info->kind) {
	case RK_KIND_FLOAT:
		return info->size == sizeof(float) ? &ffi_type_float : &ffi_type_double;
	case RK_KIND_SIGNED:
		return info->size == sizeof(int32_t) ? &ffi_type_sint32 : &ffi_type_sint64;
	case RK_KIND_UNSIGNED:
		break;
	}
	if (info->size == sizeof(uint8_t))
		return &ffi_type_uint8;
	return info->size == sizeof(uint32_t) ? &ffi_type_uint32 : &ffi_type_uint64;
}

static ffi_type *ffi_param_type(const struct rk_wire_param *param)
{
	if (param->kind == RK_WIRE_ARG_INPUT || param->kind == RK_WIRE_ARG_OUTPUT)
		return &ffi_type_pointer;
	return ffi_value_type(param->dtype);
}

/* Append "input f32, input f32, dim" to the sentence in @buf. */
static void print_signature(char *buf, size_t size, const struct builtin *b)
{
	size_t len = 0;

	buf[0] = '\0';
	for (unsigned int i = 0; i < b->nparams && len < size; i++) {
		bool dim = b->params[i].kind == RK_WIRE_ARG_DIM;
		int n = snprintf(buf + len, size - len, "%s%s%s%s", i ? ", " : "",
				 kind_words[b->params[i].kind], dim ? "" : " ",
				 dim ? "" : rk_dtype_info(b->params[i].dtype)->name);

		len += n > 0 ? (size_t)n : 0;
	}
}

static int check_signature(const struct builtin *b, const struct rk_wire_load *load,
			   struct rk_error *err)
{
	bool same = b->nparams == load->nparams;
	char text[RK_ERROR_MAX / 2];

	for (unsigned int i = 0; same && i < b->nparams; i++)
		same = b->params[i].kind == load->params[i].kind &&
		       b->params[i].dtype == load->params[i].dtype;
	if (same)
		return 0;
	print_signature(text, sizeof(text), b);
	return rk_error_set(err, EINVAL,
			    "kernel %s: built-in %s takes (%s); make args in [cpu] say so",
			    load->id, b->entry, text);
}

/* NULL where there is none, with the sentence in @err. */
static const struct builtin *find_builtin(const struct rk_wire_load *load, struct rk_error *err)
{
	char names[RK_ERROR_MAX / 2] = "";
	size_t len = 0;

	for (size_t i = 0; i < BUILTIN_COUNT; i++) {
		if (strcmp(builtins[i].entry, load->entry) == 0)
			return &builtins[i];
		if (len < sizeof(names)) {
			int n = snprintf(names + len, sizeof(names) - len, "%s%s", i ? ", " : "",
					 builtins[i].entry);

			len += n > 0 ? (size_t)n : 0;
		}
	}
	rk_error_set(err, ENOENT, "kernel %s: no built-in is called '%s'; there are: %s", load->id,
		     load->entry, names);
	return NULL;
}

static int cpu_load(void *backend, const struct rk_wire_load *load, void **kernel,
		    struct rk_error *err)
{
	const struct builtin *builtin;
	struct cpu_kernel *k;
	int rc;

	(void)backend;
	if (strcmp(load->library, "builtin") != 0)
		return rk_error_set(err, ENOTSUP,
				    "kernel %s: library '%.128s' is not supported by this version; "
				    "only 'builtin' is",
				    load->id, load->library);
	builtin = find_builtin(load, err);
	if (!builtin)
		return -ENOENT;
	rc = check_signature(builtin, load, err);
	if (rc)
		return rc;
	k = calloc(1, sizeof(*k));
	if (!k)
		return rk_error_set(err, ENOMEM, "kernel %s: no memory to load it", load->id);
	k->fn = builtin->fn;
	for (unsigned int i = 0; i < load->nparams; i++)
		k->types[i] = ffi_param_type(&load->params[i]);
	if (ffi_prep_cif(&k->cif, FFI_DEFAULT_ABI, load->nparams, &ffi_type_void, k->types) !=
	    FFI_OK) {
		free(k);
		return rk_error_set(err, EINVAL, "kernel %s: libffi cannot call this signature",
				    load->id);
	}
	*kernel = k;
	return 0;
}

static void cpu_unload(void *backend, void *kernel)
{
	(void)backend;
	free(kernel);
}

static int cpu_run(void *backend, void *kernel, unsigned int thread,
		   const struct rk_backend_arg *args, uint64_t *run_ns, struct rk_error *err)
{
	struct cpu_kernel *k = kernel;
	void *addresses[RK_WIRE_ARGS_MAX];
	struct timespec start, end;

	(void)backend;
	(void)thread;
	(void)err;
	for (unsigned int i = 0; i < k->cif.nargs; i++)
		addresses[i] = (void *)&args[i].value;
	clock_gettime(CLOCK_MONOTONIC, &start);
	ffi_call(&k->cif, k->fn, NULL, addresses);
	clock_gettime(CLOCK_MONOTONIC, &end);
	*run_ns = (uint64_t)((end.tv_sec - start.tv_sec) * NSEC_PER_SEC + end.tv_nsec -
			     start.tv_nsec);
	return 0;
}

/* Nothing to take: the CPU is there. */
static int cpu_open(const struct rk_backend_env *env, void **backend, struct rk_error *err)
{
	(void)env;
	(void)err;
	*backend = NULL;
	return 0;
}

static void cpu_close(void *backend)
{
	(void)backend;
}

const struct rk_backend_ops rk_backend_cpu = {
	.name = "cpu",
	.open = cpu_open,
	.close = cpu_close,
	.load = cpu_load,
	.unload = cpu_unload,
	.run = cpu_run,
};
