/* SPDX-License-Identifier: MIT */
/*
 * Device memory: from a call of the driver each time, from chunks that are kept, or from a pool of
 * the driver's.
 */
#include "gpu/cuda/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "gpu/cuda/memory_internal.h"
#include "runtime/base/log.h"

#define CHUNK_MAX (1ULL << 62)

enum source {
	FROM_DRIVER_POOL,
	FROM_CHUNKS,
	FROM_CALLS, /* a call of the driver for each allocation */
};

struct rk_cuda_memory {
	struct rk_cuda_account account;
	enum source source;
	bool managed;
	bool keeps; /* what is freed stays, for the next one */
	double growth;
	CUstream stream; /* for those who have no stream */
	struct rk_memory_async async;
	struct rk_pool chunks; /* guarded by the account's lock, as is what follows */
	uint64_t last_chunk;   /* bytes of the newest chunk */
};

static uint64_t round_up(uint64_t bytes)
{
	return (bytes + RK_POOL_ALIGN - 1) / RK_POOL_ALIGN * RK_POOL_ALIGN;
}

/* --- the driver, directly; while the rings pause ------------------------------------ */

static CUresult get(struct rk_cuda_memory *m, uint64_t bytes, CUdeviceptr *at)
{
	if (m->managed)
		return rk_cu.cuMemAllocManaged(at, bytes, CU_MEM_ATTACH_GLOBAL);
	return rk_cu.cuMemAlloc(at, bytes);
}

static int alloc_each(struct rk_cuda_memory *m, bool paused, uint64_t bytes, const char *who,
		      CUdeviceptr *at, struct rk_error *err)
{
	CUresult result;
	int rc = 0;

	rk_account_pause(&m->account, paused);
	pthread_mutex_lock(&m->account.lock);
	if (bytes > m->account.limit - m->account.held) {
		rc = rk_account_over_limit(&m->account, bytes, m->account.held, who, err);
	} else {
		result = get(m, bytes, at);
		if (result != CUDA_SUCCESS)
			rc = rk_account_refused(&m->account, result, bytes, who, err);
		else
			m->account.held += bytes;
		rk_account_publish_locked(&m->account);
	}
	pthread_mutex_unlock(&m->account.lock);
	rk_account_resume(&m->account, paused);
	return rc;
}

static void free_each(struct rk_cuda_memory *m, bool paused, CUdeviceptr at, uint64_t bytes)
{
	rk_account_pause(&m->account, paused);
	pthread_mutex_lock(&m->account.lock);
	rk_cuda_release(m->account.device, rk_cu.cuMemFree(at), "cuMemFree");
	m->account.held -= bytes;
	rk_account_publish_locked(&m->account);
	pthread_mutex_unlock(&m->account.lock);
	rk_account_resume(&m->account, paused);
}

/* --- a pool of our own -------------------------------------------------------------- */

/* Give every chunk that is free back to the driver. True where there was one. */
static bool shrink_locked(struct rk_cuda_memory *m)
{
	uint64_t at, bytes;
	bool any = false;

	while (rk_pool_remove_idle(&m->chunks, &at, &bytes)) {
		rk_cuda_release(m->account.device, rk_cu.cuMemFree(at), "cuMemFree");
		m->account.held -= bytes;
		any = true;
	}
	return any;
}

static int add_chunk_locked(struct rk_cuda_memory *m, uint64_t bytes, CUresult *result)
{
	CUdeviceptr at;
	int rc;

	*result = get(m, bytes, &at);
	if (*result != CUDA_SUCCESS)
		return -EIO;
	rc = rk_pool_add(&m->chunks, at, bytes);
	if (rc) {
		rk_cuda_release(m->account.device, rk_cu.cuMemFree(at), "cuMemFree");
		return rc;
	}
	m->account.held += bytes;
	m->last_chunk = bytes;
	rk_account_publish_locked(&m->account);
	return 0;
}

/* How large the next chunk is to be: with room for @bytes, which the limit allows. */
static uint64_t next_chunk_locked(const struct rk_cuda_memory *m, uint64_t bytes)
{
	double grown = (double)m->last_chunk * m->growth;
	uint64_t next = grown < (double)CHUNK_MAX ? (uint64_t)grown : CHUNK_MAX;

	if (next > m->account.limit - m->account.held)
		next = m->account.limit - m->account.held;
	next = next / RK_POOL_ALIGN * RK_POOL_ALIGN;
	return next > bytes ? next : bytes;
}

/* Returns 0; -ENOSPC: no chunk has so much in one piece; -ENOMEM. */
static int take_locked(struct rk_cuda_memory *m, uint64_t bytes, const char *who, CUdeviceptr *at,
		       struct rk_error *err)
{
	uint64_t address;
	int rc = rk_pool_take(&m->chunks, bytes, &address);

	if (rc == 0)
		*at = address;
	if (rc == -ENOMEM)
		return rk_error_set(err, ENOMEM, "%s: no memory to keep account of device memory",
				    who);
	return rc;
}

/* While the rings pause. */
static int grow_locked(struct rk_cuda_memory *m, uint64_t bytes, const char *who,
		       struct rk_error *err)
{
	uint64_t need = round_up(bytes), next;
	CUresult result = CUDA_SUCCESS;
	int rc;

	if (need < bytes || need > m->account.limit - m->account.held)
		(void)shrink_locked(m);
	if (need < bytes || need > m->account.limit - m->account.held) {
		rk_account_publish_locked(&m->account);
		return rk_account_over_limit(&m->account, bytes, m->account.held, who, err);
	}
	next = next_chunk_locked(m, need);
	rc = add_chunk_locked(m, next, &result);
	/* less is enough, and what is free in other chunks may be what is missing */
	if (result == CUDA_ERROR_OUT_OF_MEMORY && (shrink_locked(m) || next > need))
		rc = add_chunk_locked(m, need, &result);
	rk_account_publish_locked(&m->account);
	if (result != CUDA_SUCCESS)
		return rk_account_refused(&m->account, result, bytes, who, err);
	if (rc)
		return rk_error_set(err, ENOMEM, "%s: no memory to keep account of device memory",
				    who);
	return 0;
}

static int alloc_from_chunks(struct rk_cuda_memory *m, bool paused, uint64_t bytes, const char *who,
			     CUdeviceptr *at, struct rk_error *err)
{
	int rc;

	pthread_mutex_lock(&m->account.lock);
	rc = take_locked(m, bytes, who, at, err);
	pthread_mutex_unlock(&m->account.lock);
	if (rc != -ENOSPC)
		return rc;
	rk_account_pause(&m->account, paused);
	pthread_mutex_lock(&m->account.lock);
	rc = take_locked(m, bytes, who, at, err); /* another thread may have let it grow */
	if (rc == -ENOSPC) {
		rc = grow_locked(m, bytes, who, err);
		if (rc == 0)
			rc = take_locked(m, bytes, who, at, err);
	}
	pthread_mutex_unlock(&m->account.lock);
	rk_account_resume(&m->account, paused);
	return rc;
}

static void free_to_chunks(struct rk_cuda_memory *m, CUdeviceptr at)
{
	bool known;

	pthread_mutex_lock(&m->account.lock);
	known = rk_pool_give(&m->chunks, at);
	pthread_mutex_unlock(&m->account.lock);
	if (!known)
		rk_log(RK_LOG_ERROR,
		       "rk-worker: device memory was given back that nobody had taken");
}

/* --- all of them -------------------------------------------------------------------- */

static int start_chunks(struct rk_cuda_memory *m, uint64_t initial, struct rk_error *err)
{
	CUresult result = CUDA_SUCCESS;
	int rc;

	initial = initial / RK_POOL_ALIGN * RK_POOL_ALIGN;
	if (!initial)
		return 0;
	rc = add_chunk_locked(m, initial, &result);
	if (result != CUDA_SUCCESS)
		return rk_cuda_fail(m->account.device, result, err,
				    "cannot reserve pool_initial_bytes %" PRIu64, initial);
	return rc ? rk_error_set(err, ENOMEM, "no memory to keep account of device memory") : 0;
}

static int start(struct rk_cuda_memory *m, const struct rk_wire_device_settings *settings,
		 struct rk_error *err)
{
	const struct rk_cuda_device *device = m->account.device;
	uint64_t initial = settings->pool_initial_bytes;
	bool driver_pool = settings->async_memory && !m->managed;
	int rc;

	if (m->managed && !device->managed)
		return rk_error_set(err, ENOTSUP,
				    "cuda_unified_memory: %s has no managed memory; set it to no",
				    device->name);
	if (initial > m->account.limit)
		initial = m->account.limit;
	if (driver_pool && (!device->pools || !rk_cuda_has_async_memory())) {
		rk_log(RK_LOG_WARN,
		       "rk-worker: async_memory has no effect: the %s has no "
		       "memory pools",
		       device->pools ? "driver" : "device");
		driver_pool = false;
	}
	if (driver_pool) {
		rc = rk_memory_async_start(&m->async, initial, &driver_pool, err);
		if (rc)
			return rc;
		if (!driver_pool)
			rk_log(RK_LOG_WARN,
			       "rk-worker: async_memory has no effect: the driver's pool takes "
			       "more at once than memory_limit_bytes %" PRIu64,
			       m->account.limit);
	}
	if (driver_pool)
		m->source = FROM_DRIVER_POOL;
	else
		m->source = m->keeps ? FROM_CHUNKS : FROM_CALLS;
	rc = m->source == FROM_CHUNKS ? start_chunks(m, initial, err) : 0;
	rk_account_publish_locked(&m->account);
	return rc;
}

int rk_cuda_memory_create(struct rk_cuda_memory **memory, struct rk_cuda_device *device,
			  struct rk_rings *rings, const struct rk_wire_device_settings *settings,
			  struct rk_error *err)
{
	struct rk_cuda_memory *m = calloc(1, sizeof(*m));
	CUresult result;
	int rc;

	if (!m)
		return rk_error_set(err, ENOMEM, "no memory for the account of device memory");
	m->account.device = device;
	m->account.rings = rings;
	m->managed = settings->unified_memory;
	m->keeps = settings->memory_pooling;
	m->account.limit = settings->memory_limit_bytes ? settings->memory_limit_bytes : UINT64_MAX;
	m->growth = settings->pool_growth_factor;
	rk_pool_init(&m->chunks);
	pthread_mutex_init(&m->account.lock, NULL);
	result = rk_cu.cuStreamCreate(&m->stream, CU_STREAM_NON_BLOCKING);
	if (result != CUDA_SUCCESS) {
		m->stream = NULL;
		rc = rk_cuda_fail(device, result, err, "cuStreamCreate");
	} else {
		m->async = (struct rk_memory_async){
			.account = &m->account, .stream = m->stream, .keeps = m->keeps};
		rc = start(m, settings, err);
	}
	if (rc) {
		rk_cuda_memory_destroy(m);
		return rc;
	}
	*memory = m;
	return 0;
}

void rk_cuda_memory_destroy(struct rk_cuda_memory *m)
{
	if (!m)
		return;
	(void)shrink_locked(m);
	if (!TAILQ_EMPTY(&m->chunks.chunks) || m->async.used)
		rk_log(RK_LOG_ERROR, "rk-worker: device memory is still in use at the end");
	rk_memory_async_stop(&m->async);
	if (m->stream)
		rk_cuda_release(m->account.device, rk_cu.cuStreamDestroy(m->stream),
				"cuStreamDestroy");
	m->account.held = 0;
	rk_account_publish_locked(&m->account);
	pthread_mutex_destroy(&m->account.lock);
	free(m);
}

int rk_cuda_memory_alloc(struct rk_cuda_memory *m, CUstream stream, bool paused, uint64_t bytes,
			 const char *who, CUdeviceptr *at, struct rk_error *err)
{
	CUresult result;
	int rc;

	if (m->source == FROM_CHUNKS)
		return alloc_from_chunks(m, paused, bytes, who, at, err);
	if (m->source == FROM_CALLS)
		return alloc_each(m, paused, bytes, who, at, err);
	rc = rk_memory_async_alloc(&m->async, stream ? stream : m->stream, paused, bytes, who, at,
				   err);
	if (rc || stream)
		return rc;
	result = rk_cu.cuStreamSynchronize(m->stream); /* from now on every stream can use it */
	if (result == CUDA_SUCCESS)
		return 0;
	rk_cuda_memory_free(m, NULL, paused, *at, bytes);
	return rk_cuda_fail(m->account.device, result, err, "%s: cuStreamSynchronize", who);
}

void rk_cuda_memory_free(struct rk_cuda_memory *m, CUstream stream, bool paused, CUdeviceptr at,
			 uint64_t bytes)
{
	if (m->source == FROM_CHUNKS)
		free_to_chunks(m, at);
	else if (m->source == FROM_CALLS)
		free_each(m, paused, at, bytes);
	else
		rk_memory_async_free(&m->async, stream ? stream : m->stream, at, bytes);
}
