/* SPDX-License-Identifier: MIT */
/*
 * The parts of rktop(1), which shows a mount in a terminal, over its files alone. The reader
 * (rktop_read.c) runs in a process of its own, because a read of a mount whose daemon is stopped
 * never returns, and a process with a thread in it cannot end; the view (rktop_view.c) draws what
 * it read last.
 */
#ifndef RKFS_CLIENT_RKTOP_H
#define RKFS_CLIENT_RKTOP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "runtime/base/error.h"

#define RKTOP_KERNELS 256
#define RKTOP_DEVICES 16
#define RKTOP_FLIGHT  64
#define RKTOP_WORKERS 32
#define RKTOP_TEXT    160
#define RKTOP_HISTORY 300 /* samples that a sparkline may show */

#define RKTOP_NUMBER  24	 /* bytes of a number as text */
#define RKTOP_UNKNOWN UINT64_MAX /* a number that no file gives */

struct rktop_kernel {
	char id[RKTOP_TEXT];
	char backend[16];
	char last_error[RKTOP_TEXT];
	bool enabled;
	uint64_t processed, in_flight, queued, failed, p50_usecs, p99_usecs;
};

struct rktop_device {
	char name[RKTOP_TEXT];
	uint64_t memory_total, memory_used, utilisation, temperature, lost;
	char power[16]; /* watts as the file says, "" = unknown */
};

struct rktop_worker {
	char state[16], health[16], backend[16];
	uint64_t in_flight, processed, failed, restarts;
};

struct rktop_message {
	uint64_t id, age_ms, uid, pid;
	char kernel[RKTOP_TEXT];
	char state[16];
};

/* One look at the mount. */
struct rktop_snapshot {
	uint64_t at_ns; /* CLOCK_MONOTONIC; 0 = nothing was read yet */
	char mount[RKTOP_TEXT];
	char problem[RK_ERROR_MAX]; /* why there is nothing to show; "" = there is */
	char version[32], state[16], health[16], reason[RKTOP_TEXT];
	uint64_t uptime_secs, kernels_registered, kernels_active;
	uint64_t accepted, processed, failed, rejected, cancelled, timed_out, in_flight;
	uint64_t gpu_memory, gpu_memory_peak;
	uint64_t drain_left_secs, drain_remaining; /* RKTOP_UNKNOWN outside a drain */
	unsigned int nkernels, ndevices, nworkers, nmessages;
	struct rktop_kernel kernels[RKTOP_KERNELS];
	struct rktop_device devices[RKTOP_DEVICES];
	struct rktop_worker workers[RKTOP_WORKERS];
	struct rktop_message messages[RKTOP_FLIGHT];
};

/* A rate's last minutes: per second, the newest last. */
struct rktop_rate {
	double samples[RKTOP_HISTORY];
	unsigned int count;
};

/* --- reading --- */

/* In memory that both processes share. */
struct rktop_reader {
	const char *dir; /* NULL: the only mount there is */
	unsigned int delay_ms;
	pthread_mutex_t lock;
	int news;	   /* eventfd: readable when there is another snapshot */
	uint64_t asked_ns; /* the read under way began then; 0 = none is; guarded by lock */
	struct rktop_snapshot last; /* guarded by lock */
	struct rktop_snapshot next; /* the reader's own */
};

/*
 * Fill @s. Never fails: what cannot be read is in s->problem. Blocks while the mount does not
 * answer.
 */
void rktop_read(struct rktop_snapshot *s, const char *dir);

/*
 * Start the process: a snapshot now and then every @delay_ms. @dir is borrowed. It ends with the
 * caller, or, where it hangs in a read, when that returns; nobody waits for it. *@reader is never
 * freed. 0 or a negative errno.
 */
int rktop_reader_start(struct rktop_reader **reader, const char *dir, unsigned int delay_ms,
		       struct rk_error *err);

/* Copy the last snapshot; returns how long the read under way has taken, nanoseconds. */
uint64_t rktop_reader_get(struct rktop_reader *r, struct rktop_snapshot *s);

/* --- numbers --- */

/* Add the rate between two readings of a counter; a counter that went back counts from 0. */
void rktop_rate_add(struct rktop_rate *rate, uint64_t before, uint64_t now, uint64_t elapsed_ns);

/* @usecs, @bytes, @secs as a person reads them, into @buf; "-" where unknown. Returns @buf. */
char *rktop_print_usecs(char buf[RKTOP_NUMBER], uint64_t usecs);
char *rktop_print_bytes(char buf[RKTOP_NUMBER], uint64_t bytes);
char *rktop_print_secs(char buf[RKTOP_NUMBER], uint64_t secs);

/*
 * @width cells of UTF-8, one for each of the newest samples, scaled to the highest of them; @ascii
 * for terminals that have no blocks. @buf holds 3 * width + 1 bytes.
 */
void rktop_print_sparkline(char *buf, const struct rktop_rate *rate, unsigned int width,
			   bool ascii);

/* --- drawing --- */

struct rktop_view {
	struct rktop_snapshot now, before;
	struct rktop_rate processed, failed, rejected;
	uint64_t drain_from; /* messages in flight when the drain was seen first */
	uint64_t late_ns;    /* how long the mount has not answered */
	bool ascii;
};

/* Take over a snapshot: rates, and what a drain began with. */
void rktop_view_update(struct rktop_view *v, const struct rktop_snapshot *s);

/* Draw all of it to the terminal of ncurses, as far as it has room. */
void rktop_view_draw(const struct rktop_view *v);

/* The same once, as plain lines, for pipes and scripts. */
void rktop_view_print(const struct rktop_view *v);

#endif
