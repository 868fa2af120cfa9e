/* SPDX-License-Identifier: MIT */
/* Pinned blocks, shared by all executor threads: made, taken in turn, and given back. */
#include "gpu/cuda/internal.h"

#include <errno.h>
#include <stdlib.h>

#include "runtime/base/log.h"
#include "runtime/base/thread.h"

struct rk_cuda_staging {
	struct rk_cuda_device *device; /* borrowed, as are the rings */
	struct rk_rings *rings;
	unsigned int max;

	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t changed;
	uint64_t next_turn; /* of the next caller that comes */
	uint64_t turn;	    /* whose turn it is: that caller alone takes and makes blocks */
	unsigned int made, nfree;
	struct rk_cuda_block *free;
};

/* Between rk_rings_pause and rk_rings_resume, or while there are no rings. */
static void free_block(struct rk_cuda_device *device, struct rk_cuda_block *block)
{
	if (block->done)
		rk_cuda_release(device, rk_cu.cuEventDestroy(block->done), "cuEventDestroy");
	if (block->host)
		rk_cuda_release(device, rk_cu.cuMemFreeHost(block->host), "cuMemFreeHost");
	free(block);
}

/* The same. */
static int make_block(struct rk_cuda_device *device, struct rk_cuda_block **made,
		      struct rk_error *err)
{
	struct rk_cuda_block *block = calloc(1, sizeof(*block));
	void *host = NULL;
	CUresult result;
	int rc;

	if (!block)
		return rk_error_set(err, ENOMEM, "no memory for a pinned block");
	result = rk_cu.cuMemHostAlloc(&host, RK_STAGING_BYTES, CU_MEMHOSTALLOC_PORTABLE);
	if (result != CUDA_SUCCESS) {
		rc = rk_cuda_fail(device, result, err, "cannot pin %u bytes of memory",
				  RK_STAGING_BYTES);
		goto fail;
	}
	block->host = host;
	result =
		rk_cu.cuEventCreate(&block->done, CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING);
	if (result != CUDA_SUCCESS) {
		block->done = NULL;
		rc = rk_cuda_fail(device, result, err, "cuEventCreate");
		goto fail;
	}
	*made = block;
	return 0;
fail:
	free_block(device, block);
	return rc;
}

static void add_locked(struct rk_cuda_staging *s, struct rk_cuda_block *block)
{
	block->next = s->free;
	s->free = block;
	s->nfree++;
}

int rk_cuda_staging_create(struct rk_cuda_staging **staging, struct rk_cuda_device *device,
			   struct rk_rings *rings, unsigned int first, unsigned int max,
			   struct rk_error *err)
{
	struct rk_cuda_staging *s = calloc(1, sizeof(*s));
	struct rk_cuda_block *block;
	int rc = 0;

	if (!s)
		return rk_error_set(err, ENOMEM, "no memory for the pinned blocks");
	s->device = device;
	s->rings = rings;
	s->max = max;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	for (; s->made < first; s->made++) {
		rc = make_block(device, &block, err);
		if (rc)
			break;
		add_locked(s, block);
	}
	if (rc) {
		rk_cuda_staging_destroy(s);
		return rc;
	}
	*staging = s;
	return 0;
}

void rk_cuda_staging_destroy(struct rk_cuda_staging *s)
{
	struct rk_cuda_block *block;

	if (!s)
		return;
	if (s->nfree != s->made)
		rk_log(RK_LOG_ERROR, "rk-worker: pinned memory is still in use at the end");
	while ((block = s->free)) {
		s->free = block->next;
		free_block(s->device, block);
	}
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* Make one more, and release the lock meanwhile. False where that cannot be done. */
static bool grow_locked(struct rk_cuda_staging *s)
{
	struct rk_cuda_block *block;
	struct rk_error err;
	int rc;

	pthread_mutex_unlock(&s->lock);
	rk_rings_pause(s->rings);
	rc = make_block(s->device, &block, &err);
	rk_rings_resume(s->rings);
	pthread_mutex_lock(&s->lock);
	if (rc) {
		rk_log(RK_LOG_DEBUG, "rk-worker: no more than %u pinned blocks can be had: %s",
		       s->made, err.msg);
		return false;
	}
	s->made++;
	add_locked(s, block);
	return true;
}

unsigned int rk_cuda_staging_take(struct rk_cuda_staging *s, unsigned int want,
				  struct rk_cuda_block **blocks)
{
	uint64_t turn;

	RK_GUARD(&s->lock);
	turn = s->next_turn++;
	while (s->turn != turn)
		pthread_cond_wait(&s->changed, &s->lock);
	while (s->nfree < want && s->made < s->max && grow_locked(s))
		;
	if (want > s->made)
		want = s->made;
	while (s->nfree < want)
		pthread_cond_wait(&s->changed, &s->lock);
	for (unsigned int i = 0; i < want; i++) {
		blocks[i] = s->free;
		s->free = blocks[i]->next;
	}
	s->nfree -= want;
	s->turn++;
	pthread_cond_broadcast(&s->changed);
	return want;
}

void rk_cuda_staging_give(struct rk_cuda_staging *s, struct rk_cuda_block **blocks,
			  unsigned int count)
{
	RK_GUARD(&s->lock);
	for (unsigned int i = 0; i < count; i++)
		add_locked(s, blocks[i]);
	pthread_cond_broadcast(&s->changed);
}
