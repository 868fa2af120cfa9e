/* SPDX-License-Identifier: MIT */
/* Streams: each has a thread that does what is submitted to it, in that order. */
#include "tests/fake_cuda/fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct fake_op *fake_op_new(enum fake_op_kind kind)
{
	struct fake_op *op = calloc(1, sizeof(*op));

	if (op)
		op->kind = kind;
	return op;
}

bool fake_stream_open_locked(CUstream stream)
{
	CUstream s;

	LIST_FOREACH(s, &fake.streams, link)
	if (s == stream && s->open)
		return true;
	fake_misuse_locked(CUDA_ERROR_INVALID_HANDLE, "%p is no stream, or one destroyed before",
			   (void *)stream);
	return false;
}

CUresult fake_submit_locked(CUstream stream, struct fake_op *op)
{
	op->number = ++fake.numbers;
	STAILQ_INSERT_TAIL(&stream->ops, op, link);
	pthread_cond_signal(&stream->work);
	return CUDA_SUCCESS;
}

CUresult fake_stream_use_locked(CUstream stream, enum fake_use use, const char *name)
{
	char what[64];

	bool first = !(stream->used & 1U << use);

	stream->used |= 1U << use;
	if (!first || !fake.counts.resident)
		return fake.spoiled;
	snprintf(what, sizeof(what), "%s for the first time on a stream", name);
	return fake_synchronise_locked(what);
}

static bool pending_locked(CUstream stream, uint64_t number)
{
	const struct fake_op *op = STAILQ_FIRST(&stream->ops);

	return op && op->number <= number;
}

static bool any_pending_locked(uint64_t number)
{
	CUstream s;

	LIST_FOREACH(s, &fake.streams, link)
	if (pending_locked(s, number))
		return true;
	return false;
}

CUresult fake_wait_all_locked(void)
{
	uint64_t number = fake.numbers;

	while (!fake.spoiled && any_pending_locked(number))
		pthread_cond_wait(&fake.changed, &fake.lock);
	fake_pools_trim_locked();
	return fake.spoiled;
}

/* Whether @bytes at @at may be touched now: memory comes and goes in the order of streams. */
static bool touchable_locked(const void *at, uint64_t bytes)
{
	const struct fake_block *block = fake_block_at_locked(at, bytes);

	if (block && block->state != FAKE_COMING)
		return true;
	fake_misuse_locked(CUDA_SUCCESS, "an operation on %p, which is %s", at,
			   block ? "not allocated yet where the stream stands" : "not allocated");
	fake_spoil_locked(CUDA_ERROR_ILLEGAL_ADDRESS);
	return false;
}

/* Copies and so on; the lock is not held while bytes move. */
static void move_locked(const struct fake_op *op)
{
	bool ok = !op->bytes || (touchable_locked(op->to, op->bytes) &&
				 (op->kind == FAKE_SET || touchable_locked(op->from, op->bytes)));

	if (!ok || !op->bytes)
		return;
	pthread_mutex_unlock(&fake.lock);
	if (op->kind == FAKE_SET)
		memset(op->to, op->value, op->bytes);
	else
		memcpy(op->to, op->from, op->bytes);
	pthread_mutex_lock(&fake.lock);
}

static void record_locked(const struct fake_op *op)
{
	if (op->record < op->event->wanted)
		return; /* recorded again since: that one counts */
	op->event->reached = op->record;
	op->event->at_ns = fake_now_ns();
}

/* For as long as the file says "hang kernel", or for ever. */
static void wedge_locked(struct fake_line *line)
{
	bool always = line->once;

	fake_trigger_consume(line);
	while (!fake.spoiled && (always || fake_trigger_find("hang", "kernel"))) {
		pthread_mutex_unlock(&fake.lock);
		fake_nap();
		pthread_mutex_lock(&fake.lock);
		fake_trigger_read();
	}
}

static void kernel_locked(struct fake_op *op)
{
	const struct fake_kernel *kernel = op->function->kernel;
	struct fake_line *line;

	fake_trigger_read();
	line = fake_trigger_find("hang", "kernel");
	if (line)
		wedge_locked(line);
	line = fake_trigger_find("sticky", NULL);
	if (line) {
		fake_spoil_locked(fake_result(line->words[1], CUDA_ERROR_ILLEGAL_ADDRESS));
		fake_trigger_consume(line);
	}
	if (fake.spoiled) {
		fake.counts.resident -= op->function->resident;
		return;
	}
	if (op->function->resident) {
		fake_ring_run_locked(kernel, &op->dims, op->args);
		return;
	}
	if (!fake_kernel_args_ok_locked(kernel, op->args))
		return;
	pthread_mutex_unlock(&fake.lock);
	fake_kernel_call(kernel, &op->dims, op->args);
	pthread_mutex_lock(&fake.lock);
}

/* The driver goes on and answers from its books; the device does nothing while the line stands. */
static void stall_locked(void)
{
	fake_trigger_read();
	while (!fake.spoiled && fake_trigger_find("stalled", NULL)) {
		pthread_mutex_unlock(&fake.lock);
		fake_nap();
		pthread_mutex_lock(&fake.lock);
		fake_trigger_read();
	}
}

static void latency_locked(void)
{
	uint64_t usecs = fake_trigger_number("latency", 0);
	struct timespec nap = {.tv_sec = (time_t)(usecs / 1000000),
			       .tv_nsec = (long)(usecs % 1000000 * 1000)};

	if (!usecs)
		return;
	pthread_mutex_unlock(&fake.lock);
	nanosleep(&nap, NULL);
	pthread_mutex_lock(&fake.lock);
}

static void run_locked(struct fake_op *op)
{
	stall_locked();
	latency_locked();
	if (fake.spoiled) {
		fake.counts.resident -= op->kind == FAKE_KERNEL && op->function->resident;
		return;
	}
	switch (op->kind) {
	case FAKE_COPY:
	case FAKE_SET:
		move_locked(op);
		break;
	case FAKE_RECORD:
		record_locked(op);
		break;
	case FAKE_KERNEL:
		kernel_locked(op);
		break;
	case FAKE_ALLOC:
		if (op->block->state == FAKE_COMING)
			op->block->state = FAKE_LIVE;
		break;
	case FAKE_FREE:
		fake_block_end_locked(op->block);
		break;
	}
}

/* Whether another stream of the same connection has something to do that was submitted before. */
static bool is_behind_locked(CUstream stream, const struct fake_op *op)
{
	CUstream s;

	LIST_FOREACH(s, &fake.streams, link)
	if (s != stream && s->connection == stream->connection && pending_locked(s, op->number))
		return true;
	return false;
}

static void *work(void *ctx)
{
	CUstream stream = ctx;
	struct fake_op *op;

	pthread_mutex_lock(&fake.lock);
	for (;;) {
		op = STAILQ_FIRST(&stream->ops);
		if (!op && stream->ending)
			break;
		if (!op) {
			pthread_cond_wait(&stream->work, &fake.lock);
			continue;
		}
		while (!fake.spoiled && is_behind_locked(stream, op))
			pthread_cond_wait(&fake.changed, &fake.lock);
		run_locked(op);
		STAILQ_REMOVE_HEAD(&stream->ops, link);
		free(op);
		pthread_cond_broadcast(&fake.changed);
	}
	pthread_mutex_unlock(&fake.lock);
	return NULL;
}

/* To create or destroy one waits for the context: the driver may do so. */
static CUresult create(const char *name, CUstream *stream, unsigned int flags)
{
	CUresult result = fake_enter(name, FAKE_CONTEXT | FAKE_SYNCS);
	CUstream s;

	if (result)
		return result;
	if (flags != CU_STREAM_DEFAULT && flags != CU_STREAM_NON_BLOCKING)
		return fake_leave(CUDA_ERROR_INVALID_VALUE);
	s = calloc(1, sizeof(*s));
	if (!s)
		return fake_leave(CUDA_ERROR_OUT_OF_MEMORY);
	s->open = true;
	STAILQ_INIT(&s->ops);
	pthread_cond_init(&s->work, NULL);
	if (pthread_create(&s->thread, NULL, work, s)) {
		free(s);
		return fake_leave(CUDA_ERROR_OUT_OF_MEMORY);
	}
	s->connection = fake.next_connection++ % fake.connections;
	LIST_INSERT_HEAD(&fake.streams, s, link);
	fake.counts.streams++;
	*stream = s;
	return fake_leave(CUDA_SUCCESS);
}

CUresult fake_cuStreamCreate(CUstream *stream, unsigned int flags)
{
	return create("cuStreamCreate", stream, flags);
}

CUresult fake_cuStreamCreateWithPriority(CUstream *stream, unsigned int flags, int priority)
{
	(void)priority; /* clamped to the range, as a driver does; here all run at once */
	return create("cuStreamCreateWithPriority", stream, flags);
}

CUresult fake_cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
	CUresult result = fake_enter("cuCtxGetStreamPriorityRange", FAKE_CONTEXT);

	if (result)
		return result;
	*least = 0;
	*greatest = FAKE_GREATEST_PRIORITY;
	return fake_leave(CUDA_SUCCESS);
}

/* Nothing is left to do in it, unless the device is spoiled. */
static void close_locked(CUstream stream)
{
	stream->open = false;
	stream->ending = true;
	fake.counts.streams--;
	pthread_cond_signal(&stream->work);
	pthread_mutex_unlock(&fake.lock);
	pthread_join(stream->thread, NULL);
	pthread_mutex_lock(&fake.lock);
}

CUresult fake_cuStreamDestroy(CUstream stream)
{
	CUresult result = fake_enter("cuStreamDestroy", FAKE_CONTEXT | FAKE_SYNCS);

	if (result)
		return result;
	if (!fake_stream_open_locked(stream))
		return fake_leave(CUDA_ERROR_INVALID_HANDLE);
	close_locked(stream);
	return fake_leave(CUDA_SUCCESS);
}

CUresult fake_cuStreamSynchronize(CUstream stream)
{
	CUresult result = fake_enter("cuStreamSynchronize", FAKE_CONTEXT);
	uint64_t number;

	if (result)
		return result;
	if (!fake_stream_open_locked(stream))
		return fake_leave(CUDA_ERROR_INVALID_HANDLE);
	number = fake.numbers;
	while (!fake.spoiled && pending_locked(stream, number))
		pthread_cond_wait(&fake.changed, &fake.lock);
	fake_pools_trim_locked();
	return fake_leave(fake.spoiled);
}

CUresult fake_cuStreamQuery(CUstream stream)
{
	CUresult result = fake_enter("cuStreamQuery", FAKE_CONTEXT);

	if (result)
		return result;
	fake.counts.polls++;
	if (!fake_stream_open_locked(stream))
		return fake_leave(CUDA_ERROR_INVALID_HANDLE);
	return fake_leave(pending_locked(stream, fake.numbers) ? CUDA_ERROR_NOT_READY
							       : CUDA_SUCCESS);
}

uint64_t fake_streams_drop_locked(void)
{
	CUstream s;
	uint64_t n = 0;

	LIST_FOREACH(s, &fake.streams, link)
	if (s->open) {
		close_locked(s);
		n++;
	}
	return n + fake_events_drop_locked();
}
