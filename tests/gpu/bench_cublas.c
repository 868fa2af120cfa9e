/* SPDX-License-Identifier: MIT */
/* cuBLAS, where the machine has it, on the backend's device: nothing of rkfs needs it. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>

#include "tests/gpu/bench.h"

#define WARM   2
#define NORMAL 0 /* CUBLAS_OP_N */

/* As cublas_v2.h declares them; a status of 0 is CUBLAS_STATUS_SUCCESS. */
struct cublas {
	int (*create)(void **handle);
	int (*destroy)(void *handle);
	int (*set_stream)(void *handle, CUstream stream);
	int (*sgemm)(void *handle, int op_a, int op_b, int m, int n, int k, const float *alpha,
		     const float *a, int lda, const float *b, int ldb, const float *beta, float *c,
		     int ldc);
};

static bool find(struct cublas *cublas)
{
	static const char *const names[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so.11",
					    "/usr/local/cuda/lib64/libcublas.so"};
	void *library = NULL;

	for (size_t i = 0; !library && i < ARRAY_SIZE(names); i++)
		library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
	if (!library)
		return false;
	*(void **)&cublas->create = dlsym(library, "cublasCreate_v2");
	*(void **)&cublas->destroy = dlsym(library, "cublasDestroy_v2");
	*(void **)&cublas->set_stream = dlsym(library, "cublasSetStream_v2");
	*(void **)&cublas->sgemm = dlsym(library, "cublasSgemm_v2");
	return cublas->create && cublas->destroy && cublas->set_stream && cublas->sgemm;
}

/* One product; microseconds on the device. */
static double multiply(const struct cublas *cublas, void *handle, CUstream stream,
		       const CUevent events[2], const CUdeviceptr at[3], int n)
{
	const float one = 1, zero = 0;
	float ms = 0;
	int status;

	bench_must(rk_cu.cuEventRecord(events[0], stream), "cuEventRecord");
	status = cublas->sgemm(handle, NORMAL, NORMAL, n, n, n, &one,
			       (const float *)(uintptr_t)at[0], n, (const float *)(uintptr_t)at[1],
			       n, &zero, (float *)(uintptr_t)at[2], n);
	if (status)
		bench_fail("cublasSgemm: status %d", status);
	bench_must(rk_cu.cuEventRecord(events[1], stream), "cuEventRecord");
	bench_must(rk_cu.cuStreamSynchronize(stream), "cuStreamSynchronize");
	bench_must(rk_cu.cuEventElapsedTime(&ms, events[0], events[1]), "cuEventElapsedTime");
	return (double)ms * 1e3;
}

/* p50 of @runs, in TFLOP/s. */
static double measure(const struct cublas *cublas, void *handle, CUstream stream, uint64_t n,
		      int runs)
{
	const size_t bytes = n * n * sizeof(float);
	struct bench_stats s;
	double tflops[64];
	CUdeviceptr at[3];
	CUevent events[2];

	for (int i = 0; i < 2; i++)
		bench_must(rk_cu.cuEventCreate(&events[i], CU_EVENT_DEFAULT), "cuEventCreate");
	for (int i = 0; i < 3; i++) {
		bench_must(rk_cu.cuMemAlloc(&at[i], bytes), "cuMemAlloc");
		/* 0x3F3F3F3F is 0.747: zeroes would run cooler, and faster, than real numbers */
		bench_must(rk_cu.cuMemsetD8Async(at[i], 0x3F, bytes, stream), "cuMemsetD8Async");
	}
	for (int i = -WARM; i < runs && i < (int)ARRAY_SIZE(tflops); i++) {
		double us = multiply(cublas, handle, stream, events, at, (int)n);

		if (i >= 0)
			tflops[i] = 2.0 * (double)n * (double)n * (double)n / us / 1e6;
	}
	for (int i = 0; i < 3; i++)
		bench_must(rk_cu.cuMemFree(at[i]), "cuMemFree");
	for (int i = 0; i < 2; i++)
		bench_must(rk_cu.cuEventDestroy(events[i]), "cuEventDestroy");
	bench_stats_of(&s, tflops, (size_t)runs);
	return s.p50;
}

double bench_cublas_tflops(uint64_t n, int runs, const char **why)
{
	struct cublas cublas;
	CUstream stream;
	double tflops;
	void *handle;

	*why = "there is no libcublas.so";
	if (!find(&cublas))
		return 0;
	*why = "cublasCreate fails";
	if (cublas.create(&handle))
		return 0;
	bench_must(rk_cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
	if (cublas.set_stream(handle, stream))
		bench_fail("cublasSetStream fails");
	tflops = measure(&cublas, handle, stream, n, runs);
	if (cublas.destroy(handle))
		bench_fail("cublasDestroy fails");
	bench_must(rk_cu.cuStreamDestroy(stream), "cuStreamDestroy");
	return tflops;
}
