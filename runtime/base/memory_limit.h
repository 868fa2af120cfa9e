/* SPDX-License-Identifier: MIT */
/* How much memory this process may use before the kernel kills a process, and whether it has.
 */
#ifndef RK_RUNTIME_BASE_MEMORY_LIMIT_H
#define RK_RUNTIME_BASE_MEMORY_LIMIT_H

#include <stdint.h>

/*
 * The smallest limit of the process's memory cgroup and of those above it (cgroup v2 memory.max,
 * v1 memory.limit_in_bytes), or the machine's memory if that is less, in bytes. Files that cannot
 * be read do not count. @root is put in front of /proc and /sys: "", or a directory for tests.
 */
uint64_t rk_memory_limit(const char *root);

/*
 * How many processes of this machine the out-of-memory killer has ended since the boot, for any
 * limit; 0 if that cannot be read.
 */
uint64_t rk_memory_kills(void);

/*
 * The bound on the default of max_buffered_bytes, in bytes: half of the memory limit, because the
 * worker and decoded requests need the rest, and no more than a file may have (RLIMIT_FSIZE). At
 * least 1 MiB.
 */
uint64_t rk_memory_for_payloads(void);

#endif
