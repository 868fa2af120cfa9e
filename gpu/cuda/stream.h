/* SPDX-License-Identifier: MIT */
/*
 * The streams that runs use. They are a budget: work on streams that share a connection to the
 * device may wait for each other, and so wait for a resident kernel for ever; and there are 32
 * connections. A run has a stream for itself while it lasts; resident kernels and the health check
 * have streams of their own.
 */
#ifndef RK_GPU_CUDA_STREAM_H
#define RK_GPU_CUDA_STREAM_H

#include "gpu/cuda/device.h"

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

#endif
