/* SPDX-License-Identifier: MIT */
/*
 * The log: one line per message, to stderr, syslog, a file, or a function
 * (the worker hands its lines to the daemon). Thread-safe; a call below the
 * current level costs one relaxed load. While the writer thread runs, no call here waits for the
 * destination; without it, a call may block as long as the destination does.
 */
#ifndef RK_RUNTIME_BASE_LOG_H
#define RK_RUNTIME_BASE_LOG_H

#include <stdbool.h>

#include "runtime/base/error.h"

enum rk_log_level {
	RK_LOG_ERROR,
	RK_LOG_WARN,
	RK_LOG_INFO,
	RK_LOG_DEBUG,
	RK_LOG_TRACE,
};

enum rk_log_dest {
	RK_LOG_TO_STDERR,
	RK_LOG_TO_SYSLOG,
	RK_LOG_TO_FILE,
};

/* "error", "warn", "info", "debug", "trace"; static storage. */
const char *rk_log_level_name(enum rk_log_level level);

/*
 * Choose the destination. @path names the file for RK_LOG_TO_FILE (appended
 * to, created 0640) and is ignored otherwise. @structured: one JSON object per
 * line instead of text. A file is opened and written to by a helper process
 * (runtime/base/helper.h), which ends with the thread that opens it here. Blocks as long as
 * opening does. Not while the writer thread runs; see rk_log_reopen. A stderr that is systemd's
 * journal gets the bare line with its priority in front ("<6>"), as sd-daemon(3) says. Returns 0,
 * or the errno of the open, leaving the destination as it was.
 */
int rk_log_open(enum rk_log_dest dest, const char *path, bool structured, struct rk_error *err);

/*
 * Let the writer thread change to that destination; a file that is the destination already is
 * opened again, for whoever has renamed it. Waits for at most @patience_ms until it is done or has
 * failed, which is logged and told (rk_log_on_trouble); lines then go where they went before.
 * Without the thread nothing happens.
 */
void rk_log_reopen(enum rk_log_dest dest, const char *path, bool structured,
		   unsigned int patience_ms);

/*
 * Call @fn (NULL = nothing) from the writer thread with one sentence if the destination is a file
 * that cannot be written, or a file cannot be opened, and with "" when that is over. It may log,
 * but must not call anything else of this header. On return the former one does not run any more.
 */
void rk_log_on_trouble(void (*fn)(void *ctx, const char *sentence), void *ctx);

/*
 * Write lines through @sink instead; NULL restores the destination. @line is the sanitized
 * message alone, without level, time or newline. @sink is called with the log's lock held: it
 * must not call anything of this header. On return the former sink does not run any more.
 */
void rk_log_set_sink(void (*sink)(void *ctx, enum rk_log_level level, const char *line), void *ctx);

/* Lines above @level are dropped from now on. The level at start is RK_LOG_INFO. */
void rk_log_set_level(enum rk_log_level level);
enum rk_log_level rk_log_level(void);

/*
 * Log one line, without a final newline, as rk_text_clean leaves it.
 * A line of more than 1023 bytes is cut and ends in "...". errno is preserved. A line that cannot
 * be written is counted, and the next one that can is preceded by a line that says so.
 */
void rk_log(enum rk_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * From now on let a thread write the lines, so that a stuck syslog or disk delays nobody: lines for
 * which there is no room are dropped, counted and reported. Call it after any fork. Returns 0 or
 * the error of pthread_create.
 */
int rk_log_start_thread(struct rk_error *err);

/* Write what is queued and end the thread; waits for at most a second. */
void rk_log_stop_thread(void);

#endif
