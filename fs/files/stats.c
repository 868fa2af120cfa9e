/* SPDX-License-Identifier: MIT */
/* stats/: the runtime's numbers, one per file, and all of them from one snapshot. */
#include "fs/node.h"

#define NOT_COUNTED -1
#define IN_FLIGHT   -2

static uint64_t kernels_registered(const struct rk_runtime *rt)
{
	return rk_registry_count(rk_runtime_registry((struct rk_runtime *)rt));
}

static uint64_t gpu_memory(const struct rk_runtime *rt)
{
	return rk_runtime_gpu_memory((struct rk_runtime *)rt);
}

static uint64_t gpu_memory_peak(const struct rk_runtime *rt)
{
	return rk_runtime_gpu_memory_peak((struct rk_runtime *)rt);
}

/* name, function where the number is not dispatch's, its counter where it is */
#define STATS(X)                                                                                   \
	X(kernels_registered, kernels_registered, NOT_COUNTED)                                     \
	X(kernels_active, rk_runtime_kernels_active, NOT_COUNTED)                                  \
	X(messages_processed, NULL, RK_COUNT_PROCESSED)                                            \
	X(messages_in_flight, NULL, IN_FLIGHT)                                                     \
	X(gpu_memory_bytes, gpu_memory, NOT_COUNTED)                                               \
	X(gpu_memory_peak_bytes, gpu_memory_peak, NOT_COUNTED)                                     \
	X(uptime_secs, rk_runtime_uptime_secs, NOT_COUNTED)                                        \
	X(messages_accepted, NULL, RK_COUNT_ACCEPTED)                                              \
	X(messages_failed, NULL, RK_COUNT_FAILED)                                                  \
	X(messages_rejected, NULL, RK_COUNT_REJECTED)                                              \
	X(messages_cancelled, NULL, RK_COUNT_CANCELLED)                                            \
	X(messages_timed_out, NULL, RK_COUNT_TIMED_OUT)

enum stat_index {
#define X(name, get, counter) STAT_##name,
	STATS(X)
#undef X
	NSTATS
};

static const struct stat_row {
	const char *name;
	uint64_t (*get)(const struct rk_runtime *rt);
	int counter; /* enum rk_counter or IN_FLIGHT */
} stats[] = {
#define X(name, get, counter) {#name, get, counter},
	STATS(X)
#undef X
};

/* @all: the snapshot that the value shall belong to, NULL = as of now. */
static uint64_t stat_value(struct rk_runtime *rt, const struct stat_row *row,
			   const struct rk_counts *all)
{
	struct rk_dispatch *d = rk_runtime_dispatch(rt);

	if (row->get)
		return row->get(rt);
	if (row->counter == IN_FLIGHT)
		return all ? all->in_flight : rk_dispatch_in_flight(d);
	return all ? all->count[row->counter]
		   : rk_stats_read(&d->stats, (enum rk_counter)row->counter);
}

static int stat_show(const struct rkfs_attr *attr, const struct rkfs_subject *subject,
		     struct rkfs_textbuf *out)
{
	rkfs_textbuf_u64_line(out, stat_value(subject->fs->rt, &stats[attr->arg], NULL));
	return 0;
}

static int all_show(const struct rkfs_attr *attr, const struct rkfs_subject *subject,
		    struct rkfs_textbuf *out)
{
	struct rk_runtime *rt = subject->fs->rt;
	struct rk_counts all;

	(void)attr;
	rk_dispatch_snapshot(rk_runtime_dispatch(rt), NULL, &all);
	for (size_t i = 0; i < NSTATS; i++) {
		rkfs_textbuf_printf(out, "%s ", stats[i].name);
		rkfs_textbuf_u64_line(out, stat_value(rt, &stats[i], &all));
	}
	return 0;
}

static const struct rkfs_attr rows[] = {
#define X(stat, get, counter) {.name = #stat, .mode = 0444, .show = stat_show, .arg = STAT_##stat},
	STATS(X)
#undef X
		{.name = "all", .mode = 0444, .show = all_show},
};

const struct rkfs_attrs rkfs_stats_attrs = {rows, sizeof(rows) / sizeof(rows[0])};
