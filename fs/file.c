/* SPDX-License-Identifier: MIT */
/* Open files: reads, writes and polls by what their rows say. */
#include "fs/node.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "fs/files/files.h"

#define LOG_KEPT (1UL << 18) /* bytes of a log that an open file keeps once they have been read */
#define FILE_BYTES                                                                                 \
	2048 /* about what an open file takes with its call and its poll, without text             \
	      */

int rkfs_hold(struct rkfs *fs, uid_t uid, uint64_t bytes)
{
	RK_GUARD(&fs->files_lock);
	return rk_accounts_charge(&fs->held, uid, bytes, NULL);
}

void rkfs_unhold(struct rkfs *fs, uid_t uid, uint64_t bytes)
{
	RK_GUARD(&fs->files_lock);
	rk_accounts_uncharge(&fs->held, uid, bytes);
}

/* What has changed so far of that which @attr shows, where it can be polled for. */
static unsigned long count_changes(struct rkfs *fs, const struct rkfs_attr *attr)
{
	return atomic_load(attr->flags & RKFS_POLL_WORKER ? &fs->moves : &fs->changes);
}

static bool attr_writable(const struct rkfs_attr *attr)
{
	return attr->stream ? attr->stream->write != NULL : attr->store || attr->command;
}

static bool attr_readable(const struct rkfs_attr *attr)
{
	return attr->stream ? attr->stream->read != NULL : attr->show || attr->log;
}

int rkfs_writable(struct rkfs *fs, uint64_t node)
{
	const struct rkfs_attr *attr;
	struct rkfs_subject subject;
	int rc = rkfs_row(fs, node, &attr, &subject);

	if (rc)
		return rc;
	rk_kernel_unref(subject.kernel);
	return attr_writable(attr) ? 0 : -EPERM;
}

static int check_access(const struct rkfs_attr *attr, int flags)
{
	int mode = flags & O_ACCMODE;

	if (mode != O_RDONLY && !attr_writable(attr))
		return -EPERM;
	if (mode != O_WRONLY && !attr_readable(attr))
		return -EPERM;
	return 0;
}

static void file_free(struct rkfs_file *file)
{
	rk_kernel_unref(file->subject.kernel);
	rkfs_textbuf_free(&file->text);
	pthread_mutex_destroy(&file->lock);
	free(file);
}

/* Too many files of @uid's are open. Where it is a call file, last_error tells. */
static int refuse_open(const struct rkfs_subject *subject, uid_t uid)
{
	struct rk_error err = {0};

	if (!subject->kernel)
		return -ENOMEM;
	rk_error_set(&err, ENOMEM,
		     "%s: user %u holds as much memory by open files and waiting reads as one "
		     "user may: close some",
		     subject->kernel->manifest.id, (unsigned int)uid);
	rk_dispatch_reject(rk_runtime_dispatch(subject->fs->rt), subject->kernel, uid, &err);
	return -ENOMEM;
}

/* Takes over the reference to the subject's kernel where it succeeds. */
static struct rkfs_file *file_new(const struct rkfs_attr *attr, const struct rkfs_subject *subject,
				  uid_t uid)
{
	struct rkfs *fs = subject->fs;
	struct rkfs_file *file = malloc(sizeof(*file));

	if (!file)
		return NULL;
	if (pthread_mutex_init(&file->lock, NULL)) {
		free(file);
		return NULL;
	}
	atomic_init(&file->refs, 1);
	file->attr = attr;
	file->subject = *subject;
	file->uid = uid;
	file->charged = 0;
	file->waitq = attr->flags & (RKFS_POLL_STATE | RKFS_POLL_WORKER) ? &fs->state_wait : NULL;
	if (attr->command)
		file->waitq = &fs->command_wait;
	rkfs_textbuf_init(&file->text);
	file->rendered = false;
	file->end = 0;
	file->sent = 0;
	file->skipped = 0;
	file->seen = count_changes(fs, attr);
	file->stream = NULL;
	file->poll = NULL;
	file->job = NULL;
	file->waits = attr->flags & RKFS_WAITS;
	if (file->waits)
		atomic_fetch_add(&fs->waiters, 1);
	return file;
}

int rkfs_open(struct rkfs *fs, uint64_t node, const struct rk_caller *caller, int flags,
	      struct rkfs_file **opened)
{
	const struct rkfs_attr *attr;
	struct rkfs_subject subject;
	struct rkfs_file *file;
	int rc = rkfs_row(fs, node, &attr, &subject);

	if (rc)
		return rc;
	/* the mount's owner reads all, as root does */
	subject.reader = caller->uid == fs->access.uid ? 0 : caller->uid;
	rc = check_access(attr, flags);
	if (!rc && rkfs_hold(fs, caller->uid, FILE_BYTES))
		rc = refuse_open(&subject, caller->uid);
	if (rc) {
		rk_kernel_unref(subject.kernel);
		return rc;
	}
	file = file_new(attr, &subject, caller->uid);
	if (!file) {
		rkfs_unhold(fs, caller->uid, FILE_BYTES);
		rk_kernel_unref(subject.kernel);
		return -ENOMEM;
	}
	if (attr->stream && attr->stream->open) {
		rc = attr->stream->open(file, caller, flags);
		if (rc) {
			rkfs_stop_waiting(file);
			rkfs_unhold(fs, caller->uid, FILE_BYTES);
			file_free(file);
			return rc;
		}
	}
	if (attr->log)
		attr->log->hold(&subject);
	pthread_mutex_lock(&fs->files_lock);
	TAILQ_INSERT_TAIL(&fs->files, file, open);
	pthread_mutex_unlock(&fs->files_lock);
	*opened = file;
	return 0;
}

struct rkfs_file *rkfs_file_ref(struct rkfs_file *file)
{
	atomic_fetch_add_explicit(&file->refs, 1, memory_order_relaxed);
	return file;
}

void rkfs_file_unref(struct rkfs_file *file)
{
	struct rkfs *fs = file->subject.fs;

	if (atomic_fetch_sub_explicit(&file->refs, 1, memory_order_acq_rel) != 1)
		return;
	pthread_mutex_lock(&fs->files_lock);
	TAILQ_REMOVE(&fs->files, file, open);
	rk_accounts_uncharge(&fs->held, file->uid, FILE_BYTES + file->charged);
	pthread_mutex_unlock(&fs->files_lock);
	if (file->attr->log)
		file->attr->log->release(&file->subject);
	if (file->attr->stream && file->attr->stream->release)
		file->attr->stream->release(file);
	rkfs_command_leave(file);
	rkfs_stop_waiting(file);
	file_free(file);
}

void rkfs_close_files(struct rkfs *fs)
{
	struct rkfs_file *file;

	while ((file = TAILQ_FIRST(&fs->files)))
		rkfs_file_unref(file);
}

/* What is woken under a file's lock may be parked on another file: it has to wait for the unlock.
 */
static void file_lock(struct rkfs_file *file)
{
	rkfs_waitq_hold();
	pthread_mutex_lock(&file->lock);
}

static void file_unlock(struct rkfs_file *file)
{
	pthread_mutex_unlock(&file->lock);
	rkfs_waitq_release();
}

static int render_log(struct rkfs_file *file)
{
	file->next = 0;
	file->skipped = 0;
	return file->attr->log->more(&file->subject, &file->next, &file->text);
}

static int render(struct rkfs_file *file)
{
	int rc;

	/* before show: a change during it must be seen as one */
	file->seen = count_changes(file->subject.fs, file->attr);
	file->rendered = false;
	file->end = 0;
	rkfs_textbuf_reset(&file->text);
	rc = file->attr->log ? render_log(file)
			     : file->attr->show(file->attr, &file->subject, &file->text);
	if (rc)
		return rc;
	if (file->text.error)
		return -file->text.error;
	file->rendered = true;
	return 0;
}

/* At the end of a log: what has come since. Where that fails, the next read tries again. */
static int render_more(struct rkfs_file *file)
{
	size_t len = file->text.len;
	int rc;

	if (len > LOG_KEPT) {
		file->skipped += len;
		rkfs_textbuf_reset(&file->text);
		len = 0;
	}
	rc = file->attr->log->more(&file->subject, &file->next, &file->text);
	if (!rc && file->text.error)
		rc = -file->text.error;
	if (rc) {
		file->text.error = 0;
		file->text.len = len;
	}
	return rc;
}

/*
 * The memory of a text is that of who opened the file. -ENOMEM, and the text is gone, where he
 * holds too much.
 */
static int account_text(struct rkfs_file *file)
{
	uint64_t held = file->text.data == file->text.small ? 0 : file->text.size;
	struct rkfs *fs = file->subject.fs;
	int rc;

	if (held == file->charged)
		return 0;
	pthread_mutex_lock(&fs->files_lock);
	rk_accounts_uncharge(&fs->held, file->uid, file->charged);
	rc = rk_accounts_charge(&fs->held, file->uid, held, NULL);
	file->charged = rc ? 0 : held;
	pthread_mutex_unlock(&fs->files_lock);
	if (rc) {
		rkfs_textbuf_free(&file->text);
		rkfs_textbuf_init(&file->text);
		file->rendered = false;
	}
	return rc;
}

/* At the end of a large text: whoever keeps the file open does not keep that. */
static void give_back(struct rkfs_file *file)
{
	size_t end = file->text.len;

	rkfs_textbuf_free(&file->text);
	(void)account_text(file); /* which is less */
	file->rendered = false;
	file->end = end;
}

static int read_text(struct rkfs_file *file, uint64_t offset, size_t size, rkfs_emit emit,
		     void *ctx)
{
	size_t left;
	int rc = 0;

	if (offset && file->end && offset >= file->end) { /* the text was given back */
		emit(ctx, NULL, 0);
		return 0;
	}
	if (!offset || !file->rendered || offset < file->skipped)
		rc = render(file);
	else if (file->attr->log && offset - file->skipped >= file->text.len)
		rc = render_more(file);
	if (!rc) {
		rkfs_textbuf_share(&file->text, &file->subject.fs->shared_texts);
		rc = account_text(file);
	}
	if (rc)
		return rc;
	offset -= file->skipped;
	if (offset > file->text.len)
		offset = file->text.len;
	left = file->text.len - offset;
	emit(ctx, file->text.data + offset, left < size ? left : size);
	if (!left && !file->attr->log && file->charged)
		give_back(file);
	return 0;
}

int rkfs_read(struct rkfs_file *file, const struct rk_caller *caller, uint64_t offset, size_t size,
	      int flags, rkfs_emit emit, void *ctx)
{
	int rc;

	file_lock(file);
	if (file->attr->stream)
		rc = file->attr->stream->read(file, caller, size, flags, emit, ctx);
	else
		rc = read_text(file, offset, size, emit, ctx);
	file_unlock(file);
	return rc;
}

static int store_text(struct rkfs_file *file, const struct rk_caller *caller, const char *buf,
		      size_t size)
{
	char small[256];
	char *text = size < sizeof(small) ? small : malloc(size + 1);
	int rc;

	if (!text)
		return -ENOMEM;
	memcpy(text, buf, size);
	text[size] = '\0';
	if (file->attr->command)
		rc = file->attr->command(file, caller, text, size);
	else
		rc = file->attr->store(file->attr, &file->subject, caller, text, size);
	if (text != small)
		free(text);
	file->rendered = false;
	file->end = 0;
	return rc;
}

ssize_t rkfs_write(struct rkfs_file *file, const struct rk_caller *caller, const char *buf,
		   size_t size)
{
	ssize_t rc;

	if (!attr_writable(file->attr))
		return -EPERM;
	file_lock(file);
	if (file->attr->stream) {
		rc = file->attr->stream->write(file, caller, buf, size);
	} else {
		rc = store_text(file, caller, buf, size);
		if (!rc)
			rc = (ssize_t)size;
	}
	file_unlock(file);
	return rc;
}

unsigned int rkfs_poll(struct rkfs_file *file)
{
	const struct rkfs_attr *attr = file->attr;
	unsigned int events = POLLIN;

	if (attr->stream) {
		if (attr->stream->poll) {
			file_lock(file);
			events = attr->stream->poll(file);
			file_unlock(file);
		}
		return events;
	}
	if (attr_writable(attr))
		events |= POLLOUT;
	file_lock(file);
	if ((attr->flags & (RKFS_POLL_STATE | RKFS_POLL_WORKER)) &&
	    file->seen != count_changes(file->subject.fs, attr))
		events |= POLLPRI | POLLERR;
	file_unlock(file);
	return events;
}
