/* SPDX-License-Identifier: MIT */
/*
 * For programs that test the fake driver itself: its functions as cu.cuInit(0), a trigger file, and
 * a context with a stream and a module for each test. To be included by one file of a program.
 */
#ifndef RK_TESTS_FAKE_CUDA_RIG_H
#define RK_TESTS_FAKE_CUDA_RIG_H

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "gpu/cuda/syms.h"
#include "tests/fake_cuda/fake_cuda.h"
#include "tests/unit/unit.h"

#define FOLDER	RK_FAKE_CUDA_DIR "/"
#define LIBRARY FOLDER "libcuda.so.1"
#define PTX                                                                                        \
	".version 8.0\n.target sm_75\n.visible .entry square(\n.visible .entry wait_for(\n.entry ring_echo(\n"

static struct {
#define X(need, name, version) __typeof__(name) *name;
	RK_CUDA_SYMBOLS(X)
#undef X
} cu;
static fake_cuda_count_fn *count;
static char trigger[] = "/tmp/fake_cuda_test.XXXXXX";
static char ledger[sizeof(trigger) + 8];

#define OK(call) assert_int_equal(call, CUDA_SUCCESS)

static CUstream stream;
static CUmodule module;

/* A new trigger file; NULL = an empty one. */
static inline void triggers(const char *text)
{
	FILE *f = fopen(trigger, "w");

	assert_non_null(f);
	assert_true(fputs(text ? text : "", f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static inline int open_library(void **state)
{
	CUresult (*find)(const char *, void **, int, cuuint64_t, CUdriverProcAddressQueryResult *);
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	CUdriverProcAddressQueryResult status;
	int fd = mkstemp(trigger);

	(void)state;
	if (!library || fd < 0) {
		fprintf(stderr, "%s\n", library ? "mkstemp" : dlerror());
		return -1;
	}
	close(fd);
	snprintf(ledger, sizeof(ledger), "%s.ledger", trigger);
	setenv("RK_FAKE_CUDA", trigger, 1);
	setenv("RK_FAKE_CUDA_LEDGER", ledger, 1);
	*(void **)&find = dlsym(library, "cuGetProcAddress_v2");
	*(void **)&count = dlsym(library, "fake_cuda_count");
	if (!find || !count)
		return -1;
#define X(need, name, version)                                                                     \
	if (find(#name, (void **)&cu.name, version, 0, &status) || !cu.name)                       \
		return -1;
	RK_CUDA_SYMBOLS(X)
#undef X
	return 0;
}

static inline int close_library(void **state)
{
	(void)state;
	unlink(trigger);
	unlink(ledger);
	return 0;
}

static inline int set_up(void **state)
{
	CUcontext context;

	(void)state;
	triggers(NULL);
	OK(cu.cuInit(0));
	OK(cu.cuDevicePrimaryCtxRetain(&context, 0));
	OK(cu.cuCtxSetCurrent(context));
	OK(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	OK(cu.cuModuleLoadDataEx(&module, PTX, 0, NULL, NULL));
	return 0;
}

static inline int tear_down(void **state)
{
	(void)state;
	triggers(NULL);
	OK(cu.cuModuleUnload(module));
	OK(cu.cuStreamDestroy(stream));
	OK(cu.cuDevicePrimaryCtxRelease(0));
	OK(cu.cuCtxSetCurrent(NULL));
	assert_int_equal(count("leaked"), 0);
	return 0;
}

static inline void *pinned(size_t bytes)
{
	void *at = NULL;

	OK(cu.cuMemHostAlloc(&at, bytes, 0));
	return at;
}

static inline CUdeviceptr device(size_t bytes)
{
	CUdeviceptr at = 0;

	OK(cu.cuMemAlloc(&at, bytes));
	return at;
}

static inline CUfunction function(const char *name)
{
	CUfunction f = NULL;

	OK(cu.cuModuleGetFunction(&f, module, name));
	return f;
}

static inline CUresult run1(CUfunction f, CUstream s, unsigned int blocks, void **params)
{
	return cu.cuLaunchKernel(f, blocks, 1, 1, 256, 1, 1, 0, s, params, NULL);
}

#define RIG_TEST(name) TEST_WITH(name, set_up, tear_down)

/* What @call returns, and that it was counted as the caller's fault. */
#define MISUSE(call, result)                                                                       \
	do {                                                                                       \
		uint64_t before_ = count("misuses");                                               \
		assert_int_equal(call, result);                                                    \
		assert_int_equal(count("misuses"), before_ + 1);                                   \
	} while (0)

#endif
