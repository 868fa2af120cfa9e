/* SPDX-License-Identifier: MIT */
/* rktop: draws what was read last. */
#include <inttypes.h>
#include <ncurses.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/client/rktop.h"
#include "runtime/base/clock.h"

#define LATE_NS	   (2 * RK_NS_PER_SEC) /* a mount that has not answered for that long is late */
#define LABEL	   12
#define SPARK_MAX  120 /* cells */
#define LINE_BYTES 1024

void rktop_view_update(struct rktop_view *v, const struct rktop_snapshot *s)
{
	uint64_t elapsed = v->now.at_ns ? s->at_ns - v->now.at_ns : 0;
	bool usable = elapsed && !s->problem[0] && !v->now.problem[0];

	if (s->at_ns == v->now.at_ns)
		return;
	if (usable) {
		rktop_rate_add(&v->processed, v->now.processed, s->processed, elapsed);
		rktop_rate_add(&v->failed, v->now.failed, s->failed, elapsed);
		rktop_rate_add(&v->rejected, v->now.rejected, s->rejected, elapsed);
	}
	if (s->drain_remaining == RKTOP_UNKNOWN)
		v->drain_from = 0;
	else if (s->drain_remaining > v->drain_from)
		v->drain_from = s->drain_remaining;
	v->before = v->now;
	v->now = *s;
}

/* --- lines, to wherever they go --- */

/* Where lines go: the terminal, cut at its width, or standard output. */
struct output {
	bool plain;
	int row, rows, columns;
};

/* How many bytes of UTF-8 @text fill at most @columns cells; all that is shown is one cell wide. */
static int fitting(const char *text, int columns)
{
	int len = 0;

	for (; text[len]; len++)
		if (((unsigned char)text[len] & 0xc0) != 0x80 && columns-- == 0)
			break;
	return len;
}

static void line(struct output *o, int attributes, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void line(struct output *o, int attributes, const char *fmt, ...)
{
	char text[LINE_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (o->plain) {
		puts(text);
		return;
	}
	if (o->row >= o->rows)
		return;
	attrset((attr_t)attributes);
	move(o->row++, 0);
	addnstr(text, fitting(text, o->columns));
	attrset(A_NORMAL);
}

static bool full(const struct output *o)
{
	return !o->plain && o->row >= o->rows;
}

static int color_of(const char *state, const char *health)
{
	if (strcmp(state, "Failed") == 0 || strcmp(health, "unhealthy") == 0)
		return COLOR_PAIR(1) | A_BOLD;
	if (strcmp(state, "Running") == 0 && strcmp(health, "healthy") == 0)
		return COLOR_PAIR(2) | A_BOLD;
	return COLOR_PAIR(3) | A_BOLD;
}

static double newest(const struct rktop_rate *rate)
{
	return rate->count ? rate->samples[rate->count - 1] : 0;
}

static void draw_head(struct output *o, const struct rktop_view *v)
{
	const struct rktop_snapshot *s = &v->now;
	bool is_late = v->late_ns > LATE_NS;
	char uptime[RKTOP_NUMBER];

	line(o, A_REVERSE, " %s at %s   up %s%s", s->version[0] ? s->version : "rkfs",
	     s->mount[0] ? s->mount : "-", rktop_print_secs(uptime, s->uptime_secs),
	     o->plain ? "" : "   q quits ");
	if (is_late)
		line(o, COLOR_PAIR(1) | A_BOLD,
		     "the mount has not answered for %" PRIu64 " s: is its daemon stopped?",
		     (uint64_t)(v->late_ns / RK_NS_PER_SEC));
	if (s->problem[0]) {
		line(o, COLOR_PAIR(1) | A_BOLD, "%s", s->problem);
		return;
	}
	line(o, color_of(s->state, s->health), "%s, %s%s%s", s->state,
	     s->health[0] ? s->health : "health not known",
	     strcmp(s->reason, "ok") && s->reason[0] ? ": " : "",
	     strcmp(s->reason, "ok") ? s->reason : "");
}

static void draw_drain(struct output *o, const struct rktop_view *v)
{
	const struct rktop_snapshot *s = &v->now;
	int width = o->plain ? 40 : o->columns - 44;
	char bar[SPARK_MAX + 1];
	uint64_t done;
	int filled;

	if (s->drain_remaining == RKTOP_UNKNOWN)
		return;
	if (width > SPARK_MAX)
		width = SPARK_MAX;
	if (width < 10)
		width = 10;
	done = v->drain_from - s->drain_remaining;
	filled = v->drain_from ? (int)(done * (uint64_t)width / v->drain_from) : width;
	for (int i = 0; i < width; i++)
		bar[i] = i < filled ? '#' : '-';
	bar[width] = '\0';
	line(o, COLOR_PAIR(3), "draining  [%s] %" PRIu64 " left, cancelled in %" PRIu64 " s", bar,
	     s->drain_remaining, s->drain_left_secs);
}

static void draw_rate(struct output *o, const struct rktop_view *v, const char *name,
		      uint64_t total, const struct rktop_rate *rate)
{
	char spark[3 * SPARK_MAX + 1];
	int width = o->plain ? 40 : o->columns - 40;

	if (width > SPARK_MAX)
		width = SPARK_MAX;
	if (width < 0)
		width = 0;
	rktop_print_sparkline(spark, rate, (unsigned int)width, v->ascii);
	line(o, A_NORMAL, "%-*s%14" PRIu64 " %11.1f/s %s", LABEL, name, total, newest(rate), spark);
}

static void draw_totals(struct output *o, const struct rktop_view *v)
{
	const struct rktop_snapshot *s = &v->now;
	char now[RKTOP_NUMBER], peak[RKTOP_NUMBER];

	draw_rate(o, v, "processed", s->processed, &v->processed);
	draw_rate(o, v, "failed", s->failed, &v->failed);
	draw_rate(o, v, "rejected", s->rejected, &v->rejected);
	line(o, A_NORMAL,
	     "%-*s%14" PRIu64 "   cancelled %" PRIu64 "  timed out %" PRIu64 "  kernels %" PRIu64
	     " of %" PRIu64 " active  GPU memory %s, peak %s",
	     LABEL, "in flight", s->in_flight, s->cancelled, s->timed_out, s->kernels_active,
	     s->kernels_registered, rktop_print_bytes(now, s->gpu_memory),
	     rktop_print_bytes(peak, s->gpu_memory_peak));
}

static void draw_devices(struct output *o, const struct rktop_view *v)
{
	for (unsigned int i = 0; i < v->now.ndevices && !full(o); i++) {
		const struct rktop_device *d = &v->now.devices[i];
		char used[RKTOP_NUMBER], total[RKTOP_NUMBER], busy[RKTOP_NUMBER] = "-",
							      heat[RKTOP_NUMBER] = "-";

		if (d->utilisation != RKTOP_UNKNOWN)
			snprintf(busy, sizeof(busy), "%" PRIu64 "%%", d->utilisation);
		if (d->temperature != RKTOP_UNKNOWN)
			snprintf(heat, sizeof(heat), "%" PRIu64 "C", d->temperature);
		line(o, d->lost == 1 ? COLOR_PAIR(1) | A_BOLD : A_NORMAL,
		     "device %u  %-24.24s memory %s of %s  busy %s  %s  %s%s%s", i, d->name,
		     rktop_print_bytes(used, d->memory_used),
		     rktop_print_bytes(total, d->memory_total), busy, heat,
		     d->power[0] ? d->power : "-", d->power[0] ? "W" : "",
		     d->lost == 1 ? "  LOST" : "");
	}
}

/* One that is alone says nothing that is not above. */
static void draw_workers(struct output *o, const struct rktop_view *v)
{
	for (unsigned int i = 0; v->now.nworkers > 1 && i < v->now.nworkers && !full(o); i++) {
		const struct rktop_worker *w = &v->now.workers[i];
		bool is_well = !strcmp(w->state, "running") && !strcmp(w->health, "healthy");

		line(o, is_well ? A_NORMAL : COLOR_PAIR(3) | A_BOLD,
		     "worker %-2u %-8.8s %-9.9s %-4.4s runs %-3" PRIu64 " done %-9" PRIu64
		     " failed %-4" PRIu64 " again %" PRIu64,
		     i, w->state, w->health, w->backend, w->in_flight, w->processed, w->failed,
		     w->restarts);
	}
}

/* --- kernels, the busiest first --- */

struct load {
	const struct rktop_kernel *kernel;
	double rate; /* processed per second */
};

static int by_load(const void *a, const void *b)
{
	const struct load *x = a, *y = b;

	if (x->kernel->in_flight != y->kernel->in_flight)
		return x->kernel->in_flight < y->kernel->in_flight ? 1 : -1;
	if (x->rate != y->rate)
		return x->rate < y->rate ? 1 : -1;
	return strcmp(x->kernel->id, y->kernel->id);
}

static double rate_of(const struct rktop_view *v, const struct rktop_kernel *k)
{
	uint64_t elapsed = v->now.at_ns - v->before.at_ns;

	if (!v->before.at_ns || !elapsed)
		return 0;
	for (unsigned int i = 0; i < v->before.nkernels; i++) {
		const struct rktop_kernel *old = &v->before.kernels[i];

		if (strcmp(old->id, k->id) == 0 && k->processed >= old->processed)
			return (double)(k->processed - old->processed) * RK_NS_PER_SEC /
			       (double)elapsed;
	}
	return 0;
}

static void draw_kernels(struct output *o, const struct rktop_view *v)
{
	struct load loads[RKTOP_KERNELS] = {0};

	for (unsigned int i = 0; i < v->now.nkernels; i++)
		loads[i] = (struct load){&v->now.kernels[i], rate_of(v, &v->now.kernels[i])};
	qsort(loads, v->now.nkernels, sizeof(loads[0]), by_load);
	line(o, A_NORMAL, "%s", "");
	line(o, A_UNDERLINE, "%-28s %-5s %9s %7s %11s %13s %8s %9s %9s", "KERNEL", "ON",
	     "IN FLIGHT", "QUEUED", "PER SECOND", "PROCESSED", "FAILED", "P50", "P99");
	for (unsigned int i = 0; i < v->now.nkernels && !full(o); i++) {
		const struct rktop_kernel *k = loads[i].kernel;
		char p50[RKTOP_NUMBER], p99[RKTOP_NUMBER];

		line(o, k->enabled ? A_NORMAL : A_DIM,
		     "%-28.28s %-5.5s %9" PRIu64 " %7" PRIu64 " %11.1f %13" PRIu64 " %8" PRIu64
		     " %9s %9s",
		     k->id, k->enabled ? k->backend : "off", k->in_flight, k->queued, loads[i].rate,
		     k->processed, k->failed, rktop_print_usecs(p50, k->p50_usecs),
		     rktop_print_usecs(p99, k->p99_usecs));
	}
}

static void draw_messages(struct output *o, const struct rktop_view *v)
{
	if (!v->now.nmessages)
		return;
	line(o, A_NORMAL, "%s", "");
	line(o, A_UNDERLINE, "%-10s %-28s %-10s %10s %8s %8s", "MESSAGE", "KERNEL", "STATE", "AGE",
	     "UID", "PID");
	for (unsigned int i = 0; i < v->now.nmessages && !full(o); i++) {
		const struct rktop_message *m = &v->now.messages[i];
		char age[RKTOP_NUMBER];

		line(o, A_NORMAL, "%-10" PRIu64 " %-28.28s %-10s %10s %8" PRIu64 " %8" PRIu64,
		     m->id, m->kernel, m->state, rktop_print_usecs(age, m->age_ms * 1000), m->uid,
		     m->pid);
	}
}

static void draw(struct output *o, const struct rktop_view *v)
{
	draw_head(o, v);
	if (v->now.problem[0] || !v->now.at_ns)
		return;
	draw_drain(o, v);
	draw_totals(o, v);
	draw_devices(o, v);
	draw_workers(o, v);
	draw_kernels(o, v);
	draw_messages(o, v);
}

void rktop_view_draw(const struct rktop_view *v)
{
	struct output o = {.plain = false};

	getmaxyx(stdscr, o.rows, o.columns);
	erase();
	draw(&o, v);
	refresh();
}

void rktop_view_print(const struct rktop_view *v)
{
	struct output o = {.plain = true};

	draw(&o, v);
}
