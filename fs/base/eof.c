/* SPDX-License-Identifier: MIT */
/* The end of those who wait: what is left to read, EOF, and who was not given it yet. */
#include "fs/base/rkfs.h"

void rkfs_stop_waiting(struct rkfs_file *file)
{
	struct rkfs *fs = file->subject.fs;

	if (!file->waits)
		return;
	file->waits = false;
	if (atomic_fetch_sub(&fs->waiters, 1) == 1 && fs->on_no_waiter)
		fs->on_no_waiter(fs->on_no_waiter_ctx);
}

void rkfs_emit_rest(struct rkfs_file *file, size_t size, rkfs_emit emit, void *ctx)
{
	const char *data = file->text.data + file->sent;
	size_t left = file->text.len - file->sent;

	if (left > size)
		left = size;
	file->sent += left; /* before the reply: the next read may be here already */
	if (!left)
		rkfs_stop_waiting(file);
	emit(ctx, data, left);
}

void rkfs_end_waiters(struct rkfs *fs)
{
	atomic_store(&fs->ending, true);
	rkfs_waitq_wake(&fs->state_wait);
	rkfs_waitq_wake(&fs->event_wait);
}
