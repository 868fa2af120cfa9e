/* SPDX-License-Identifier: MIT */
/*
 * Commands that read files of the user's (reload, reset). Each runs on a thread of its own, since a
 * dead file system may keep it for ever; whoever has written it waits parked, interruptibly.
 */
#ifndef RKFS_FILES_COMMAND_H
#define RKFS_FILES_COMMAND_H

#include "fs/files/files.h"

/* Make fs->commands. 0 or -ENOMEM. */
int rkfs_commands_create(struct rkfs *fs);
/* Wait until none is under way (rk_runtime_give_up comes first) and free. NULL is fine. */
void rkfs_commands_destroy(struct rkfs *fs);

/*
 * Run @command, which reads files, for @file: -EAGAIN while it is under way (wait on file->waitq,
 * and call again), then its outcome. With the file's lock held. The command goes on where nobody
 * calls again.
 */
int rkfs_command_run(struct rkfs_file *file, const struct rkfs_command *command,
		     const struct rk_caller *caller);

/*
 * Run @command for the daemon itself, then @over (NULL = nobody) from its thread. 0, or the
 * negative errno of a command that was refused, as the log says.
 */
int rkfs_command_spawn(struct rkfs *fs, const struct rkfs_command *command, void (*over)(void *ctx),
		       void *ctx);

/* @file is closed: what runs for it goes on. */
void rkfs_command_leave(struct rkfs_file *file);

#endif
