/* SPDX-License-Identifier: MIT */
/*
 * What the files of the backend share; the ground on which they stand is gpu/cuda/device.h.
 *
 * The order of locks, of which rk_rings_pause is one too, is in doc/ARCHITECTURE.md.
 */
#ifndef RK_GPU_CUDA_INTERNAL_H
#define RK_GPU_CUDA_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gpu/base/backend.h"
#include "gpu/cuda/device.h"
#include "gpu/cuda/rings.h"
#include "runtime/base/error.h"

/*
 * format.c: files that the CUDA driver loads as modules: fatbin, cubin and PTX. Nothing here calls
 * it.
 */

#define RK_CUDA_FORMAT_MAX 128 /* of what rk_cuda_format_describe says, with the NUL */

/*
 * Whether the driver can be given the file. It gets an address without a length, and believes what
 * it finds there, so a file that is cut off, or no module at all, would have it read beyond the
 * end. A NUL is behind the @size bytes. Returns 0 or -ENOEXEC.
 */
int rk_cuda_format_check(const char *data, size_t size, struct rk_error *err);

/*
 * Describe the module, which has passed the check: for which devices it is, and which toolkit built
 * it, where it says so: "PTX 9.0 for sm_75, of CUDA 13.0". A list that is too long is cut.
 */
void rk_cuda_format_describe(const char *data, size_t size, char text[RK_CUDA_FORMAT_MAX]);

/* images.c: the CUDA kernels that are compiled in: nvcc's output, embedded by gpu/cuda.mk. */

struct rk_cuda_image {
	const char *name;	     /* of its source, for sentences */
	const unsigned char *fatbin; /* for drivers as new as the toolkit that built it */
	size_t fatbin_size;
	const char *ptx; /* the same kernels as text for any driver; a NUL is behind it */
	size_t ptx_size; /* without the NUL */
};

/* All of them, *@count rows; static storage. An entry's name is in one of them only. */
const struct rk_cuda_image *rk_cuda_images(size_t *count);

/*
 * module.c: CUDA modules: those that are compiled in, which are loaded when the device is opened,
 * and users' own. For the control thread only; the context is current. Loading and unloading wait
 * for the device, resident kernels included, so these functions pause the rings for it.
 */

struct rk_cuda_modules; /* all of a backend */
struct rk_cuda_module;	/* a user's own; its kernels are counted */

/*
 * Load what is compiled in. @device and @rings are borrowed. Returns 0 or a negative errno with a
 * sentence that names the image which does not load.
 */
int rk_cuda_modules_create(struct rk_cuda_modules **modules, struct rk_cuda_device *device,
			   struct rk_rings *rings, struct rk_error *err);

/* Every module of a user has been put back; NULL is fine. */
void rk_cuda_modules_destroy(struct rk_cuda_modules *modules);

/*
 * Find the compiled-in kernel load->entry. Returns 0; -ENOENT; -EINVAL: it takes other parameters
 * than load has.
 */
int rk_cuda_modules_builtin(struct rk_cuda_modules *modules, const struct rk_wire_load *load,
			    CUfunction *function, struct rk_error *err);

/*
 * Find the entry of the module in the memfd @fd, which this takes: a fatbin, a cubin or PTX. The
 * same memfd is loaded once for all its kernels. *@module belongs to the caller until
 * rk_cuda_modules_put. Returns 0; -ENOEXEC with what the driver's compiler says of it; -ENOENT: it
 * has no such kernel; -EINVAL: the kernel takes other parameters than load has, as far as the
 * driver can tell; -ENOMEM; -EIO.
 */
int rk_cuda_modules_get(struct rk_cuda_modules *modules, const struct rk_wire_load *load, int fd,
			struct rk_cuda_module **module, CUfunction *function, struct rk_error *err);

/* Put it back. No run of the caller's kernel is under way. */
void rk_cuda_modules_put(struct rk_cuda_modules *modules, struct rk_cuda_module *module);

/*
 * staging.c: pinned host memory that data passes through on its way to the device and back: blocks
 * of equal size, shared by all executor threads. Making one waits for the device, so what all
 * threads need is made at the start; more are made when they are first needed, up to a bound.
 * Thread-safe; the context is current.
 */

#define RK_STAGING_BYTES (1U << 20) /* of a block */

struct rk_cuda_staging;

struct rk_cuda_block {
	uint8_t *host;
	CUevent done; /* for the holder to record behind a copy; it notes no time */
	struct rk_cuda_block *next;
};

/*
 * With @first blocks (not 0), and at most @max. @device and @rings are borrowed. Returns 0 or a
 * negative errno.
 */
int rk_cuda_staging_create(struct rk_cuda_staging **staging, struct rk_cuda_device *device,
			   struct rk_rings *rings, unsigned int first, unsigned int max,
			   struct rk_error *err);

/* Every block has been given back; NULL is fine. */
void rk_cuda_staging_destroy(struct rk_cuda_staging *staging);

/*
 * Take @want blocks into @blocks, all at once and in the order of the callers, so that threads that
 * want several do not wait for each other for ever. Waits where all are taken, and pauses the rings
 * where one more is to be made; the caller holds no block. Returns how many it took: fewer than
 * @want, but at least one, where so many cannot be had at all.
 */
unsigned int rk_cuda_staging_take(struct rk_cuda_staging *staging, unsigned int want,
				  struct rk_cuda_block **blocks);

/* Give @count of them back, with no copy under way. */
void rk_cuda_staging_give(struct rk_cuda_staging *staging, struct rk_cuda_block **blocks,
			  unsigned int count);

/*
 * stream.c: the streams that runs use. They are a budget: work on streams that share a connection
 * to the device may wait for each other, and so wait for a resident kernel for ever; and there are
 * 32 connections. A run has a stream for itself while it lasts; resident kernels and the health
 * check have streams of their own.
 */

struct rk_cuda_streams;

#define RK_CUDA_CONNECTIONS 32 /* the most that CUDA_DEVICE_MAX_CONNECTIONS can be */
#define RK_CUDA_STREAMS_MAX 16 /* for runs */
#define RK_CUDA_STREAMS_OWN 2  /* the health check's and the pool's */
/* each with a stream: what is left of the connections */
#define RK_CUDA_RINGS_MAX (RK_CUDA_CONNECTIONS - RK_CUDA_STREAMS_MAX - RK_CUDA_STREAMS_OWN)

struct rk_cuda_stream {
	CUstream stream;
	CUevent start, end; /* around the kernel; they note the time */
	struct rk_cuda_stream *next;
};

/*
 * Create @count of them, at most RK_CUDA_STREAMS_MAX, with the device's context current. Returns 0,
 * or fails as rk_cuda_fail does and leaves nothing. Destroy takes NULL; no stream is taken then.
 */
int rk_cuda_streams_create(struct rk_cuda_streams **streams, struct rk_cuda_device *device,
			   unsigned int count, struct rk_error *err);
void rk_cuda_streams_destroy(struct rk_cuda_streams *streams);

/*
 * Create a stream whose blocks are placed before those of runs, for work that must not wait for
 * them. The caller destroys it. Returns 0, or fails as rk_cuda_fail does with *@stream NULL.
 */
int rk_cuda_stream_urgent(struct rk_cuda_device *device, CUstream *stream, struct rk_error *err);

/*
 * Wait until @event has happened: for a short time by asking, because most happen soon and an
 * interrupt takes as long again, then asleep. Returns what the driver says of the work before it.
 */
CUresult rk_cuda_wait(CUevent event);

/* Take a stream that nobody else has until it is given back. Waits for as long as all are taken. */
struct rk_cuda_stream *rk_cuda_streams_take(struct rk_cuda_streams *streams);
void rk_cuda_streams_give(struct rk_cuda_streams *streams, struct rk_cuda_stream *stream);

/* Call @use with each, while none is taken. The first failure ends it, and is returned. */
int rk_cuda_streams_each(struct rk_cuda_streams *streams,
			 int (*use)(void *ctx, struct rk_cuda_stream *stream, struct rk_error *err),
			 void *ctx, struct rk_error *err);

/* touch.c: whether the device still does anything: a few bytes of it, and a stream of their own. */

#define RK_CUDA_TOUCH_BYTES 256

/* The bytes are part of no account. For one thread at a time, with the context current. */
struct rk_cuda_touch {
	CUstream stream;
	CUevent done;
	CUdeviceptr at; /* 0: none */
};

/* Returns 0 or fails as rk_cuda_fail does, and leaves what there is for rk_cuda_touch_close. */
int rk_cuda_touch_open(struct rk_cuda_touch *touch, struct rk_cuda_device *device,
		       struct rk_error *err);

/* Close whatever there is of it; a struct of zeroes is fine. */
void rk_cuda_touch_close(struct rk_cuda_touch *touch, struct rk_cuda_device *device);

/*
 * Have the device set the bytes, and wait for as long as that takes. Returns 0 or fails as
 * rk_cuda_fail does.
 */
int rk_cuda_touch(struct rk_cuda_touch *touch, struct rk_cuda_device *device, struct rk_error *err);

/*
 * memory.c: device memory for messages and for the state of ring kernels. What [backend] says makes
 * one of these of it:
 *
 *   cuda_unified_memory  async_memory  memory_pooling   memory comes from
 *   no                   yes           yes              a pool of the driver's that keeps what was
 *                                                       freed (cuMemAllocFromPoolAsync); it has
 *                                                       pool_initial_bytes from the start and
 *                                                       grows as the driver likes:
 *                                                       pool_growth_factor has no effect
 *   no                   yes           no               the same pool, which gives all back that
 *                                                       is free when a message has ended; it
 *                                                       starts empty
 *   no                   no            yes              a pool of our own, of chunks from
 *                                                       cuMemAlloc: the first has
 *                                                       pool_initial_bytes, each further one
 *                                                       pool_growth_factor times the one before,
 *                                                       or what a message needs if that is more
 *   no                   no            no               cuMemAlloc for each message, cuMemFree
 *                                                       after it: both wait for the whole device
 *   yes                  any           yes              our own pool, of chunks of managed memory
 *                                                       (cuMemAllocManaged)
 *   yes                  any           no               cuMemAllocManaged for each message
 *
 * memory_limit_bytes bounds what is held, pools as they are reserved. A pool that is at the limit
 * first gives back what is free; what still does not fit is ENOMEM. pool_initial_bytes and growth
 * stay within it. A driver or device without pools, or whose pool takes more at once than the limit
 * allows: as with async_memory = no, with a warning.
 *
 * gpu_memory_bytes and gpu_memory_peak_bytes of the shared page are kept here: what is held, pools
 * as reserved, without the context's and the modules' own.
 *
 * Thread-safe; the context is current. @paused says that the caller is between rk_rings_pause and
 * rk_rings_resume; otherwise these functions pause themselves where they must, and so may block as
 * long as a message of a ring kernel takes.
 */

struct rk_cuda_memory;

/*
 * Reserves pool_initial_bytes. @device and @rings are borrowed. Returns 0 or a negative errno;
 * -ENOTSUP where managed memory is wanted and there is none.
 */
int rk_cuda_memory_create(struct rk_cuda_memory **memory, struct rk_cuda_device *device,
			  struct rk_rings *rings, const struct rk_wire_device_settings *settings,
			  struct rk_error *err);

/* Free all of it; gpu_memory_bytes is 0 afterwards. NULL is fine. */
void rk_cuda_memory_destroy(struct rk_cuda_memory *memory);

/*
 * Allocate @bytes (not 0) for work on @stream, or on any stream where that is NULL, aligned to 256
 * at least. The sentence of a failure begins with @who. Returns 0; -ENOMEM: over the limit, or the
 * device has no more; -EIO.
 */
int rk_cuda_memory_alloc(struct rk_cuda_memory *memory, CUstream stream, bool paused,
			 uint64_t bytes, const char *who, CUdeviceptr *at, struct rk_error *err);

/* Give it back, with the same @stream and @bytes. The work on the stream has ended. */
void rk_cuda_memory_free(struct rk_cuda_memory *memory, CUstream stream, bool paused,
			 CUdeviceptr at, uint64_t bytes);

/* the backend, and a kernel of it */

struct rk_cuda {
	struct rk_cuda_device device;
	struct rk_rings *rings;
	struct rk_cuda_memory *memory;
	struct rk_cuda_staging *staging;
	struct rk_cuda_modules *modules;
	struct rk_cuda_streams *streams;
	struct rk_cuda_touch touch;
	/*
	 * Blocks of a cooperative kernel wait for each other, so all must find room at once.
	 * Resident kernels take a multiprocessor each at most; a cooperative one gets the others.
	 * The lock is held for reading while one runs, and for writing where a resident kernel is
	 * added.
	 */
	pthread_rwlock_t cooperative;
	unsigned int nrings; /* guarded by cooperative */
	/*
	 * Bytes of local memory per thread that the context is known to have. A launch that needs
	 * more makes the driver wait for the whole context.
	 */
	atomic_int local_bytes;
};

struct rk_cuda_kernel {
	struct rk_cuda *cuda;
	char id[2 * RK_WIRE_NAME_MAX];
	struct rk_cuda_module *module; /* NULL: built in */
	CUfunction function;
	uint32_t nparams;
	struct rk_wire_param params[RK_WIRE_ARGS_MAX];
	uint32_t block[RK_WIRE_AXES];
	uint32_t shared_bytes;
	int local_bytes;
	unsigned int resident;	   /* cooperative: blocks that fit a multiprocessor; else 0 */
	struct rk_cuda_ring *ring; /* NULL: batch */
};

/* open.c: struct rk_backend_ops.open and .close */

int rk_cuda_start(const struct rk_backend_env *env, void **backend, struct rk_error *err);
void rk_cuda_stop(void *backend);

/* warm.c */

/*
 * Do once, on every stream and while no kernel is resident, all that runs and checks do. What the
 * driver makes at a first use (a pool's first memory, a stream's queue, a kernel's place) it makes
 * while the whole device waits. Returns 0, or fails as rk_cuda_fail does.
 */
int rk_cuda_warm(struct rk_cuda *cuda, struct rk_error *err);

/* run.c */

/* struct rk_backend_ops.run of a kernel that is not resident, with the context current. */
int rk_cuda_run(struct rk_cuda_kernel *k, const struct rk_backend_run *run, uint64_t *run_ns,
		struct rk_error *err);

/* job.c: the data of one run on the device */

/*
 * Where the buffers lie in the device block: inputs, then outputs, then scratch. Those of several
 * messages lie one after the other, as one. Every output and scratch has its guard bytes behind it.
 */
struct rk_cuda_layout {
	uint64_t at[RK_WIRE_ARGS_MAX];
	uint64_t bytes[RK_WIRE_ARGS_MAX];
	uint64_t inputs_end;
	uint64_t outputs_at, outputs_end;
	uint64_t total;
};

struct rk_cuda_job {
	struct rk_cuda *cuda;
	struct rk_cuda_kernel *k;
	const struct rk_backend_run *run;
	struct rk_cuda_stream *stream;
	struct rk_cuda_layout layout;
	CUdeviceptr base;
	struct rk_cuda_block *blocks[2];
	unsigned int nblocks;
};

/* A stretch [from, to) of the device block, and where in pinned memory it is, or is to be. */
struct rk_cuda_stretch {
	uint64_t from, to;
	uint8_t *host;
};

static inline const struct rk_backend_arg *rk_job_arg(const struct rk_cuda_job *job,
						      unsigned int message, unsigned int param)
{
	return &job->run->args[(size_t)message * job->k->nparams + param];
}

/* Whether parameter @param has guard bytes: an output or scratch. */
static inline bool rk_job_guarded(const struct rk_cuda_job *job, unsigned int param)
{
	return rk_param_guard(&job->k->params[param]);
}

void rk_job_lay_out(struct rk_cuda_job *job);

/* Fill the stretch with inputs from the payload. */
void rk_job_gather(const struct rk_cuda_job *job, const struct rk_cuda_stretch *s);

/* Put outputs and guard bytes that lie in the stretch into the payload. */
void rk_job_scatter(const struct rk_cuda_job *job, const struct rk_cuda_stretch *s);

/*
 * Put the @bytes at @host, which are the guard behind parameter @param from @skipped on, into the
 * payload. Several messages have one guard in common: nobody can say which of them was written
 * past, and none can be trusted.
 */
void rk_job_scatter_guard(const struct rk_cuda_job *job, unsigned int param, uint64_t skipped,
			  const uint8_t *host, uint64_t bytes);

#endif
