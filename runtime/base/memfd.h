/* SPDX-License-Identifier: MIT */
/* Memory files, for memory that two processes map. No locks. */
#ifndef RK_RUNTIME_BASE_MEMFD_H
#define RK_RUNTIME_BASE_MEMFD_H

/*
 * Make a new, empty memory file that can be sealed and is close-on-exec. It cannot be executed:
 * mapping code from it and dlopen do not need that, and a system may forbid it
 * (vm.memfd_noexec=2). @name is shown in /proc, cut to fit. Returns a descriptor that the
 * caller owns, or a negative errno.
 */
int rk_memfd_create(const char *name);

#endif
