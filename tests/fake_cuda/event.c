/* SPDX-License-Identifier: MIT */
/* Events, and what else is submitted to a stream but kernels. */
#include "tests/fake_cuda/fake.h"

#include <stdlib.h>

static bool event_ok_locked(CUevent event)
{
	CUevent e;

	LIST_FOREACH(e, &fake.events, link)
	if (e == event && e->open)
		return true;
	fake_misuse_locked(CUDA_ERROR_INVALID_HANDLE, "%p is no event, or one destroyed before",
			   (void *)event);
	return false;
}

CUresult fake_cuEventCreate(CUevent *event, unsigned int flags)
{
	CUresult result = fake_enter("cuEventCreate", FAKE_CONTEXT);
	CUevent e;

	if (result)
		return result;
	e = calloc(1, sizeof(*e));
	if (!e)
		return fake_leave(CUDA_ERROR_OUT_OF_MEMORY);
	e->open = true;
	e->timed = !(flags & CU_EVENT_DISABLE_TIMING);
	LIST_INSERT_HEAD(&fake.events, e, link);
	fake.counts.events++;
	*event = e;
	return fake_leave(CUDA_SUCCESS);
}

/* A record of it that is under way still writes to it. */
static void close_locked(CUevent event)
{
	event->open = false;
	fake.counts.events--;
}

CUresult fake_cuEventDestroy(CUevent event)
{
	CUresult result = fake_enter("cuEventDestroy", FAKE_CONTEXT);

	if (result)
		return result;
	if (!event_ok_locked(event))
		return fake_leave(CUDA_ERROR_INVALID_HANDLE);
	close_locked(event);
	return fake_leave(CUDA_SUCCESS);
}

uint64_t fake_events_drop_locked(void)
{
	CUevent e;
	uint64_t n = 0;

	LIST_FOREACH(e, &fake.events, link)
	if (e->open) {
		close_locked(e);
		n++;
	}
	return n;
}

CUresult fake_cuEventRecord(CUevent event, CUstream stream)
{
	CUresult result = fake_enter("cuEventRecord", FAKE_CONTEXT);
	struct fake_op *op;

	if (result)
		return result;
	if (!event_ok_locked(event) || !fake_stream_open_locked(stream))
		return fake_leave(CUDA_ERROR_INVALID_HANDLE);
	result = fake_stream_use_locked(stream, FAKE_USE_RECORD, "cuEventRecord");
	if (result)
		return fake_leave(result);
	op = fake_op_new(FAKE_RECORD);
	if (!op)
		return fake_leave(CUDA_ERROR_OUT_OF_MEMORY);
	op->event = event;
	op->record = ++event->wanted;
	return fake_leave(fake_submit_locked(stream, op));
}

CUresult fake_cuEventQuery(CUevent event)
{
	CUresult result = fake_enter("cuEventQuery", FAKE_CONTEXT);

	if (result)
		return result;
	fake.counts.polls++;
	if (!event_ok_locked(event))
		return fake_leave(CUDA_ERROR_INVALID_HANDLE);
	return fake_leave(event->reached < event->wanted ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS);
}

CUresult fake_cuEventSynchronize(CUevent event)
{
	CUresult result = fake_enter("cuEventSynchronize", FAKE_CONTEXT);
	uint64_t record;

	if (result)
		return result;
	if (!event_ok_locked(event))
		return fake_leave(CUDA_ERROR_INVALID_HANDLE);
	record = event->wanted;
	while (!fake.spoiled && event->reached < record)
		pthread_cond_wait(&fake.changed, &fake.lock);
	fake_pools_trim_locked();
	return fake_leave(fake.spoiled);
}

CUresult fake_cuEventElapsedTime(float *ms, CUevent start, CUevent end)
{
	CUresult result = fake_enter("cuEventElapsedTime", FAKE_CONTEXT);

	if (result)
		return result;
	if (!event_ok_locked(start) || !event_ok_locked(end))
		return fake_leave(CUDA_ERROR_INVALID_HANDLE);
	if (!start->timed || !end->timed || !start->wanted || !end->wanted)
		return fake_leave(fake_misuse_locked(CUDA_ERROR_INVALID_HANDLE,
						     "time between events that keep none"));
	if (start->reached < start->wanted || end->reached < end->wanted)
		return fake_leave(CUDA_ERROR_NOT_READY);
	*ms = (float)((double)(int64_t)(end->at_ns - start->at_ns) / 1e6);
	return fake_leave(CUDA_SUCCESS);
}

/* Whether @bytes at @at are given out, and pinned or managed (@host) or the device's. */
static bool side_ok_locked(const char *name, const void *at, uint64_t bytes, bool host)
{
	const struct fake_block *block = fake_block_at_locked(at, bytes);

	if (block && block->state != FAKE_GOING &&
	    (host ? block->kind != FAKE_DEVICE : block->kind != FAKE_HOST))
		return true;
	fake_misuse_locked(CUDA_ERROR_INVALID_VALUE, "%s of %llu bytes at %p: this is %s", name,
			   (unsigned long long)bytes, at,
			   host ? "no pinned memory, or not as much"
				: "no device memory, or not as much");
	return false;
}

static CUresult submit_copy(const char *name, void *to, const void *from, uint64_t bytes,
			    CUstream stream, bool to_device)
{
	CUresult result = fake_enter(name, FAKE_CONTEXT);
	struct fake_op *op;

	if (result)
		return result;
	if (!fake_stream_open_locked(stream))
		return fake_leave(CUDA_ERROR_INVALID_HANDLE);
	if (bytes && (!side_ok_locked(name, to, bytes, !to_device) ||
		      !side_ok_locked(name, from, bytes, to_device)))
		return fake_leave(CUDA_ERROR_INVALID_VALUE);
	result = fake_stream_use_locked(stream, to_device ? FAKE_USE_COPY_IN : FAKE_USE_COPY_OUT,
					name);
	if (result)
		return fake_leave(result);
	op = fake_op_new(FAKE_COPY);
	if (!op)
		return fake_leave(CUDA_ERROR_OUT_OF_MEMORY);
	op->to = to;
	op->from = from;
	op->bytes = bytes;
	fake.counts.copies++;
	if (to_device)
		fake.counts.bytes_to_device += bytes;
	else
		fake.counts.bytes_to_host += bytes;
	return fake_leave(fake_submit_locked(stream, op));
}

CUresult fake_cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t bytes, CUstream stream)
{
	return submit_copy("cuMemcpyHtoDAsync", (void *)to, from, bytes, stream, true);
}

CUresult fake_cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t bytes, CUstream stream)
{
	return submit_copy("cuMemcpyDtoHAsync", to, (const void *)from, bytes, stream, false);
}

CUresult fake_cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream)
{
	CUresult result = fake_enter("cuMemsetD8Async", FAKE_CONTEXT);
	struct fake_op *op;

	if (result)
		return result;
	if (!fake_stream_open_locked(stream))
		return fake_leave(CUDA_ERROR_INVALID_HANDLE);
	if (bytes && !side_ok_locked("cuMemsetD8Async", (void *)to, bytes, false))
		return fake_leave(CUDA_ERROR_INVALID_VALUE);
	result = fake_stream_use_locked(stream, FAKE_USE_SET, "cuMemsetD8Async");
	if (result)
		return fake_leave(result);
	op = fake_op_new(FAKE_SET);
	if (!op)
		return fake_leave(CUDA_ERROR_OUT_OF_MEMORY);
	op->to = (void *)to;
	op->value = value;
	op->bytes = bytes;
	fake.counts.memsets++;
	return fake_leave(fake_submit_locked(stream, op));
}
