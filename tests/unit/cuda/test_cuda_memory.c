/* SPDX-License-Identifier: MIT */
#include "tests/unit/cuda/cuda_rig.h"

#include "gpu/cuda/memory_internal.h"

/* --- parts of chunks ----------------------------------------------------------------- */

static uint64_t take(struct rk_pool *pool, uint64_t bytes)
{
	uint64_t at = 0;

	return rk_pool_take(pool, bytes, &at) ? 0 : at;
}

static void drop_pool(struct rk_pool *pool)
{
	uint64_t at, bytes;

	while (rk_pool_remove_idle(pool, &at, &bytes))
		;
	assert_true(TAILQ_EMPTY(&pool->chunks));
}

TEST(pool_first_fit)
{
	struct rk_pool pool;

	rk_pool_init(&pool);
	assert_int_equal(take(&pool, 1), 0);
	assert_int_equal(rk_pool_add(&pool, 0x10000, 1024), 0);
	assert_int_equal(rk_pool_add(&pool, 0x80000, 4096), 0);
	assert_int_equal(take(&pool, 1), 0x10000);
	assert_int_equal(take(&pool, 257), 0x10100); /* rounded up to 512 */
	assert_int_equal(take(&pool, 512), 0x80000); /* 256 are left of the first */
	assert_int_equal(take(&pool, 256), 0x10300);
	assert_int_equal(take(&pool, 3584), 0x80200);
	assert_int_equal(take(&pool, 1), 0);
	assert_int_equal(take(&pool, UINT64_MAX), 0);
	assert_true(rk_pool_give(&pool, 0x10000));
	assert_true(rk_pool_give(&pool, 0x10100));
	assert_true(rk_pool_give(&pool, 0x10300));
	assert_true(rk_pool_give(&pool, 0x80000));
	assert_true(rk_pool_give(&pool, 0x80200));
	drop_pool(&pool);
}

TEST(pool_joins_neighbours)
{
	/* every order in which four parts can come back */
	static const uint64_t orders[][4] = {{0, 1, 2, 3}, {3, 2, 1, 0}, {0, 2, 1, 3},
					     {1, 3, 0, 2}, {2, 0, 3, 1}, {1, 2, 3, 0}};
	struct rk_pool pool;

	rk_pool_init(&pool);
	assert_int_equal(rk_pool_add(&pool, 0x10000, 1024), 0);
	for (size_t i = 0; i < ARRAY_SIZE(orders); i++) {
		for (uint64_t part = 0; part < 4; part++)
			assert_int_equal(take(&pool, 256), 0x10000 + part * 256);
		for (uint64_t part = 0; part < 4; part++)
			assert_true(rk_pool_give(&pool, 0x10000 + orders[i][part] * 256));
		assert_int_equal(take(&pool, 1024), 0x10000);
		assert_true(rk_pool_give(&pool, 0x10000));
	}
	drop_pool(&pool);
}

TEST(pool_refuses)
{
	struct rk_pool pool;
	uint64_t at, bytes;

	rk_pool_init(&pool);
	assert_int_equal(rk_pool_add(&pool, 0x10000, 1024), 0);
	assert_int_equal(rk_pool_add(&pool, 0x20000, 2048), 0);
	assert_false(rk_pool_give(&pool, 0x10000)); /* nobody has it */
	assert_int_equal(take(&pool, 512), 0x10000);
	assert_false(rk_pool_give(&pool, 0x10100)); /* the middle of it */
	assert_false(rk_pool_give(&pool, 0x30000));
	/* only the chunk that nobody uses goes */
	assert_true(rk_pool_remove_idle(&pool, &at, &bytes));
	assert_int_equal(at, 0x20000);
	assert_int_equal(bytes, 2048);
	assert_false(rk_pool_remove_idle(&pool, &at, &bytes));
	assert_true(rk_pool_give(&pool, 0x10000));
	assert_false(rk_pool_give(&pool, 0x10000));
	drop_pool(&pool);
}

/* --- device memory ------------------------------------------------------------------- */

static uint64_t held(void)
{
	return atomic_load(&rig.shared->gpu_memory_bytes);
}

static uint64_t peak(void)
{
	return atomic_load(&rig.shared->gpu_memory_peak_bytes);
}

static void open_with(bool unified, bool async, bool pooling)
{
	rig.settings.unified_memory = unified;
	rig.settings.async_memory = async;
	rig.settings.memory_pooling = pooling;
	open_cuda();
	assert_int_equal(rk_cuda_enter(&rig.cuda->device, NULL), 0);
}

static int try_alloc(uint64_t bytes, CUdeviceptr *at, struct rk_error *err)
{
	return rk_cuda_memory_alloc(rig.cuda->memory, last_stream(), false, bytes, "core/x", at,
				    err);
}

static CUdeviceptr alloc(uint64_t bytes)
{
	struct rk_error err = {0};
	CUdeviceptr at = 0;

	if (try_alloc(bytes, &at, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(at % RK_POOL_ALIGN, 0);
	/* what the shared page says is what the driver has given out */
	assert_int_equal(held(), rig.count("device_bytes") - RK_CUDA_TOUCH_BYTES);
	return at;
}

static void give(CUdeviceptr at, uint64_t bytes)
{
	rk_cuda_memory_free(rig.cuda->memory, last_stream(), false, at, bytes);
	assert_int_equal(held(), rig.count("device_bytes") - RK_CUDA_TOUCH_BYTES);
}

/* Each row of the table in gpu/cuda/internal.h: whose memory it is, and when. */
RIG_TEST(settings)
{
	static const struct {
		bool unified, async, pooling;
		uint64_t at_open, allocated, idle;
		const char *counter; /* counts a call for this memory */
	} rows[] = {
		{false, true, true, 2 * MIB, 4 * MIB, 4 * MIB, "async_allocations"},
		{false, true, false, 0, 4 * MIB, 0, "async_allocations"},
		{false, false, true, MIB, 4 * MIB, 4 * MIB, "allocations"},
		{false, false, false, 0, 3 * MIB, 0, "allocations"},
		{true, true, true, MIB, 4 * MIB, 4 * MIB, "allocations"},
		{true, true, false, 0, 3 * MIB, 0, "allocations"},
		{true, false, true, MIB, 4 * MIB, 4 * MIB, "allocations"},
		{true, false, false, 0, 3 * MIB, 0, "allocations"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t calls, async;
		CUdeviceptr at;

		rig.shared->gpu_memory_peak_bytes = 0;
		open_with(rows[i].unified, rows[i].async, rows[i].pooling);
		assert_int_equal(held(), rows[i].at_open);
		calls = rig.count(rows[i].counter);
		async = rig.count("async_allocations");
		at = alloc(3 * MIB);
		assert_int_equal(rig.count(rows[i].counter), calls + 1);
		if (rows[i].unified)
			assert_int_equal(rig.count("async_allocations"), async);
		assert_int_equal(rig.count("managed_blocks") > 0, rows[i].unified);
		assert_int_equal(held(), rows[i].allocated);
		give(at, 3 * MIB);
		assert_int_equal(held(), rows[i].idle);
		assert_int_equal(peak(), rows[i].allocated);
		close_cuda();
		assert_int_equal(peak(), rows[i].allocated);
	}
}

RIG_TEST(growth)
{
	uint64_t calls;
	CUdeviceptr a, b, c;

	rig.settings.pool_growth_factor = 1.5;
	open_with(false, false, true);
	a = alloc(MIB); /* all of the first chunk */
	b = alloc(256); /* 1.5 MiB more */
	assert_int_equal(held(), 5 * MIB / 2);
	calls = rig.count("allocations");
	c = alloc(5 * MIB / 4);
	assert_int_equal(rig.count("allocations"), calls);
	give(b, 256);
	b = alloc(MIB); /* the second has no MiB in one piece; 2.25 MiB more */
	assert_int_equal(rig.count("allocations"), calls + 1);
	assert_int_equal(held(), 19 * MIB / 4);
	give(a, MIB);
	give(b, MIB);
	give(c, 5 * MIB / 4);
	a = alloc(9 * MIB / 4);
	assert_int_equal(rig.count("allocations"), calls + 1);
	give(a, 9 * MIB / 4);
}

static void check_refused(uint64_t bytes, const char *one, const char *other)
{
	struct rk_error err = {0};
	CUdeviceptr at = 1;

	assert_int_equal(try_alloc(bytes, &at, &err), -ENOMEM);
	assert_int_equal(err.code, ENOMEM);
	assert_int_equal(at, 1);
	if (!strstr(err.msg, "core/x needs ") || !strstr(err.msg, one) || !strstr(err.msg, other))
		fail_msg("%s", err.msg);
	assert_int_equal(held(), rig.count("device_bytes") - RK_CUDA_TOUCH_BYTES);
}

RIG_TEST(limit_of_calls)
{
	CUdeviceptr at;

	rig.settings.memory_limit_bytes = 1000;
	open_with(false, false, false);
	at = alloc(600);
	check_refused(401, "needs 401 bytes", "600 of memory_limit_bytes 1000 are in use");
	give(at, 600);
	check_refused(1001, "needs 1001 bytes", "0 of memory_limit_bytes 1000 are in use");
	at = alloc(1000);
	give(at, 1000);
	assert_int_equal(peak(), 1000);
}

/* Chunks that are free make room for a larger one; those in use do not. */
RIG_TEST(limit_of_chunks)
{
	CUdeviceptr a, b;

	rig.settings.memory_limit_bytes = 4 * MIB;
	open_with(false, false, true);
	a = alloc(MIB);
	b = alloc(256);
	assert_int_equal(held(), 3 * MIB);
	give(a, MIB);
	/* the second chunk is in use: 2 MiB; 2 MiB are left once the first is given back */
	a = alloc(2 * MIB);
	assert_int_equal(held(), 4 * MIB);
	check_refused(2 * MIB, "needs 2097152 bytes", "4194304 of memory_limit_bytes 4194304");
	give(a, 2 * MIB);
	check_refused(4 * MIB, "needs 4194304 bytes", "2097152 of memory_limit_bytes 4194304");
	give(b, 256);
	a = alloc(4 * MIB);
	assert_int_equal(held(), 4 * MIB);
	give(a, 4 * MIB);
	assert_int_equal(peak(), 4 * MIB);
}

RIG_TEST(limit_caps_the_start)
{
	CUdeviceptr at;

	rig.settings.pool_initial_bytes = 1ULL << 40;
	rig.settings.memory_limit_bytes = 3 * MIB;
	open_with(false, false, true);
	assert_int_equal(held(), 3 * MIB);
	close_cuda();
	/* the fake's pool grows by 2 MiB, so it cannot have all of 3 */
	open_with(false, true, true);
	assert_int_equal(held(), 2 * MIB);
	at = alloc(2 * MIB);
	check_refused(MIB, "needs 1048576 bytes", "memory_limit_bytes 3145728");
	give(at, 2 * MIB);
	assert_true(peak() <= 3 * MIB);
}

/* What other sizes left in the driver's pool is given back before a message is refused. */
RIG_TEST(limit_of_the_drivers_pool)
{
	CUdeviceptr a, b;

	rig.settings.memory_limit_bytes = 8 * MIB;
	open_with(false, true, true);
	a = alloc(6 * MIB);
	b = alloc(MIB);
	assert_int_equal(held(), 8 * MIB);
	check_refused(2 * MIB, "needs 2097152 bytes", "7340032 of memory_limit_bytes 8388608");
	give(a, 6 * MIB);
	assert_int_equal(held(), 8 * MIB);
	a = alloc(6 * MIB);
	give(a, 6 * MIB);
	give(b, MIB);
	assert_true(peak() <= 8 * MIB);
}

/* A limit that is less than the least that the driver's pool takes: it does without. */
RIG_TEST(limit_below_the_drivers_pool)
{
	CUdeviceptr at;

	rig.settings.memory_limit_bytes = MIB;
	for (unsigned int pooling = 0; pooling <= 1; pooling++) {
		rig.log[0] = '\0';
		open_with(false, true, pooling);
		assert_non_null(strstr(rig.log, "async_memory has no effect"));
		assert_int_equal(rig.count("pools"), 0);
		at = alloc(MIB);
		give(at, MIB);
		assert_int_equal(peak(), MIB);
		close_cuda();
	}
}

RIG_TEST(device_without_pools)
{
	uint64_t async = rig.count("async_allocations");
	CUdeviceptr at;

	triggers("no_async_memory\n");
	open_with(false, true, true);
	assert_non_null(strstr(rig.log, "async_memory has no effect"));
	at = alloc(100);
	give(at, 100);
	assert_int_equal(rig.count("async_allocations"), async);
}

RIG_TEST(device_without_managed_memory)
{
	struct rk_error err = {0};

	triggers("managed no\n");
	rig.settings.unified_memory = true;
	assert_int_equal(try_open(&err), -ENOTSUP);
	assert_non_null(strstr(err.msg, "cuda_unified_memory"));
	check_nothing_left();
}

/* The driver has no more: what is free goes back, and less than a whole chunk will do. */
RIG_TEST(out_of_memory)
{
	CUdeviceptr a, b;

	open_with(false, false, true);
	a = alloc(MIB);
	triggers("oom_at 1\n");
	b = alloc(MIB); /* not 2 MiB, as it would grow, but what is needed */
	assert_int_equal(held(), 2 * MIB);
	triggers("fail cuMemAlloc CUDA_ERROR_OUT_OF_MEMORY\n");
	check_refused(3 * MIB, "needs 3145728 bytes", "CUDA_ERROR_OUT_OF_MEMORY (out of memory)");
	triggers(NULL);
	give(a, MIB);
	give(b, MIB);
	for (unsigned int async = 0; async <= 1; async++) {
		close_cuda();
		open_with(false, async, false);
		triggers("oom_at 1\n");
		check_refused(100, "needs 100 bytes", "CUDA_ERROR_OUT_OF_MEMORY (out of memory)");
		triggers(NULL);
		a = alloc(100);
		give(a, 100);
	}
}

/* --- pinned memory ------------------------------------------------------------------- */

#define BLOCKS 3

static struct rk_cuda_staging *staging;

static void *take_and_give(void *arg)
{
	struct rk_cuda_block *blocks[2];
	unsigned int want = *(unsigned int *)arg, got;

	assert_int_equal(rk_cuda_enter(&rig.cuda->device, NULL), 0);
	for (unsigned int i = 0; i < 200; i++) {
		got = rk_cuda_staging_take(staging, want, blocks);
		assert_int_equal(got, want);
		for (unsigned int j = 0; j < got; j++)
			memset(blocks[j]->host, (int)i, 4096); /* nobody else has it */
		rk_cuda_staging_give(staging, blocks, got);
	}
	return NULL;
}

RIG_TEST(staging)
{
	unsigned int wants[] = {2, 1, 2, 2, 1, 2};
	pthread_t threads[ARRAY_SIZE(wants)];
	struct rk_error err = {0};
	uint64_t before;

	open_with(false, false, false);
	before = rig.count("host_blocks");
	assert_int_equal(rk_cuda_staging_create(&staging, &rig.cuda->device, rig.cuda->rings, 1,
						BLOCKS, &err),
			 0);
	assert_int_equal(rig.count("host_blocks"), before + 1);
	for (size_t i = 0; i < ARRAY_SIZE(wants); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, &wants[i]), 0);
	for (size_t i = 0; i < ARRAY_SIZE(wants); i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_in_range(rig.count("host_blocks"), before + 2, before + BLOCKS);
	rk_cuda_staging_destroy(staging);
	assert_int_equal(rig.count("host_blocks"), before);
}

/* What cannot be had is done without. */
RIG_TEST(staging_without_memory)
{
	struct rk_cuda_block *blocks[2];
	struct rk_error err = {0};

	open_with(false, false, false);
	assert_int_equal(rk_cuda_staging_create(&staging, &rig.cuda->device, rig.cuda->rings, 1,
						BLOCKS, &err),
			 0);
	triggers("fail cuMemHostAlloc CUDA_ERROR_OUT_OF_MEMORY\n");
	assert_int_equal(rk_cuda_staging_take(staging, 2, blocks), 1);
	rk_cuda_staging_give(staging, blocks, 1);
	triggers(NULL);
	assert_int_equal(rk_cuda_staging_take(staging, 2, blocks), 2);
	rk_cuda_staging_give(staging, blocks, 2);
	rk_cuda_staging_destroy(staging);
}

int main(void)
{
	return unit_run(open_library, close_library);
}
