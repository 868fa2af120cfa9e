/* SPDX-License-Identifier: MIT */
/*
 * The streams of runs, which a thread takes for as long as a run lasts, and waiting for an event.
 */
#include "gpu/cuda/internal.h"

#include <errno.h>
#include <stdlib.h>

#include "runtime/base/clock.h"
#include "runtime/base/thread.h"

#define SPIN_NS 50000

struct rk_cuda_streams {
	struct rk_cuda_device *device; /* borrowed */
	unsigned int count;
	struct rk_cuda_stream all[RK_CUDA_STREAMS_MAX];

	pthread_mutex_t lock; /* guards all below; held across no call of the driver */
	pthread_cond_t given;
	uint64_t next_turn; /* of the next caller that comes */
	uint64_t turn;	    /* whose turn it is to take */
	struct rk_cuda_stream *free;
};

static int open_stream(struct rk_cuda_device *device, struct rk_cuda_stream *s,
		       struct rk_error *err)
{
	CUresult result = rk_cu.cuStreamCreate(&s->stream, CU_STREAM_NON_BLOCKING);

	if (result != CUDA_SUCCESS) {
		s->stream = NULL;
		return rk_cuda_fail(device, result, err, "cuStreamCreate");
	}
	result = rk_cu.cuEventCreate(&s->start, CU_EVENT_DEFAULT);
	if (result != CUDA_SUCCESS) {
		s->start = NULL;
		return rk_cuda_fail(device, result, err, "cuEventCreate");
	}
	result = rk_cu.cuEventCreate(&s->end, CU_EVENT_BLOCKING_SYNC);
	if (result != CUDA_SUCCESS) {
		s->end = NULL;
		return rk_cuda_fail(device, result, err, "cuEventCreate");
	}
	return 0;
}

static void close_stream(struct rk_cuda_device *device, struct rk_cuda_stream *s)
{
	if (s->end)
		rk_cuda_release(device, rk_cu.cuEventDestroy(s->end), "cuEventDestroy");
	if (s->start)
		rk_cuda_release(device, rk_cu.cuEventDestroy(s->start), "cuEventDestroy");
	if (s->stream)
		rk_cuda_release(device, rk_cu.cuStreamDestroy(s->stream), "cuStreamDestroy");
}

CUresult rk_cuda_wait(CUevent event)
{
	uint64_t until = rk_now_ns() + SPIN_NS;
	CUresult result;

	do {
		result = rk_cu.cuEventQuery(event);
	} while (result == CUDA_ERROR_NOT_READY && rk_now_ns() < until);
	return result == CUDA_ERROR_NOT_READY ? rk_cu.cuEventSynchronize(event) : result;
}

int rk_cuda_stream_urgent(struct rk_cuda_device *device, CUstream *stream, struct rk_error *err)
{
	const char *call = "cuCtxGetStreamPriorityRange";
	int least, greatest;
	CUresult result = rk_cu.cuCtxGetStreamPriorityRange(&least, &greatest);

	if (result == CUDA_SUCCESS) {
		call = "cuStreamCreateWithPriority";
		result = rk_cu.cuStreamCreateWithPriority(stream, CU_STREAM_NON_BLOCKING, greatest);
	}
	if (result == CUDA_SUCCESS)
		return 0;
	*stream = NULL;
	return rk_cuda_fail(device, result, err, "%s", call);
}

int rk_cuda_streams_create(struct rk_cuda_streams **streams, struct rk_cuda_device *device,
			   unsigned int count, struct rk_error *err)
{
	struct rk_cuda_streams *s = calloc(1, sizeof(*s));
	int rc = 0;

	if (!s)
		return rk_error_set(err, ENOMEM, "no memory for the streams of the device");
	s->device = device;
	s->count = count;
	pthread_mutex_init(&s->lock, NULL); /* without attributes they cannot fail */
	pthread_cond_init(&s->given, NULL);
	for (unsigned int i = count; rc == 0 && i-- > 0;) {
		rc = open_stream(device, &s->all[i], err);
		s->all[i].next = s->free;
		s->free = &s->all[i];
	}
	if (rc) {
		rk_cuda_streams_destroy(s);
		return rc;
	}
	*streams = s;
	return 0;
}

void rk_cuda_streams_destroy(struct rk_cuda_streams *s)
{
	if (!s)
		return;
	for (unsigned int i = s->count; i-- > 0;)
		close_stream(s->device, &s->all[i]);
	pthread_cond_destroy(&s->given);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

struct rk_cuda_stream *rk_cuda_streams_take(struct rk_cuda_streams *s)
{
	struct rk_cuda_stream *taken;
	uint64_t turn;

	RK_GUARD(&s->lock);
	turn = s->next_turn++;
	while (s->turn != turn || !s->free)
		pthread_cond_wait(&s->given, &s->lock);
	s->turn++;
	taken = s->free;
	s->free = taken->next;
	if (s->free && s->turn != s->next_turn)
		pthread_cond_broadcast(&s->given); /* for the next in turn */
	return taken;
}

void rk_cuda_streams_give(struct rk_cuda_streams *s, struct rk_cuda_stream *stream)
{
	RK_GUARD(&s->lock);
	stream->next = s->free;
	s->free = stream;
	if (s->turn != s->next_turn)
		pthread_cond_broadcast(&s->given);
}

int rk_cuda_streams_each(struct rk_cuda_streams *s,
			 int (*use)(void *ctx, struct rk_cuda_stream *stream, struct rk_error *err),
			 void *ctx, struct rk_error *err)
{
	int rc = 0;

	for (unsigned int i = 0; rc == 0 && i < s->count; i++)
		rc = use(ctx, &s->all[i], err);
	return rc;
}
