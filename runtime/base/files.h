/* SPDX-License-Identifier: MIT */
/*
 * Files and directories of the user's, read by a helper process (runtime/base/helper.h), so that
 * whoever waits for a dead file system can stop waiting. Everything here blocks until the answer is
 * there or the cancel descriptor becomes readable (ECANCELED). A NULL session reads in this process
 * instead.
 */
#ifndef RK_RUNTIME_BASE_FILES_H
#define RK_RUNTIME_BASE_FILES_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "runtime/base/error.h"
#include "runtime/base/ini_file.h"

struct rk_files;
struct rk_module;

/*
 * Make a session, for one thread at a time. Once @cancel_fd, which is borrowed, is readable, all
 * calls fail with ECANCELED. Returns 0 or -ENOMEM.
 */
int rk_files_create(struct rk_files **files, int cancel_fd, struct rk_error *err);
void rk_files_destroy(struct rk_files *files); /* NULL is allowed */

/* End the helper while nothing is read; the next call starts another. NULL is allowed. */
void rk_files_rest(struct rk_files *files);

/* The path that is being read now, or "". From any thread; returns at once. */
void rk_files_path(struct rk_files *files, char path[PATH_MAX]);

/* As rk_ini_read_file. */
int rk_files_read(struct rk_files *files, const char *path, bool trusted, struct rk_ini_text *text,
		  struct rk_error *err);

/*
 * The names in @dir that end in @suffix and do not begin with a dot, sorted, each with a NUL behind
 * it, in *@names of *@len bytes, which the caller frees. Fails as rk_trust_open does, or with
 * ENOMEM.
 */
int rk_files_list(struct rk_files *files, const char *dir, const char *suffix, char **names,
		  size_t *len, struct rk_error *err);

/* As rk_module_open. */
int rk_files_module(struct rk_files *files, const char *path, struct rk_module **module,
		    struct rk_error *err);

/* Whether @path still is the very file that @module was copied from. */
bool rk_files_current(struct rk_files *files, const char *path, const struct rk_module *module);

#endif
