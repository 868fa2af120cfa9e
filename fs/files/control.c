/* SPDX-License-Identifier: MIT */
/* control: shows the verbs that would be accepted, and takes one. */
#include "fs/files/files.h"

int rkfs_control_show(const struct rkfs_attr *attr, const struct rkfs_subject *subject,
		      struct rkfs_textbuf *out)
{
	const char *between = "";

	(void)attr;
	for (enum rkfs_verb verb = 0; verb < RKFS_VERB_COUNT; verb++) {
		if (!rkfs_verb_allowed(subject->fs->rt, verb))
			continue;
		rkfs_textbuf_printf(out, "%s%s", between, rkfs_verb_name(verb));
		between = " ";
	}
	rkfs_textbuf_append(out, "\n", 1);
	return 0;
}

int rkfs_control_command(struct rkfs_file *file, const struct rk_caller *caller, const char *text,
			 size_t len)
{
	struct rk_runtime *rt = file->subject.fs->rt;
	struct rkfs_command command;
	struct rk_error err;

	if (rkfs_verb_parse(text, len, &command, &err))
		return rk_runtime_refuse(rt, "a write", caller, &err);
	if (rkfs_verb_reads(command.verb))
		return rkfs_command_run(file, &command, caller);
	return rkfs_verb_run(rt, command.verb, command.ms, caller);
}
