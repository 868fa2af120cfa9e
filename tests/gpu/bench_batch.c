/* SPDX-License-Identifier: MIT */
/* Launches, fused launches, matmul, copies. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/gpu/bench.h"

#define WARM 100

/* --- what a message costs beside its kernel -------------------------------------------- */

#define SQUARE                                                                                     \
	"[kernel]\nid = bench/square\ndescription = bench\n[inputs]\nx = f32[n]\n"                 \
	"[outputs]\ny = f32[n]\n[cuda]\nmodule = %s/gpu.fatbin\nentry = square\n"                  \
	"args = x, y, n\ngrid = n\nblock = 64\n"
#define OVERHEAD_TARGET_US 7.0

void bench_launches(struct bench *b)
{
	const size_t rounds = b->quick ? 200 : 20000;
	double *all = calloc(rounds, sizeof(*all)), *beside = calloc(rounds, sizeof(*beside));
	struct bench_stats total, overhead;
	struct bench_kernel k;
	struct bench_message m;
	char reference[256], whole[160];

	if (!all || !beside)
		bench_fail("no memory");
	bench_load_text(b, &k, SQUARE);
	bench_message_n(&k, &m, 1, 16);
	*(float *)bench_input(&m, 0, 0) = 3;
	for (size_t i = 0; i < WARM + rounds; i++) {
		double gpu, us = bench_run(&m, &gpu);

		if (i < WARM)
			continue;
		all[i - WARM] = us;
		beside[i - WARM] = us - gpu;
	}
	if (*(float *)bench_output(&m, 0, 0) != 9)
		bench_fail("3 * 3 is %g", (double)*(float *)bench_output(&m, 0, 0));
	bench_stats_of(&total, all, rounds);
	bench_stats_of(&overhead, beside, rounds);
	snprintf(reference, sizeof(reference),
		 "<= %.0f us; cuLaunchKernel + cuStreamSynchronize alone, spinning: %s",
		 OVERHEAD_TARGET_US, bench_stats_text(&b->launch_us, "us"));
	snprintf(whole, sizeof(whole), "%s", bench_stats_text(&total, "us"));
	bench_row(overhead.p50 <= OVERHEAD_TARGET_US ? "pass" : "fail",
		  "launch overhead seen by the worker: a message of 64 bytes each way, copies "
		  "included, less the kernel's time",
		  reference, "%s; with the kernel %s", bench_stats_text(&overhead, "us"), whole);
	bench_forget(&m);
	bench_unload(&k);
	free(all);
	free(beside);
}

/* --- many as one ----------------------------------------------------------------------- */

#define FUSED	   256
#define FUSED_N	   256
#define FUSED_RUNS 50

void bench_fusion(struct bench *b)
{
	const unsigned int runs = b->quick ? 3 : FUSED_RUNS;
	double alone[FUSED_RUNS], together[FUSED_RUNS];
	struct bench_stats one_by_one, fused;
	struct bench_message one, many;
	struct bench_kernel k;
	char reference[192];

	bench_load(b, &k, "core/vector-add");
	if (!k.manifest.fused_dim)
		bench_fail("core/vector-add is not batchable");
	bench_message_n(&k, &one, 1, FUSED_N);
	bench_message_n(&k, &many, FUSED, FUSED_N);
	for (unsigned int i = 0; i < FUSED; i++)
		for (unsigned int j = 0; j < FUSED_N; j++) {
			((float *)bench_input(&many, i, 0))[j] = (float)i;
			((float *)bench_input(&many, i, 1))[j] = (float)j;
		}
	bench_run(&one, NULL);
	bench_run(&many, NULL);
	for (unsigned int i = 0; i < runs; i++) {
		double begin = bench_now_us();

		for (unsigned int j = 0; j < FUSED; j++)
			bench_run(&one, NULL);
		alone[i] = FUSED * 1e3 / (bench_now_us() - begin);
		together[i] = FUSED * 1e3 / bench_run(&many, NULL);
	}
	for (unsigned int i = 0; i < FUSED; i++)
		for (unsigned int j = 0; j < FUSED_N; j++)
			if (((float *)bench_output(&many, i, 0))[j] != (float)(i + j))
				bench_fail("message %u of a fused launch is wrong", i);
	bench_stats_of(&one_by_one, alone, runs);
	bench_stats_of(&fused, together, runs);
	snprintf(reference, sizeof(reference), "one by one, one thread: %s",
		 bench_stats_text(&one_by_one, "k/s"));
	bench_row("measured", "core/vector-add of 256 elements, 256 messages as one launch",
		  reference, "%s, %.1f times as many", bench_stats_text(&fused, "k messages/s"),
		  fused.p50 / one_by_one.p50);
	bench_forget(&many);
	bench_forget(&one);
	bench_unload(&k);
}

/* --- core/matmul ------------------------------------------------------------------------ */

#define MATMUL_RUNS	9
#define MATMUL_TARGET_N 2048
#define MATMUL_TARGET	0.8 /* of cuBLAS */

/* Single precision cores of a multiprocessor, by compute capability; 0: not known here. */
static int cores_of(int major, int minor)
{
	if (major == 7 || (major == 8 && minor == 0))
		return 64;
	if (major >= 8 && major <= 12)
		return 128;
	return 0;
}

/* At the highest clock, in TFLOP/s; 0: not known. */
static double peak_tflops(void)
{
	int major, minor, multiprocessors, khz = 0;
	CUdevice device;

	bench_must(rk_cu.cuDeviceGet(&device, 0), "cuDeviceGet");
	bench_must(rk_cu.cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
					      device),
		   "cuDeviceGetAttribute");
	bench_must(rk_cu.cuDeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
					      device),
		   "cuDeviceGetAttribute");
	bench_must(rk_cu.cuDeviceGetAttribute(&multiprocessors,
					      CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device),
		   "cuDeviceGetAttribute");
	if (rk_cu.cuDeviceGetAttribute(&khz, CU_DEVICE_ATTRIBUTE_CLOCK_RATE, device))
		return 0;
	return 2.0 * multiprocessors * cores_of(major, minor) * khz / 1e9;
}

/* The row of one size: what is to be reached is a part of what cuBLAS does on the same device. */
static void tell_matmul(uint64_t n, double peak, double *tflops, double copies_ms)
{
	const char *status = "measured", *why = NULL;
	double cublas = bench_cublas_tflops(n, MATMUL_RUNS, &why);
	char what[64], reference[192], beside[64];
	struct bench_stats s;

	bench_stats_of(&s, tflops, MATMUL_RUNS);
	snprintf(what, sizeof(what), "core/matmul, %llu x %llu", (unsigned long long)n,
		 (unsigned long long)n);
	if (peak > 0)
		snprintf(beside, sizeof(beside), "FP32 at the highest clock %.1f TFLOP/s", peak);
	else
		snprintf(beside, sizeof(beside), "the device's peak is not known");
	if (cublas > 0 && n == MATMUL_TARGET_N)
		status = s.p50 >= MATMUL_TARGET * cublas ? "pass" : "fail";
	if (cublas > 0)
		snprintf(reference, sizeof(reference),
			 "%s%.2f TFLOP/s: cuBLAS SGEMM, p50 of %d; %s",
			 n == MATMUL_TARGET_N ? ">= 0.8 of " : "", cublas, MATMUL_RUNS, beside);
	else
		snprintf(reference, sizeof(reference), "cuBLAS: %s; %s", why, beside);
	if (cublas > 0)
		bench_row(status, what, reference, "%s, %.2f of cuBLAS (with the copies %.2f ms)",
			  bench_stats_text(&s, "TFLOP/s"), s.p50 / cublas, copies_ms);
	else
		bench_row(status, what, reference, "%s (with the copies %.2f ms)",
			  bench_stats_text(&s, "TFLOP/s"), copies_ms);
}

static void multiply(struct bench_kernel *k, uint64_t n, double peak)
{
	uint64_t shapes[RK_MAX_PORTS][RK_MAX_RANK] = {{n, n}, {n, n}};
	double tflops[MATMUL_RUNS], whole[MATMUL_RUNS];
	struct bench_message m;
	struct bench_stats s;
	float *a, *factor;

	bench_message(k, &m, 1, shapes);
	a = bench_input(&m, 0, 0);
	factor = bench_input(&m, 0, 1);
	for (uint64_t i = 0; i < n * n; i++)
		a[i] = (float)(i % 251);
	for (uint64_t i = 0; i < n; i++)
		factor[i * n + i] = 1;
	bench_run(&m, NULL);
	if (memcmp(bench_output(&m, 0, 0), a, n * n * sizeof(*a)) != 0)
		bench_fail("core/matmul: a matrix times the identity is not itself");
	/* zeroes make a device run cooler, and faster, than numbers do */
	for (uint64_t i = 0; i < n * n; i++)
		factor[i] = 0.747F;
	for (int i = 0; i < MATMUL_RUNS; i++) {
		double us;

		whole[i] = bench_run(&m, &us);
		tflops[i] = 2.0 * (double)n * (double)n * (double)n / us / 1e6;
	}
	bench_stats_of(&s, whole, MATMUL_RUNS);
	tell_matmul(n, peak, tflops, s.p50 / 1e3);
	bench_forget(&m);
}

void bench_matmul(struct bench *b)
{
	static const uint64_t sizes[] = {1024, MATMUL_TARGET_N, 4096};
	double peak = peak_tflops();
	struct bench_kernel k;

	bench_load(b, &k, "core/matmul");
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		multiply(&k, b->quick ? sizes[i] / 16 : sizes[i], peak);
	bench_unload(&k);
}

/* --- copies ----------------------------------------------------------------------------- */

/* The kernel works on @count elements only; all else is copied there, or back. */
#define TO_DEVICE                                                                                  \
	"[kernel]\nid = bench/to-device\ndescription = bench\n"                                    \
	"[inputs]\nx = f32[n]\ncount = u64 = 1\n[outputs]\ny = f32[1]\n"                           \
	"[cuda]\nmodule = %s/gpu.fatbin\nentry = square\nargs = x, y, count\ngrid = 1\n"           \
	"block = 64\n"
#define FROM_DEVICE                                                                                \
	"[kernel]\nid = bench/from-device\ndescription = bench\n"                                  \
	"[inputs]\nx = f32[n]\ncount = u64 = 1\n[outputs]\ny = f32[262144*n]\n"                    \
	"[cuda]\nmodule = %s/gpu.fatbin\nentry = square\nargs = x, y, count\ngrid = 1\n"           \
	"block = 64\n"

static void copy(struct bench *b, const char *text, uint64_t n, const char *what, double plain)
{
	double gbs[MATMUL_RUNS];
	struct bench_stats s;
	struct bench_kernel k;
	struct bench_message m;
	char reference[96];

	bench_load_text(b, &k, text);
	bench_message_n(&k, &m, 1, n);
	*(float *)bench_input(&m, 0, 0) = 4;
	for (int i = 0; i < MATMUL_RUNS; i++)
		gbs[i] = (double)b->copy_bytes / 1e3 / bench_run(&m, NULL);
	if (*(float *)bench_output(&m, 0, 0) != 16)
		bench_fail("4 * 4 is %g", (double)*(float *)bench_output(&m, 0, 0));
	bench_stats_of(&s, gbs, MATMUL_RUNS);
	snprintf(reference, sizeof(reference), "cuMemcpy of pinned memory, %llu MiB: %.1f GB/s",
		 (unsigned long long)(b->copy_bytes / MIB), plain);
	bench_row("measured", what, reference, "%s, %.0f %%", bench_stats_text(&s, "GB/s"),
		  100 * s.p50 / plain);
	bench_forget(&m);
	bench_unload(&k);
}

void bench_copies(struct bench *b)
{
	copy(b, TO_DEVICE, b->copy_bytes / sizeof(float),
	     "payload to the device through pinned blocks, one message, one thread",
	     b->pinned_to_gbs);
	copy(b, FROM_DEVICE, b->copy_bytes / MIB,
	     "device to the payload through pinned blocks, one message, one thread",
	     b->pinned_from_gbs);
}
