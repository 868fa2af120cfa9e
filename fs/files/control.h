/* SPDX-License-Identifier: MIT */
/* control: commands as text. One table of verbs. */
#ifndef RKFS_FILES_CONTROL_H
#define RKFS_FILES_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/base/attr.h"
#include "fs/files/command.h"

/* The whole of a written command, bytes; longer: EMSGSIZE. */
#define RKFS_COMMAND_MAX 4096

/* Permission bits of control, where the mount's options give no others. */
#define RKFS_CONTROL_MODE 0600

/*
 * The one word or line that one write holds: a final newline and surrounding blanks (space, tab)
 * are dropped. @what names the file in sentences. *@word points into @text, *@wordlen bytes, at
 * least 1. -EINVAL (empty, a byte that is not printable ASCII, a second line), -EMSGSIZE.
 */
int rkfs_control_trim(const char *what, const char *text, size_t len, const char **word,
		      size_t *wordlen, struct rk_error *err);

/* Parse one command of @len bytes. -EINVAL, -EMSGSIZE; the sentence lists the verbs. */
int rkfs_control_parse(const char *text, size_t len, struct rkfs_command *command,
		       struct rk_error *err);

/* The file: show = the verbs allowed now, command = a command. */
int rkfs_control_show(const struct rkfs_attr *attr, const struct rkfs_subject *subject,
		      struct rkfs_textbuf *out);
int rkfs_control_command(struct rkfs_file *file, const struct rk_caller *caller, const char *text,
			 size_t len);

#endif
