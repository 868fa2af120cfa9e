/* SPDX-License-Identifier: MIT */
/*
 * What the parts of `bench` share: the CUDA backend in this process, on a payload of its own, and
 * messages for it made from descriptions, as the daemon makes them. Whatever fails ends the
 * program.
 */
#ifndef RK_TESTS_GPU_BENCH_H
#define RK_TESTS_GPU_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gpu/cuda/backend_cuda.h"
#include "gpu/cuda/device.h"
#include "runtime/kernel/parse.h"
#include "runtime/request/plan.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIB	      (1ULL << 20)

/*
 * What @n values that were taken one after the other say: over all of them, and how far the medians
 * of BENCH_ROUNDS rounds, each a stretch of them, lie apart.
 */
struct bench_stats {
	size_t n;
	double p50, p99;
	double lowest, highest; /* median of a round; of a value where there are few */
};

struct bench {
	bool quick; /* for machines whose numbers mean nothing */
	char modules[1024];
	uint8_t *payload;
	uint64_t used; /* of the payload */
	struct rk_wire_shared *shared;
	struct rk_wire_device_settings settings;
	struct rk_backend_env env;
	void *backend; /* NULL: not open */
	/* by the driver API alone, before the backend is opened */
	struct bench_stats launch_us;	       /* cuLaunchKernel and cuStreamSynchronize */
	double pinned_to_gbs, pinned_from_gbs; /* copies of copy_bytes, p50 */
	uint64_t copy_bytes;
};

struct bench_kernel {
	struct bench *b;
	struct rk_manifest manifest;
	void *kernel;
};

struct bench_message {
	struct bench_kernel *k;
	unsigned int count;  /* as one */
	struct rk_plan plan; /* of each */
	uint8_t **blocks;
	struct rk_backend_arg *args; /* count rows */
	struct rk_backend_run run;
};

/* A row on stdout: @status is "pass", "fail" or "measured". */
void bench_row(const char *status, const char *what, const char *reference, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

_Noreturn void bench_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void bench_must(CUresult result, const char *call);

#define BENCH_ROUNDS 5

void bench_stats_of(struct bench_stats *s, double *values, size_t n); /* sorts them */
/* "5.73 us p50, 6.11 us p99, 5 x 10000 times (p50 5.70 to 5.81)"; the buffer is static. */
const char *bench_stats_text(const struct bench_stats *s, const char *unit);
double bench_now_us(void);

/* The driver API alone: fills the last members of *@b. Its context is gone afterwards. */
void bench_floors(struct bench *b);

void bench_open(struct bench *b);
void bench_close(struct bench *b);

/* A kernel that ships; a description as text, with "%s" for the directory of the modules. */
void bench_load(struct bench *b, struct bench_kernel *k, const char *id);
void bench_load_text(struct bench *b, struct bench_kernel *k, const char *text);
void bench_unload(struct bench_kernel *k);

/*
 * @count messages that run as one; shapes[i] is the shape of input i of each. Inputs with a default
 * have that.
 */
void bench_message(struct bench_kernel *k, struct bench_message *m, unsigned int count,
		   uint64_t (*shapes)[RK_MAX_RANK]);
/* The same of one, where every input has the one axis @n. */
void bench_message_n(struct bench_kernel *k, struct bench_message *m, unsigned int count,
		     uint64_t n);
void *bench_input(struct bench_message *m, unsigned int which, unsigned int input);
void *bench_output(struct bench_message *m, unsigned int which, unsigned int output);
/* Run it; returns the microseconds it took, *@gpu_us (NULL: never mind) what the backend says that
 * the kernel took. */
double bench_run(struct bench_message *m, double *gpu_us);
/* The newest first, and what it took of the payload is free again. */
void bench_forget(struct bench_message *m);

/*
 * Floating-point operations per second of cuBLAS's SGEMM on @n x @n matrices, p50 of @runs, in
 * TFLOP/s; 0 and *@why where it cannot be had. With the backend open and no kernel resident.
 */
double bench_cublas_tflops(uint64_t n, int runs, const char **why);

/* Each prints its rows. */
void bench_launches(struct bench *b);
void bench_rings(struct bench *b);
void bench_matmul(struct bench *b);
void bench_copies(struct bench *b);
void bench_fusion(struct bench *b);
void bench_all_kernels(struct bench *b);
/* Kernels that do wrong on purpose, for compute-sanitizer to find. */
void bench_control_memcheck(struct bench *b);
void bench_control_racecheck(struct bench *b);

#endif
