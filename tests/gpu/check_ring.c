/* SPDX-License-Identifier: MIT */
/* Resident kernels: against the CPU's, and beside all that must not find them on the device. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/gpu/gpu_test.h"

#define STATS "core/running-stats"
#define ECHO  "core/ring-echo"

enum {
	COUNT,
	MEAN,
	VARIANCE
};

/* --- against the CPU, several messages at once ----------------------------------------- */

struct both {
	struct gpu_rig gpu, cpu;
	struct gpu_call *got, *want;
	size_t count;
};

/* One message of each size to both, all submitted before the first is waited for. */
static void call_both(struct both *b, const char *id, const uint64_t *sizes, size_t count,
		      void (*fill)(struct gpu_call *c, uint64_t n, size_t index))
{
	struct rk_kernel *on_gpu, *on_cpu;

	b->count = count;
	b->got = calloc(count, sizeof(*b->got));
	b->want = calloc(count, sizeof(*b->want));
	GPU_EXPECT(b->got && b->want, "no memory");
	gpu_open(&b->gpu);
	gpu_open_cpu(&b->cpu);
	gpu_start(&b->gpu, "cuda");
	gpu_start(&b->cpu, "cpu");
	on_gpu = gpu_kernel(&b->gpu, id, RK_WIRE_CUDA);
	on_cpu = gpu_kernel(&b->cpu, id, RK_WIRE_CPU);
	for (size_t i = 0; i < count; i++) {
		gpu_call_make_n(&b->gpu, &b->got[i], on_gpu, sizes[i]);
		gpu_call_make_n(&b->cpu, &b->want[i], on_cpu, sizes[i]);
		fill(&b->got[i], sizes[i], i);
		fill(&b->want[i], sizes[i], i);
	}
	for (size_t i = 0; i < count; i++) {
		gpu_submit(&b->got[i]);
		gpu_submit(&b->want[i]);
	}
	for (size_t i = 0; i < count; i++) {
		gpu_expect(&b->got[i], 0, NULL);
		gpu_expect(&b->want[i], 0, NULL);
	}
	rk_kernel_unref(on_gpu);
	rk_kernel_unref(on_cpu);
}

static void forget_both(struct both *b)
{
	for (size_t i = 0; i < b->count; i++) {
		gpu_call_drop(&b->got[i]);
		gpu_call_drop(&b->want[i]);
	}
	free(b->got);
	free(b->want);
	gpu_close(&b->gpu);
	gpu_close(&b->cpu);
}

static void fill_bytes(struct gpu_call *c, uint64_t n, size_t index)
{
	uint8_t *data = gpu_input(c, 0);

	for (uint64_t i = 0; i < n; i++)
		data[i] = (uint8_t)(i * 7 + i / 256 + index);
}

static void run_echo(const void *arg)
{
	static const uint64_t sizes[] = {0,	   1,	  15,	       16, 17, 64, 65,
					 4096,	   4097,  100003,      3,  0,  64, 64,
					 MIB + 13, 65536, 3 * MIB + 1, 1,  64};
	struct both b = {0};

	(void)arg;
	call_both(&b, ECHO, sizes, ARRAY_SIZE(sizes), fill_bytes);
	for (size_t i = 0; i < b.count; i++) {
		GPU_EXPECT(memcmp(gpu_output(&b.got[i], 0), gpu_output(&b.want[i], 0), sizes[i]) ==
				   0,
			   "message %zu of %llu bytes differs", i, (unsigned long long)sizes[i]);
		gpu_log("%s n=%llu: the same bits: ok", ECHO, (unsigned long long)sizes[i]);
	}
	gpu_note("%zu messages; the same bits", b.count);
	forget_both(&b);
}

static void fill_numbers(struct gpu_call *c, uint64_t n, size_t index)
{
	double *x = gpu_input(c, 0);
	uint64_t state = index;

	for (uint64_t i = 0; i < n; i++)
		x[i] = (gpu_random(&state) - 0.4) * (double)(1 + index % 5);
}

/* How far the GPU is from the CPU, as a part of what is allowed: 1e-14 of @scale. */
static double compare_to(const struct both *b, size_t i, unsigned int output, double scale)
{
	const double got = *(double *)gpu_output(&b->got[i], output);
	const double want = *(double *)gpu_output(&b->want[i], output);
	double part = fabs(got - want) / (1e-14 * scale);

	if (isnan(want)) {
		GPU_EXPECT(memcmp(&got, &want, sizeof(got)) == 0,
			   "message %zu: output %u is %a, not the CPU's NaN", i, output, got);
		return 0;
	}
	GPU_EXPECT(got == want || part <= 1, "message %zu: output %u is %.17g, the CPU's %.17g", i,
		   output, got, want);
	return got == want ? 0 : part;
}

static void run_stats(const void *arg)
{
	static const uint64_t sizes[] = {0,   1,      2,   255,	 256, 257, 0, 1000, 1,
					 511, 100003, 513, 4096, 3,   1,   1, 65537};
	double greatest = 0, worst = 0;
	struct both b = {0};

	(void)arg;
	call_both(&b, STATS, sizes, ARRAY_SIZE(sizes), fill_numbers);
	for (size_t i = 0; i < b.count; i++) {
		const double *x = gpu_input(&b.got[i], 0);

		for (uint64_t j = 0; j < sizes[i]; j++)
			greatest = fmax(greatest, fabs(x[j]));
		GPU_EXPECT(memcmp(gpu_output(&b.got[i], COUNT), gpu_output(&b.want[i], COUNT),
				  sizeof(uint64_t)) == 0,
			   "message %zu: another count", i);
		worst = fmax(worst, compare_to(&b, i, MEAN, greatest));
		worst = fmax(worst, compare_to(&b, i, VARIANCE, greatest * greatest));
		gpu_log("%s n=%llu: ok", STATS, (unsigned long long)sizes[i]);
	}
	gpu_note("%zu messages; at most %.2g of what is allowed", b.count, worst);
	forget_both(&b);
}

/* The first message is whole, and then there is a NaN that no other number makes good. */
static void fill_nan(struct gpu_call *c, uint64_t n, size_t index)
{
	double *x = gpu_input(c, 0);

	for (uint64_t i = 0; i < n; i++)
		x[i] = index == 1 && i == n / 2 ? -(double)NAN : (double)i;
}

static void run_nan(const void *arg)
{
	static const uint64_t sizes[] = {0, 1000, 0, 1, 257};
	struct both b = {0};

	(void)arg;
	call_both(&b, STATS, sizes, ARRAY_SIZE(sizes), fill_nan);
	for (size_t i = 0; i < b.count; i++)
		for (unsigned int output = COUNT; output <= VARIANCE; output++)
			GPU_EXPECT(memcmp(gpu_output(&b.got[i], output),
					  gpu_output(&b.want[i], output), sizeof(double)) == 0,
				   "message %zu: output %u differs", i, output);
	gpu_note("%zu messages; the same bits", b.count);
	forget_both(&b);
}

/* --- the state between messages ------------------------------------------------------- */

/* One more number; the count must be @expected. */
static void count_one(struct gpu_rig *r, uint64_t expected, uint64_t n)
{
	struct rk_kernel *k = gpu_kernel(r, STATS, RK_WIRE_CUDA);
	struct gpu_call c;
	uint64_t count;
	double mean;

	gpu_call_make_n(r, &c, k, n);
	for (uint64_t i = 0; i < n; i++)
		((double *)gpu_input(&c, 0))[i] = 3;
	gpu_submit(&c);
	gpu_expect(&c, 0, NULL);
	memcpy(&count, gpu_output(&c, COUNT), sizeof(count));
	memcpy(&mean, gpu_output(&c, MEAN), sizeof(mean));
	GPU_EXPECT(count == expected, "%llu numbers came, the kernel knows of %llu",
		   (unsigned long long)expected, (unsigned long long)count);
	GPU_EXPECT(mean == 3, "the mean of many 3 is %g", mean);
	gpu_call_drop(&c);
	rk_kernel_unref(k);
}

/* Each message finds the device without the kernel: it has left for want of work. */
static void run_idle(const void *arg)
{
	const unsigned int rounds = gpu_options.small ? 5 : 40;
	struct gpu_rig r = {0};
	uint64_t count = 0;

	(void)arg;
	gpu_open(&r, "ring_idle=2ms");
	gpu_start(&r, "cuda");
	for (unsigned int i = 0; i < rounds; i++) {
		count_one(&r, ++count, 1);
		count_one(&r, ++count, 1);
		gpu_delay(&r, 25); /* the device's time, which is what it leaves by */
	}
	gpu_note("%u times it left and came back with its state", rounds);
	gpu_close(&r);
}

static void add_module(struct gpu_rig *r, unsigned int i)
{
	char file[32], id[32];
	struct rk_kernel *k;
	struct gpu_call c;

	snprintf(file, sizeof(file), "square%u.ini", i);
	snprintf(id, sizeof(id), "user/square%u", i);
	gpu_describe(r, file,
		     "[kernel]\nid = %s\ndescription = test\n"
		     "[inputs]\nx = f32[n]\n[outputs]\ny = f32[n]\n[cuda]\nmodule = %s/%s\n"
		     "entry = square\nargs = x, y, n\ngrid = n\nblock = 64\n",
		     id, gpu_options.modules, "gpu.fatbin");
	gpu_reload(r);
	k = gpu_kernel(r, id, RK_WIRE_CUDA);
	gpu_call_make_n(r, &c, k, 1000);
	for (unsigned int j = 0; j < 1000; j++)
		((float *)gpu_input(&c, 0))[j] = (float)j;
	gpu_submit(&c);
	gpu_expect(&c, 0, NULL);
	for (unsigned int j = 0; j < 1000; j++)
		GPU_EXPECT(((float *)gpu_output(&c, 0))[j] == (float)(j * j), "%s is wrong", id);
	gpu_call_drop(&c);
	rk_kernel_unref(k);
}

/* It never leaves by itself; loading, allocating, pinning must each get it out of the way. */
static void run_quiesce(const void *arg)
{
	struct gpu_rig r = {0};
	uint64_t count = 0;

	(void)arg;
	gpu_make_dir(&r);
	gpu_open(&r, "ring_idle=0", "async_memory=no", "memory_pooling=no");
	gpu_start(&r, "cuda");
	for (unsigned int i = 0; i < 5; i++) {
		count_one(&r, ++count, 1);
		add_module(&r, i);
		count_one(&r, ++count, 1);
		gpu_vector_add(&r, 100000 << i); /* more memory than before, for it alone */
		count += 10000ULL << i;
		count_one(&r, count, 10000ULL << i); /* the same for the kernel's own */
	}
	gpu_command(&r, RK_DRAIN, 60);
	gpu_wait_state(&r, RK_STOPPED);
	gpu_note("module loads, allocations and larger messages beside it; state kept");
	gpu_close(&r);
}

#define TOGETHER 200

/* Ring messages and others, all at once. */
static void run_together(const void *arg)
{
	struct gpu_call stats[TOGETHER], adds[TOGETHER];
	struct rk_kernel *k;
	struct gpu_rig r = {0};

	gpu_open_options(&r, true, arg);
	gpu_start(&r, "cuda");
	k = gpu_kernel(&r, STATS, RK_WIRE_CUDA);
	for (unsigned int i = 0; i < TOGETHER; i++) {
		gpu_call_make_n(&r, &stats[i], k, 10);
		gpu_submit(&stats[i]);
		gpu_vector_add_begin(&r, &adds[i], 5000 + i, i);
	}
	for (unsigned int i = 0; i < TOGETHER; i++) {
		uint64_t count;

		gpu_vector_add_end(&adds[i], i);
		gpu_expect(&stats[i], 0, NULL);
		memcpy(&count, gpu_output(&stats[i], COUNT), sizeof(count));
		GPU_EXPECT(count == 10 * (i + 1), "message %u: the count is %llu", i,
			   (unsigned long long)count);
		gpu_call_drop(&stats[i]);
	}
	rk_kernel_unref(k);
	gpu_note("%d resident messages in their order among %d others", TOGETHER, TOGETHER);
	gpu_close(&r);
}

/* --- a user's own --------------------------------------------------------------------- */

static double sum_more(struct gpu_rig *r, double first, unsigned int n)
{
	struct rk_kernel *k = gpu_kernel(r, "user/sum", RK_WIRE_CUDA);
	struct gpu_call c;
	double total;

	gpu_call_make_n(r, &c, k, n);
	for (unsigned int i = 0; i < n; i++)
		((double *)gpu_input(&c, 0))[i] = first + i;
	gpu_submit(&c);
	gpu_expect(&c, 0, NULL);
	memcpy(&total, gpu_output(&c, 0), sizeof(total));
	gpu_call_drop(&c);
	rk_kernel_unref(k);
	return total;
}

static void run_user(const void *arg)
{
	struct gpu_rig r = {0};

	(void)arg;
	gpu_make_dir(&r);
	gpu_describe(&r, "sum.ini",
		     "[kernel]\nid = user/sum\ndescription = test\nmode = ring\n"
		     "[inputs]\nx = f64[n]\n[outputs]\ntotal = f64\n[state]\nbytes = 8\n"
		     "[cuda]\nmodule = %s/gpu.fatbin\nentry = ring_sum\n"
		     "args = state, x, total, n\nblock = 32\n",
		     gpu_options.modules);
	gpu_open(&r);
	gpu_start(&r, "cuda");
	for (unsigned int round = 0; round < 2; round++) {
		GPU_EXPECT(sum_more(&r, 1, 3) == 6, "round %u: 1 + 2 + 3 is not 6", round);
		GPU_EXPECT(sum_more(&r, 10, 1) == 16, "round %u: the state is lost", round);
		GPU_EXPECT(sum_more(&r, 0, 0) == 16, "round %u: nothing is something", round);
		gpu_command(&r, RK_DRAIN, 60);
		gpu_wait_state(&r, RK_STOPPED);
		gpu_command(&r, RK_RESET, -1);
		gpu_start(&r, "cuda");
	}
	gpu_note("keeps its state, and begins with zeroes after a start");
	gpu_close(&r);
}

static const struct gpu_test tests[] = {
	{"rings", "echo", "core/ring-echo against the CPU", "the same bits", run_echo, NULL},
	{"rings", "running-stats", "core/running-stats against the CPU",
	 "1e-14 of the greatest |x|, and x^2", run_stats, NULL},
	{"rings", "nan", "core/running-stats with a NaN among its numbers", "the same bits",
	 run_nan, NULL},
	{"ringlife", "idle", "a resident kernel that leaves after ring_idle = 2ms",
	 "its state stays", run_idle, NULL},
	{"ringlife", "quiesce", "ring_idle = 0: modules, memory, larger messages",
	 "its state stays", run_quiesce, NULL},
	{"ringlife", "together", "resident and other messages at once", "in order, right answers",
	 run_together,
	 (const char *const[]){"ring_idle=0", "async_memory=no", "memory_pooling=no", NULL}},
	{"ringlife", "many-threads",
	 "the same with worker_threads = 64: more threads than streams, and a kernel that stays",
	 "in order, right answers", run_together,
	 (const char *const[]){"ring_idle=0", "worker_threads=64", NULL}},
	{"ringlife", "user", "a user's own resident kernel, with state", "right answers", run_user,
	 NULL},
};

const struct gpu_test *gpu_ring_tests(size_t *count)
{
	*count = ARRAY_SIZE(tests);
	return tests;
}
