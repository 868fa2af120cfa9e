/* SPDX-License-Identifier: MIT */
/* health/: whether the runtime is alive, ready and well. All of it comes from memory. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "fs/files/files.h"

RKFS_SHOW(live_show)
{
	rkfs_textbuf_u64_line(out, rk_runtime_live(subject->fs->rt));
	return 0;
}

RKFS_SHOW(ready_show)
{
	rkfs_textbuf_u64_line(out, rk_runtime_ready(subject->fs->rt));
	return 0;
}

RKFS_SHOW(status_show)
{
	struct rk_health_report report;

	rk_runtime_health(subject->fs->rt, &report);
	rkfs_textbuf_line(out, rk_health_name(report.status));
	return 0;
}

RKFS_SHOW(reason_show)
{
	struct rk_health_report report;

	rk_runtime_health(subject->fs->rt, &report);
	rkfs_textbuf_line(out, report.reason);
	return 0;
}

RKFS_SHOW(age_show)
{
	struct rk_health_report report;

	rk_runtime_health(subject->fs->rt, &report);
	if (!report.checked)
		return -ENODATA;
	rkfs_textbuf_u64_line(out, report.last_check_age_secs);
	return 0;
}

/* arg is the counter's place in the report. */
RKFS_SHOW(count_show)
{
	struct rk_health_report report;

	rk_runtime_health(subject->fs->rt, &report);
	rkfs_textbuf_u64_line(out, *(const uint64_t *)((const char *)&report + attr->arg));
	return 0;
}

/* The file is there to be written to. Whoever reads all files finds nothing in it. */
RKFS_SHOW(check_show)
{
	return 0;
}

static int check_store(const struct rkfs_attr *attr, const struct rkfs_subject *subject,
		       const struct rk_caller *caller, const char *text, size_t len)
{
	char line[RKFS_LINE_MAX + 1];
	struct rk_error err;
	int rc = rkfs_line_read(attr->name, text, len, line, &err);

	if (!rc && strcmp(line, "1"))
		rc = rk_error_set(&err, EINVAL, "%s: write 1 to probe now", attr->name);
	if (rc)
		return rk_runtime_refuse(subject->fs->rt, "a write", caller, &err);
	return rk_runtime_check_now(subject->fs->rt, caller, NULL);
}

#define COUNT(file, member)                                                                        \
	{                                                                                          \
		.name = file, .mode = 0444, .show = count_show,                                    \
		.arg = offsetof(struct rk_health_report, member)                                   \
	}

static const struct rkfs_attr rows[] = {
	{.name = "live", .mode = 0444, .show = live_show},
	{.name = "ready", .mode = 0444, .show = ready_show},
	{.name = "status", .mode = 0444, .show = status_show},
	{.name = "reason", .mode = 0444, .show = reason_show},
	{.name = "last_check_age_secs", .mode = 0444, .show = age_show},
	COUNT("checks_passed", passed),
	COUNT("checks_failed", failed),
	COUNT("checks_overdue", overdue),
	{.name = "check",
	 .mode = RKFS_CONTROL_MODE & 0222, /* for those who may give commands */
	 .show = check_show,
	 .store = check_store},
};

const struct rkfs_attrs rkfs_health_attrs = {rows, sizeof(rows) / sizeof(rows[0])};
