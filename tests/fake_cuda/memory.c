/* SPDX-License-Identifier: MIT */
/*
 * Memory of the device is memory of the process, between pages that nobody may touch and full of
 * rubbish at first. What was freed stays unusable for long.
 */
#include "tests/fake_cuda/fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ALIGN	      256
#define PAGE	      4096ULL
#define RUBBISH	      0xC7
#define RUBBISH_BYTES (4ULL << 20)
#define GRAVES	      4096 /* freed stretches that stay mapped, for their addresses not to come again */

static struct {
	void *map;
	size_t bytes;
} graves[GRAVES];
static uint64_t buried;

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

/* A file of rubbish, to map again and again: filling the pages would cost what they are large. */
static int rubbish_locked(void)
{
	static int fd = -1;
	uint8_t *at;

	if (fd >= 0)
		return fd;
	fd = memfd_create("fake_cuda", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)RUBBISH_BYTES))
		return -1;
	at = mmap(NULL, RUBBISH_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return -1;
	memset(at, RUBBISH, RUBBISH_BYTES);
	munmap(at, RUBBISH_BYTES);
	return fd;
}

/* @block->bytes of memory that end where a page that nobody may touch begins. */
static bool map_locked(struct fake_block *block)
{
	uint64_t inside = round_up(round_up(block->bytes, ALIGN), PAGE), part;
	int fd = rubbish_locked();

	block->map_bytes = inside + 2 * PAGE;
	block->map = mmap(NULL, block->map_bytes, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (block->map == MAP_FAILED)
		return false;
	for (uint64_t at = 0; at < inside; at += part) {
		part = inside - at < RUBBISH_BYTES ? inside - at : RUBBISH_BYTES;
		if (mmap(block->map + PAGE + at, part, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd, 0) == MAP_FAILED) {
			munmap(block->map, block->map_bytes);
			return false;
		}
	}
	block->at = block->map + PAGE + inside - round_up(block->bytes, ALIGN);
	return true;
}

static void bury_locked(struct fake_block *block)
{
	uint64_t grave = buried++ % GRAVES;

	if (graves[grave].map)
		munmap(graves[grave].map, graves[grave].bytes);
	graves[grave].map = block->map;
	graves[grave].bytes = block->map_bytes;
	if (mmap(block->map, block->map_bytes, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		fake_complain("cannot take freed memory away");
}

bool fake_is_device(const struct fake_block *block)
{
	return block->kind != FAKE_HOST;
}

struct fake_block *fake_block_at_locked(const void *at, uint64_t bytes)
{
	struct fake_block *block;
	uintptr_t from = (uintptr_t)at;

	LIST_FOREACH(block, &fake.blocks, link)
	{
		uintptr_t start = (uintptr_t)block->at;

		/* a buffer of 0 bytes may lie behind all others */
		if (from >= start && from - start <= block->bytes &&
		    bytes <= block->bytes - (from - start))
			return block;
	}
	return NULL;
}

/* Count @block in or out (@sign 1 or -1) where it is not part of a pool. */
static void account_locked(const struct fake_block *block, int sign)
{
	struct fake_counts *c = &fake.counts;
	uint64_t one = sign < 0 ? UINT64_MAX : 1;
	uint64_t bytes = sign < 0 ? 0 - block->bytes : block->bytes;

	if (block->kind == FAKE_HOST) {
		c->host_blocks += one;
		c->host_bytes += bytes;
		return;
	}
	c->device_blocks += one;
	if (block->kind == FAKE_MANAGED)
		c->managed_blocks += one;
	if (!block->pool)
		c->device_bytes += bytes;
}

static struct fake_block *block_new_locked(enum fake_block_kind kind, uint64_t bytes,
					   CUmemoryPool pool)
{
	struct fake_block *block = calloc(1, sizeof(*block));

	if (!block)
		return NULL;
	block->kind = kind;
	block->bytes = bytes;
	block->pool = pool;
	block->state = FAKE_LIVE;
	if (!map_locked(block)) {
		free(block);
		return NULL;
	}
	LIST_INSERT_HEAD(&fake.blocks, block, link);
	account_locked(block, 1);
	return block;
}

void fake_block_end_locked(struct fake_block *block)
{
	LIST_REMOVE(block, link);
	bury_locked(block);
	free(block);
}

static bool full_locked(uint64_t bytes)
{
	uint64_t total = fake_memory_total(), used = fake.counts.device_bytes;

	return used > total || bytes > total - used;
}

CUresult fake_cuMemGetInfo(size_t *available, size_t *total)
{
	CUresult result = fake_enter("cuMemGetInfo", FAKE_CONTEXT);

	if (result)
		return result;
	*total = fake_memory_total();
	*available = full_locked(0) ? 0 : *total - fake.counts.device_bytes;
	return fake_leave(CUDA_SUCCESS);
}

static CUresult alloc_locked(const char *name, enum fake_block_kind kind, void **at, uint64_t bytes)
{
	struct fake_block *block;

	if (!bytes)
		return CUDA_ERROR_INVALID_VALUE;
	if (kind == FAKE_HOST)
		fake.counts.host_allocations++;
	else
		fake.counts.allocations++;
	if (fake_oom_locked(name) || (kind != FAKE_HOST && full_locked(bytes)))
		return CUDA_ERROR_OUT_OF_MEMORY;
	block = block_new_locked(kind, bytes, NULL);
	if (!block)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*at = block->at;
	return CUDA_SUCCESS;
}

CUresult fake_cuMemAlloc(CUdeviceptr *device, size_t bytes)
{
	CUresult result = fake_enter("cuMemAlloc", FAKE_CONTEXT | FAKE_SYNCS);
	void *at = NULL;

	if (result)
		return result;
	result = alloc_locked("cuMemAlloc", FAKE_DEVICE, &at, bytes);
	if (!result)
		*device = (CUdeviceptr)at;
	return fake_leave(result);
}

CUresult fake_cuMemAllocManaged(CUdeviceptr *device, size_t bytes, unsigned int flags)
{
	CUresult result = fake_enter("cuMemAllocManaged", FAKE_CONTEXT | FAKE_SYNCS);
	void *at = NULL;

	if (result)
		return result;
	if (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST)
		return fake_leave(CUDA_ERROR_INVALID_VALUE);
	result = alloc_locked("cuMemAllocManaged", FAKE_MANAGED, &at, bytes);
	if (!result)
		*device = (CUdeviceptr)at;
	return fake_leave(result);
}

CUresult fake_cuMemHostAlloc(void **host, size_t bytes, unsigned int flags)
{
	CUresult result = fake_enter("cuMemHostAlloc", FAKE_CONTEXT | FAKE_SYNCS);
	void *at = NULL;

	if (result)
		return result;
	if (flags & ~(unsigned int)(CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP |
				    CU_MEMHOSTALLOC_WRITECOMBINED))
		return fake_leave(CUDA_ERROR_INVALID_VALUE);
	result = alloc_locked("cuMemHostAlloc", FAKE_HOST, &at, bytes);
	if (!result)
		*host = at;
	return fake_leave(result);
}

/* The block that begins at @at, of host memory or not; NULL with a complaint. */
static struct fake_block *begun_locked(const char *name, const void *at, bool host)
{
	struct fake_block *block = fake_block_at_locked(at, 0);

	if (block && block->at == at && (block->kind == FAKE_HOST) == host &&
	    block->state != FAKE_GOING)
		return block;
	fake_misuse_locked(CUDA_ERROR_INVALID_VALUE, "%s of %p, which is %s", name, at,
			   !block			? "not allocated, or freed before"
			   : block->at != at		? "in the middle of a block"
			   : block->state == FAKE_GOING ? "freed before"
							: "of the other kind");
	return NULL;
}

static CUresult free_at(const char *name, const void *at, bool host)
{
	CUresult result = fake_enter(name, FAKE_CONTEXT | FAKE_SYNCS);
	struct fake_block *block;

	if (result)
		return result;
	if (!at)
		return fake_leave(host ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS);
	block = begun_locked(name, at, host);
	if (!block)
		return fake_leave(CUDA_ERROR_INVALID_VALUE);
	account_locked(block, -1);
	if (block->pool)
		fake_pool_give_locked(block->pool, block->bytes);
	fake_block_end_locked(block);
	return fake_leave(CUDA_SUCCESS);
}

CUresult fake_cuMemFree(CUdeviceptr at)
{
	return free_at("cuMemFree", (const void *)at, false);
}

CUresult fake_cuMemFreeHost(void *at)
{
	return free_at("cuMemFreeHost", at, true);
}

CUresult fake_cuMemHostGetDevicePointer(CUdeviceptr *device, void *host, unsigned int flags)
{
	CUresult result = fake_enter("cuMemHostGetDevicePointer", FAKE_CONTEXT);
	const struct fake_block *block;

	if (result)
		return result;
	block = fake_block_at_locked(host, 0);
	if (flags || !block || block->kind != FAKE_HOST)
		return fake_leave(fake_misuse_locked(CUDA_ERROR_INVALID_VALUE,
						     "%p is not pinned memory", host));
	*device = (CUdeviceptr)host;
	return fake_leave(CUDA_SUCCESS);
}

struct fake_block *fake_pool_block_locked(CUmemoryPool pool, uint64_t bytes)
{
	struct fake_block *block = block_new_locked(FAKE_DEVICE, bytes, pool);

	if (block)
		block->state = FAKE_COMING;
	return block;
}

struct fake_block *fake_block_free_locked(const char *name, CUdeviceptr at)
{
	struct fake_block *block = begun_locked(name, (const void *)at, false);

	if (!block)
		return NULL;
	if (!block->pool) {
		fake_misuse_locked(CUDA_ERROR_INVALID_VALUE, "%s of a block that is of no pool",
				   name);
		return NULL;
	}
	account_locked(block, -1);
	fake_pool_give_locked(block->pool, block->bytes);
	block->state = FAKE_GOING;
	return block;
}

uint64_t fake_memory_drop_locked(void)
{
	struct fake_block *block;
	uint64_t n = 0;

	while ((block = LIST_FIRST(&fake.blocks))) {
		account_locked(block, -1);
		if (block->pool)
			fake_pool_give_locked(block->pool, block->bytes);
		fake_block_end_locked(block);
		n++;
	}
	return n + fake_pools_drop_locked();
}
