/* SPDX-License-Identifier: MIT */
/*
 * Pools, and allocation in the order of a stream. What a pool has is counted as the calls come:
 * a stream that frees and allocates again gets the same memory.
 */
#include "tests/fake_cuda/fake.h"

#include <stdlib.h>

#define CHUNK (2ULL << 20) /* what a pool grows by */

/* That of cuMemAllocAsync(); never closed. */
static struct CUmemPoolHandle_st first = {.open = true};

static uint64_t round_up(uint64_t n)
{
	return (n + CHUNK - 1) / CHUNK * CHUNK;
}

static void set_reserved_locked(CUmemoryPool pool, uint64_t bytes)
{
	fake.counts.device_bytes += bytes - pool->reserved;
	pool->reserved = bytes;
	if (pool->reserved_high < bytes)
		pool->reserved_high = bytes;
}

static void trim_locked(CUmemoryPool pool, uint64_t keep)
{
	uint64_t least = round_up(pool->used);

	if (least < round_up(keep))
		least = round_up(keep);
	if (pool->reserved > least)
		set_reserved_locked(pool, least);
}

void fake_pools_trim_locked(void)
{
	CUmemoryPool pool;

	trim_locked(&first, first.threshold);
	LIST_FOREACH(pool, &fake.pools, link)
	trim_locked(pool, pool->open ? pool->threshold : 0);
}

/* Whether @pool has @bytes, or could grow by them. */
static bool take_locked(CUmemoryPool pool, uint64_t bytes)
{
	uint64_t wanted = round_up(pool->used + bytes), total = fake_memory_total();
	uint64_t others = fake.counts.device_bytes - pool->reserved;

	if (wanted > pool->reserved) {
		if (others > total || wanted > total - others)
			return false;
		set_reserved_locked(pool, wanted);
	}
	pool->used += bytes;
	if (pool->used_high < pool->used)
		pool->used_high = pool->used;
	return true;
}

void fake_pool_give_locked(CUmemoryPool pool, uint64_t bytes)
{
	pool->used -= bytes;
	if (!pool->open)
		trim_locked(pool, 0);
}

static CUresult unsupported_locked(void)
{
	return fake_trigger_find("no_async_memory", NULL) ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS;
}

static bool pool_ok_locked(CUmemoryPool pool)
{
	CUmemoryPool p;

	LIST_FOREACH(p, &fake.pools, link)
	if (p == pool && p->open)
		return true;
	fake_misuse_locked(CUDA_ERROR_INVALID_VALUE, "%p is no pool, or one destroyed before",
			   (void *)pool);
	return false;
}

CUresult fake_cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *props)
{
	CUresult result = fake_enter("cuMemPoolCreate", 0);
	CUmemoryPool p;

	if (result)
		return result;
	result = unsupported_locked();
	if (result)
		return fake_leave(result);
	if (props->allocType != CU_MEM_ALLOCATION_TYPE_PINNED ||
	    props->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
		return fake_leave(fake_misuse_locked(CUDA_ERROR_INVALID_VALUE,
						     "a pool of another kind than a device's"));
	p = calloc(1, sizeof(*p));
	if (!p)
		return fake_leave(CUDA_ERROR_OUT_OF_MEMORY);
	p->open = true;
	LIST_INSERT_HEAD(&fake.pools, p, link);
	fake.counts.pools++;
	*pool = p;
	return fake_leave(CUDA_SUCCESS);
}

static void close_locked(CUmemoryPool pool)
{
	pool->open = false;
	fake.counts.pools--;
	trim_locked(pool, 0);
}

CUresult fake_cuMemPoolDestroy(CUmemoryPool pool)
{
	CUresult result = fake_enter("cuMemPoolDestroy", 0);

	if (result)
		return result;
	if (!pool_ok_locked(pool))
		return fake_leave(CUDA_ERROR_INVALID_VALUE);
	close_locked(pool);
	return fake_leave(CUDA_SUCCESS);
}

uint64_t fake_pools_drop_locked(void)
{
	CUmemoryPool pool;
	uint64_t n = 0;

	LIST_FOREACH(pool, &fake.pools, link)
	if (pool->open) {
		close_locked(pool);
		n++;
	}
	trim_locked(&first, 0);
	return n;
}

CUresult fake_cuMemPoolTrimTo(CUmemoryPool pool, size_t keep)
{
	CUresult result = fake_enter("cuMemPoolTrimTo", FAKE_CONTEXT | FAKE_SYNCS);

	if (result)
		return result;
	if (!pool_ok_locked(pool))
		return fake_leave(CUDA_ERROR_INVALID_VALUE);
	trim_locked(pool, keep);
	return fake_leave(CUDA_SUCCESS);
}

CUresult fake_cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute which, void *value)
{
	CUresult result = fake_enter("cuMemPoolSetAttribute", 0);

	if (result)
		return result;
	if (!pool_ok_locked(pool))
		return fake_leave(CUDA_ERROR_INVALID_VALUE);
	switch (which) {
	case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
	case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
	case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES:
		return fake_leave(CUDA_SUCCESS);
	case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
		pool->threshold = *(cuuint64_t *)value;
		return fake_leave(CUDA_SUCCESS);
	case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
	case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
		if (*(cuuint64_t *)value != 0)
			return fake_leave(CUDA_ERROR_INVALID_VALUE);
		if (which == CU_MEMPOOL_ATTR_USED_MEM_HIGH)
			pool->used_high = pool->used;
		else
			pool->reserved_high = pool->reserved;
		return fake_leave(CUDA_SUCCESS);
	default:
		return fake_leave(CUDA_ERROR_INVALID_VALUE);
	}
}

CUresult fake_cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute which, void *value)
{
	CUresult result = fake_enter("cuMemPoolGetAttribute", 0);
	cuuint64_t found;

	if (result)
		return result;
	if (!pool_ok_locked(pool))
		return fake_leave(CUDA_ERROR_INVALID_VALUE);
	switch (which) {
	case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
		found = pool->threshold;
		break;
	case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
		found = pool->reserved;
		break;
	case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
		found = pool->reserved_high;
		break;
	case CU_MEMPOOL_ATTR_USED_MEM_CURRENT:
		found = pool->used;
		break;
	case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
		found = pool->used_high;
		break;
	default:
		return fake_leave(CUDA_ERROR_INVALID_VALUE);
	}
	*(cuuint64_t *)value = found;
	return fake_leave(CUDA_SUCCESS);
}

static CUresult alloc_locked(const char *name, CUdeviceptr *at, uint64_t bytes, CUmemoryPool pool,
			     CUstream stream)
{
	struct fake_op *op;
	CUresult result;

	result = unsupported_locked();
	if (result)
		return result;
	if (!bytes)
		return CUDA_ERROR_INVALID_VALUE;
	if (!fake_stream_open_locked(stream))
		return CUDA_ERROR_INVALID_HANDLE;
	result = fake_stream_use_locked(stream, FAKE_USE_ALLOC, name);
	if (result)
		return result;
	fake.counts.allocations++;
	fake.counts.async_allocations++;
	op = fake_op_new(FAKE_ALLOC);
	if (!op || fake_oom_locked(name) || !take_locked(pool, bytes)) {
		free(op);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	op->block = fake_pool_block_locked(pool, bytes);
	if (!op->block) {
		fake_pool_give_locked(pool, bytes);
		free(op);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	*at = (CUdeviceptr)op->block->at;
	return fake_submit_locked(stream, op);
}

CUresult fake_cuMemAllocAsync(CUdeviceptr *at, size_t bytes, CUstream stream)
{
	CUresult result = fake_enter("cuMemAllocAsync", FAKE_CONTEXT);

	if (result)
		return result;
	return fake_leave(alloc_locked("cuMemAllocAsync", at, bytes, &first, stream));
}

CUresult fake_cuMemAllocFromPoolAsync(CUdeviceptr *at, size_t bytes, CUmemoryPool pool,
				      CUstream stream)
{
	CUresult result = fake_enter("cuMemAllocFromPoolAsync", FAKE_CONTEXT);

	if (result)
		return result;
	if (!pool_ok_locked(pool))
		return fake_leave(CUDA_ERROR_INVALID_VALUE);
	return fake_leave(alloc_locked("cuMemAllocFromPoolAsync", at, bytes, pool, stream));
}

CUresult fake_cuMemFreeAsync(CUdeviceptr at, CUstream stream)
{
	CUresult result = fake_enter("cuMemFreeAsync", FAKE_CONTEXT);
	struct fake_op *op;

	if (result)
		return result;
	if (!fake_stream_open_locked(stream))
		return fake_leave(CUDA_ERROR_INVALID_HANDLE);
	op = fake_op_new(FAKE_FREE);
	if (!op)
		return fake_leave(CUDA_ERROR_OUT_OF_MEMORY);
	op->block = fake_block_free_locked("cuMemFreeAsync", at);
	if (!op->block) {
		free(op);
		return fake_leave(CUDA_ERROR_INVALID_VALUE);
	}
	return fake_leave(fake_submit_locked(stream, op));
}
