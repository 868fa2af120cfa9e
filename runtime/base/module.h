/* SPDX-License-Identifier: MIT */
/*
 * A user's library, which is opened once, checked, and copied to a sealed memfd. So a worker loads
 * what was checked, and until the next reload every worker loads the same bytes.
 */
#ifndef RK_RUNTIME_BASE_MODULE_H
#define RK_RUNTIME_BASE_MODULE_H

#include <stdbool.h>
#include <sys/stat.h>

#include "runtime/base/error.h"

struct rk_module;

/*
 * Open @path, a regular file, as rk_trust_open does. *@module has one reference. Fails as that
 * does, with EFBIG (over 1 GiB), or with the errno of read or memfd_create. Blocks while it reads.
 */
int rk_module_open(const char *path, struct rk_module **module, struct rk_error *err);

/* A module that another process has opened: @fd, which it owns from now on, and rk_module_stat's.
 */
int rk_module_adopt(int fd, const struct stat *st, struct rk_module **module, struct rk_error *err);

/* Whether @st is that of the very file that @module was copied from. */
bool rk_module_matches(const struct rk_module *module, const struct stat *st);

/* Of the file, when it was copied; owned by the module. */
const struct stat *rk_module_stat(const struct rk_module *module);

/* The sealed memfd; owned by the module. */
int rk_module_fd(const struct rk_module *module);

struct rk_module *rk_module_ref(struct rk_module *module); /* NULL is allowed */
void rk_module_unref(struct rk_module *module);		   /* NULL is allowed */

#endif
