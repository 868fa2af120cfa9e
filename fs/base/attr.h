/* SPDX-License-Identifier: MIT */
/*
 * One row per file. Lookup, getattr, open, permissions and readdir all derive
 * from the row; adding a file is adding a row (fs/files/) and its man page entry.
 */
#ifndef RKFS_BASE_ATTR_H
#define RKFS_BASE_ATTR_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/base/shared_text.h"
#include "fs/base/waitq.h"
#include "runtime/runtime.h"

/* textbuf.c: text that grows up to a bound; what show functions write into. Not thread-safe. */

#define RKFS_TEXTBUF_MAX (64UL << 20) /* bytes */

struct rkfs_textbuf {
	char *data; /* not NUL-terminated for readers; owned unless it is small[] or shared */
	size_t len;
	size_t size;
	int error;			 /* first failure, a positive errno; sticky until reset */
	struct rkfs_shared_text *shared; /* a reference: whose data it is; NULL = nobody else's */
	char small[120];		 /* most files need no malloc */
};

void rkfs_textbuf_init(struct rkfs_textbuf *tb);
void rkfs_textbuf_free(struct rkfs_textbuf *tb);
/* Empty again, without an error; keeps the memory. */
void rkfs_textbuf_reset(struct rkfs_textbuf *tb);
/*
 * Keep the text once with all in @all that are equal; what is appended later goes to a copy. Does
 * nothing to a short text, and where memory is out.
 */
void rkfs_textbuf_share(struct rkfs_textbuf *tb, struct rkfs_shared_texts *all);
/*
 * Append. A failure (ENOMEM, EFBIG over RKFS_TEXTBUF_MAX) is remembered in tb->error, appends
 * nothing, and later calls do nothing.
 */
void rkfs_textbuf_printf(struct rkfs_textbuf *tb, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void rkfs_textbuf_append(struct rkfs_textbuf *tb, const void *data, size_t len);
/* Append @text, a NUL-terminated string, and a newline. */
void rkfs_textbuf_line(struct rkfs_textbuf *tb, const char *text);
/* Append @n and a newline; the fast way for counters. */
void rkfs_textbuf_u64_line(struct rkfs_textbuf *tb, unsigned long long n);

/* the rows */

struct rkfs;
struct rkfs_file;
struct rkfs_attr;

/* Which thing a file is about: a kernel for rows under kernels/D/N/, else NULL. */
struct rkfs_subject {
	struct rkfs *fs;
	struct rk_kernel *kernel; /* a reference, held while the file is open */
	uint32_t message;	  /* inflight/ID: the low half of the id; else 0 */
	uint32_t number;	  /* devices/N, workers/N: N; else 0 */
	uid_t reader;		  /* who opened it, 0 = the mount's owner too; 0 for lengths */
};

/* Receives the bytes of a read, exactly once, under the file's lock; must copy or send them. */
typedef void (*rkfs_emit)(void *ctx, const void *data, size_t len);

/*
 * A file that is more than text. All are called with the file's lock held (open and release:
 * by the only user, no lock needed); none may block. What they wake is woken once the lock is free.
 */
struct rkfs_stream_ops {
	/* Set file->waitq, allocate file->stream. 0 or a negative errno. NULL: nothing to do. */
	int (*open)(struct rkfs_file *file, const struct rk_caller *caller, int flags);
	/*
	 * Update the file's state, then emit up to @size bytes (0 = EOF) and return 0; or a
	 * negative errno without emitting. -EAGAIN: wait on *file->waitq and call again.
	 */
	int (*read)(struct rkfs_file *file, const struct rk_caller *caller, size_t size, int flags,
		    rkfs_emit emit, void *ctx);
	/* Bytes taken (all of them) or a negative errno. NULL: -EPERM. */
	ssize_t (*write)(struct rkfs_file *file, const struct rk_caller *caller, const char *buf,
			 size_t size);
	/* POLLIN, POLLOUT, POLLPRI, POLLERR, POLLHUP as they hold now. NULL: POLLIN. */
	unsigned int (*poll)(struct rkfs_file *file);
	void (*release)(struct rkfs_file *file);
};

/*
 * Text that grows at its end. A read at the end renders what has come since, so that tail -f, which
 * goes by the size, follows it.
 */
struct rkfs_log_ops {
	/*
	 * Append to @out what comes from *@next on (0: from the oldest that is retained), and move
	 * *@next, which is the log's own. 0 or a negative errno.
	 */
	int (*more)(const struct rkfs_subject *subject, uint64_t *next, struct rkfs_textbuf *out);
	/* The length of all that is retained; *@version is another one whenever that is another. */
	uint64_t (*size)(const struct rkfs_subject *subject, uint64_t *version);
	/* While a file is open: forget nothing, as long as that can be. */
	void (*hold)(const struct rkfs_subject *subject);
	void (*release)(const struct rkfs_subject *subject);
};

enum rkfs_attr_flags {
	RKFS_HIDDEN = 1, /* can be opened, is not listed by readdir */
	RKFS_STREAM = 2, /* FOPEN_STREAM: no offset, reads may wait */
	/* POLLPRI when the state has changed since the last render (or the open) */
	RKFS_POLL_STATE = 4,
	RKFS_POLL_WORKER = 32, /* the same for the states of workers */
	RKFS_WAITS = 8, /* its readers wait for the runtime, and get EOF when the mount ends */
	/*
	 * Every LOOKUP gives it another node id, with the same st_ino: a write that waits holds the
	 * lock of its inode in the kernel, and the next one's must be another.
	 */
	RKFS_FRESH = 16,
};

struct rkfs_attr {
	const char *name;
	mode_t mode; /* permission bits; of files that take writes rkfs_access_mode() decides */
	unsigned int flags;
	/*
	 * Text files: the content. Append to @out and return 0, or a negative errno but -EAGAIN (an
	 * unknown value is an errno, never a false 0). Must not block, take no lock that is held
	 * across a driver call.
	 */
	int (*show)(const struct rkfs_attr *attr, const struct rkfs_subject *subject,
		    struct rkfs_textbuf *out);
	/*
	 * Text files: one write(2) of @len bytes at @text, NUL-terminated behind them (the text
	 * itself may hold NULs; a final newline and surrounding blanks are still there). 0 or a
	 * negative errno.
	 */
	int (*store)(const struct rkfs_attr *attr, const struct rkfs_subject *subject,
		     const struct rk_caller *caller, const char *text, size_t len);
	/*
	 * Instead of store, where a command may take its time: as store, with the file's lock held,
	 * but -EAGAIN says to wait on file->waitq and to call again with the same text. RKFS_FRESH.
	 */
	int (*command)(struct rkfs_file *file, const struct rk_caller *caller, const char *text,
		       size_t len);
	const struct rkfs_log_ops *log;	      /* instead of show */
	const struct rkfs_stream_ops *stream; /* instead of show and store */
	/* Whether @kernel has this file; NULL = all have it. Never changes for one kernel. */
	bool (*present)(const struct rkfs_attr *attr, const struct rk_kernel *kernel);
	uintptr_t arg; /* what the row's functions are parameterised with */
};

/* Begins a row's show function: of @attr, @subject and @out it uses what it needs. */
#define RKFS_SHOW(name)                                                                            \
	static int name(__attribute__((unused)) const struct rkfs_attr *attr,                      \
			__attribute__((unused)) const struct rkfs_subject *subject,                \
			__attribute__((unused)) struct rkfs_textbuf *out)

/* The rows of one directory. */
struct rkfs_attrs {
	const struct rkfs_attr *rows;
	size_t count;
};

#endif
