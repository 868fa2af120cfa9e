/* SPDX-License-Identifier: MIT */
/* The account of device memory: what is held, and the sentences for what does not fit. */
#include "gpu/cuda/memory_internal.h"

#include <errno.h>
#include <inttypes.h>

void rk_account_publish_locked(struct rk_cuda_account *account)
{
	struct rk_wire_shared *shared = account->device->shared;

	atomic_store(&shared->gpu_memory_bytes, account->held);
	if (account->held > atomic_load(&shared->gpu_memory_peak_bytes))
		atomic_store(&shared->gpu_memory_peak_bytes, account->held);
}

void rk_account_pause(struct rk_cuda_account *account, bool paused)
{
	if (!paused)
		rk_rings_pause(account->rings);
}

void rk_account_resume(struct rk_cuda_account *account, bool paused)
{
	if (!paused)
		rk_rings_resume(account->rings);
}

int rk_account_over_limit(const struct rk_cuda_account *account, uint64_t bytes, uint64_t in_use,
			  const char *who, struct rk_error *err)
{
	return rk_error_set(err, ENOMEM,
			    "%s needs %" PRIu64 " bytes on the device, where %" PRIu64
			    " of memory_limit_bytes %" PRIu64 " are in use",
			    who, bytes, in_use, account->limit);
}

int rk_account_refused(struct rk_cuda_account *account, CUresult result, uint64_t bytes,
		       const char *who, struct rk_error *err)
{
	return rk_cuda_fail(account->device, result, err,
			    "%s needs %" PRIu64 " bytes on the device", who, bytes);
}
