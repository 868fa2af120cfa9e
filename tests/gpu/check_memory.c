/* SPDX-License-Identifier: MIT */
/* Each combination of the memory settings, and the limit. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/gpu/gpu_test.h"

#define INITIAL	   (32 * MIB)
#define LARGE	   (96 * MIB) /* of the largest message: two inputs, one output */
#define CONCURRENT 12

struct combination {
	const char *unified, *async, *pooling;
	bool keeps; /* what a message had is held when it has ended */
};

/* Sizes on both sides of what the pool has, one after the other. */
static void call_sizes(struct gpu_rig *r)
{
	static const uint64_t sizes[] = {1, 1000, 100003, 3 * MIB, 17, LARGE / 12, 0, 65536};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		gpu_vector_add(r, sizes[i]);
}

static void call_together(struct gpu_rig *r)
{
	struct gpu_call calls[CONCURRENT];

	for (unsigned int i = 0; i < CONCURRENT; i++)
		gpu_vector_add_begin(r, &calls[i], 200000 + 1000 * i, i);
	for (unsigned int i = 0; i < CONCURRENT; i++)
		gpu_vector_add_end(&calls[i], i);
}

static void run_combination(const void *arg)
{
	const struct combination *c = arg;
	const char *options[] = {c->unified, c->async, c->pooling, "pool_initial_bytes=32M", NULL};
	struct gpu_rig r = {0};
	uint64_t idle, peak;

	gpu_open_options(&r, true, options);
	gpu_start(&r, "cuda");
	idle = rk_runtime_gpu_memory(r.rt);
	GPU_EXPECT(!c->keeps || idle >= INITIAL, "pool_initial_bytes is 32M, held are %llu bytes",
		   (unsigned long long)idle);
	call_sizes(&r);
	call_together(&r);
	peak = rk_runtime_gpu_memory_peak(r.rt);
	GPU_EXPECT(peak >= LARGE, "gpu_memory_peak_bytes is %llu after messages of more",
		   (unsigned long long)peak);
	idle = rk_runtime_gpu_memory(r.rt);
	GPU_EXPECT(idle <= peak, "held are %llu bytes, the peak is %llu", (unsigned long long)idle,
		   (unsigned long long)peak);
	/* what a resident kernel's state needs, the driver may have taken more for */
	GPU_EXPECT(c->keeps || idle <= peak / 2, "%llu bytes are still held without a pool",
		   (unsigned long long)idle);
	gpu_command(&r, RK_DRAIN, 60);
	gpu_wait_state(&r, RK_STOPPED);
	GPU_EXPECT(rk_runtime_gpu_memory(r.rt) == 0, "%llu bytes are held in Stopped",
		   (unsigned long long)rk_runtime_gpu_memory(r.rt));
	gpu_note("right answers; peak %.1f MiB, idle %.1f MiB, Stopped 0",
		 (double)peak / (double)MIB, (double)idle / (double)MIB);
	gpu_close(&r);
}

/* --- memory_limit_bytes --------------------------------------------------------------- */

static void run_limit(const void *arg)
{
	const char *options[] = {"memory_limit_bytes=64M", "pool_initial_bytes=16M", arg, NULL};
	struct rk_kernel *k;
	struct gpu_call c;
	struct gpu_rig r = {0};
	uint64_t peak;

	gpu_open_options(&r, true, options);
	gpu_start(&r, "cuda");
	gpu_vector_add(&r, MIB);
	k = gpu_kernel(&r, "core/vector-add", RK_WIRE_CUDA);
	gpu_call_make_n(&r, &c, k, LARGE / 12);
	gpu_submit(&c);
	gpu_expect(&c, ENOMEM, "67108864");
	gpu_note("%s", c.m->error.msg);
	gpu_call_drop(&c);
	rk_kernel_unref(k);
	gpu_vector_add(&r, 2 * MIB);
	peak = rk_runtime_gpu_memory_peak(r.rt);
	GPU_EXPECT(peak <= 64 * MIB, "gpu_memory_peak_bytes is %llu, over the limit",
		   (unsigned long long)peak);
	gpu_close(&r);
}

/* --- the rows ------------------------------------------------------------------------- */

#define COMBINATION(u, a, p, keeps)                                                                \
	{                                                                                          \
		"memory", "unified-" u "-async-" a "-pooling-" p,                                  \
			"cuda_unified_memory = " u ", async_memory = " a ", memory_pooling = " p,  \
			"right answers, gpu_memory_bytes 0 in Stopped", run_combination,           \
			&(const struct combination)                                                \
		{                                                                                  \
			"cuda_unified_memory=" u, "async_memory=" a, "memory_pooling=" p, keeps    \
		}                                                                                  \
	}
#define LIMIT(name, option)                                                                        \
	{                                                                                          \
		"memory", "limit-" name,                                                           \
			"memory_limit_bytes = 64M, " option ", a message that needs 96M",          \
			"ENOMEM with the numbers; smaller ones work", run_limit, option            \
	}

static const struct gpu_test tests[] = {
	COMBINATION("no", "yes", "yes", true),	COMBINATION("no", "yes", "no", false),
	COMBINATION("no", "no", "yes", true),	COMBINATION("no", "no", "no", false),
	COMBINATION("yes", "yes", "yes", true), COMBINATION("yes", "no", "yes", true),
	COMBINATION("yes", "yes", "no", false), COMBINATION("yes", "no", "no", false),
	LIMIT("async", "async_memory=yes"),	LIMIT("sync", "async_memory=no"),
};

const struct gpu_test *gpu_memory_tests(size_t *count)
{
	*count = ARRAY_SIZE(tests);
	return tests;
}
