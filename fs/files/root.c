/* SPDX-License-Identifier: MIT */
/* The files at the top of the mount. */
#include <stdlib.h>

#include "fs/files/files.h"
#include "runtime/metrics/metrics.h"

RKFS_SHOW(version_show)
{
	rkfs_textbuf_line(out, "rkfs " RK_VERSION);
	return 0;
}

RKFS_SHOW(state_show)
{
	rkfs_textbuf_line(out, rk_state_name(rk_runtime_state(subject->fs->rt)));
	return 0;
}

RKFS_SHOW(last_cmd_status_show)
{
	char sentence[RK_ERROR_MAX];

	rk_runtime_status(subject->fs->rt, subject->reader, sentence);
	rkfs_textbuf_line(out, sentence);
	return 0;
}

RKFS_SHOW(metrics_show)
{
	char *text;
	size_t len;
	int rc = rk_metrics_print(subject->fs->rt, subject->fs->mount, &text, &len);

	if (rc)
		return rc;
	rkfs_textbuf_append(out, text, len);
	free(text);
	return 0;
}

static const struct rkfs_attr rows[] = {
	{.name = "version", .mode = 0444, .show = version_show},
	{.name = "state", .mode = 0444, .flags = RKFS_POLL_STATE, .show = state_show},
	{.name = "control",
	 .mode = RKFS_CONTROL_MODE,
	 .flags = RKFS_FRESH,
	 .show = rkfs_control_show,
	 .command = rkfs_control_command},
	{.name = "last_cmd_status", .mode = 0444, .show = last_cmd_status_show},
	{.name = "metrics", .mode = 0444, .show = metrics_show},
	{.name = "events", .mode = 0444, .log = &rkfs_events_log},
	{.name = "events_follow",
	 .mode = 0444,
	 .flags = RKFS_HIDDEN | RKFS_STREAM | RKFS_WAITS,
	 .stream = &rkfs_events_follow_ops},
};

const struct rkfs_attrs rkfs_root_attrs = {rows, sizeof(rows) / sizeof(rows[0])};
