/* SPDX-License-Identifier: MIT */
/* The files of each directory: tables of rows, and what the rows of several files share. */
#ifndef RKFS_FILES_FILES_H
#define RKFS_FILES_FILES_H

#include <stddef.h>
#include <stdint.h>

#include "fs/base/rkfs.h"

/* line.c */

#define RKFS_LINE_MAX 4096 /* bytes of one write; more: EMSGSIZE */

/*
 * The line that one write of @len bytes at @text holds, with a NUL behind it, without a final
 * newline and surrounding blanks (space, tab). @what names the file in sentences. 0, -EINVAL
 * (empty, a byte that is not printable ASCII, a second line) or -EMSGSIZE.
 */
int rkfs_line_read(const char *what, const char *text, size_t len, char line[RKFS_LINE_MAX + 1],
		   struct rk_error *err);

/*
 * The same for a file @what of @of that is a switch: *@on is what 1 or 0 says. Else -EINVAL, too.
 */
int rkfs_switch_read(const char *what, const char *of, const char *text, size_t len, bool *on,
		     struct rk_error *err);

/* verbs.c */

enum rkfs_verb {
#define RKFS_VERB(name, secs, reads, allowed, run) RKFS_VERB_##name,
#include "fs/files/verbs.def"
	RKFS_VERB_COUNT
};

struct rkfs_command {
	enum rkfs_verb verb;
	int64_t ms; /* its time; -1 = none given */
};

/* Parse what was written to control. -EINVAL, -EMSGSIZE; the sentence lists the verbs. */
int rkfs_verb_parse(const char *text, size_t len, struct rkfs_command *command,
		    struct rk_error *err);

const char *rkfs_verb_name(enum rkfs_verb verb);

/* Whether @verb reads files of the user's, which may take for ever. */
bool rkfs_verb_reads(enum rkfs_verb verb);

/* Whether @verb would be accepted now. */
bool rkfs_verb_allowed(struct rk_runtime *rt, enum rkfs_verb verb);

/*
 * Give @verb, with the time @ms or -1, for @caller (NULL: the daemon itself). Its outcome, which
 * the runtime has logged and noted. Blocks if it reads files.
 */
int rkfs_verb_run(struct rk_runtime *rt, enum rkfs_verb verb, int64_t ms,
		  const struct rk_caller *caller);

/* control.c */

/* Permission bits of control, where the mount's options give no others. */
#define RKFS_CONTROL_MODE 0600

int rkfs_control_show(const struct rkfs_attr *attr, const struct rkfs_subject *subject,
		      struct rkfs_textbuf *out);
int rkfs_control_command(struct rkfs_file *file, const struct rk_caller *caller, const char *text,
			 size_t len);

/* root.c */
extern const struct rkfs_attrs rkfs_root_attrs;

/* stats.c */
extern const struct rkfs_attrs rkfs_stats_attrs;

/* config.c */
extern const struct rkfs_attrs rkfs_config_attrs;

/* health.c */
extern const struct rkfs_attrs rkfs_health_attrs;

/* wait.c */
extern const struct rkfs_attrs rkfs_wait_attrs;

/* drain.c */
extern const struct rkfs_attrs rkfs_drain_attrs;

/* events.c: two rows of the root's */
extern const struct rkfs_log_ops rkfs_events_log;
extern const struct rkfs_stream_ops rkfs_events_follow_ops;

/* inflight.c: one row, for every message */
extern const struct rkfs_attrs rkfs_inflight_attrs;

/* kernel.c */
extern const struct rkfs_attrs rkfs_kernel_attrs;

/* devices.c */
extern const struct rkfs_attrs rkfs_device_attrs;

/* workers.c */
extern const struct rkfs_attrs rkfs_worker_attrs;

/*
 * command.c: commands that read files of the user's (reload, reset). Each runs on a thread of its
 * own, since a dead file system may keep it for ever; whoever has written it waits parked,
 * interruptibly.
 */

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
