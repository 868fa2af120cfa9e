/* SPDX-License-Identifier: MIT */
/* How much memory this process may use before the kernel kills somebody for it, and whether it did.
 */
#ifndef RK_RUNTIME_BASE_MEMORY_LIMIT_H
#define RK_RUNTIME_BASE_MEMORY_LIMIT_H

#include <stdint.h>

/*
 * The smallest limit of the process's memory cgroup and of those above it (cgroup v2 memory.max,
 * v1 memory.limit_in_bytes), or the machine's memory where that is less, in bytes. What cannot
 * be read does not count. @root is put in front of /proc and /sys: "", or a directory for tests.
 */
uint64_t rk_memory_limit(const char *root);

/*
 * How many processes of this machine its out-of-memory killer has ended, for whatever limit, since
 * the boot; 0 where that cannot be read.
 */
uint64_t rk_memory_kills(void);

/*
 * The bound on max_buffered_bytes where nobody has set it, in bytes: half of the memory limit,
 * since the worker and what requests become need the rest, and no more than a file may have
 * (RLIMIT_FSIZE). At least 1 MiB.
 */
uint64_t rk_memory_for_payloads(void);

#endif
