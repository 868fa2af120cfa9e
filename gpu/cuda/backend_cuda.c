/* SPDX-License-Identifier: MIT */
/*
 * The CUDA backend: kernels of the driver API, launched with the args, grid and block of the
 * description.
 *
 * f16 is passed as it lies in memory, an IEEE 754 binary16: a buffer is a __half *, a scalar a
 * __half by value. A C function on the CPU gets float for both.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gpu/cuda/backend_cuda.h"
#include "gpu/cuda/internal.h"
#include "runtime/base/log.h"

/* --- what a function needs, and whether it can have it ------------------------------- */

static int attribute(const struct rk_cuda_kernel *k, CUfunction_attribute which, int *value,
		     struct rk_error *err)
{
	CUresult result = rk_cu.cuFuncGetAttribute(value, which, k->function);

	if (result == CUDA_SUCCESS)
		return 0;
	return rk_cuda_fail(&k->cuda->device, result, err, "kernel %s: cuFuncGetAttribute(%d)",
			    k->id, (int)which);
}

static uint64_t threads_of(const struct rk_cuda_kernel *k)
{
	return (uint64_t)k->block[0] * k->block[1] * k->block[2];
}

static int check_block(const struct rk_cuda_kernel *k, struct rk_error *err)
{
	const int *max = k->cuda->device.max_block;
	int threads, rc;

	for (unsigned int axis = 0; axis < RK_WIRE_AXES; axis++)
		if (k->block[axis] > (uint32_t)max[axis])
			return rk_error_set(err, EINVAL,
					    "kernel %s: block has %" PRIu32 " threads along its "
					    "axis %u, the device allows %d",
					    k->id, k->block[axis], axis + 1, max[axis]);
	rc = attribute(k, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, &threads, err);
	if (rc)
		return rc;
	if (threads_of(k) > (uint64_t)threads)
		return rk_error_set(err, EINVAL,
				    "kernel %s: block has %" PRIu64 " threads, the function can "
				    "have %d on this device",
				    k->id, threads_of(k), threads);
	return 0;
}

/* Dynamic shared memory beyond the usual limit has to be asked for. */
static int check_shared(const struct rk_cuda_kernel *k, struct rk_error *err)
{
	int own, limit, max = k->cuda->device.max_shared_bytes;
	CUresult result;
	int rc = attribute(k, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, &own, err);

	if (rc == 0)
		rc = attribute(k, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, &limit, err);
	if (rc)
		return rc;
	if ((uint64_t)own + k->shared_bytes > (uint64_t)max)
		return rk_error_set(err, ENOTSUP,
				    "kernel %s: shared asks for %" PRIu32 " bytes beside the "
				    "function's own %d; a block can have %d on this device",
				    k->id, k->shared_bytes, own, max);
	if (k->shared_bytes <= (uint32_t)limit)
		return 0;
	result = rk_cu.cuFuncSetAttribute(
		k->function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)k->shared_bytes);
	if (result == CUDA_SUCCESS)
		return 0;
	return rk_cuda_fail(&k->cuda->device, result, err,
			    "kernel %s: cuFuncSetAttribute(%" PRIu32 " bytes of shared memory)",
			    k->id, k->shared_bytes);
}

/* How many blocks of a cooperative kernel find room on a multiprocessor. */
static int find_resident(struct rk_cuda_kernel *k, struct rk_error *err)
{
	struct rk_cuda_device *device = &k->cuda->device;
	CUresult result;
	int blocks;

	if (!device->cooperative)
		return rk_error_set(err, ENOTSUP,
				    "kernel %s: %s cannot launch all blocks of a kernel together "
				    "(cooperative)",
				    k->id, device->name);
	result = rk_cu.cuOccupancyMaxActiveBlocksPerMultiprocessor(
		&blocks, k->function, (int)threads_of(k), k->shared_bytes);
	if (result != CUDA_SUCCESS)
		return rk_cuda_fail(device, result, err,
				    "kernel %s: cuOccupancyMaxActiveBlocksPerMultiprocessor",
				    k->id);
	if (blocks < 1)
		return rk_error_set(err, ENOTSUP,
				    "kernel %s: a block of %" PRIu64 " threads with %" PRIu32
				    " bytes of shared memory does not fit the device",
				    k->id, threads_of(k), k->shared_bytes);
	k->resident = (unsigned int)blocks;
	return 0;
}

static int check_function(struct rk_cuda_kernel *k, const struct rk_wire_load *load,
			  struct rk_error *err)
{
	int rc = check_block(k, err);

	if (rc == 0)
		rc = check_shared(k, err);
	if (rc == 0)
		rc = attribute(k, CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES, &k->local_bytes, err);
	if (rc == 0 && load->cooperative && load->mode == RK_WIRE_BATCH)
		rc = find_resident(k, err);
	return rc;
}

/* --- resident kernels ---------------------------------------------------------------- */

/* Whether there is room for one more ring; the caller holds cooperative for writing. */
static int check_ring_room(const struct rk_cuda *cuda, const char *id, struct rk_error *err)
{
	const struct rk_cuda_device *device = &cuda->device;

	if (device->limits_runs)
		return rk_error_set(
			err, ENOTSUP,
			"kernel %s: the driver ends kernels on %s after some seconds, so "
			"none can be resident: use mode = batch, or a device without a "
			"display",
			id, device->name);
	if (cuda->nrings >= RK_CUDA_RINGS_MAX)
		return rk_error_set(
			err, ENOSPC,
			"kernel %s: %u kernels are resident, and the device has no "
			"connection left for one more: disable one of them, or use mode "
			"= batch",
			id, cuda->nrings);
	if (cuda->nrings + 1 >= (unsigned int)device->multiprocessors)
		return rk_error_set(
			err, ENOSPC,
			"kernel %s: %u kernels are resident, each on one of %d "
			"multiprocessors, and the last is for all others: disable one of "
			"them, or use mode = batch",
			id, cuda->nrings, device->multiprocessors);
	return 0;
}

static int open_ring(struct rk_cuda_kernel *k, const struct rk_wire_load *load,
		     struct rk_error *err)
{
	struct rk_cuda *cuda = k->cuda;
	int rc;

	pthread_rwlock_wrlock(&cuda->cooperative);
	rc = check_ring_room(cuda, k->id, err);
	if (rc == 0) {
		rk_rings_pause(cuda->rings);
		rc = rk_ring_open(cuda->rings, cuda->memory, k->function, load, &k->ring, err);
		rk_rings_resume(cuda->rings);
	}
	if (rc == 0)
		cuda->nrings++;
	pthread_rwlock_unlock(&cuda->cooperative);
	return rc;
}

static void close_ring(struct rk_cuda_kernel *k)
{
	struct rk_cuda *cuda = k->cuda;

	pthread_rwlock_wrlock(&cuda->cooperative);
	rk_rings_pause(cuda->rings);
	rk_ring_close(k->ring);
	rk_rings_resume(cuda->rings);
	cuda->nrings--;
	pthread_rwlock_unlock(&cuda->cooperative);
}

/* --- the operations ------------------------------------------------------------------ */

static int prepare(struct rk_cuda_kernel *k, const struct rk_wire_load *load, int fd,
		   struct rk_error *err)
{
	struct rk_cuda_modules *modules = k->cuda->modules;
	int rc;

	if (fd < 0)
		rc = rk_cuda_modules_builtin(modules, load, &k->function, err);
	else
		rc = rk_cuda_modules_get(modules, load, fd, &k->module, &k->function, err);
	if (rc)
		return rc;
	rc = check_function(k, load, err);
	if (rc == 0 && load->mode == RK_WIRE_RING)
		rc = open_ring(k, load, err);
	if (rc && k->module)
		rk_cuda_modules_put(modules, k->module);
	return rc;
}

static int cuda_load(void *backend, const struct rk_wire_load *load, int library_fd, void **kernel,
		     struct rk_error *err)
{
	struct rk_cuda *cuda = backend;
	struct rk_cuda_kernel *k = calloc(1, sizeof(*k));
	int rc = k ? rk_cuda_enter(&cuda->device, err)
		   : rk_error_set(err, ENOMEM, "kernel %s: no memory to load it", load->id);

	if (rc) {
		if (library_fd >= 0)
			(void)close(library_fd);
		free(k);
		return rc;
	}
	k->cuda = cuda;
	memcpy(k->id, load->id, sizeof(k->id));
	k->nparams = load->nparams;
	memcpy(k->params, load->params, sizeof(k->params));
	memcpy(k->block, load->block, sizeof(k->block));
	k->shared_bytes = load->shared_bytes;
	rc = prepare(k, load, library_fd, err);
	if (rc) {
		free(k);
		return rc;
	}
	*kernel = k;
	return 0;
}

static void cuda_unload(void *backend, void *kernel)
{
	struct rk_cuda *cuda = backend;
	struct rk_cuda_kernel *k = kernel;
	struct rk_error err;

	if (rk_cuda_enter(&cuda->device, &err)) {
		rk_log(RK_LOG_WARN, "rk-worker: kernel %s is not unloaded: %s", k->id, err.msg);
		return;
	}
	if (k->ring)
		close_ring(k);
	if (k->module)
		rk_cuda_modules_put(cuda->modules, k->module);
	free(k);
}

static int cuda_run(void *backend, void *kernel, const struct rk_backend_run *run, uint64_t *run_ns,
		    struct rk_error *err)
{
	struct rk_cuda *cuda = backend;
	struct rk_cuda_kernel *k = kernel;
	_Atomic uint64_t *message = &cuda->device.messages[run->thread];
	int rc = rk_cuda_enter(&cuda->device, err);

	if (rc)
		return rc;
	atomic_store(message, run->message);
	if (k->ring)
		rc = rk_ring_run(k->ring, run, run_ns, err);
	else
		rc = rk_cuda_run(k, run, run_ns, err);
	atomic_store(message, 0);
	return rc;
}

static int cuda_check(void *backend, struct rk_error *err)
{
	struct rk_cuda *cuda = backend;
	size_t unused, total;
	CUresult result;
	int rc = rk_cuda_enter(&cuda->device, err);

	if (rc)
		return rc;
	/* the driver answers this from its books, even for a device that does nothing any more */
	result = rk_cu.cuMemGetInfo(&unused, &total);
	if (result == CUDA_SUCCESS)
		return rk_cuda_touch(&cuda->touch, &cuda->device, err);
	rc = rk_cuda_fail(&cuda->device, result, err, "cuMemGetInfo");
	return rc == -EIO ? rc : rk_error_set(err, EIO, "cuMemGetInfo: %s", rk_cuda_name(result));
}

static const char *cuda_uuid(void *backend, uint32_t *index)
{
	const struct rk_cuda *cuda = backend;

	*index = (uint32_t)cuda->device.index;
	return cuda->device.uuid;
}

const struct rk_backend_ops rk_backend_cuda = {
	.fuses = true,
	.driver = 1 + RK_WIRE_LIBCUDA,
	.open = rk_cuda_start,
	.uuid = cuda_uuid,
	.close = rk_cuda_stop,
	.load = cuda_load,
	.unload = cuda_unload,
	.run = cuda_run,
	.check = cuda_check,
};
