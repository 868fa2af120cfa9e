/* SPDX-License-Identifier: MIT */
/*
 * The runtime's numbers in Prometheus' text format, version 0.0.4: names begin with rkfs_, counters
 * end in _total, units are base units, every family has HELP and TYPE. Each sample has the label
 * mount, the path where the runtime can be seen, unless that is NULL.
 */
#ifndef RK_RUNTIME_METRICS_METRICS_H
#define RK_RUNTIME_METRICS_METRICS_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/runtime.h"

/*
 * Everything as of now, NUL-terminated, in *@text, which the caller free()s, @len bytes without
 * the NUL. From memory: no device is asked. Messages are those of one snapshot. 0 or -ENOMEM.
 */
int rk_metrics_print(struct rk_runtime *rt, const char *mount, char **text, size_t *len);

/*
 * The thread that writes metrics_textfile, for the textfile collector of node_exporter: every
 * metrics_interval, to a file beside it that is then renamed, mode 0644; the last time, with the
 * last numbers, when it ends. A failure, and a file system that does not answer, is logged once and
 * makes the health degraded, until it works again.
 */
struct rk_metrics;

/* Start it; @rt and @mount are borrowed. 0 or a negative errno. */
int rk_metrics_create(struct rk_metrics **metrics, struct rk_runtime *rt, const char *mount,
		      struct rk_error *err);

/* Whether node_exporter reads a file called so: *.prom. "" is no name, and fine. */
bool rk_metrics_textfile_name(const char *path);

/* End it; waits for the last write, for at most two seconds. NULL is fine. */
void rk_metrics_destroy(struct rk_metrics *metrics);

/* RK_NEWS_CONFIG: metrics_interval or metrics_textfile may have changed. Thread-safe, returns at
 * once. */
void rk_metrics_config_changed(struct rk_metrics *metrics);

#endif
