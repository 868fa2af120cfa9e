/* SPDX-License-Identifier: MIT */
/*
 * Rendered texts that are equal, and are kept once however many open files hold them: an audience
 * that keeps `events` open costs the text of one. Thread-safe; nothing here waits.
 */
#ifndef RKFS_BASE_SHARED_TEXT_H
#define RKFS_BASE_SHARED_TEXT_H

#include <pthread.h>
#include <stddef.h>
#include <sys/queue.h>

struct rkfs_shared_texts;

/* Never changed once it is shared. */
struct rkfs_shared_text {
	LIST_ENTRY(rkfs_shared_text) link;
	struct rkfs_shared_texts *all;
	unsigned int refs; /* guarded by all->lock, as link is */
	char *data;	   /* owned, of len bytes */
	size_t len;
};

struct rkfs_shared_texts {
	pthread_mutex_t lock;
	LIST_HEAD(, rkfs_shared_text) texts; /* the newest first */
};

/* 0 or a negative errno. */
int rkfs_shared_texts_init(struct rkfs_shared_texts *all);
/* No text is left by then. */
void rkfs_shared_texts_destroy(struct rkfs_shared_texts *all);

/*
 * A reference to the text that equals the @len bytes at @data, malloc'ed and owned by it from now
 * on: one that there is, and @data is freed, or a new one. NULL where memory is out; @data is the
 * caller's then as before.
 */
struct rkfs_shared_text *rkfs_shared_text_of(struct rkfs_shared_texts *all, char *data, size_t len);

void rkfs_shared_text_unref(struct rkfs_shared_text *text); /* NULL is allowed */

#endif
