/* SPDX-License-Identifier: MIT */
/* The end of those who wait: what is left to read, EOF, and who was not given it yet. */
#include "fs/base/rkfs.h"

#define TEXT_KEPT                                                                                  \
	4096 /* bytes that a stream keeps for its next text; more is given back when sent */

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
	if (file->sent == file->text.len && file->text.size > TEXT_KEPT) {
		rkfs_textbuf_free(&file->text);
		rkfs_textbuf_init(&file->text);
		file->sent = 0;
	}
}

void rkfs_end_waiters(struct rkfs *fs)
{
	atomic_store(&fs->ending, true);
	rkfs_waitq_wake(&fs->state_wait);
	rkfs_waitq_wake(&fs->event_wait);
}
