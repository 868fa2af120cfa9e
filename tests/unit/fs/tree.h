/* SPDX-License-Identifier: MIT */
/* The tree, unmounted, over a real runtime. To be included by one file of a program. */
#ifndef RK_TESTS_TREE_H
#define RK_TESTS_TREE_H

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fs/call/call.h"
#include "fs/node.h"

static struct rkfs fs;
static int worker_fd;

/* With the worker @worker, and options of the mount. 0 where all of it is there. */
static inline int tree_open(const char *worker, const char *const *options)
{
	const struct rk_config_sources sources = {.options = options};
	struct rk_error err;

	memset(&fs, 0, sizeof(fs));
	worker_fd = open(worker, O_RDONLY | O_CLOEXEC);
	return worker_fd < 0 || rkfs_init(&fs) ||
	       rk_runtime_create(&fs.rt, &sources, worker_fd, &fs.observer, &err) ||
	       rkfs_calls_create(&fs.calls, rk_runtime_dispatch(fs.rt));
}

static inline void tree_close(void)
{
	rk_runtime_destroy(fs.rt);
	rkfs_calls_destroy(fs.calls);
	rkfs_destroy(&fs);
	close(worker_fd);
}

/* The node at @path from the root, 0 where there is none; *@timeout is the last name's. */
static inline uint64_t tree_find(const char *path, double *timeout)
{
	char copy[256], *save = NULL;
	uint64_t node = RKFS_ROOT_INO;
	struct rkfs_entry entry;

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *name = strtok_r(copy, "/", &save); name; name = strtok_r(NULL, "/", &save)) {
		if (rkfs_lookup(&fs, node, name, &entry))
			return 0;
		node = entry.node;
		*timeout = entry.entry_timeout;
	}
	return node;
}

static inline uint64_t find(const char *path)
{
	double timeout;

	return tree_find(path, &timeout);
}

#endif
