/* SPDX-License-Identifier: MIT */
/*
 * A user's library, opened once, checked, and copied to a sealed memfd: what the worker loads is
 * what was checked, and every worker until the next reload loads the same bytes.
 */
#ifndef RK_RUNTIME_MODULE_H
#define RK_RUNTIME_MODULE_H

#include <stdbool.h>
#include <sys/stat.h>

#include "runtime/error.h"

struct rk_module;

/*
 * Open @path (absolute). It must be a regular file which, with all its directories, belongs to
 * root or to the daemon's user and is not writable by everybody; a sticky directory of root's, such
 * as /tmp, is accepted. *@module has one reference. EACCES names the part of the path that is not
 * trusted; EINVAL a relative path; EFBIG over 1 GiB; else the errno of open, read or memfd_create.
 * Blocks for the reading.
 */
int rk_module_open(const char *path, struct rk_module **module, struct rk_error *err);

/* Whether @path still is the very file that @module was copied from. Looks at it with stat(2). */
bool rk_module_current(const struct rk_module *module, const char *path);

/* The sealed memfd; owned by the module. */
int rk_module_fd(const struct rk_module *module);

struct rk_module *rk_module_ref(struct rk_module *module); /* NULL is allowed */
void rk_module_unref(struct rk_module *module);		   /* NULL is allowed */

#endif
