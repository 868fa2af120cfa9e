/* SPDX-License-Identifier: MIT */
/*
 * The tree (node.c): names, inode numbers, attributes; open files (file.c); the filesystem as a
 * whole (rkfs.c). Knows no FUSE, so all of it is tested unmounted. The numbers of nodes are
 * computed, never stored: a class of directory, the id of its subject (never used twice) and the
 * row; so there is no lookup count and nothing to forget.
 *
 * Lock order: a file's lock may be held when any of the runtime's is taken, never the reverse
 * (runtime/lifecycle.h). No two files' locks are held at once: while one is held, waking is put
 * off (fs/base/waitq.h).
 */
#ifndef RKFS_NODE_H
#define RKFS_NODE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "fs/base/access.h"
#include "fs/base/attr.h"

#define RKFS_ROOT_INO 1 /* its node, and its inode number */

/* Directories by what their entries are; a row of the table in node.c each. */
enum rkfs_class {
	RKFS_ROOT,
	RKFS_STATS,
	RKFS_CONFIG,
	RKFS_HEALTH,
	RKFS_WAIT,
	RKFS_DRAIN,
	RKFS_INFLIGHT,
	RKFS_KERNELS,
	RKFS_DOMAIN, /* kernels/D: one per domain */
	RKFS_KERNEL, /* kernels/D/N: one per kernel */
	RKFS_DEVICES,
	RKFS_DEVICE, /* devices/N: one per device */
	RKFS_CLASS_COUNT,
};

struct rkfs_commands;
struct rkfs_job;
struct rkfs_parked;
struct rkfs_looks;
TAILQ_HEAD(rkfs_files, rkfs_file);

/* The filesystem, one per mount. */
struct rkfs {
	struct rk_runtime *rt;
	struct rk_runtime_observer observer; /* that the runtime is to have; rkfs_init sets it */
	const char *mount;	   /* the path of the mount, for metrics; NULL = not known */
	struct rkfs_access access; /* rkfs_init sets what it is without options */
	struct timespec born;	   /* the time of directories, and of files until they change */
	struct rkfs_looks *looks;  /* since when files have the content that they have */
	struct rkfs_attrs attrs[RKFS_CLASS_COUNT];
	struct rkfs_waitq state_wait;
	struct rkfs_waitq event_wait;
	struct rkfs_waitq command_wait;
	struct rkfs_commands *commands; /* that read files; fs/command.c */
	atomic_bool ending;		/* waiters and followers read EOF from now on */
	atomic_ulong changes;		/* of the state, for POLLPRI */
	struct rkfs_calls *calls; /* open call files; fs/call/call.c; set before the first open */
	atomic_size_t waiters;	  /* open files that wait (RKFS_WAITS) and were not given EOF yet */
	void (*on_no_waiter)(
		void *ctx); /* called when waiters falls to 0: only signals; may be NULL */
	void *on_no_waiter_ctx;
	/* before a reload (@again) and after a reset: the log's file is to be followed; may be NULL
	 */
	void (*follow_log)(void *ctx, bool again);
	void *follow_log_ctx;
	pthread_mutex_t files_lock; /* innermost */
	struct rkfs_files files;    /* all that are open */
};

/* An open file. */
struct rkfs_file {
	atomic_uint refs;
	pthread_mutex_t lock;
	const struct rkfs_attr *attr;
	struct rkfs_subject subject;
	struct rkfs_waitq
		*waitq; /* what a read that would wait, or a poll, waits on; NULL = never waits */
	struct rkfs_textbuf
		text;	    /* content as of the last render; a stream may use it as it likes */
	bool rendered;	    /* text is valid */
	size_t sent;	    /* of text, by a stream */
	uint64_t next;	    /* of a log: how far it is rendered */
	uint64_t skipped;   /* of a log: bytes before text that have been read and are not kept */
	unsigned long seen; /* fs->changes at the open and at the last render */
	void *stream;	    /* the stream's own state */
	bool waits;	    /* counts in fs->waiters */
	struct rkfs_parked *poll; /* the newest one; of fs/park.c */
	struct rkfs_job *job;	  /* the command that its writer waits for; fs/command.c */
	TAILQ_ENTRY(rkfs_file) open;
};

/*
 * Prepare @fs (zeroed by the caller); @fs->rt and @fs->calls are set by the caller afterwards,
 * before anything else is called. Returns 0 or a negative errno.
 */
int rkfs_init(struct rkfs *fs);
/*
 * Release the files that are still open: a connection that ends brings no RELEASE. Nobody uses
 * them any more. rkfs_session_destroy does it; before rk_runtime_destroy and rkfs_calls_destroy.
 */
void rkfs_close_files(struct rkfs *fs);
/* Free what rkfs_init made. No file is open and the runtime is destroyed. */
void rkfs_destroy(struct rkfs *fs);

/* Answer whoever waits in wait/ and events_follow with EOF, now and from now on. */
void rkfs_end_waiters(struct rkfs *fs);

/* What a name, or a node, leads to. */
struct rkfs_entry {
	uint64_t node; /* what all the functions here take */
	/*
	 * What stat(2) shows. st_ino, another number than node, is below 2^32. The size of a file
	 * is the length of its text as it would be rendered now, so that who copies by it, or by
	 * sendfile(2), which stops there, copies all; RKFS_UNKNOWN_SIZE where it takes a read to
	 * tell.
	 */
	struct stat st;
	double entry_timeout; /* seconds for which the name may be cached */
	double attr_timeout;  /* seconds for which st may be */
};

#define RKFS_UNKNOWN_SIZE 4096

/*
 * Find @name in directory @parent; fills *@entry on success.
 * -ENOENT, -ENOTDIR, -ENAMETOOLONG, and -ESTALE where @parent is a kernel that is gone.
 */
int rkfs_lookup(struct rkfs *fs, uint64_t parent, const char *name, struct rkfs_entry *entry);
/* Whether every LOOKUP of @node, below 2^32, is to give another node id (RKFS_FRESH). */
bool rkfs_fresh(struct rkfs *fs, uint64_t node);
/*
 * Fills *@entry but for entry_timeout. -ENOENT where its subject is gone, -ESTALE where that is a
 * kernel: walk again.
 */
int rkfs_getattr(struct rkfs *fs, uint64_t node, struct rkfs_entry *entry);
/*
 * The part of rkfs_lookup and rkfs_getattr that depends on the content (stat.c): size, blocks and
 * times of the file @entry->node, whose row is @attr. @subject is NULL where it is gone. Renders
 * the text, or as little of it as will do, and so blocks as little as a read.
 */
void rkfs_stat_content(const struct rkfs_attr *attr, const struct rkfs_subject *subject,
		       struct rkfs_entry *entry);
/* Whether @node is a file that can be written to: 0, -EPERM, -EISDIR, -ENOENT or -ESTALE. */
int rkfs_writable(struct rkfs *fs, uint64_t node);
/*
 * The row of file @node, and what it is about (its kernel is a reference for the caller, or NULL).
 * -ENOENT, -ESTALE, -EISDIR.
 */
int rkfs_row(struct rkfs *fs, uint64_t node, const struct rkfs_attr **attr,
	     struct rkfs_subject *subject);
/*
 * Remove @name from @parent: in inflight/ that cancels the message. -ENOENT, -EPERM anywhere else.
 * Who may is the kernel's matter: the directory is sticky and a message belongs to its caller.
 */
int rkfs_unlink(struct rkfs *fs, uint64_t parent, const char *name);
/*
 * What a listing of inflight/ that begins now ends with, for rkfs_readdir: with new messages coming
 * all the time it would have no end.
 */
uint64_t rkfs_dir_end(struct rkfs *fs);
/*
 * List @node from cookie @offset on (0 = start; "." and ".." included), messages up to @end only.
 * @fill returns false when its buffer is full; @next is the cookie of the entry after this one.
 * Only the type and number in
 * @st are set. -ENOENT, -ESTALE, -ENOTDIR.
 */
int rkfs_readdir(struct rkfs *fs, uint64_t node, uint64_t offset, uint64_t end,
		 bool (*fill)(void *ctx, const char *name, const struct stat *st, uint64_t next),
		 void *ctx);

/*
 * Open @node with open(2) @flags. *@file has one reference. -ENOENT, -EISDIR, -EPERM
 * (writing a file that has no store, reading one that cannot be read), -ENOMEM.
 */
int rkfs_open(struct rkfs *fs, uint64_t node, const struct rk_caller *caller, int flags,
	      struct rkfs_file **file);
struct rkfs_file *rkfs_file_ref(struct rkfs_file *file);
void rkfs_file_unref(struct rkfs_file *file);

/*
 * Text: rendered at offset 0 and where nothing is rendered yet; the bytes from @offset on. A log
 * also renders, at its end, what has come since. Stream: its read. Calls @emit once and returns 0,
 * or a negative errno without emitting; -EAGAIN only where it must wait on file->waitq. The caller
 * holds a reference: the kernel may RELEASE as soon as @emit has replied.
 */
int rkfs_read(struct rkfs_file *file, const struct rk_caller *caller, uint64_t offset, size_t size,
	      int flags, rkfs_emit emit, void *ctx);
/* Bytes taken or a negative errno; -EAGAIN only where it must wait on file->waitq. */
ssize_t rkfs_write(struct rkfs_file *file, const struct rk_caller *caller, const char *buf,
		   size_t size);
/* Poll events that hold now. */
unsigned int rkfs_poll(struct rkfs_file *file);

/* For streams: emit what is left of file->text after file->sent, @size bytes at the most. */
void rkfs_emit_rest(struct rkfs_file *file, size_t size, rkfs_emit emit, void *ctx);

#endif
