/* SPDX-License-Identifier: MIT */
/* workers/N/: a worker, where it is in its life, what it has done, and whether it is to serve. */
#include <errno.h>
#include <stdio.h>

#include "fs/files/files.h"

static struct rk_worker_info look(const struct rkfs_subject *subject)
{
	struct rk_worker_info info;

	rk_runtime_worker(subject->fs->rt, subject->number, &info);
	return info;
}

RKFS_SHOW(state_show)
{
	rkfs_textbuf_line(out, rk_worker_state_name(look(subject).state));
	return 0;
}

RKFS_SHOW(pid_show)
{
	struct rk_worker_info info = look(subject);

	if (!info.pid)
		return -ENODATA;
	rkfs_textbuf_u64_line(out, (unsigned long long)info.pid);
	return 0;
}

RKFS_SHOW(backend_show)
{
	rkfs_textbuf_line(out, look(subject).backend);
	return 0;
}

RKFS_SHOW(device_show)
{
	struct rk_worker_info info = look(subject);

	if (info.device[0])
		rkfs_textbuf_printf(out, "%u %s\n", info.index, info.device);
	else
		rkfs_textbuf_line(out, "none");
	return 0;
}

RKFS_SHOW(restarts_show)
{
	rkfs_textbuf_u64_line(out, look(subject).restarts);
	return 0;
}

RKFS_SHOW(gpu_memory_bytes_show)
{
	rkfs_textbuf_u64_line(out, look(subject).gpu_memory_bytes);
	return 0;
}

RKFS_SHOW(health_show)
{
	char reason[RK_ERROR_MAX];

	rkfs_textbuf_line(out, rk_health_name(rk_runtime_worker_health(subject->fs->rt,
								       subject->number, reason)));
	return 0;
}

RKFS_SHOW(reason_show)
{
	char reason[RK_ERROR_MAX];

	(void)rk_runtime_worker_health(subject->fs->rt, subject->number, reason);
	rkfs_textbuf_line(out, reason);
	return 0;
}

/* A number of struct rk_lane_counts; arg is its place. */
RKFS_SHOW(count_show)
{
	struct rk_lane_counts counts;

	rk_dispatch_lane_counts(rk_runtime_dispatch(subject->fs->rt), subject->number, &counts);
	rkfs_textbuf_u64_line(out, *(const uint64_t *)((const char *)&counts + attr->arg));
	return 0;
}

RKFS_SHOW(enable_show)
{
	rkfs_textbuf_u64_line(out, look(subject).enabled);
	return 0;
}

static int enable_store(const struct rkfs_attr *attr, const struct rkfs_subject *subject,
			const struct rk_caller *caller, const char *text, size_t len)
{
	struct rk_error err;
	char name[32];
	bool on;
	int rc;

	snprintf(name, sizeof(name), "worker %u", subject->number);
	rc = rkfs_switch_read(attr->name, name, text, len, &on, &err);
	if (rc)
		return rk_runtime_refuse(subject->fs->rt, "a write", caller, &err);
	rk_runtime_worker_enable(subject->fs->rt, subject->number, on, caller);
	return 0;
}

#define COUNT(member)                                                                              \
	{                                                                                          \
		.name = "messages_" #member, .mode = 0444, .show = count_show,                     \
		.arg = offsetof(struct rk_lane_counts, member)                                     \
	}

static const struct rkfs_attr rows[] = {
	{.name = "state", .mode = 0444, .flags = RKFS_POLL_WORKER, .show = state_show},
	{.name = "pid", .mode = 0444, .show = pid_show},
	{.name = "backend", .mode = 0444, .show = backend_show},
	{.name = "device", .mode = 0444, .show = device_show},
	COUNT(in_flight),
	COUNT(processed),
	COUNT(failed),
	{.name = "restarts", .mode = 0444, .show = restarts_show},
	{.name = "gpu_memory_bytes", .mode = 0444, .show = gpu_memory_bytes_show},
	{.name = "health", .mode = 0444, .show = health_show},
	{.name = "reason", .mode = 0444, .show = reason_show},
	{.name = "enable", .mode = 0644, .show = enable_show, .store = enable_store},
};

const struct rkfs_attrs rkfs_worker_attrs = {rows, sizeof(rows) / sizeof(rows[0])};
