/* SPDX-License-Identifier: MIT */
/* A user's library or module, which comes to the worker as a sealed memfd. */
#ifndef RK_GPU_BASE_LIBRARY_H
#define RK_GPU_BASE_LIBRARY_H

#include <stdint.h>
#include <sys/types.h>

/* The end of @path that a sentence has room for: it says more than the beginning. */
const char *rk_library_path_shown(const char *path);

/*
 * Read up to @size bytes at @offset; the descriptor's own offset stays. Returns how many there
 * were, fewer only at the end of the file, or a negative errno.
 */
ssize_t rk_library_read(int fd, void *buf, size_t size, uint64_t offset);

#endif
