/* SPDX-License-Identifier: MIT */
/* wait/: a read that returns once the runtime is in a state, or ready. */
#include <errno.h>
#include <poll.h>

#include "fs/files/files.h"

#define IN(state) (1U << (state))
#define READY	  (1U << 7) /* no state, but what health/ready tells; beside no other */

/* Which states end the wait (the low byte), and in which it is hopeless. */
#define WAIT(done, hopeless) ((done) | (hopeless) << 8)

static int wait_open(struct rkfs_file *file, const struct rk_caller *caller, int flags)
{
	(void)caller;
	(void)flags;
	file->waitq = &file->subject.fs->state_wait;
	return 0;
}

/* 1: the wait is over, and *@state is what it was for; 0: not yet; -EIO: it cannot come. */
static int wait_test(const struct rkfs_file *file, enum rk_state *state)
{
	unsigned int row = (unsigned int)file->attr->arg;
	struct rk_runtime *rt = file->subject.fs->rt;

	*state = rk_runtime_state(rt);
	if (row & READY && rk_runtime_ready(rt)) {
		*state = RK_RUNNING;
		return 1;
	}
	if (row & IN(*state))
		return 1;
	return row >> 8 & IN(*state) ? -EIO : 0;
}

static int wait_read(struct rkfs_file *file, const struct rk_caller *caller, size_t size, int flags,
		     rkfs_emit emit, void *ctx)
{
	struct rkfs *fs = file->subject.fs;
	enum rk_state state;
	int rc;

	(void)caller;
	(void)flags;
	/* once it has ended it is over for this descriptor: the line, then EOF */
	if (!file->rendered) {
		rc = wait_test(file, &state);
		if (rc > 0)
			rkfs_textbuf_line(&file->text, rk_state_name(state));
		else if (!atomic_load(&fs->ending))
			return rc ? rc : -EAGAIN;
		file->rendered = true;
	}
	rkfs_emit_rest(file, size, emit, ctx);
	return 0;
}

static unsigned int wait_poll(struct rkfs_file *file)
{
	enum rk_state state;
	int rc;

	if (file->rendered || atomic_load(&file->subject.fs->ending))
		return POLLIN;
	rc = wait_test(file, &state);
	if (rc < 0)
		return POLLIN | POLLERR;
	return rc ? POLLIN : 0;
}

static const struct rkfs_stream_ops wait_ops = {
	.open = wait_open,
	.read = wait_read,
	.poll = wait_poll,
};

#define ROW(file, done, hopeless)                                                                  \
	{                                                                                          \
		.name = file, .mode = 0444, .flags = RKFS_HIDDEN | RKFS_STREAM | RKFS_WAITS,       \
		.stream = &wait_ops, .arg = WAIT(done, hopeless)                                   \
	}

static const struct rkfs_attr rows[] = {
	ROW("running", IN(RK_RUNNING), IN(RK_FAILED)), ROW("ready", READY, IN(RK_FAILED)),
	ROW("drained", IN(RK_STOPPED), IN(RK_FAILED)),
	ROW("stopped", IN(RK_STOPPED), 0U), /* stop leads there from Failed */
};

const struct rkfs_attrs rkfs_wait_attrs = {rows, sizeof(rows) / sizeof(rows[0])};
