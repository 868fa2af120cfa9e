/* SPDX-License-Identifier: MIT */
/*
 * Kernels from descriptions: those that are compiled in, and the *.ini files of kernels_dir. A scan
 * registers what is new, replaces what has changed and retires what is gone. A description
 * that is wrong, or whose library is, registers nothing and stops nobody else's kernel; the one it
 * had before goes on. A directory that cannot be read keeps its kernels too; one that is not there
 * has none.
 */
#ifndef RK_RUNTIME_KERNEL_KERNELS_DIR_H
#define RK_RUNTIME_KERNEL_KERNELS_DIR_H

#include "runtime/base/error.h"
#include "runtime/kernel/registry.h"

struct rk_files;

/* What a scan found; called with no lock held. */
struct rk_kernels_observer {
	void (*added)(void *ctx, struct rk_kernel *k);
	void (*changed)(void *ctx, struct rk_kernel *k); /* @k is the new one */
	void (*removed)(void *ctx, struct rk_kernel *k);
	/* @file was refused: @why names it, line and key, and says what is allowed. */
	void (*refused)(void *ctx, const char *file, const struct rk_error *why);
	void *ctx;
};

/* Register the kernels that are compiled in. 0 or a negative errno. */
int rk_kernels_builtin(struct rk_registry *reg, const struct rk_kernels_observer *observer,
		       struct rk_error *err);

/*
 * Scan the directories @dirs (':'-separated, "" = none), one scan at a time. Returns the number of
 * descriptions and directories refused; the first one's sentence is in @err. @files reads (NULL =
 * the caller's thread); where it is told to give up, what is left to be read is refused with
 * ECANCELED and keeps its kernels. Blocks for reading files and libraries; the caller serialises.
 */
int rk_kernels_scan(struct rk_registry *reg, struct rk_files *files, const char *dirs,
		    const struct rk_kernels_observer *observer, struct rk_error *err);

#endif
