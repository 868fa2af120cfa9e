/* SPDX-License-Identifier: MIT */
/*
 * Every kernel that ships and is no resident one, on the GPU and on the CPU, with the tolerance
 * that the head of its .cu states.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/gpu/check_pair.h"

/* Every input has the one axis a. */
static void shapes_a(const struct gpu_case *c, uint64_t (*shapes)[RK_MAX_RANK])
{
	for (unsigned int i = 0; i < RK_MAX_PORTS; i++)
		shapes[i][0] = c->a;
}

/* --- core/echo, core/vector-add ------------------------------------------------------ */

static const struct gpu_case echo_cases[] = {
	{.a = 0},	{.a = 1},	{.a = 15},	    {.a = 16},
	{.a = 17},	{.a = 255},	{.a = 4097},	    {.a = 1048447},
	{.a = 1048448}, {.a = 1048512}, {.a = 3 * MIB + 1}, {.a = 256 * MIB + 13, .large = true},
};

static void fill_bytes(const struct gpu_case *c, struct gpu_call *call)
{
	uint64_t state = gpu_case_seed(c);
	uint8_t *data = gpu_input(call, 0);

	for (uint64_t i = 0; i < c->a; i++) {
		if (i % 6 == 0)
			(void)gpu_random(&state);
		data[i] = (uint8_t)(state >> (8 * (i % 6)));
	}
}

static const struct gpu_case add_cases[] = {
	{.a = 0},     {.a = 1},	     {.a = 255},    {.a = 256},
	{.a = 257},   {.a = 1023},   {.a = 87360},  {.a = 87381},
	{.a = 87400}, {.a = 262143}, {.a = 262145}, {.a = 16 * MIB + 1, .large = true},
};

static float of_bits(uint32_t bits)
{
	float x;

	memcpy(&x, &bits, sizeof(x));
	return x;
}

/* Those of x86 and of the device, with a sign, with a payload, and a signalling one. */
static const uint32_t nans[] = {0xFFC00000, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FC12345, 0x7F800001};

/*
 * With infinities, zeroes of both signs, numbers that only denormals tell apart, and NaNs: each
 * with each, where there are enough elements.
 */
static void fill_add(const struct gpu_case *c, struct gpu_call *call)
{
	const float special[] = {INFINITY,
				 -INFINITY,
				 0.0F,
				 -0.0F,
				 0x1p-149F,
				 0x1p-126F,
				 0x1.fffffep127F,
				 of_bits(nans[0]),
				 of_bits(nans[1]),
				 of_bits(nans[2]),
				 of_bits(nans[3]),
				 of_bits(nans[4])};
	uint64_t state = gpu_case_seed(c);

	for (unsigned int input = 0; input < 2; input++) {
		float *x = gpu_input(call, input);

		for (uint64_t i = 0; i < c->a; i++)
			x[i] = i % 37 == 11 ? special[(i / 37 + input * (1 + i / 444)) %
						      ARRAY_SIZE(special)]
					    : (float)ldexp(gpu_random(&state) - 0.5, (int)(i % 40));
	}
}

/* --- core/reduce-sum ----------------------------------------------------------------- */

enum {
	PLAIN,
	WITH_INFINITY,
	WITH_BOTH_INFINITIES,
	WITH_NAN
};

static const struct gpu_case sum_cases[] = {
	{.a = 0},
	{.a = 1},
	{.a = 3},
	{.a = 5},
	{.a = 255},
	{.a = 2047},
	{.a = 2048},
	{.a = 2049},
	{.a = 262139},
	{.a = 1048575},
	{.a = 1048577},
	{.a = 1000, .kind = WITH_INFINITY},
	{.a = 5000, .kind = WITH_BOTH_INFINITIES},
	{.a = 1000, .kind = WITH_NAN},
	{.a = 1001, .kind = WITH_NAN},
	{.a = 1002, .kind = WITH_NAN},
	{.a = 1003, .kind = WITH_NAN},
	{.a = 1004, .kind = WITH_NAN},
	{.a = 64 * MIB + 7, .large = true},
};

static void fill_sum(const struct gpu_case *c, struct gpu_call *call)
{
	uint64_t state = gpu_case_seed(c);
	float *x = gpu_input(call, 0);

	for (uint64_t i = 0; i < c->a; i++)
		x[i] = (float)ldexp(gpu_random(&state) - 0.25, (int)(i % 50) - 25);
	if (c->kind == WITH_INFINITY || c->kind == WITH_BOTH_INFINITIES)
		x[c->a / 2] = INFINITY;
	if (c->kind == WITH_BOTH_INFINITIES)
		x[c->a / 3] = -INFINITY;
	if (c->kind == WITH_NAN)
		x[c->a - 1] = of_bits(nans[c->a % ARRAY_SIZE(nans)]);
}

static void compare_sum(struct gpu_pair *p, const struct gpu_case *c)
{
	const float *x = gpu_input(&p->got, 0);
	const double got = *(double *)gpu_output(&p->got, 0);
	const double want = *(double *)gpu_output(&p->want, 0);
	double sum = 0;

	if (c->kind != PLAIN) {
		gpu_pair_same_bits(p, 0);
		return;
	}
	for (uint64_t i = 0; i < c->a; i++)
		sum += fabs((double)x[i]);
	gpu_pair_error(p, fabs(got - want), (double)c->a * 0x1p-53 * sum, "sum", 0);
}

#define SLACK_NS 2000000 /* of the device's clock */

/* --- core/delay ---------------------------------------------------------------------- */

static const struct gpu_case delay_cases[] = {{.a = 0}, {.a = 1}, {.a = 7}, {.a = 50}};

static void fill_delay(const struct gpu_case *c, struct gpu_call *call)
{
	uint32_t ms = (uint32_t)c->a;

	memcpy(gpu_input(call, 0), &ms, sizeof(ms));
}

/* How much longer is the machine's matter, on both sides. */
static void compare_delay(struct gpu_pair *p, const struct gpu_case *c)
{
	uint32_t got, want;

	memcpy(&got, gpu_output(&p->got, 0), sizeof(got));
	memcpy(&want, gpu_output(&p->want, 0), sizeof(want));
	GPU_EXPECT(got >= c->a, "%s: the GPU waited %u ms only", p->label, got);
	GPU_EXPECT(want >= c->a, "%s: the CPU waited %u ms only", p->label, want);
	GPU_EXPECT(p->got.m->run_ns + SLACK_NS >= c->a * 1000000,
		   "%s: the GPU says %u ms, but was busy for %llu ns", p->label, got,
		   (unsigned long long)p->got.m->run_ns);
}

/* --- core/matmul --------------------------------------------------------------------- */

static const struct gpu_case matmul_cases[] = {
	{.a = 1, .b = 1, .c = 1},
	{.a = 1, .b = 0, .c = 3},
	{.a = 0, .b = 5, .c = 3},
	{.a = 5, .b = 3, .c = 0},
	{.a = 63, .b = 16, .c = 64},
	{.a = 64, .b = 64, .c = 64},
	{.a = 65, .b = 15, .c = 127},
	{.a = 127, .b = 17, .c = 129},
	{.a = 1, .b = 1000, .c = 1},
	{.a = 1000, .b = 1, .c = 1000},
	{.a = 257, .b = 130, .c = 385},
	{.a = 1023, .b = 517, .c = 65},
	{.a = 70, .b = 3, .c = 66, .kind = WITH_NAN},
	{.a = 133, .b = 600, .c = 130, .kind = WITH_NAN},
	{.a = 1900, .b = 40, .c = 1901, .kind = WITH_NAN},
	{.a = 1024, .b = 1024, .c = 1024, .large = true},
	{.a = 2048, .b = 1000, .c = 2049, .large = true},
	{.a = 2177, .b = 333, .c = 2048, .large = true},
};

static void shapes_matmul(const struct gpu_case *c, uint64_t (*shapes)[RK_MAX_RANK])
{
	shapes[0][0] = c->a;
	shapes[0][1] = shapes[1][0] = c->b;
	shapes[1][1] = c->c;
}

/* Some rows of the product become NaN, and some elements of the others; what is left is whole. */
static void spoil_matmul(const struct gpu_case *c, float *a, float *b)
{
	for (uint64_t i = 0; i < c->a; i += 3)
		a[i * c->b + i % c->b] = of_bits(nans[i / 3 % ARRAY_SIZE(nans)]);
	for (uint64_t i = 0; i < c->b; i++) /* by a zero of a */
		b[i * c->c + c->c / 2] = i % 2 ? INFINITY : -INFINITY;
	b[c->c - 1] = of_bits(nans[4]);
}

static void fill_matmul(const struct gpu_case *c, struct gpu_call *call)
{
	uint64_t state = gpu_case_seed(c);

	for (unsigned int input = 0; input < 2; input++) {
		float *x = gpu_input(call, input);

		for (uint64_t i = 0, n = gpu_input_count(call, input); i < n; i++)
			x[i] = c->kind == WITH_NAN ? (float)(i % 5)
						   : (float)(gpu_random(&state) * 2 - 1);
	}
	if (c->kind == WITH_NAN)
		spoil_matmul(c, gpu_input(call, 0), gpu_input(call, 1));
}

/* The sums of |a| |b|, to float's precision: the CPU's product of the absolute values. */
static void make_bounds(struct gpu_pair *p, const struct gpu_case *c, struct gpu_call *bounds)
{
	uint64_t shapes[RK_MAX_PORTS][RK_MAX_RANK];

	shapes_matmul(c, shapes);
	gpu_call_make(&p->cpu, bounds, p->on_cpu, shapes);
	for (unsigned int input = 0; input < 2; input++) {
		const float *from = gpu_input(&p->got, input);
		float *to = gpu_input(bounds, input);

		for (uint64_t i = 0, n = gpu_input_count(bounds, input); i < n; i++)
			to[i] = fabsf(from[i]);
	}
	gpu_submit(bounds);
	gpu_expect(bounds, 0, NULL);
}

static void compare_matmul(struct gpu_pair *p, const struct gpu_case *c)
{
	const float *got = gpu_output(&p->got, 0), *want = gpu_output(&p->want, 0), *sums;
	struct gpu_call bounds;

	if (c->kind == WITH_NAN) { /* sums of small whole numbers, which are exact in any order */
		gpu_pair_same_bits(p, 0);
		return;
	}
	make_bounds(p, c, &bounds);
	sums = gpu_output(&bounds, 0);
	for (uint64_t i = 0; i < c->a * c->c; i++)
		gpu_pair_error(p, fabs((double)got[i] - (double)want[i]),
			       2 * (double)(c->b + 1) * 0x1p-24 * (double)sums[i], "element", i);
	gpu_call_drop(&bounds);
}

/* --- the tests ------------------------------------------------------------------------ */

/* What no test knows is not checked, and what is not on the GPU does not count. */
static void run_all_known(const void *arg)
{
	static const char *const known[] = {
		"core/echo",	     "core/vector-add", "core/reduce-sum",	"core/delay",
		"core/matmul",	     "graph/pagerank",	"risk/monte-carlo-var", "core/ring-echo",
		"core/running-stats"};
	unsigned int found = 0;
	struct rk_kernel *k = NULL, *on_gpu;
	struct gpu_rig r = {0};

	(void)arg;
	gpu_open(&r);
	gpu_start(&r, "cuda");
	while ((k = rk_registry_after(rk_runtime_registry(r.rt), k))) {
		size_t i = 0;

		while (i < ARRAY_SIZE(known) && strcmp(known[i], k->manifest.id) != 0)
			i++;
		GPU_EXPECT(i < ARRAY_SIZE(known), "%s ships, and is not tested here",
			   k->manifest.id);
		on_gpu = gpu_kernel(&r, k->manifest.id, RK_WIRE_CUDA);
		rk_kernel_unref(on_gpu);
		found++;
	}
	GPU_EXPECT(found == ARRAY_SIZE(known), "%u kernels ship, %zu are tested", found,
		   ARRAY_SIZE(known));
	gpu_note("%u kernels", found);
	gpu_close(&r);
}

static const struct gpu_test tests[] = {
	{"kernels", "all", "every kernel that ships runs on the GPU", "all of them", run_all_known,
	 NULL},
	GPU_KERNEL("echo", "core/echo against the CPU", "the same bits", .id = "core/echo",
		   GPU_CASES(echo_cases), shapes_a, fill_bytes, gpu_same_bits, "n=%llu"),
	GPU_KERNEL("vector-add", "core/vector-add against the CPU", "the same bits",
		   .id = "core/vector-add", GPU_CASES(add_cases), shapes_a, fill_add, gpu_same_bits,
		   "n=%llu"),
	GPU_KERNEL("reduce-sum", "core/reduce-sum against the CPU", "n 2^-53 of the sum of |x|",
		   .id = "core/reduce-sum", GPU_CASES(sum_cases), shapes_a, fill_sum, compare_sum,
		   "n=%llu"),
	GPU_KERNEL("delay", "core/delay against the CPU", "at least ms", .id = "core/delay",
		   GPU_CASES(delay_cases), shapes_a, fill_delay, compare_delay, "ms=%llu",
		   .result = "as long as asked for"),
	GPU_KERNEL("matmul", "core/matmul against the CPU", "2 (k + 1) 2^-24 of the sum of |a| |b|",
		   .id = "core/matmul", GPU_CASES(matmul_cases), shapes_matmul, fill_matmul,
		   compare_matmul, "%llux%llux%llu"),
};

const struct gpu_test *gpu_kernel_tests(size_t *count)
{
	*count = ARRAY_SIZE(tests);
	return tests;
}
