/* SPDX-License-Identifier: MIT */
/* Memory as a file, for what two processes map. No locks. */
#ifndef RK_RUNTIME_BASE_MEMFD_H
#define RK_RUNTIME_BASE_MEMFD_H

/*
 * A new, empty memory file that can be sealed and is close-on-exec. It cannot be executed, which
 * mapping code from it and dlopen do not need, and which a system may insist on
 * (vm.memfd_noexec=2). @name is for /proc, as much of it as fits. Returns a descriptor that the
 * caller owns, or a negative errno.
 */
int rk_memfd_create(const char *name);

#endif
