/* SPDX-License-Identifier: MIT */
/*
 * The mount namespace in which this process started. One that mounts in another namespace (mount
 * -N) reads its own files, and executes its worker, where whoever started it sees them: in the
 * other one somebody else may choose what a path leads to.
 */
#ifndef RK_RUNTIME_BASE_HOME_H
#define RK_RUNTIME_BASE_HOME_H

#include <stdbool.h>

#include "runtime/base/error.h"

/* Remember the namespace, before another one is entered. 0, or the errno of open with a sentence.
 */
int rk_home_keep(struct rk_error *err);

/*
 * In a child of one thread: back into it; the working directory is its root then. Nothing where
 * none was kept. False where that fails. Safe between fork and exec.
 */
bool rk_home_enter(void);

#endif
