/* SPDX-License-Identifier: MIT */
#ifndef RK_GPU_CPU_ELF_H
#define RK_GPU_CPU_ELF_H

#include "runtime/base/error.h"

/*
 * Whether the file @fd is a whole shared library for this machine. The loader takes that for
 * granted: a library that is cut off kills it with SIGBUS, and of one for another machine it says
 * that there is no such file. Returns 0; -ENOEXEC with a sentence that begins in lower case and
 * names no file ("is not a shared library (ELF file)"); a negative errno of reading. @fd is only
 * read, and keeps its offset.
 */
int rk_elf_check(int fd, struct rk_error *err);

#endif
