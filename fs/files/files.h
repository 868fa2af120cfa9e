/* SPDX-License-Identifier: MIT */
/* The files of each directory: tables of rows, and what the rows of several files share. */
#ifndef RKFS_FILES_FILES_H
#define RKFS_FILES_FILES_H

#include "fs/base/rkfs.h"

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

#endif
