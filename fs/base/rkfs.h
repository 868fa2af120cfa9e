/* SPDX-License-Identifier: MIT */
/*
 * The filesystem and its open files, as the rows' functions see them; fs/node.h is what makes and
 * uses them.
 *
 * The order of locks is in doc/ARCHITECTURE.md. No two files' locks are held at once: while one is
 * held, waking is put off (fs/base/waitq.h).
 */
#ifndef RKFS_BASE_RKFS_H
#define RKFS_BASE_RKFS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/base/access.h"
#include "fs/base/attr.h"
#include "runtime/request/account.h"

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
	RKFS_WORKERS,
	RKFS_WORKER, /* workers/N: one per worker */
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
	struct rkfs_commands *commands; /* that read files; fs/files/command.c */
	atomic_bool ending;		/* waiters and followers read EOF from now on */
	atomic_ulong changes;		/* of the state, for POLLPRI */
	atomic_ulong moves;		/* of workers' states, the same */
	struct rkfs_calls *calls; /* open call files; fs/call/call.c; set before the first open */
	atomic_size_t waiters;	  /* open files that wait (RKFS_WAITS) and were not given EOF yet */
	void (*on_no_waiter)(
		void *ctx); /* called when waiters falls to 0: only signals; may be NULL */
	void *on_no_waiter_ctx;
	/* before a reload (@again) and after a reset: the log's file is to be followed; may be NULL
	 */
	void (*follow_log)(void *ctx, bool again);
	void *follow_log_ctx;
	struct rkfs_shared_texts shared_texts;
	pthread_mutex_t files_lock; /* guards the two below */
	struct rkfs_files files;    /* all that are open */
	struct rk_accounts held; /* how much memory each user's open files and waiting reads hold */
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
	uint64_t end;	    /* of a text that was read to its end and given back, 0 = none was */
	uid_t uid;	    /* who opened it, and holds the memory of text */
	uint64_t charged;   /* of that, to him; guarded by fs->files_lock */
	size_t sent;	    /* of text, by a stream */
	uint64_t next;	    /* of a log: how far it is rendered */
	uint64_t skipped;   /* of a log: bytes before text that have been read and are not kept */
	unsigned long seen; /* fs->changes, or moves, at the open and at the last render */
	void *stream;	    /* the stream's own state */
	bool waits;	    /* counts in fs->waiters */
	struct rkfs_parked *poll; /* the newest one; of fs/park.c */
	struct rkfs_job *job;	  /* the command that its writer waits for; fs/files/command.c */
	TAILQ_ENTRY(rkfs_file) open;
};

/* eof.c */

/*
 * For streams: emit what is left of file->text after file->sent, @size bytes at the most. Nothing
 * left is EOF, after which the file waits no more.
 */
void rkfs_emit_rest(struct rkfs_file *file, size_t size, rkfs_emit emit, void *ctx);

/* @file reads no more: it was given EOF, or it is closed. */
void rkfs_stop_waiting(struct rkfs_file *file);

/* Answer whoever waits in wait/ and events_follow with EOF, now and from now on. */
void rkfs_end_waiters(struct rkfs *fs);

#endif
