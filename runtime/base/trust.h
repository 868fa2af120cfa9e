/* SPDX-License-Identifier: MIT */
/*
 * Opens files of which it matters who could have written them, or could have put something else in
 * their place. A path is walked component by component, symbolic links included, each from the
 * descriptor of the directory before it, so that what was checked is what is opened.
 */
#ifndef RK_RUNTIME_BASE_TRUST_H
#define RK_RUNTIME_BASE_TRUST_H

#include "runtime/base/error.h"

/*
 * Open @path (absolute) with the open(2) @flags, which create nothing. It and every directory on
 * the way, those of symbolic links included, must belong to root or to the effective user and be
 * writable by nobody else: not by others, nor by a group other than root's, nor by an entry of an
 * access control list. A sticky directory of root's, such as /tmp, is accepted on the way. Returns
 * the descriptor (O_CLOEXEC) or -EACCES (the sentence names the part of the path that is not
 * trusted), -EINVAL (a relative path), -ELOOP or the errno of open. Blocks as open does.
 */
int rk_trust_open(const char *path, int flags, struct rk_error *err);

/*
 * Open the file @path to append to it, and create it (0640) where it is not there. Whoever else may
 * write the directories, no symbolic link is followed that does not belong to root or the effective
 * user, and a file that is there must belong to one of them and have one name only. Returns the
 * descriptor (O_CLOEXEC, O_NONBLOCK, O_NOCTTY) or -EACCES with a sentence, or the errno of open.
 */
int rk_trust_append(const char *path, struct rk_error *err);

#endif
