/* SPDX-License-Identifier: MIT */
/* stats/: the runtime's numbers, one per file, and all of them from one snapshot. */
#include "fs/files/files.h"
#include "runtime/stats.h"

RKFS_SHOW(stat_show)
{
	rkfs_textbuf_u64_line(out, rk_stat_value(subject->fs->rt, (enum rk_stat_id)attr->arg));
	return 0;
}

RKFS_SHOW(all_show)
{
	uint64_t values[RK_STAT_COUNT];

	rk_stat_values(subject->fs->rt, values);
	for (size_t i = 0; i < RK_STAT_COUNT; i++) {
		rkfs_textbuf_printf(out, "%s ", rk_stats_table[i].name);
		rkfs_textbuf_u64_line(out, values[i]);
	}
	return 0;
}

static const struct rkfs_attr rows[] = {
#define RK_STAT(stat, metric, type, help, value)                                                   \
	{.name = #stat, .mode = 0444, .show = stat_show, .arg = RK_STAT_##stat},
#include "runtime/stats.def"
	{.name = "all", .mode = 0444, .show = all_show},
};

const struct rkfs_attrs rkfs_stats_attrs = {rows, sizeof(rows) / sizeof(rows[0])};
