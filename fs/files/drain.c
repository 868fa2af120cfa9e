/* SPDX-License-Identifier: MIT */
/* drain/: what holds up a drain, and for how long it may. ENODATA outside one. */
#include <stdlib.h>

#include "fs/files/files.h"

RKFS_SHOW(deadline_secs_show)
{
	int64_t left = rk_runtime_drain_left_ms(subject->fs->rt);

	if (left < 0)
		return (int)left;
	rkfs_textbuf_u64_line(out, ((unsigned long long)left + 999) / 1000);
	return 0;
}

RKFS_SHOW(remaining_show)
{
	struct rk_runtime *rt = subject->fs->rt;
	int64_t left = rk_runtime_drain_left_ms(rt);

	if (left < 0)
		return (int)left;
	rkfs_textbuf_u64_line(out, rk_dispatch_in_flight(rk_runtime_dispatch(rt)));
	return 0;
}

RKFS_SHOW(stuck_show)
{
	struct rk_runtime *rt = subject->fs->rt;
	int64_t left = rk_runtime_drain_left_ms(rt);
	struct rk_message_info info[32];
	uint64_t from = 1;
	size_t n;

	if (left < 0)
		return (int)left;
	while ((n = rk_dispatch_list(rk_runtime_dispatch(rt), from, info, 32))) {
		for (size_t i = 0; i < n; i++) {
			rkfs_textbuf_printf(
				out, "%llu kernel=%s state=%s age_ms=%llu uid=%u pid=%d",
				(unsigned long long)info[i].id, info[i].kernel,
				rk_message_info_state(&info[i]), (unsigned long long)info[i].age_ms,
				info[i].uid, info[i].pid);
			if (info[i].worker >= 0)
				rkfs_textbuf_printf(out, " worker=%d", info[i].worker);
			rkfs_textbuf_printf(out, "\n");
		}
		from = info[n - 1].id + 1;
	}
	return 0;
}

static const struct rkfs_attr rows[] = {
	{.name = "deadline_secs", .mode = 0444, .show = deadline_secs_show},
	{.name = "remaining", .mode = 0444, .show = remaining_show},
	{.name = "stuck", .mode = 0444, .show = stuck_show},
};

const struct rkfs_attrs rkfs_drain_attrs = {rows, sizeof(rows) / sizeof(rows[0])};
