/* SPDX-License-Identifier: MIT */
/* The birth and death of the backend: the device, and all that lies in its context. */
#include <errno.h>
#include <stdlib.h>

#include "gpu/cuda/internal.h"
#include "gpu/nvml/devices.h"
#include "runtime/base/log.h"

#define STAGING_MAX 64 /* blocks, however many threads there are */

static unsigned int smaller(unsigned int a, unsigned int b)
{
	return a < b ? a : b;
}

/* What lies in the context. Where it fails, rk_cuda_stop gives back what is there. */
static int furnish(struct rk_cuda *cuda, const struct rk_wire_device_settings *settings,
		   struct rk_error *err)
{
	struct rk_cuda_device *device = &cuda->device;
	unsigned int blocks = smaller(device->threads, STAGING_MAX);
	int rc = rk_cuda_streams_create(&cuda->streams, device,
					smaller(device->threads, RK_CUDA_STREAMS_MAX), err);

	if (rc == 0)
		rc = rk_cuda_touch_open(&cuda->touch, device, err);
	if (rc == 0)
		rc = rk_rings_create(&cuda->rings, device, settings->ring_idle_ms, err);
	if (rc == 0)
		rc = rk_cuda_memory_create(&cuda->memory, device, cuda->rings, settings, err);
	if (rc == 0)
		rc = rk_cuda_staging_create(&cuda->staging, device, cuda->rings, blocks,
					    smaller(2 * device->threads, STAGING_MAX), err);
	if (rc == 0)
		rc = rk_cuda_modules_create(&cuda->modules, device, cuda->rings, err);
	if (rc == 0)
		rc = rk_cuda_warm(cuda, err);
	return rc ? rk_error_prefix(err, "%s", device->name) : 0;
}

int rk_cuda_start(const struct rk_backend_env *env, void **backend, struct rk_error *err)
{
	struct rk_cuda *cuda = calloc(1, sizeof(*cuda));
	struct rk_cuda_device *device;
	pthread_rwlockattr_t attr;
	int rc;

	if (!cuda)
		return rk_error_set(err, ENOMEM, "no memory for the CUDA backend");
	device = &cuda->device;
	device->threads = env->threads;
	device->shared = env->shared;
	/* a resident kernel is not kept out by cooperative ones that come all the time */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&cuda->cooperative, &attr);
	pthread_rwlockattr_destroy(&attr);
	rc = rk_cuda_device_open(device, env->device->device, err);
	if (rc == 0)
		rc = furnish(cuda, env->device, err);
	if (rc) {
		rk_cuda_stop(cuda);
		return rc;
	}
	device->serves = true;
	rk_devices_in_use(&device->address, device->uuid);
	rk_log(RK_LOG_INFO,
	       "rk-worker: CUDA device %d: %s, %s, compute capability %d.%d, driver of CUDA %d.%d",
	       device->index, device->name, device->uuid, device->major, device->minor,
	       device->driver / 1000, device->driver % 1000 / 10);
	if (device->limits_runs)
		rk_log(RK_LOG_WARN,
		       "rk-worker: the driver ends kernels on device %d after some seconds, as for one "
		       "with a display: no kernel can be resident (mode = ring)",
		       device->index);
	*backend = cuda;
	return 0;
}

/* The whole of it, or what rk_cuda_start had of it when it failed. */
void rk_cuda_stop(void *backend)
{
	struct rk_cuda *cuda = backend;
	struct rk_cuda_device *device = &cuda->device;

	device->serves = false;
	rk_devices_in_use(NULL, NULL);
	if (device->context && rk_cuda_enter(device, NULL) == 0) {
		rk_cuda_modules_destroy(cuda->modules);
		rk_cuda_staging_destroy(cuda->staging);
		rk_cuda_memory_destroy(cuda->memory);
		rk_rings_destroy(cuda->rings);
		rk_cuda_touch_close(&cuda->touch, device);
		rk_cuda_streams_destroy(cuda->streams);
		rk_cuda_device_close(device);
	}
	pthread_rwlock_destroy(&cuda->cooperative);
	free(cuda);
}
