/* SPDX-License-Identifier: MIT */
/*
 * The kernels by name: those that ship, as C functions, and some of the tests' own. One call does
 * the work of all threads of a launch; those of the tests do it for as many threads as there are.
 */
#include "tests/fake_cuda/fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/kernels/builtin.h"
#include "tests/fake_cuda/test_kernels.h"

/* clang-format off */
#define ROW(prefix, entry, ...) {.name = #entry, .fn = (void (*)(void))prefix##entry,              \
	.nparams = sizeof((struct rk_wire_param[]){__VA_ARGS__}) / sizeof(struct rk_wire_param),   \
	.params = {__VA_ARGS__}},
static struct fake_kernel kernels[] = {
#define X(entry, ...) ROW(rk_kernel_, entry, __VA_ARGS__)
	RK_BUILTINS(X)
#undef X
#define X(entry, ...) ROW(fake_kernel_, entry, __VA_ARGS__)
	FAKE_KERNELS(X)
#undef X
};
/* Scratch that only the CUDA kernel needs: its last parameters, zeroed as all scratch. */
static const struct {
	const char *name;
	unsigned int scratch;
} more[] = {{"reduce_sum", 2}, {"pagerank", 1}, {"monte_carlo_var", 1}};
/* clang-format on */

#define COUNT (sizeof(kernels) / sizeof(kernels[0]))

static _Thread_local const struct fake_dims *dims_now;

const struct fake_dims *fake_kernel_dims(void)
{
	return dims_now;
}

bool fake_kernel_is_pointer(const struct rk_wire_param *param)
{
	return param->kind != RK_WIRE_ARG_SCALAR && param->kind != RK_WIRE_ARG_DIM;
}

size_t fake_kernel_param_bytes(const struct fake_kernel *kernel, bool resident, size_t i)
{
	if (i >= (resident ? FAKE_RING_PARAMS : kernel->nparams + kernel->scratch))
		return 0;
	if (resident || i >= kernel->nparams || fake_kernel_is_pointer(&kernel->params[i]))
		return sizeof(uint64_t);
	return rk_dtype_info(kernel->params[i].dtype)->size;
}

/* The C type of a dtype passed by value. */
static ffi_type *value_type(uint8_t dtype)
{
	switch ((enum rk_dtype)dtype) {
	case RK_F16:
	case RK_F32:
		return &ffi_type_float;
	case RK_F64:
		return &ffi_type_double;
	case RK_I8:
		return &ffi_type_sint8;
	case RK_I16:
		return &ffi_type_sint16;
	case RK_I32:
		return &ffi_type_sint32;
	case RK_I64:
		return &ffi_type_sint64;
	case RK_U16:
		return &ffi_type_uint16;
	case RK_U32:
		return &ffi_type_uint32;
	case RK_U64:
		return &ffi_type_uint64;
	default:
		return &ffi_type_uint8;
	}
}

__attribute__((constructor)) static void prepare(void)
{
	for (size_t i = 0; i < COUNT; i++) {
		struct fake_kernel *k = &kernels[i];

		for (size_t m = 0; m < sizeof(more) / sizeof(more[0]); m++)
			if (strcmp(more[m].name, k->name) == 0)
				k->scratch = more[m].scratch;
		for (unsigned int p = 0; p < k->nparams; p++)
			k->types[p] = fake_kernel_is_pointer(&k->params[p])
					      ? &ffi_type_pointer
					      : value_type(k->params[p].dtype);
		if (ffi_prep_cif(&k->cif, FFI_DEFAULT_ABI, k->nparams, &ffi_type_void, k->types) !=
		    FFI_OK) {
			fake_complain("libffi cannot call %s", k->name);
			abort();
		}
	}
}

static const struct fake_kernel *by_name(const char *name)
{
	for (size_t i = 0; i < COUNT; i++)
		if (strcmp(kernels[i].name, name) == 0)
			return &kernels[i];
	return NULL;
}

const struct fake_kernel *fake_kernel_find(const char *name, bool *resident)
{
	static const char prefix[] = "ring_";
	bool ring = strncmp(name, prefix, strlen(prefix)) == 0;
	const struct fake_kernel *kernel = by_name(name);

	if (!kernel && ring)
		kernel = by_name(name + strlen(prefix));
	*resident = ring;
	for (unsigned int i = 0; kernel && i < kernel->nparams; i++)
		if (kernel->params[i].kind == RK_WIRE_ARG_STATE)
			*resident = true;
	return kernel;
}

/* Whether @at, argument @i, leads to memory of the driver that is there. */
static bool pointer_ok_locked(const struct fake_kernel *kernel, unsigned int i, const void *at)
{
	const struct fake_block *block = fake_block_at_locked(at, 0);

	if (block && block->state != FAKE_COMING)
		return true;
	fake_misuse_locked(CUDA_SUCCESS, "argument %u of %s is %p, which is not allocated", i,
			   kernel->name, at);
	fake_spoil_locked(CUDA_ERROR_ILLEGAL_ADDRESS);
	return false;
}

static bool scratch_ok_locked(const struct fake_kernel *kernel, unsigned int i, const void *at)
{
	uint64_t first;

	if (!fake_block_at_locked(at, sizeof(first))) {
		fake_misuse_locked(CUDA_SUCCESS, "scratch %u of %s is too short", i, kernel->name);
		fake_spoil_locked(CUDA_ERROR_ILLEGAL_ADDRESS);
		return false;
	}
	memcpy(&first, at, sizeof(first));
	if (first == 0)
		return true;
	fake_misuse_locked(CUDA_SUCCESS, "scratch %u of %s is not zeroed", i, kernel->name);
	fake_spoil_locked(CUDA_ERROR_ASSERT);
	return false;
}

bool fake_kernel_args_ok_locked(const struct fake_kernel *kernel, const uint64_t *args)
{
	for (unsigned int i = 0; i < kernel->nparams + kernel->scratch; i++) {
		const void *at = (const void *)(uintptr_t)args[i];
		bool scratch = i >= kernel->nparams;

		if (!scratch && !fake_kernel_is_pointer(&kernel->params[i]))
			continue;
		if (!pointer_ok_locked(kernel, i, at))
			return false;
		if (scratch && !scratch_ok_locked(kernel, i, at))
			return false;
	}
	return true;
}

void fake_kernel_call(const struct fake_kernel *kernel, const struct fake_dims *dims,
		      uint64_t *args)
{
	void *addresses[RK_WIRE_ARGS_MAX];

	for (unsigned int i = 0; i < kernel->nparams; i++)
		addresses[i] = &args[i];
	dims_now = dims;
	ffi_call((ffi_cif *)&kernel->cif, kernel->fn, NULL, addresses);
	dims_now = NULL;
}
