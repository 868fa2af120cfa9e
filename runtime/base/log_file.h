/* SPDX-License-Identifier: MIT */
/*
 * A log file, opened and written to by a helper process, which may hang for us. One thread at a
 * time. Part of runtime/base/log.c.
 */
#ifndef RK_RUNTIME_BASE_LOG_FILE_H
#define RK_RUNTIME_BASE_LOG_FILE_H

#include "runtime/base/helper.h"

struct rk_log_file {
	char path[1024];
	struct rk_helper helper; /* its answers are waited for with rk_helper_wait */
};

/* Whether @path is a name for a descriptor of ours (/dev/stdout), which no helper has. */
bool rk_log_file_is_descriptor(const char *path);

/*
 * Let a helper open f->path, to be appended to, created 0640; rk_log_file_opened tells the outcome,
 * once it has answered. 0 or a negative errno with a sentence; returns at once.
 */
int rk_log_file_open(struct rk_log_file *f, struct rk_error *err);
int rk_log_file_opened(struct rk_log_file *f, struct rk_error *err);

/* Let it write a line; rk_helper_receive tells the outcome. 0 or a negative errno, at once. */
int rk_log_file_send(struct rk_log_file *f, const char *line, size_t len);

/* Close it, unless that takes longer than a second. 0 or close(2)'s negative errno. */
int rk_log_file_close(struct rk_log_file *f);

#endif
