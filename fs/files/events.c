/* SPDX-License-Identifier: MIT */
/* events: what is retained, then EOF. events_follow: the same, then what comes. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "fs/files/files.h"

/* The line that says how many events a reader was too slow for. */
static void append_lost(struct rkfs_textbuf *out, uint64_t count)
{
	rkfs_textbuf_printf(out, "{\"event\":\"Lost\",\"count\":%llu}\n",
			    (unsigned long long)count);
}

static int events_more(const struct rkfs_subject *subject, uint64_t *next, struct rkfs_textbuf *out)
{
	uint64_t lost;
	char *text;
	ssize_t len = rk_events_copy(rk_runtime_events(subject->fs->rt), next, &lost, &text);

	if (len < 0)
		return (int)len;
	if (lost)
		append_lost(out, lost);
	rkfs_textbuf_append(out, text, (size_t)len);
	free(text);
	return 0;
}

static uint64_t events_size(const struct rkfs_subject *subject, uint64_t *version)
{
	struct rk_events *ev = rk_runtime_events(subject->fs->rt);

	*version = rk_events_end(ev);
	return rk_events_bytes(ev);
}

static void events_hold(const struct rkfs_subject *subject)
{
	rk_events_hold(rk_runtime_events(subject->fs->rt));
}

static void events_release(const struct rkfs_subject *subject)
{
	rk_events_release(rk_runtime_events(subject->fs->rt));
}

const struct rkfs_log_ops rkfs_events_log = {
	.more = events_more,
	.size = events_size,
	.hold = events_hold,
	.release = events_release,
};

struct follow {
	uint64_t seq; /* the next event to give out */
	bool begun;   /* one has been given out: a gap from now on is a loss */
};

static int follow_open(struct rkfs_file *file, const struct rk_caller *caller, int flags)
{
	struct follow *f = calloc(1, sizeof(*f));

	(void)caller;
	(void)flags;
	if (!f)
		return -ENOMEM;
	f->seq = 1;
	file->stream = f;
	file->waitq = &file->subject.fs->event_wait;
	return 0;
}

static void follow_release(struct rkfs_file *file)
{
	free(file->stream);
}

/*
 * Append the next event unless @size is exceeded by it (the first line is taken whatever its
 * length). Returns 1, 0 where there is none or no room for it, or -ENOMEM.
 */
static int follow_one(struct rkfs_file *file, struct rk_events *ev, size_t size)
{
	struct follow *f = file->stream;
	struct rkfs_textbuf *text = &file->text;
	size_t before = text->len;
	uint64_t seq = f->seq;
	char *line;
	ssize_t len = rk_events_next(ev, &seq, &line);

	if (len <= 0)
		return (int)len;
	if (f->begun && seq - 1 > f->seq)
		append_lost(text, seq - 1 - f->seq);
	rkfs_textbuf_append(text, line, (size_t)len);
	free(line);
	if (text->error || (before && text->len > size)) {
		text->len = before;
		return text->error ? -text->error : 0;
	}
	f->seq = seq;
	f->begun = true;
	return 1;
}

static int follow_read(struct rkfs_file *file, const struct rk_caller *caller, size_t size,
		       int flags, rkfs_emit emit, void *ctx)
{
	struct rkfs *fs = file->subject.fs;
	int rc = 0;

	(void)caller;
	(void)flags;
	if (file->sent == file->text.len) {
		/* before looking: what was there when the end came is still given out */
		bool ending = atomic_load(&fs->ending);

		rkfs_textbuf_reset(&file->text);
		file->sent = 0;
		do {
			rc = follow_one(file, rk_runtime_events(fs->rt), size);
		} while (rc > 0 && file->text.len < size);
		if (!file->text.len && rc < 0)
			return rc;
		if (!file->text.len && !ending)
			return -EAGAIN;
	}
	rkfs_emit_rest(file, size, emit, ctx);
	return 0;
}

static unsigned int follow_poll(struct rkfs_file *file)
{
	const struct follow *f = file->stream;
	struct rkfs *fs = file->subject.fs;
	uint64_t seq = f->seq;
	char *line;

	if (file->sent < file->text.len || atomic_load(&fs->ending))
		return POLLIN;
	if (rk_events_next(rk_runtime_events(fs->rt), &seq, &line) <= 0)
		return 0;
	free(line);
	return POLLIN;
}

const struct rkfs_stream_ops rkfs_events_follow_ops = {
	.open = follow_open,
	.read = follow_read,
	.poll = follow_poll,
	.release = follow_release,
};
