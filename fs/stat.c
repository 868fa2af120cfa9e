/* SPDX-License-Identifier: MIT */
/* What stat(2) shows of a file's content: its size and its times. */

#include "fs/looks.h"
#include "fs/node.h"

#define SECTOR 512 /* bytes of st_blocks' unit */

static void set_size(struct stat *st, uint64_t size)
{
	st->st_size = (off_t)size;
	/* with no blocks all of it would be a hole, which some programs do not read */
	st->st_blocks = (blkcnt_t)((size + SECTOR - 1) / SECTOR);
}

/*
 * Modified when the text with @digest was first seen. The other times stay: tar(1) takes another
 * ctime for a change while it read, and a number may change at any time.
 */
static void set_times(const struct rkfs_subject *subject, struct rkfs_entry *entry, uint64_t digest)
{
	struct rkfs *fs = subject->fs;
	struct timespec born = subject->kernel ? subject->kernel->added : fs->born;
	struct stat *st = &entry->st;

	st->st_atim = st->st_ctim = born;
	st->st_mtim = rkfs_looks_since(fs->looks, st->st_ino, digest, born);
}

void rkfs_stat_content(const struct rkfs_attr *attr, const struct rkfs_subject *subject,
		       struct rkfs_entry *entry)
{
	struct stat *st = &entry->st;
	struct rkfs_textbuf text;
	uint64_t version;

	/* a program that trusts a size of 0 does not read, and would not see why there is no value
	 */
	set_size(st, RKFS_UNKNOWN_SIZE);
	if (!subject || attr->stream)
		return;
	if (attr->log) {
		set_size(st, attr->log->size(subject, &version));
		set_times(subject, entry, version);
		return;
	}
	rkfs_textbuf_init(&text);
	if (!attr->show(attr, subject, &text) && !text.error)
		set_size(st, text.len);
	if (!subject->message) /* a message has times of its own */
		set_times(subject, entry, rkfs_looks_digest(text.data, text.len));
	rkfs_textbuf_free(&text);
}
