/* SPDX-License-Identifier: MIT */
/*
 * Device memory from a pool of the driver's. How much the pool grows for an allocation is known
 * afterwards only.
 */
#include "gpu/cuda/memory_internal.h"

#include <errno.h>
#include <inttypes.h>

#define KEEP_ALL                                                                                   \
	(1ULL << 62) /* release threshold; no device has more, and it can be rounded up without    \
			overflow */

/* Put what the pool holds into account->held. */
static CUresult look_locked(struct rk_memory_async *m)
{
	cuuint64_t reserved = 0;
	CUresult result = rk_cu.cuMemPoolGetAttribute(m->pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT,
						      &reserved);

	if (result == CUDA_SUCCESS)
		m->account->held = reserved;
	return result;
}

static CUresult drop(CUstream stream, CUdeviceptr at)
{
	CUresult result = rk_cu.cuMemFreeAsync(at, stream), waited;

	/* a trim does not give back what the host has not seen freed */
	waited = rk_cu.cuStreamSynchronize(stream);
	return result == CUDA_SUCCESS ? waited : result;
}

/*
 * Returns CUDA_SUCCESS with *@fits false where the pool would hold more than the limit; nothing is
 * allocated then.
 */
static CUresult try_locked(struct rk_memory_async *m, CUstream stream, uint64_t bytes,
			   CUdeviceptr *at, bool *fits)
{
	CUresult result, looked;
	CUdeviceptr got;

	result = rk_cu.cuMemAllocFromPoolAsync(&got, bytes, m->pool, stream);
	if (result != CUDA_SUCCESS)
		return result;
	looked = look_locked(m);
	*fits = m->account->held <= m->account->limit;
	if (looked == CUDA_SUCCESS && *fits) {
		*at = got;
		return CUDA_SUCCESS;
	}
	result = drop(stream, got);
	return looked == CUDA_SUCCESS ? result : looked;
}

/* While the rings pause: give the driver back what is free in the pool. */
static CUresult trim_locked(struct rk_memory_async *m)
{
	CUresult result = rk_cu.cuMemPoolTrimTo(m->pool, 0);

	return result == CUDA_SUCCESS ? look_locked(m) : result;
}

static int tell_locked(struct rk_memory_async *m, CUresult result, uint64_t bytes, const char *who,
		       struct rk_error *err)
{
	if (result != CUDA_SUCCESS)
		return rk_account_refused(m->account, result, bytes, who, err);
	return rk_error_set(err, ENOMEM,
			    "%s needs %" PRIu64 " bytes on the device, where %" PRIu64
			    " are in use, and the driver's pool would exceed memory_limit_bytes "
			    "%" PRIu64,
			    who, bytes, m->used, m->account->limit);
}

/* Whether a try that ended with @result may go better once the pool has given back what is free. */
static bool something_free_locked(const struct rk_memory_async *m, CUresult result)
{
	return m->account->held > m->used &&
	       (result == CUDA_SUCCESS || result == CUDA_ERROR_OUT_OF_MEMORY);
}

/* Before the second try, which is made while the rings pause, the pool gives back what is free. */
static int try_once(struct rk_memory_async *m, CUstream stream, bool second, uint64_t bytes,
		    const char *who, CUdeviceptr *at, struct rk_error *err)
{
	CUresult result = CUDA_SUCCESS;
	bool fits = false;
	int rc = 0;

	pthread_mutex_lock(&m->account->lock);
	if (bytes > m->account->limit - m->used) {
		rc = rk_account_over_limit(m->account, bytes, m->used, who, err);
		goto out;
	}
	if (second)
		result = trim_locked(m);
	if (result == CUDA_SUCCESS)
		result = try_locked(m, stream, bytes, at, &fits);
	if (result == CUDA_SUCCESS && fits) {
		m->used += bytes;
		rk_account_publish_locked(m->account);
	} else if (!second && something_free_locked(m, result)) {
		rc = -EAGAIN;
	} else {
		rc = tell_locked(m, result, bytes, who, err);
		if (second)
			rk_cuda_release(m->account->device, trim_locked(m), "cuMemPoolTrimTo");
		rk_account_publish_locked(m->account);
	}
out:
	pthread_mutex_unlock(&m->account->lock);
	return rc;
}

int rk_memory_async_alloc(struct rk_memory_async *m, CUstream stream, bool paused, uint64_t bytes,
			  const char *who, CUdeviceptr *at, struct rk_error *err)
{
	int rc = try_once(m, stream, false, bytes, who, at, err);

	if (rc != -EAGAIN)
		return rc;
	rk_account_pause(m->account, paused);
	rc = try_once(m, stream, true, bytes, who, at, err);
	rk_account_resume(m->account, paused);
	return rc;
}

void rk_memory_async_free(struct rk_memory_async *m, CUstream stream, CUdeviceptr at,
			  uint64_t bytes)
{
	rk_cuda_release(m->account->device, rk_cu.cuMemFreeAsync(at, stream), "cuMemFreeAsync");
	/* it is to be given back now, or by a trim later; the stream has nothing else to do */
	if (!m->keeps || m->account->limit != UINT64_MAX || stream == m->stream)
		rk_cuda_release(m->account->device, rk_cu.cuStreamSynchronize(stream),
				"cuStreamSynchronize");
	RK_GUARD(&m->account->lock);
	m->used -= bytes;
	rk_cuda_release(m->account->device, look_locked(m), "cuMemPoolGetAttribute");
	rk_account_publish_locked(m->account);
}

/*
 * Have the pool reserve @bytes, or as much of that as the limit leaves; the driver adds memory in
 * large pieces. *@fits is false where even one byte makes it hold more than the limit.
 */
static CUresult reserve(struct rk_memory_async *m, uint64_t bytes, bool *fits)
{
	CUresult result;
	CUdeviceptr at;
	uint64_t over;

	for (;;) {
		result = try_locked(m, m->stream, bytes, &at, fits);
		if (result == CUDA_SUCCESS && *fits)
			result = drop(m->stream, at);
		if (result != CUDA_SUCCESS || *fits)
			break;
		over = m->account->held - m->account->limit;
		result = trim_locked(m);
		if (result != CUDA_SUCCESS || bytes == 1)
			break;
		bytes = bytes > over ? bytes - over : 1;
	}
	return result == CUDA_SUCCESS ? look_locked(m) : result;
}

void rk_memory_async_stop(struct rk_memory_async *m)
{
	if (!m->pool)
		return;
	rk_cuda_release(m->account->device, rk_cu.cuMemPoolDestroy(m->pool), "cuMemPoolDestroy");
	m->pool = NULL;
	m->account->held = 0;
}

int rk_memory_async_start(struct rk_memory_async *m, uint64_t initial, bool *fits,
			  struct rk_error *err)
{
	CUmemPoolProps props = {
		.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
		.handleTypes = CU_MEM_HANDLE_TYPE_NONE,
		.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = m->account->device->handle},
	};
	cuuint64_t threshold = m->keeps ? KEEP_ALL : 0;
	CUresult result = rk_cu.cuMemPoolCreate(&m->pool, &props);

	if (result != CUDA_SUCCESS) {
		m->pool = NULL;
		return rk_cuda_fail(m->account->device, result, err, "cuMemPoolCreate");
	}
	result =
		rk_cu.cuMemPoolSetAttribute(m->pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold);
	if (result != CUDA_SUCCESS)
		return rk_cuda_fail(m->account->device, result, err, "cuMemPoolSetAttribute");
	*fits = true;
	if (m->keeps || m->account->limit != UINT64_MAX)
		result = reserve(m, m->keeps ? initial : 1, fits);
	if (result != CUDA_SUCCESS)
		return rk_cuda_fail(m->account->device, result, err,
				    "cannot reserve pool_initial_bytes %" PRIu64, initial);
	if (!*fits)
		rk_memory_async_stop(m);
	return 0;
}
