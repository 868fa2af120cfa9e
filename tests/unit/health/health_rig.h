/* SPDX-License-Identifier: MIT */
/*
 * A worker that answers health checks as a test says, while it runs, by knobs in memory that both
 * share; and what the tests of health look at.
 */
#ifndef RK_TESTS_HEALTH_RIG_H
#define RK_TESTS_HEALTH_RIG_H

#include <sys/mman.h>

#include "tests/unit/runtime/runtime_rig.h"

#define MODE	"health"
#define KNOBS	"RK_TEST_KNOBS"
#define ECHO	"core/echo"
#define FOREVER "health_check_interval=24h" /* no probe but those that are asked for */

enum answer {
	RIGHT,
	WRONG,
	SILENT, /* once it is anything else again, what was held back is answered */
	DEADLY,
};

/* What the workers of a test do, and what they have seen; shared with them. */
static struct knobs {
	_Atomic enum answer check, echo;
	_Atomic int check_errno;    /* of a check that is WRONG */
	_Atomic bool in_driver;	    /* a SILENT check is in the driver */
	_Atomic unsigned int hangs; /* that many checks hang in the driver, whatever check says */
	_Atomic unsigned int checks, echoes, others; /* received */
	_Atomic bool others_run;		     /* messages of other kernels are answered */
	_Atomic unsigned int ndevices, lost; /* lost: 1 + the number of the device, 0 none */
	_Atomic uint32_t known;		     /* RK_WIRE_KNOWS_* of every device */
	_Atomic uint32_t xid, xids, remap;   /* of the first device; remap: 1 pending, 2 failed */
	_Atomic uint64_t memory;	     /* peak; half of it is held */
	char fallback[64];
	struct rk_wire_hello hello; /* as it was received */
	struct rk_wire_settings settings;
	_Atomic unsigned int nsettings;
} * knobs;

/* --- the worker --- */

struct held {
	struct rk_wire_run run;
	bool is_echo, there;
};

static struct {
	uint32_t echo_slot;
	uint64_t check; /* not answered yet, 0 = none */
	struct held held[8];
	struct rk_wire_shared *shared;
} worker;

static inline void map_knobs(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		_exit(FAKE_EXIT);
	knobs = mmap(NULL, sizeof(*knobs), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (knobs == MAP_FAILED)
		_exit(FAKE_EXIT);
	close(fd);
}

static inline void greet(void)
{
	struct rk_wire_control packet;

	if (recv(RK_WIRE_FD_CONTROL, &packet, sizeof(packet), 0) != sizeof(packet))
		_exit(FAKE_EXIT);
	knobs->hello = packet.hello;
	memset(&packet, 0, sizeof(packet));
	packet.version = RK_WIRE_VERSION;
	packet.type = RK_WIRE_READY;
	strcpy(packet.ready.backend, "cpu");
	memcpy(packet.ready.fallback_why, knobs->fallback, sizeof(knobs->fallback));
	fake_send(RK_WIRE_FD_CONTROL, &packet, sizeof(packet));
}

static inline void show_devices(void)
{
	unsigned int n = atomic_load(&knobs->ndevices);

	for (unsigned int i = 0; i < n; i++) {
		struct rk_wire_device *d = &worker.shared->devices[i];

		atomic_fetch_add(&d->sequence, 1);
		snprintf(d->name, sizeof(d->name), "Fake %u", i);
		snprintf(d->uuid, sizeof(d->uuid), "GPU-fake-%u", i);
		d->known = atomic_load(&knobs->known);
		d->memory_total_bytes = 1000 + i;
		d->utilisation_percent = 42;
		d->temperature_celsius = 61;
		d->power_milliwatts = 212007;
		d->lost = atomic_load(&knobs->lost) == i + 1;
		d->ecc_uncorrected = 5;
		d->xid_last = i ? 0 : atomic_load(&knobs->xid);
		d->xid_count = i ? 0 : atomic_load(&knobs->xids);
		d->remap_pending = !i && atomic_load(&knobs->remap) == 1;
		d->remap_failed = !i && atomic_load(&knobs->remap) == 2;
		atomic_fetch_add(&d->sequence, 1);
	}
	atomic_store(&worker.shared->ndevices, n);
	atomic_store(&worker.shared->gpu_memory_bytes, atomic_load(&knobs->memory) / 2);
	atomic_store(&worker.shared->gpu_memory_peak_bytes, atomic_load(&knobs->memory));
}

static inline void answer_check(uint64_t number, int status)
{
	struct rk_wire_control packet = {
		.version = RK_WIRE_VERSION,
		.type = RK_WIRE_CHECKED,
		.status = status,
		.check.number = number,
	};

	if (status)
		strcpy(packet.text, "cuMemGetInfo: CUDA_ERROR_UNKNOWN");
	show_devices();
	atomic_store(&worker.shared->in_driver_since_ns, 0);
	fake_send(RK_WIRE_FD_CONTROL, &packet, sizeof(packet));
}

static inline void enter_driver(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	atomic_store(&worker.shared->in_driver_since_ns,
		     (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec);
}

static inline void on_check(uint64_t number)
{
	atomic_fetch_add(&knobs->checks, 1);
	if (atomic_load(&knobs->hangs)) {
		atomic_fetch_sub(&knobs->hangs, 1);
		enter_driver();
		return;
	}
	switch (atomic_load(&knobs->check)) {
	case RIGHT:
		answer_check(number, 0);
		break;
	case WRONG:
		answer_check(number, atomic_load(&knobs->check_errno));
		break;
	case SILENT:
		worker.check = number;
		if (atomic_load(&knobs->in_driver))
			enter_driver();
		break;
	case DEADLY:
		_exit(FAKE_EXIT);
	}
}

static inline void on_control(void)
{
	struct rk_wire_control packet;
	ssize_t n = recv(RK_WIRE_FD_CONTROL, &packet, sizeof(packet), 0);

	if (n <= 0 || packet.type == RK_WIRE_SHUTDOWN)
		_exit(0);
	switch (packet.type) {
	case RK_WIRE_LOAD:
		if (!strcmp(packet.load.id, ECHO))
			worker.echo_slot = packet.load.kernel;
		fake_answer(RK_WIRE_LOADED, packet.load.kernel, 0, "");
		break;
	case RK_WIRE_UNLOAD:
		fake_answer(RK_WIRE_UNLOADED, packet.kernel, 0, "");
		break;
	case RK_WIRE_SETTINGS:
		knobs->settings = packet.settings;
		atomic_fetch_add(&knobs->nsettings, 1);
		break;
	case RK_WIRE_CHECK:
		on_check(packet.check.number);
		break;
	default:
		break;
	}
}

/* The payload is mapped as a whole: its address space is all that it costs. */
static inline uint8_t *payload(void)
{
	static uint8_t *at;
	off_t size;

	if (at)
		return at;
	size = lseek(RK_WIRE_FD_PAYLOAD, 0, SEEK_END);
	at = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, RK_WIRE_FD_PAYLOAD, 0);
	if (at == MAP_FAILED)
		_exit(FAKE_EXIT);
	return at;
}

static inline void answer_run(const struct rk_wire_run *run, bool copy)
{
	struct rk_wire_done done = {.id = run->id, .slot = run->slot, .run_ns = 1000000};

	if (copy)
		memcpy(payload() + run->args[1].value, payload() + run->args[0].value,
		       run->args[0].bytes);
	fake_send(RK_WIRE_FD_MESSAGES, &done, offsetof(struct rk_wire_done, text));
}

static inline void on_message(void)
{
	struct held new = {.there = true};

	if (recv(RK_WIRE_FD_MESSAGES, &new.run, sizeof(new.run), 0) <= 0)
		_exit(0);
	new.is_echo = new.run.kernel == worker.echo_slot;
	atomic_fetch_add(new.is_echo ? &knobs->echoes : &knobs->others, 1);
	if (new.is_echo && atomic_load(&knobs->echo) == DEADLY)
		_exit(FAKE_EXIT);
	for (size_t i = 0; i < ARRAY_SIZE(worker.held); i++) {
		if (!worker.held[i].there) {
			worker.held[i] = new;
			return;
		}
	}
	_exit(FAKE_EXIT);
}

/* Answer what is held back and may be answered now. */
static inline void let_go(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(worker.held); i++) {
		struct held *h = &worker.held[i];

		if (!h->there || (h->is_echo ? atomic_load(&knobs->echo) == SILENT
					     : !atomic_load(&knobs->others_run)))
			continue;
		h->there = false;
		answer_run(&h->run, h->is_echo && atomic_load(&knobs->echo) == RIGHT);
	}
	if (worker.check && atomic_load(&knobs->check) != SILENT) {
		answer_check(worker.check, 0);
		worker.check = 0;
	}
}

static inline int be_worker(void)
{
	map_knobs(getenv(KNOBS));
	worker.shared = fake_shared();
	greet();
	for (;;) {
		struct pollfd fds[] = {
			{.fd = RK_WIRE_FD_CONTROL, .events = POLLIN},
			{.fd = RK_WIRE_FD_MESSAGES, .events = POLLIN},
		};

		if (poll(fds, 2, 1) < 0) /* a knob is no descriptor */
			_exit(FAKE_EXIT);
		if (fds[0].revents)
			on_control();
		if (fds[1].revents)
			on_message();
		let_go();
	}
}

/* --- the test --- */

static char knobs_path[64];

static inline int setup(void **state)
{
	int fd;

	(void)state;
	/* by name: a worker may not look into /proc/PID/fd of a process with capabilities */
	strcpy(knobs_path, "/tmp/rk_knobs_XXXXXX");
	fd = mkstemp(knobs_path);
	if (fd < 0 || ftruncate(fd, sizeof(*knobs)) || fchmod(fd, 0666))
		return -1;
	close(fd);
	map_knobs(knobs_path);
	atomic_store(&knobs->check_errno, EIO);
	atomic_store(&knobs->known, RK_WIRE_KNOWS_MEMORY);
	setenv(KNOBS, knobs_path, 1);
	fake_worker_be(MODE);
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	fake_worker_be(NULL);
	munmap(knobs, sizeof(*knobs));
	return unlink(knobs_path);
}

#define open_health(r, ...)                                                                        \
	rig_open(r, FAKE_WORKER, FOREVER, "worker_threads=1" __VA_OPT__(, ) __VA_ARGS__)

static inline void expect_field(json_t *event, const char *key, const char *part)
{
	const char *text = json_string_value(json_object_get(event, key));

	assert_non_null(text);
	if (!strstr(text, part))
		fail_msg("%s is \"%s\", not \"%s\"", key, text, part);
}

/* The probe that ends next, from event @from on: how it ended. Returns the number after it. */
static inline uint64_t expect_end(struct rig *r, uint64_t from, const char *status,
				  const char *outcome, const char *reason)
{
	json_t *event = rig_wait_event(r, "HealthCheckCompleted", from);
	uint64_t seq = (uint64_t)json_integer_value(json_object_get(event, "seq"));

	expect_field(event, "reason", reason);
	assert_string_equal(json_string_value(json_object_get(event, "outcome")), outcome);
	assert_string_equal(json_string_value(json_object_get(event, "status")), status);
	assert_true(json_integer_value(json_object_get(event, "took_ms")) >= 0);
	json_decref(event);
	return seq + 1;
}

/* Ask for a probe and see how it ends. */
static inline void check_now(struct rig *r, const char *status, const char *outcome,
			     const char *reason)
{
	uint64_t from = rig_now(r);
	struct rk_error err = {0};

	if (rk_runtime_check_now(r->rt, NULL, &err))
		fail_msg("%s", err.msg);
	expect_end(r, from, status, outcome, reason);
}

static inline void expect_report(struct rig *r, enum rk_health_status status, const char *reason)
{
	struct rk_health_report report;

	rk_runtime_health(r->rt, &report);
	assert_string_equal(rk_health_name(report.status), rk_health_name(status));
	if (!strstr(report.reason, reason))
		fail_msg("the reason is \"%s\", not \"%s\"", report.reason, reason);
	assert_int_equal(rk_runtime_ready(r->rt),
			 rk_runtime_state(r->rt) == RK_RUNNING &&
				 (status == RK_HEALTH_HEALTHY || status == RK_HEALTH_DEGRADED));
}

static inline void expect_counts(struct rig *r, uint64_t passed, uint64_t failed, uint64_t overdue)
{
	struct rk_health_report report;

	rk_runtime_health(r->rt, &report);
	assert_int_equal(report.passed, passed);
	assert_int_equal(report.failed, failed);
	assert_int_equal(report.overdue, overdue);
	assert_int_equal(report.checked, passed + failed + overdue > 0);
}

static inline uint64_t seq_of(struct rig *r, const char *name)
{
	json_t *event = rig_find_event(r, name, 0);
	uint64_t seq = (uint64_t)json_integer_value(json_object_get(event, "seq"));

	assert_non_null(event);
	json_decref(event);
	return seq;
}

#endif
