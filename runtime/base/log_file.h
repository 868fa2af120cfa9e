/* SPDX-License-Identifier: MIT */
/*
 * A log file that a helper process opens and writes, because it may hang. For one thread at a time.
 * Only runtime/base/log.c uses it.
 */
#ifndef RK_RUNTIME_BASE_LOG_FILE_H
#define RK_RUNTIME_BASE_LOG_FILE_H

#include "runtime/base/helper.h"

struct rk_log_file {
	char path[1024];
	struct rk_helper helper; /* wait for its answers with rk_helper_wait */
};

/* Whether @path names a descriptor of this process (/dev/stdout), which no helper has. */
bool rk_log_file_is_descriptor(const char *path);

/*
 * Let a helper open f->path for appending, created with mode 0640; once it has answered,
 * rk_log_file_opened tells the result. Returns at once, 0 or a negative errno with a sentence.
 */
int rk_log_file_open(struct rk_log_file *f, struct rk_error *err);
int rk_log_file_opened(struct rk_log_file *f, struct rk_error *err);

/* Let it write a line; rk_helper_receive tells the result. 0 or a negative errno, at once. */
int rk_log_file_send(struct rk_log_file *f, const char *line, size_t len);

/* Close it, unless that takes longer than a second. 0 or the negative errno of close(2). */
int rk_log_file_close(struct rk_log_file *f);

#endif
