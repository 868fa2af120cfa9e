/* SPDX-License-Identifier: MIT */
/*
 * What the driver alone takes, in a context of its own that spins where it waits: the fastest that
 * a program without rkfs would have.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/gpu/bench.h"

#define COPIES 7

static void *read_file(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *data;

	if (fd < 0 || fstat(fd, &st))
		bench_fail("%s: %s", path, strerror(errno));
	data = malloc((size_t)st.st_size + 1);
	if (!data || read(fd, data, (size_t)st.st_size) != st.st_size)
		bench_fail("%s cannot be read", path);
	data[st.st_size] = '\0';
	close(fd);
	return data;
}

static void launches(struct bench *b, CUfunction square, CUstream stream)
{
	const size_t warm = 100, rounds = b->quick ? 200 : 20000;
	double *us = calloc(rounds, sizeof(*us));
	CUdeviceptr x, y;
	uint64_t n = 1;
	void *params[] = {&x, &y, &n};

	if (!us)
		bench_fail("no memory");
	bench_must(rk_cu.cuMemAlloc(&x, 4096), "cuMemAlloc");
	bench_must(rk_cu.cuMemAlloc(&y, 4096), "cuMemAlloc");
	bench_must(rk_cu.cuMemsetD8Async(x, 0, 4096, stream), "cuMemsetD8Async");
	for (size_t i = 0; i < warm + rounds; i++) {
		double begin = bench_now_us();

		bench_must(rk_cu.cuLaunchKernel(square, 1, 1, 1, 64, 1, 1, 0, stream, params, NULL),
			   "cuLaunchKernel");
		bench_must(rk_cu.cuStreamSynchronize(stream), "cuStreamSynchronize");
		if (i >= warm)
			us[i - warm] = bench_now_us() - begin;
	}
	bench_stats_of(&b->launch_us, us, rounds);
	bench_must(rk_cu.cuMemFree(x), "cuMemFree");
	bench_must(rk_cu.cuMemFree(y), "cuMemFree");
	free(us);
}

static void copies(struct bench *b, CUstream stream)
{
	double to[COPIES], from[COPIES], begin;
	struct bench_stats s;
	CUdeviceptr device;
	void *host;

	bench_must(rk_cu.cuMemHostAlloc(&host, b->copy_bytes, 0), "cuMemHostAlloc");
	bench_must(rk_cu.cuMemAlloc(&device, b->copy_bytes), "cuMemAlloc");
	memset(host, 1, b->copy_bytes);
	for (int i = 0; i < COPIES; i++) {
		begin = bench_now_us();
		bench_must(rk_cu.cuMemcpyHtoDAsync(device, host, b->copy_bytes, stream),
			   "cuMemcpyHtoDAsync");
		bench_must(rk_cu.cuStreamSynchronize(stream), "cuStreamSynchronize");
		to[i] = bench_now_us() - begin;
		begin = bench_now_us();
		bench_must(rk_cu.cuMemcpyDtoHAsync(host, device, b->copy_bytes, stream),
			   "cuMemcpyDtoHAsync");
		bench_must(rk_cu.cuStreamSynchronize(stream), "cuStreamSynchronize");
		from[i] = bench_now_us() - begin;
	}
	bench_stats_of(&s, to, COPIES);
	b->pinned_to_gbs = (double)b->copy_bytes / 1e3 / s.p50;
	bench_stats_of(&s, from, COPIES);
	b->pinned_from_gbs = (double)b->copy_bytes / 1e3 / s.p50;
	bench_must(rk_cu.cuMemFree(device), "cuMemFree");
	bench_must(rk_cu.cuMemFreeHost(host), "cuMemFreeHost");
}

void bench_floors(struct bench *b)
{
	char path[sizeof(b->modules) + 16];
	struct rk_error error = {0};
	CUfunction square;
	CUcontext context;
	CUdevice device;
	CUmodule module;
	CUstream stream;
	void *image;

	snprintf(path, sizeof(path), "%s/gpu.fatbin", b->modules);
	image = read_file(path);
	if (rk_cuda_open(&error))
		bench_fail("%s", error.msg);
	bench_must(rk_cu.cuInit(0), "cuInit");
	bench_must(rk_cu.cuDeviceGet(&device, 0), "cuDeviceGet");
	bench_must(rk_cu.cuDevicePrimaryCtxSetFlags(device, CU_CTX_SCHED_SPIN),
		   "cuDevicePrimaryCtxSetFlags");
	bench_must(rk_cu.cuDevicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain");
	bench_must(rk_cu.cuCtxSetCurrent(context), "cuCtxSetCurrent");
	bench_must(rk_cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
	bench_must(rk_cu.cuModuleLoadDataEx(&module, image, 0, NULL, NULL), "cuModuleLoadDataEx");
	bench_must(rk_cu.cuModuleGetFunction(&square, module, "square"), "cuModuleGetFunction");
	launches(b, square, stream);
	copies(b, stream);
	bench_must(rk_cu.cuModuleUnload(module), "cuModuleUnload");
	bench_must(rk_cu.cuStreamDestroy(stream), "cuStreamDestroy");
	bench_must(rk_cu.cuCtxSetCurrent(NULL), "cuCtxSetCurrent");
	bench_must(rk_cu.cuDevicePrimaryCtxRelease(device), "cuDevicePrimaryCtxRelease");
	free(image);
}
