/* SPDX-License-Identifier: MIT */
/*
 * The tree (node.c): names, inode numbers, attributes; open files (file.c); the filesystem as a
 * whole (rkfs.c). Knows no FUSE, so all of it is tested unmounted. The numbers of nodes are
 * computed, never stored: a class of directory, the id of its subject (never used twice) and the
 * row; so there is no lookup count and nothing to forget.
 */
#ifndef RKFS_NODE_H
#define RKFS_NODE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "fs/base/rkfs.h"

#define RKFS_ROOT_INO 1 /* its node, and its inode number */

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

/* node.c */

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
 * Only the type and number in @st are set. -ENOENT, -ESTALE, -ENOTDIR.
 */
int rkfs_readdir(struct rkfs *fs, uint64_t node, uint64_t offset, uint64_t end,
		 bool (*fill)(void *ctx, const char *name, const struct stat *st, uint64_t next),
		 void *ctx);

/* stat.c */

/*
 * The part of rkfs_lookup and rkfs_getattr that depends on the content: size, blocks and
 * times of the file @entry->node, whose row is @attr. @subject is NULL where it is gone. Renders
 * the text, or as little of it as will do, and so blocks as little as a read.
 */
void rkfs_stat_content(const struct rkfs_attr *attr, const struct rkfs_subject *subject,
		       struct rkfs_entry *entry);

/* file.c */

/* Whether @node is a file that can be written to: 0, -EPERM, -EISDIR, -ENOENT or -ESTALE. */
int rkfs_writable(struct rkfs *fs, uint64_t node);
/*
 * Open @node with open(2) @flags. *@file has one reference. -ENOENT, -EISDIR, -EPERM
 * (writing a file that has no store, reading one that cannot be read), -ENOMEM.
 */
int rkfs_open(struct rkfs *fs, uint64_t node, const struct rk_caller *caller, int flags,
	      struct rkfs_file **file);

/*
 * @uid holds @bytes more of the daemon's memory, or less. Open files and their texts are counted by
 * themselves. 0, or -ENOMEM where that would be more than one user may hold.
 */
int rkfs_hold(struct rkfs *fs, uid_t uid, uint64_t bytes);
void rkfs_unhold(struct rkfs *fs, uid_t uid, uint64_t bytes);

struct rkfs_file *rkfs_file_ref(struct rkfs_file *file);
void rkfs_file_unref(struct rkfs_file *file);
/*
 * Release the files that are still open: a connection that ends brings no RELEASE. Nobody uses
 * them any more. rkfs_session_destroy does it; before rk_runtime_destroy and rkfs_calls_destroy.
 */
void rkfs_close_files(struct rkfs *fs);

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

/* rkfs.c */

/*
 * Prepare @fs (zeroed by the caller); @fs->rt and @fs->calls are set by the caller afterwards,
 * before anything else is called. Returns 0 or a negative errno.
 */
int rkfs_init(struct rkfs *fs);
/* Free what rkfs_init made. No file is open and the runtime is destroyed. */
void rkfs_destroy(struct rkfs *fs);

#endif
