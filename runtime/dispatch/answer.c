/* SPDX-License-Identifier: MIT */
/* What becomes of messages that the worker has answered. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "runtime/base/clock.h"
#include "runtime/dispatch/internal.h"

/*
 * Take the first answer of the @len bytes at @packet. Returns its length, or 0: it is malformed.
 */
static size_t take_answer(const char *packet, size_t len, struct rk_wire_done *done)
{
	const size_t head = offsetof(struct rk_wire_done, text);

	if (len < head)
		return 0;
	memcpy(done, packet, head);
	if (done->status < 0 || done->status > 4095)
		return 0;
	if (!done->status)
		return head;
	if (len < sizeof(*done))
		return 0;
	memcpy(done->text, packet + head, sizeof(done->text));
	if (!memchr(done->text, '\0', sizeof(done->text)))
		return 0;
	rk_text_clean(done->text, sizeof(done->text), "");
	return sizeof(*done);
}

/* One or more answers, and nothing else. */
static bool is_well_formed(const char *packet, size_t len)
{
	struct rk_wire_done done;
	size_t at = 0, n;

	while (at < len && (n = take_answer(packet + at, len - at, &done)))
		at += n;
	return len && at == len;
}

/* Of the last ones, so that it follows a kernel whose messages grow. */
static void learn_run_time_locked(struct rk_kernel *k, uint64_t run_ns)
{
	uint64_t mean = k->run_ns ? k->run_ns - k->run_ns / 8 + run_ns / 8 : run_ns;

	k->run_ns = mean ? mean : 1; /* 0: not known */
}

/* 0, -EPROTO: it does not run, or -EIO: its kernel wrote past an output. */
static int complete_locked(struct rk_dispatch *d, struct rk_lane *lane,
			   const struct rk_wire_done *done, struct rk_error *err)
{
	struct rk_message *m = rk_dispatch_running_locked(lane, done->slot, done->id);
	struct rk_error guard = {0};

	if (!m)
		return rk_error_set(err, EPROTO,
				    "the worker answered message %llu, which does not run",
				    (unsigned long long)done->id);
	rk_dispatch_left_locked(d, m);
	lane->progress_ns = rk_now_ns();
	m->run_ns = done->run_ns;
	learn_run_time_locked(m->kernel, done->run_ns);
	if (rk_plan_check(&m->plan, m->block.data, &guard)) {
		lane->fd = -1; /* about to be replaced: what is queued is for the next one */
		rk_dispatch_blame_locked(d, m);
		rk_dispatch_finish_locked(d, m, m->verdict ? m->verdict : EIO, guard.msg);
		return rk_error_set(err, EIO, "%s", guard.msg);
	}
	if (m->verdict)
		rk_dispatch_finish_locked(d, m, m->verdict, RK_CANCELLED);
	else
		rk_dispatch_finish_locked(d, m, done->status, done->status ? done->text : "");
	return 0;
}

int rk_dispatch_complete(struct rk_dispatch *d, uint32_t lane, const void *packet, size_t len,
			 struct rk_error *err)
{
	struct rk_lane *l = &d->lanes[lane];
	const char *bytes = packet;
	struct rk_wire_done done;
	size_t n;
	int rc = 0;

	if (!is_well_formed(bytes, len))
		return rk_error_set(err, EPROTO, "the worker sent a malformed answer");
	pthread_mutex_lock(&d->lock);
	for (size_t at = 0; !rc && at < len; at += n) {
		n = take_answer(bytes + at, len - at, &done);
		rc = complete_locked(d, l, &done, err);
		/* A worker that was detached, and is being ended, may have answered just before. */
		if (rc == -EPROTO && l->fd < 0)
			rc = 0;
	}
	rk_dispatch_hand_out_locked(d);
	rk_dispatch_unlock_and_tell(d);
	return rc;
}
