/* SPDX-License-Identifier: MIT */
/* The fake driver itself: where it is too kind, the tests that use it prove nothing. */
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "gpu/kernels/ring.h"
#include "tests/fake_cuda/rig.h"

#define N 1000

/* A kernel in @s that runs until *@flag is set, with where it says so. */
static void gate(CUstream s, uint32_t *flag)
{
	CUdeviceptr at = 0, seen = 0;
	void *params[] = {&at, &seen};

	*flag = 0;
	OK(cu.cuMemHostGetDevicePointer(&at, flag, 0));
	seen = at + sizeof(*flag);
	OK(run1(function("wait_for"), s, 1, params));
}

static void open_gate(uint32_t *flag)
{
	__atomic_store_n(flag, 1, __ATOMIC_RELEASE);
}

RIG_TEST(runs_a_kernel_in_order)
{
	float *in = pinned(N * sizeof(float)), *out = pinned(N * sizeof(float));
	CUdeviceptr x = device(N * sizeof(float)), y = device(N * sizeof(float));
	uint64_t n = N;
	void *params[] = {&x, &y, &n};

	triggers("latency 1000\n");
	for (int i = 0; i < N; i++)
		in[i] = (float)i;
	OK(cu.cuMemcpyHtoDAsync(x, in, N * sizeof(float), stream));
	OK(run1(function("square"), stream, (N + 255) / 256, params));
	n = 0; /* the value was taken at the launch */
	OK(cu.cuMemcpyDtoHAsync(out, y, N * sizeof(float), stream));
	OK(cu.cuStreamSynchronize(stream));
	for (int i = 0; i < N; i++)
		assert_true(out[i] == (float)i * (float)i);
	/* too few blocks leave the rest as it was */
	n = N;
	OK(cu.cuMemsetD8Async(y, 0, N * sizeof(float), stream));
	OK(run1(function("square"), stream, 1, params));
	OK(cu.cuMemcpyDtoHAsync(out, y, N * sizeof(float), stream));
	OK(cu.cuStreamSynchronize(stream));
	assert_true(out[255] == 255.0F * 255 && out[256] == 0);
	OK(cu.cuMemFree(x));
	OK(cu.cuMemFree(y));
	OK(cu.cuMemFreeHost(in));
	OK(cu.cuMemFreeHost(out));
}

RIG_TEST(streams_are_asynchronous)
{
	uint32_t *flag = pinned(64), *word = pinned(64);
	CUdeviceptr at = device(64);
	CUstream other = NULL;
	CUevent event = NULL;

	OK(cu.cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
	OK(cu.cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
	OK(cu.cuEventQuery(event));
	word[0] = 1;
	gate(stream, flag);
	OK(cu.cuMemcpyHtoDAsync(at, word, 4, stream));
	OK(cu.cuEventRecord(event, stream));
	/* behind the gate nothing moves; beside it another stream goes on */
	OK(cu.cuMemsetD8Async(at + 4, 7, 4, other));
	OK(cu.cuMemcpyDtoHAsync(word + 1, at + 4, 4, other));
	OK(cu.cuStreamSynchronize(other));
	assert_int_equal(word[1], 0x07070707);
	assert_int_equal(cu.cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
	assert_int_equal(cu.cuEventQuery(event), CUDA_ERROR_NOT_READY);
	word[0] = 2; /* the copy has not read it yet */
	open_gate(flag);
	OK(cu.cuEventSynchronize(event));
	OK(cu.cuStreamSynchronize(stream));
	OK(cu.cuStreamQuery(stream));
	OK(cu.cuMemcpyDtoHAsync(word + 2, at, 4, stream));
	OK(cu.cuStreamSynchronize(stream));
	assert_int_equal(word[2], 2);
	OK(cu.cuEventDestroy(event));
	OK(cu.cuStreamDestroy(other));
	OK(cu.cuMemFree(at));
	OK(cu.cuMemFreeHost(flag));
	OK(cu.cuMemFreeHost(word));
}

static void *alloc_beside(void *arg)
{
	CUcontext context;
	CUdeviceptr at = 0;

	(void)arg;
	if (cu.cuDevicePrimaryCtxRetain(&context, 0) || cu.cuCtxSetCurrent(context) ||
	    cu.cuMemAlloc(&at, 64) || cu.cuMemFree(at) || cu.cuDevicePrimaryCtxRelease(0))
		return (void *)1;
	return NULL;
}

RIG_TEST(an_allocation_waits_for_all_streams)
{
	uint32_t *flag = pinned(64);
	uint64_t before = count("synchronising"), allocations = count("allocations");
	pthread_t thread;
	void *failed;

	gate(stream, flag);
	assert_int_equal(pthread_create(&thread, NULL, alloc_beside, NULL), 0);
	while (count("synchronising") == before)
		sched_yield();
	assert_int_equal(cu.cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
	assert_int_equal(count("allocations"), allocations);
	open_gate(flag);
	assert_int_equal(pthread_join(thread, &failed), 0);
	assert_null(failed);
	OK(cu.cuMemFreeHost(flag));
}

static void *without_context(void *arg)
{
	CUdeviceptr at;

	(void)arg;
	return (void *)(uintptr_t)cu.cuMemAlloc(&at, 1);
}

RIG_TEST(needs_a_context_in_each_thread)
{
	pthread_t thread;
	void *result;

	assert_int_equal(pthread_create(&thread, NULL, without_context, NULL), 0);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_int_equal((uintptr_t)result, CUDA_ERROR_INVALID_CONTEXT);
}

RIG_TEST(pools_keep_what_they_reserved)
{
	CUmemPoolProps props = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
				.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE}};
	cuuint64_t keep = 4 << 20, reserved = 0, used = 0;
	CUmemoryPool pool = NULL;
	CUdeviceptr at = 0;

	OK(cu.cuMemPoolCreate(&pool, &props));
	OK(cu.cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &keep));
	OK(cu.cuMemAllocFromPoolAsync(&at, 7 << 20, pool, stream));
	OK(cu.cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, &reserved));
	OK(cu.cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used));
	assert_int_equal(reserved, 8 << 20);
	assert_int_equal(used, 7 << 20);
	assert_int_equal(count("device_bytes"), 8 << 20);
	OK(cu.cuMemsetD8Async(at, 1, 7 << 20, stream));
	OK(cu.cuMemFreeAsync(at, stream));
	MISUSE(cu.cuMemFreeAsync(at, stream), CUDA_ERROR_INVALID_VALUE);
	OK(cu.cuStreamSynchronize(stream));
	assert_int_equal(count("device_bytes"), 4 << 20);
	OK(cu.cuMemPoolTrimTo(pool, 0));
	assert_int_equal(count("device_bytes"), 0);
	OK(cu.cuMemPoolDestroy(pool));
	assert_int_equal(count("device_blocks"), 0);
}

RIG_TEST(modules_are_what_they_say)
{
	static const unsigned int fatbin[] = {0xBA55ED50, 0};
	char text[200] = "", small[8];
	CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
	void *values[] = {text, (void *)sizeof(text)};
	CUfunction f = NULL;
	CUmodule m = NULL;

	assert_int_equal(cu.cuModuleLoadDataEx(&m, "#!/bin/sh", 0, NULL, NULL),
			 CUDA_ERROR_INVALID_IMAGE);
	assert_int_equal(
		cu.cuModuleLoadDataEx(&m, ".version 8.0\n\nthis is no ptx\n", 2, options, values),
		CUDA_ERROR_INVALID_PTX);
	assert_non_null(strstr(text, "syntax error"));
	assert_int_equal((size_t)values[1], strlen(text));
	values[0] = small;
	values[1] = (void *)sizeof(small);
	assert_int_equal(
		cu.cuModuleLoadDataEx(&m, ".version 8.0\n\nthis is no ptx\n", 2, options, values),
		CUDA_ERROR_INVALID_PTX);
	assert_string_equal(small, "ptxas a");
	OK(cu.cuModuleLoadDataEx(&m, fatbin, 0, NULL, NULL));
	OK(cu.cuModuleGetFunction(&f, m, "vector_add"));
	assert_int_equal(cu.cuModuleGetFunction(&f, m, "no_such"), CUDA_ERROR_NOT_FOUND);
	assert_int_equal(cu.cuModuleGetFunction(&f, module, "vector_add"), CUDA_ERROR_NOT_FOUND);
	OK(cu.cuModuleUnload(m));
	MISUSE(cu.cuModuleGetFunction(&f, m, "vector_add"), CUDA_ERROR_INVALID_HANDLE);
}

RIG_TEST(launches_are_checked)
{
	CUfunction f = function("square");
	CUdeviceptr x = device(64);
	uint64_t n = 1;
	void *params[] = {&x, &x, &n};
	int fit = 0;

	assert_int_equal(run1(f, stream, 0, params), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(cu.cuLaunchKernel(f, 1, 1, 1, 32, 32, 2, 0, stream, params, NULL),
			 CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(cu.cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 50000, stream, params, NULL),
			 CUDA_ERROR_INVALID_VALUE);
	OK(cu.cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 50000));
	OK(cu.cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 50000, stream, params, NULL));
	OK(cu.cuOccupancyMaxActiveBlocksPerMultiprocessor(&fit, f, 256, 0));
	assert_int_equal(fit, 8);
	assert_int_equal(cu.cuLaunchCooperativeKernel(f, 65, 1, 1, 256, 1, 1, 0, stream, params),
			 CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
	OK(cu.cuLaunchCooperativeKernel(f, 64, 1, 1, 256, 1, 1, 0, stream, params));
	OK(cu.cuMemFree(x));
}

/* Post message @number to @ring, and wait for its answer. */
static void ask(struct rk_ring *ring, uint64_t number, CUdeviceptr state, CUdeviceptr x,
		CUdeviceptr total, uint64_t n)
{
	struct rk_ring_slot *slot = &ring->slots[number % RK_RING_SLOTS];

	slot->args[0] = state;
	slot->args[1] = x;
	slot->args[2] = total;
	slot->args[3] = n;
	__atomic_store_n(&slot->request, number + 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(&ring->answers[number % RK_RING_SLOTS], __ATOMIC_ACQUIRE) !=
	       number + 1)
		sched_yield();
}

static void wait_for_exit(struct rk_ring *ring, uint64_t launch)
{
	while (__atomic_load_n(&ring->exited, __ATOMIC_ACQUIRE) != launch)
		sched_yield();
}

RIG_TEST(a_resident_kernel_answers_and_leaves)
{
	static const char ptx[] = ".version 8.0\n.entry ring_sum(\n.entry ring_echo(";
	struct rk_ring *ring = pinned(sizeof(*ring));
	double *data = pinned(64);
	CUdeviceptr sum = device(8), at = (CUdeviceptr)ring;
	uint64_t launch = 1, next = 0, messages = count("ring_messages");
	void *params[] = {&at, &launch, &next};
	CUmodule m = NULL;
	CUfunction f = NULL;

	memset(ring, 0, sizeof(*ring));
	ring->version = RK_RING_VERSION;
	ring->nargs = 4;
	OK(cu.cuModuleLoadDataEx(&m, ptx, 0, NULL, NULL));
	OK(cu.cuModuleGetFunction(&f, m, "ring_echo"));
	OK(cu.cuModuleGetFunction(&f, m, "ring_sum"));
	OK(cu.cuMemsetD8Async(sum, 0, 8, stream));
	OK(run1(f, stream, 1, params));
	assert_int_equal(count("resident"), 1);
	data[0] = 1;
	data[1] = 2;
	for (; next < 2 * RK_RING_SLOTS; next++)
		ask(ring, next, sum, (CUdeviceptr)data, (CUdeviceptr)(data + 2), 2);
	assert_true(data[2] == 3.0 * 2 * RK_RING_SLOTS);
	__atomic_store_n(&ring->quiesce, 1, __ATOMIC_RELEASE);
	wait_for_exit(ring, 1);
	assert_int_equal(count("resident"), 0);
	/* the state is kept; this one leaves by itself */
	ring->quiesce = 0;
	ring->idle_ns = 1;
	launch = 2;
	OK(run1(f, stream, 1, params));
	wait_for_exit(ring, 2);
	ring->idle_ns = 0;
	launch = 3;
	OK(run1(f, stream, 1, params));
	ask(ring, next, sum, (CUdeviceptr)data, (CUdeviceptr)(data + 2), 0);
	assert_true(data[2] == 3.0 * 2 * RK_RING_SLOTS);
	__atomic_store_n(&ring->quiesce, 1, __ATOMIC_RELEASE);
	wait_for_exit(ring, 3);
	assert_int_equal(count("ring_messages"), messages + 2 * RK_RING_SLOTS + 1);
	assert_int_equal(count("beside_resident"), 0);
	OK(cu.cuModuleUnload(m));
	OK(cu.cuMemFree(sum));
	OK(cu.cuMemFreeHost(data));
	OK(cu.cuMemFreeHost(ring));
}

RIG_TEST(a_call_beside_a_resident_kernel_waits)
{
	struct rk_ring *ring = pinned(sizeof(*ring));
	CUdeviceptr at = (CUdeviceptr)ring;
	uint64_t launch = 1, next = 0, before = count("beside_resident");
	uint64_t allocations = count("allocations");
	void *params[] = {&at, &launch, &next};
	pthread_t thread;
	void *failed;

	memset(ring, 0, sizeof(*ring));
	ring->version = RK_RING_VERSION;
	ring->nargs = 3;
	OK(run1(function("ring_echo"), stream, 1, params));
	assert_int_equal(pthread_create(&thread, NULL, alloc_beside, NULL), 0);
	while (count("beside_resident") == before)
		sched_yield();
	assert_int_equal(count("allocations"), allocations);
	__atomic_store_n(&ring->quiesce, 1, __ATOMIC_RELEASE);
	assert_int_equal(pthread_join(thread, &failed), 0);
	assert_null(failed);
	assert_int_equal(count("beside_resident"), before + 1);
	assert_int_equal(__atomic_load_n(&ring->exited, __ATOMIC_ACQUIRE), 1);
	OK(cu.cuMemFreeHost(ring));
}

RIG_TEST(built_ins_get_their_own_scratch)
{
	static const unsigned int fatbin[] = {0xBA55ED50, 0};
	float *x = pinned(64);
	double *sum = pinned(64);
	CUdeviceptr scratch = device(64), more = scratch + 32;
	uint64_t n = 3;
	void *params[] = {&x, &sum, &n, &scratch, &more};
	CUfunction f = NULL;
	CUmodule m = NULL;

	OK(cu.cuModuleLoadDataEx(&m, fatbin, 0, NULL, NULL));
	OK(cu.cuModuleGetFunction(&f, m, "reduce_sum"));
	x[0] = 1;
	x[1] = 2;
	x[2] = 3;
	OK(cu.cuMemsetD8Async(scratch, 0, 64, stream));
	OK(run1(f, stream, 1, params));
	OK(cu.cuStreamSynchronize(stream));
	assert_true(*sum == 6);
	OK(cu.cuModuleUnload(m));
	OK(cu.cuMemFree(scratch));
	OK(cu.cuMemFreeHost(x));
	OK(cu.cuMemFreeHost(sum));
}

int main(void)
{
	return unit_run(open_library, close_library);
}
