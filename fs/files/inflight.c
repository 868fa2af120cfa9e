/* SPDX-License-Identifier: MIT */
/* inflight/ID: a message in flight, as a file. */
#include <errno.h>

#include "fs/files/files.h"

RKFS_SHOW(message_show)
{
	struct rk_message_info info;

	/* as /proc/PID/ files of a process that has ended */
	if (!rk_dispatch_find(rk_runtime_dispatch(subject->fs->rt), subject->message, &info))
		return -ESRCH;
	rkfs_textbuf_printf(out, "kernel %s\nstate %s\nage_ms %llu\nuid %u\npid %d\n", info.kernel,
			    rk_message_info_state(&info), (unsigned long long)info.age_ms, info.uid,
			    info.pid);
	if (info.worker >= 0)
		rkfs_textbuf_printf(out, "worker %d\n", info.worker);
	return 0;
}

/* The name is the message's id. */
static const struct rkfs_attr rows[] = {
	{.name = "", .mode = 0444, .show = message_show},
};

const struct rkfs_attrs rkfs_inflight_attrs = {rows, sizeof(rows) / sizeof(rows[0])};
