/* SPDX-License-Identifier: MIT */
/* All numbers of the runtime as text for Prometheus. */
#include "runtime/metrics/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/health/health.h"
#include "runtime/stats.h"

/* Upper bounds of the latency histogram: powers of two of a microsecond. */
static const unsigned int powers[] = {4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24};

#define NPOWERS	  (sizeof(powers) / sizeof(powers[0]))
#define USECS_SEC 1e6
#define MSECS_SEC 1e3

/* What is being printed. */
struct page {
	FILE *out;
	struct rk_runtime *rt;
	const char *mount; /* NULL = none */
	bool labelled;	   /* the sample under way has labels already */
};

static void family(struct page *p, const char *name, const char *type, const char *help)
{
	fprintf(p->out, "# HELP rkfs_%s %s\n# TYPE rkfs_%s %s\n", name, help, name, type);
}

/*
 * One label of the sample under way. Backslash, quote and newline are escaped as the format asks
 * for. It takes UTF-8 alone, and a path may be any bytes: those that are not are shown as \xNN.
 */
static void label(struct page *p, const char *name, const char *value)
{
	fprintf(p->out, "%c%s=\"", p->labelled ? ',' : '{', name);
	p->labelled = true;
	while (*value) {
		size_t len = rk_utf8_length(value, strlen(value));

		if (!len)
			fprintf(p->out, "\\\\x%02X", (unsigned char)*value);
		else if (*value == '\n')
			fputs("\\n", p->out);
		else if (*value == '\\' || *value == '"')
			fprintf(p->out, "\\%c", *value);
		else
			fwrite(value, 1, len, p->out);
		value += len ? len : 1;
	}
	fputc('"', p->out);
}

/* A sample: begin, any number of labels, end. Its first label tells the runtimes of a machine
 * apart. */
static void begin(struct page *p, const char *name, const char *suffix)
{
	fprintf(p->out, "rkfs_%s%s", name, suffix);
	p->labelled = false;
	if (p->mount)
		label(p, "mount", p->mount);
}

static void __attribute__((format(printf, 2, 3))) end(struct page *p, const char *format, ...)
{
	va_list ap;

	fputs(p->labelled ? "} " : " ", p->out);
	va_start(ap, format);
	vfprintf(p->out, format, ap);
	va_end(ap);
	fputc('\n', p->out);
}

/* A sample with one label beside the mount. */
static void sample(struct page *p, const char *name, const char *key, const char *value,
		   uint64_t number)
{
	begin(p, name, "");
	label(p, key, value);
	end(p, "%" PRIu64, number);
}

/* A family of one sample. */
static void single(struct page *p, const char *name, const char *type, const char *help,
		   uint64_t value)
{
	family(p, name, type, help);
	begin(p, name, "");
	end(p, "%" PRIu64, value);
}

/* --- of the whole runtime --- */

/* For alerts: a text file stays as it is when its daemon has been killed. */
static void print_time(struct page *p)
{
	struct rk_config config;
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	family(p, "timestamp_seconds", "gauge", "When these numbers were taken, as Unix time.");
	begin(p, "timestamp_seconds", "");
	end(p, "%lld.%03ld", (long long)now.tv_sec, now.tv_nsec / 1000000);
	rk_runtime_config(p->rt, &config);
	family(p, "metrics_interval_seconds", "gauge",
	       "How often metrics_textfile is written: metrics_interval.");
	begin(p, "metrics_interval_seconds", "");
	end(p, "%.3f", (double)config.metrics_interval / MSECS_SEC);
}

static void print_state(struct page *p)
{
	enum rk_state now = rk_runtime_state(p->rt);
	struct rk_health_report health;
	char backend[RK_WIRE_NAME_MAX];

	family(p, "build_info", "gauge", "The version that runs, as a label.");
	sample(p, "build_info", "version", RK_VERSION, 1);
	rk_runtime_backend(p->rt, backend);
	family(p, "backend_info", "gauge", "The backend that runs kernels, as a label.");
	sample(p, "backend_info", "backend", backend, 1);
	family(p, "state", "gauge", "1 for the state that the runtime is in.");
	for (int i = 0; i < RK_STATE_COUNT; i++)
		sample(p, "state", "state", rk_state_name((enum rk_state)i), i == (int)now);
	rk_runtime_health(p->rt, &health);
	family(p, "health_status", "gauge", "1 for the status that the health checks found.");
	for (int i = 0; i <= RK_HEALTH_UNHEALTHY; i++)
		sample(p, "health_status", "status", rk_health_name((enum rk_health_status)i),
		       i == (int)health.status);
	family(p, "health_checks_total", "counter", "Health checks that have ended.");
	sample(p, "health_checks_total", "outcome", "passed", health.passed);
	sample(p, "health_checks_total", "outcome", "failed", health.failed);
	sample(p, "health_checks_total", "outcome", "overdue", health.overdue);
	single(p, "live", "gauge", "Whether the runtime is alive: health/live.",
	       rk_runtime_live(p->rt));
	single(p, "ready", "gauge", "Whether it takes messages: health/ready.",
	       rk_runtime_ready(p->rt));
}

/* The numbers of stats/. */
static void print_stats(struct page *p)
{
	uint64_t values[RK_STAT_COUNT];

	rk_stat_values(p->rt, values);
	for (size_t i = 0; i < RK_STAT_COUNT; i++) {
		const struct rk_stat *stat = &rk_stats_table[i];

		single(p, stat->metric, stat->type, stat->help, values[i]);
	}
}

/* --- of each kernel --- */

struct kernel_family {
	const char *name, *type, *help;
	/* Print the sample of @k; @arg is the family's. */
	void (*print)(struct page *p, const char *name, struct rk_kernel *k, int arg);
	int arg;
};

static void kernel_sample(struct page *p, const char *name, const struct rk_kernel *k,
			  uint64_t value)
{
	sample(p, name, "kernel", k->manifest.id, value);
}

static void print_count(struct page *p, const char *name, struct rk_kernel *k, int arg)
{
	kernel_sample(p, name, k, atomic_load(&k->stats->books.count[arg]));
}

static void print_in_flight(struct page *p, const char *name, struct rk_kernel *k, int arg)
{
	(void)arg;
	kernel_sample(p, name, k, atomic_load(&k->stats->books.in_flight));
}

static void print_queued(struct page *p, const char *name, struct rk_kernel *k, int arg)
{
	(void)arg;
	kernel_sample(p, name, k, atomic_load(&k->queued));
}

static void print_bucket(struct page *p, const char *name, const struct rk_kernel *k,
			 const char *bound, uint64_t below)
{
	begin(p, name, "_bucket");
	label(p, "kernel", k->manifest.id);
	label(p, "le", bound);
	end(p, "%" PRIu64, below);
}

/* The buckets are read before the count: it may be a little ahead, never behind. */
static void print_latency(struct page *p, const char *name, struct rk_kernel *k, int arg)
{
	const struct rk_histogram *h = &k->stats->latency;
	uint64_t below[NPOWERS], count;
	char bound[32];

	(void)arg;
	for (size_t i = 0; i < NPOWERS; i++)
		below[i] = rk_histogram_below(h, powers[i]);
	count = rk_histogram_below(h, 64);
	for (size_t i = 0; i < NPOWERS; i++) {
		snprintf(bound, sizeof(bound), "%.6f",
			 (double)(UINT64_C(1) << powers[i]) / USECS_SEC);
		print_bucket(p, name, k, bound, below[i]);
	}
	print_bucket(p, name, k, "+Inf", count);
	begin(p, name, "_sum");
	label(p, "kernel", k->manifest.id);
	end(p, "%.6f", (double)rk_histogram_sum(h) / USECS_SEC);
	kernel_sample(p, "kernel_latency_seconds_count", k, count);
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

static void print_kernels(struct page *p)
{
	struct rk_registry *registry = rk_runtime_registry(p->rt);
	struct rk_kernel *k = NULL;

	for (size_t i = 0; i < sizeof(kernel_families) / sizeof(kernel_families[0]); i++) {
		const struct kernel_family *f = &kernel_families[i];

		family(p, f->name, f->type, f->help);
		while ((k = rk_registry_after(registry, k)))
			f->print(p, f->name, k, f->arg);
	}
}

/* --- of each device --- */

#define ALWAYS 0

static const struct device_family {
	const char *name, *type, *help;
	uint32_t known;	      /* RK_WIRE_KNOWS_*, ALWAYS */
	size_t offset, bytes; /* in struct rk_device */
	double unit;	      /* what one of it is in the base unit */
} device_families[] = {
#define MEMBER(name) offsetof(struct rk_device, name), sizeof(((struct rk_device *)0)->name)
	{"device_memory_total_bytes", "gauge", "Memory of the device.", RK_WIRE_KNOWS_MEMORY,
	 MEMBER(memory_total_bytes), 1},
	{"device_memory_used_bytes", "gauge", "Memory of the device in use, by anybody.",
	 RK_WIRE_KNOWS_MEMORY, MEMBER(memory_used_bytes), 1},
	{"device_utilisation_ratio", "gauge",
	 "Share of the last sample period in which a kernel ran.", RK_WIRE_KNOWS_UTILISATION,
	 MEMBER(utilisation_percent), 0.01},
	{"device_temperature_celsius", "gauge", "Temperature of the device.",
	 RK_WIRE_KNOWS_TEMPERATURE, MEMBER(temperature_celsius), 1},
	{"device_power_watts", "gauge", "Power that the device draws.", RK_WIRE_KNOWS_POWER,
	 MEMBER(power_milliwatts), 0.001},
	{"device_xids_total", "counter", "Critical Xids that were seen of the device.",
	 RK_WIRE_KNOWS_XID, MEMBER(xid_count), 1},
	{"device_xid_last", "gauge", "The last of them, 0 where there was none.", RK_WIRE_KNOWS_XID,
	 MEMBER(xid_last), 1},
	{"device_ecc_uncorrected_total", "counter",
	 "Errors of its memory that were not corrected since the driver was loaded.",
	 RK_WIRE_KNOWS_ECC, MEMBER(ecc_uncorrected), 1},
	{"device_remap_pending", "gauge", "1 where a reset would remap rows of its memory.",
	 RK_WIRE_KNOWS_REMAP, MEMBER(remap_pending), 1},
	{"device_remap_failed", "gauge", "1 where rows of its memory could not be remapped.",
	 RK_WIRE_KNOWS_REMAP, MEMBER(remap_failed), 1},
	{"device_lost", "gauge", "1 from the first loss of the device on.", ALWAYS, MEMBER(lost),
	 1},
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

static void print_devices(struct page *p)
{
	struct rk_device device;
	char number[16];

	for (size_t i = 0; i < sizeof(device_families) / sizeof(device_families[0]); i++) {
		const struct device_family *f = &device_families[i];

		family(p, f->name, f->type, f->help);
		for (uint32_t n = 0; rk_runtime_device(p->rt, n, &device); n++) {
			if (f->known && !(device.known & f->known))
				continue;
			snprintf(number, sizeof(number), "%" PRIu32, n);
			begin(p, f->name, "");
			label(p, "device", number);
			label(p, "uuid", device.uuid);
			label(p, "name", device.name);
			end(p, "%.15g", device_value(&device, f));
		}
	}
}

/* --- of each worker --- */

/* A worker as it is printed. */
struct worker {
	struct rk_worker_info info;
	struct rk_lane_counts counts;
	uint64_t enabled, healthy;
};

static const struct worker_family {
	const char *name, *type, *help;
	size_t offset; /* in struct worker, of a uint64_t */
} worker_families[] = {
	{"worker_enabled", "gauge", "Whether the worker is to serve: its enable.",
	 offsetof(struct worker, enabled)},
	{"worker_healthy", "gauge", "Whether its last health checks passed.",
	 offsetof(struct worker, healthy)},
	{"worker_restarts_total", "counter", "Processes that followed its first one.",
	 offsetof(struct worker, info.restarts)},
	{"worker_messages_in_flight", "gauge", "Messages that it runs.",
	 offsetof(struct worker, counts.in_flight)},
	{"worker_messages_processed_total", "counter", "Messages that it has completed.",
	 offsetof(struct worker, counts.processed)},
	{"worker_messages_failed_total", "counter", "Messages that failed on it.",
	 offsetof(struct worker, counts.failed)},
	{"worker_gpu_memory_bytes", "gauge", "Device memory that it holds.",
	 offsetof(struct worker, info.gpu_memory_bytes)},
};

/* All of @workers, of which there is room for RK_LANES_MAX. Returns how many there are. */
static uint32_t look_at_workers(struct page *p, struct worker *workers)
{
	uint32_t count = rk_runtime_workers(p->rt);
	char reason[RK_ERROR_MAX];

	for (uint32_t n = 0; n < count; n++) {
		struct worker *w = &workers[n];

		rk_runtime_worker(p->rt, n, &w->info);
		rk_dispatch_lane_counts(rk_runtime_dispatch(p->rt), n, &w->counts);
		w->enabled = w->info.enabled;
		w->healthy = rk_runtime_worker_health(p->rt, n, reason) == RK_HEALTH_HEALTHY;
	}
	return count;
}

static int print_workers(struct page *p)
{
	struct worker *workers = calloc(RK_LANES_MAX, sizeof(*workers));
	uint32_t count;
	char number[16];

	if (!workers)
		return -ENOMEM;
	count = look_at_workers(p, workers);
	family(p, "worker_info", "gauge", "Backend, device and state of each worker, as labels.");
	for (uint32_t n = 0; n < count; n++) {
		snprintf(number, sizeof(number), "%" PRIu32, n);
		begin(p, "worker_info", "");
		label(p, "worker", number);
		label(p, "backend", workers[n].info.backend);
		label(p, "device", workers[n].info.device);
		label(p, "state", rk_worker_state_name(workers[n].info.state));
		end(p, "1");
	}
	for (size_t i = 0; i < sizeof(worker_families) / sizeof(worker_families[0]); i++) {
		const struct worker_family *f = &worker_families[i];

		family(p, f->name, f->type, f->help);
		for (uint32_t n = 0; n < count; n++) {
			const char *at = (const char *)&workers[n] + f->offset;

			snprintf(number, sizeof(number), "%" PRIu32, n);
			sample(p, f->name, "worker", number, *(const uint64_t *)at);
		}
	}
	free(workers);
	return 0;
}

int rk_metrics_print(struct rk_runtime *rt, const char *mount, char **text, size_t *len)
{
	char *buf = NULL;
	size_t size = 0;
	struct page page = {.out = open_memstream(&buf, &size), .rt = rt, .mount = mount};
	bool failed;

	if (!page.out)
		return -ENOMEM;
	print_state(&page);
	print_time(&page);
	print_stats(&page);
	print_kernels(&page);
	print_devices(&page);
	failed = print_workers(&page) || ferror(page.out);
	if (fclose(page.out) || failed) {
		free(buf);
		return -ENOMEM;
	}
	*text = buf;
	*len = size;
	return 0;
}
