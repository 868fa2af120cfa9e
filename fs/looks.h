/* SPDX-License-Identifier: MIT */
/*
 * Since when a file has the content that it has, as far as looks at it can tell: nobody writes
 * the files of this filesystem, so there is no moment at which one would note the time. It is what
 * rsync, make and find(1) go by. A fixed amount of memory, whatever the number of files.
 * Thread-safe.
 */
#ifndef RKFS_LOOKS_H
#define RKFS_LOOKS_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct rkfs_looks;

/* *@looks is owned by the caller. 0, -ENOMEM or the negative errno of the mutex. */
int rkfs_looks_create(struct rkfs_looks **looks);
void rkfs_looks_destroy(struct rkfs_looks *looks); /* NULL is allowed */

/* A number that tells contents apart. */
uint64_t rkfs_looks_digest(const void *data, size_t len);

/*
 * A look at file @number (never 0), whose content has @digest: the time of the first look that
 * found this content, or @born where no look has found another. Now, where so many other files were
 * looked at that this one was forgotten.
 */
struct timespec rkfs_looks_since(struct rkfs_looks *looks, uint64_t number, uint64_t digest,
				 struct timespec born);

#endif
