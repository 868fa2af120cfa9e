/* SPDX-License-Identifier: MIT */
#include "runtime/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/health.h"

/* Upper bounds of the latency histogram: powers of two of a microsecond. */
static const unsigned int powers[] = {4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24};

#define NPOWERS	  (sizeof(powers) / sizeof(powers[0]))
#define USECS_SEC 1e6

static void family(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP rkfs_%s %s\n# TYPE rkfs_%s %s\n", name, help, name, type);
}

/* A label's value: backslash, quote and newline are escaped, other bytes are as they are. */
static void print_label(FILE *out, const char *name, const char *value)
{
	fprintf(out, "%s=\"", name);
	for (; *value; value++) {
		if (*value == '\n')
			fputs("\\n", out);
		else if (*value == '\\' || *value == '"')
			fprintf(out, "\\%c", *value);
		else
			fputc(*value, out);
	}
	fputc('"', out);
}

static void gauge(FILE *out, const char *name, const char *help, uint64_t value)
{
	family(out, name, "gauge", help);
	fprintf(out, "rkfs_%s %" PRIu64 "\n", name, value);
}

/* --- of the whole runtime --- */

/* name in stats.h and here, help; and of a kernel's messages the same */
static const struct {
	enum rk_counter counter;
	const char *help;
} counters[] = {
	{RK_COUNT_ACCEPTED, "Messages put into a queue."},
	{RK_COUNT_PROCESSED, "Accepted messages that completed."},
	{RK_COUNT_FAILED, "Accepted messages that failed."},
	{RK_COUNT_CANCELLED, "Accepted messages that were cancelled."},
	{RK_COUNT_TIMED_OUT, "Accepted messages that took longer than their timeout."},
	{RK_COUNT_REJECTED, "Requests that were never accepted."},
};

static void print_state(FILE *out, struct rk_runtime *rt)
{
	enum rk_state now = rk_runtime_state(rt);
	struct rk_health_report health;
	char backend[RK_WIRE_NAME_MAX];

	family(out, "build_info", "gauge", "The version that runs, as a label.");
	fprintf(out, "rkfs_build_info{version=\"" RK_VERSION "\"} 1\n");
	rk_runtime_backend(rt, backend);
	family(out, "backend_info", "gauge", "The backend that runs kernels, as a label.");
	fputs("rkfs_backend_info{", out);
	print_label(out, "backend", backend);
	fputs("} 1\n", out);
	family(out, "state", "gauge", "1 for the state that the runtime is in.");
	for (int i = 0; i < RK_STATE_COUNT; i++)
		fprintf(out, "rkfs_state{state=\"%s\"} %d\n", rk_state_name((enum rk_state)i),
			i == (int)now);
	rk_runtime_health(rt, &health);
	family(out, "health_status", "gauge", "1 for the status that the health checks found.");
	for (int i = 0; i <= RK_HEALTH_UNHEALTHY; i++)
		fprintf(out, "rkfs_health_status{status=\"%s\"} %d\n",
			rk_health_name((enum rk_health_status)i), i == (int)health.status);
	family(out, "health_checks_total", "counter", "Health checks that have ended.");
	fprintf(out, "rkfs_health_checks_total{outcome=\"passed\"} %" PRIu64 "\n", health.passed);
	fprintf(out, "rkfs_health_checks_total{outcome=\"failed\"} %" PRIu64 "\n", health.failed);
	fprintf(out, "rkfs_health_checks_total{outcome=\"overdue\"} %" PRIu64 "\n", health.overdue);
	gauge(out, "live", "Whether the runtime is alive: health/live.", rk_runtime_live(rt));
	gauge(out, "ready", "Whether it takes messages: health/ready.", rk_runtime_ready(rt));
	gauge(out, "uptime_seconds", "Time since Running was reached.", rk_runtime_uptime_secs(rt));
}

static void print_totals(FILE *out, struct rk_runtime *rt)
{
	struct rk_counts all;

	rk_dispatch_snapshot(rk_runtime_dispatch(rt), NULL, &all);
	for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
		char name[64];

		snprintf(name, sizeof(name), "%s_total", rk_counter_name(counters[i].counter));
		family(out, name, "counter", counters[i].help);
		fprintf(out, "rkfs_%s %" PRIu64 "\n", name, all.count[counters[i].counter]);
	}
	gauge(out, "messages_in_flight", "Messages that are queued or running.", all.in_flight);
	gauge(out, "kernels_registered", "Kernels that are known.",
	      rk_registry_count(rk_runtime_registry(rt)));
	gauge(out, "kernels_active", "Kernels that are loaded and take messages.",
	      rk_runtime_kernels_active(rt));
	gauge(out, "gpu_memory_bytes", "Device memory that the worker holds.",
	      rk_runtime_gpu_memory(rt));
	gauge(out, "gpu_memory_peak_bytes", "The most device memory it has held.",
	      rk_runtime_gpu_memory_peak(rt));
}

/* --- of each kernel --- */

struct kernel_family {
	const char *name, *type, *help;
	/* Print the sample of @k; @arg is the family's. */
	void (*print)(FILE *out, const char *name, struct rk_dispatch *d, struct rk_kernel *k,
		      int arg);
	int arg;
};

static void sample(FILE *out, const char *name, const struct rk_kernel *k, uint64_t value)
{
	fprintf(out, "rkfs_%s{", name);
	print_label(out, "kernel", k->manifest.id);
	fprintf(out, "} %" PRIu64 "\n", value);
}

static void print_count(FILE *out, const char *name, struct rk_dispatch *d, struct rk_kernel *k,
			int arg)
{
	(void)d;
	sample(out, name, k, atomic_load(&k->stats->count[arg]));
}

static void print_in_flight(FILE *out, const char *name, struct rk_dispatch *d, struct rk_kernel *k,
			    int arg)
{
	(void)d;
	(void)arg;
	sample(out, name, k, atomic_load(&k->stats->in_flight));
}

static void print_queued(FILE *out, const char *name, struct rk_dispatch *d, struct rk_kernel *k,
			 int arg)
{
	(void)d;
	(void)arg;
	sample(out, name, k, atomic_load(&k->queued));
}

/* The buckets are read before the count: it may be a little ahead, never behind. */
static void print_latency(FILE *out, const char *name, struct rk_dispatch *d, struct rk_kernel *k,
			  int arg)
{
	const struct rk_histogram *h = &k->stats->latency;
	uint64_t below[NPOWERS], count;

	(void)d;
	(void)arg;
	for (size_t i = 0; i < NPOWERS; i++)
		below[i] = rk_histogram_below(h, powers[i]);
	count = rk_histogram_below(h, 64);
	for (size_t i = 0; i < NPOWERS; i++) {
		fprintf(out, "rkfs_%s_bucket{", name);
		print_label(out, "kernel", k->manifest.id);
		fprintf(out, ",le=\"%.6f\"} %" PRIu64 "\n",
			(double)(UINT64_C(1) << powers[i]) / USECS_SEC, below[i]);
	}
	fprintf(out, "rkfs_%s_bucket{", name);
	print_label(out, "kernel", k->manifest.id);
	fprintf(out, ",le=\"+Inf\"} %" PRIu64 "\n", count);
	fprintf(out, "rkfs_%s_sum{", name);
	print_label(out, "kernel", k->manifest.id);
	fprintf(out, "} %.6f\n", (double)rk_histogram_sum(h) / USECS_SEC);
	sample(out, "kernel_latency_seconds_count", k, count);
}

static const struct kernel_family kernel_families[] = {
	{"kernel_messages_accepted_total", "counter", "Messages put into the kernel's queue.",
	 print_count, RK_COUNT_ACCEPTED},
	{"kernel_messages_processed_total", "counter", "Messages of the kernel that completed.",
	 print_count, RK_COUNT_PROCESSED},
	{"kernel_messages_failed_total", "counter", "Messages of the kernel that failed.",
	 print_count, RK_COUNT_FAILED},
	{"kernel_messages_cancelled_total", "counter",
	 "Messages of the kernel that were cancelled.", print_count, RK_COUNT_CANCELLED},
	{"kernel_messages_timed_out_total", "counter", "Messages over the kernel's timeout.",
	 print_count, RK_COUNT_TIMED_OUT},
	{"kernel_messages_rejected_total", "counter",
	 "Requests to the kernel that were never accepted.", print_count, RK_COUNT_REJECTED},
	{"kernel_messages_in_flight", "gauge", "Messages of the kernel that are queued or running.",
	 print_in_flight, 0},
	{"kernel_queue_depth", "gauge", "Messages in the kernel's queue.", print_queued, 0},
	{"kernel_latency_seconds", "histogram",
	 "Time from acceptance to completion of the messages that completed.", print_latency, 0},
};

static void print_kernels(FILE *out, struct rk_runtime *rt)
{
	struct rk_registry *registry = rk_runtime_registry(rt);
	struct rk_kernel *k;

	for (size_t i = 0; i < sizeof(kernel_families) / sizeof(kernel_families[0]); i++) {
		const struct kernel_family *f = &kernel_families[i];

		family(out, f->name, f->type, f->help);
		for (uint32_t slot = 1; (k = rk_registry_next(registry, slot, 0)); slot++) {
			slot = k->slot;
			f->print(out, f->name, rk_runtime_dispatch(rt), k, f->arg);
			rk_kernel_unref(k);
		}
	}
}

/* --- of each device --- */

#define ALWAYS 0

static const struct device_family {
	const char *name, *help;
	uint32_t known;	      /* RK_WIRE_KNOWS_*, ALWAYS */
	size_t offset, bytes; /* in struct rk_device */
	double unit;	      /* what one of it is in the base unit */
} device_families[] = {
#define MEMBER(name) offsetof(struct rk_device, name), sizeof(((struct rk_device *)0)->name)
	{"device_memory_total_bytes", "Memory of the device.", RK_WIRE_KNOWS_MEMORY,
	 MEMBER(memory_total_bytes), 1},
	{"device_memory_used_bytes", "Memory of the device in use, by anybody.",
	 RK_WIRE_KNOWS_MEMORY, MEMBER(memory_used_bytes), 1},
	{"device_utilisation_ratio", "Share of the last sample period in which a kernel ran.",
	 RK_WIRE_KNOWS_UTILISATION, MEMBER(utilisation_percent), 0.01},
	{"device_temperature_celsius", "Temperature of the device.", RK_WIRE_KNOWS_TEMPERATURE,
	 MEMBER(temperature_celsius), 1},
	{"device_power_watts", "Power that the device draws.", RK_WIRE_KNOWS_POWER,
	 MEMBER(power_milliwatts), 0.001},
	{"device_lost", "1 from the first loss of the device on.", ALWAYS, MEMBER(lost), 1},
#undef MEMBER
};

static double device_value(const struct rk_device *device, const struct device_family *f)
{
	const char *at = (const char *)device + f->offset;
	uint64_t value64;
	uint32_t value32;

	if (f->bytes == sizeof(bool))
		return *(const bool *)at;
	if (f->bytes == sizeof(value32)) {
		memcpy(&value32, at, sizeof(value32));
		return value32 * f->unit;
	}
	memcpy(&value64, at, sizeof(value64));
	return (double)value64 * f->unit;
}

static void print_devices(FILE *out, struct rk_runtime *rt)
{
	struct rk_device device;

	for (size_t i = 0; i < sizeof(device_families) / sizeof(device_families[0]); i++) {
		const struct device_family *f = &device_families[i];

		family(out, f->name, "gauge", f->help);
		for (uint32_t n = 0; rk_runtime_device(rt, n, &device); n++) {
			if (f->known && !(device.known & f->known))
				continue;
			fprintf(out, "rkfs_%s{device=\"%" PRIu32 "\",", f->name, n);
			print_label(out, "uuid", device.uuid);
			fputc(',', out);
			print_label(out, "name", device.name);
			fprintf(out, "} %.15g\n", device_value(&device, f));
		}
	}
}

int rk_metrics_print(struct rk_runtime *rt, char **text, size_t *len)
{
	char *buf = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&buf, &size);
	bool failed;

	if (!out)
		return -ENOMEM;
	print_state(out, rt);
	print_totals(out, rt);
	print_kernels(out, rt);
	print_devices(out, rt);
	failed = ferror(out);
	if (fclose(out) || failed) {
		free(buf);
		return -ENOMEM;
	}
	*text = buf;
	*len = size;
	return 0;
}
