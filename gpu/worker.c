/* SPDX-License-Identifier: MIT */
/* The control side of a worker: the packets of the daemon, what a hello sets up, and the end. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gpu/backend.h"
#include "gpu/base/crash.h"
#include "gpu/base/packet.h"
#include "gpu/check.h"
#include "gpu/executor.h"
#include "gpu/nvml/devices.h"
#include "gpu/worker.h"
#include "runtime/base/log.h"
#include "runtime/base/tensor.h"
#include "runtime/base/wire.h"

struct worker {
	int control;
	int messages;
	int payload;
	int shared;
	struct rk_packet_fd with; /* what came with the packet that is being handled */
	bool greeted;
	struct rk_backend_env env;
	struct rk_wire_device_settings device; /* what env points to */
	const struct rk_wire_hello *hello;     /* while it is handled */
	struct rk_error unwatchable; /* why NVML is not to be opened; code 0 = it may be */
	struct rk_executor_backend backends[RK_WIRE_BACKEND_COUNT];
	enum rk_wire_backend primary; /* the one that runs, where the executor is there */
	struct rk_executor *executor; /* NULL unless READY said 0, as is check */
	struct rk_check *check;
	struct rk_devices_watch *watch; /* NULL: none */
	bool left_behind;		/* a watch was, in a call of NVML */
};

/* Any thread. */
static void send_control(const struct worker *w, struct rk_wire_control *packet)
{
	int rc;

	packet->version = RK_WIRE_VERSION;
	rc = rk_packet_send(w->control, packet, sizeof(*packet));
	if (rc)
		_exit(rc == -EPIPE ? EXIT_SUCCESS : RK_WORKER_EXIT_FAILURE);
}

/* The answer to a packet: @rc is 0 or a negative errno described in @err. */
static void send_status(const struct worker *w, struct rk_wire_control *packet, int rc,
			const struct rk_error *err)
{
	packet->status = -rc;
	if (rc)
		snprintf(packet->text, sizeof(packet->text), "%s", err->msg);
	send_control(w, packet);
}

/* Not through send_control: a log line is no reason to end a worker that can still answer. */
static void send_log(void *ctx, enum rk_log_level level, const char *line)
{
	const struct worker *w = ctx;
	struct rk_wire_control packet = {.version = RK_WIRE_VERSION, .type = RK_WIRE_LOG};

	packet.log.level = level;
	snprintf(packet.log.text, sizeof(packet.log.text), "%s", line);
	(void)rk_packet_send(w->control, &packet, sizeof(packet));
}

static void check_text(const char *text, size_t size, const char *what)
{
	if (!memchr(text, '\0', size))
		rk_packet_violation("%s is not terminated", what);
}

/* Map @fd, @bytes long. NULL where that fails, with the sentence in @err. */
static void *map(int fd, uint64_t bytes, const char *what, struct rk_error *err)
{
	struct stat st;
	void *p;

	if (fstat(fd, &st) < 0)
		rk_packet_violation("the %s cannot be examined: %s", what, strerror(errno));
	if (bytes == 0 || (uint64_t)st.st_size < bytes)
		rk_packet_violation("the %s has %" PRId64 " bytes, not %" PRIu64, what,
				    (int64_t)st.st_size, bytes);
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		rk_error_set(err, errno, "cannot map the %s of %" PRIu64 " bytes: %m", what, bytes);
		return NULL;
	}
	/* what users sent is in no core file, whoever asks for one */
	if (madvise(p, bytes, MADV_DONTDUMP))
		rk_log(RK_LOG_WARN, "rk-worker: the %s would be in a core file: %s", what,
		       strerror(errno));
	return p;
}

static void unmap(void *p, uint64_t bytes, const char *what)
{
	if (p && munmap(p, bytes) < 0)
		rk_log(RK_LOG_WARN, "rk-worker: cannot unmap the %s: %s", what, strerror(errno));
}

static void close_backends(struct worker *w)
{
	for (unsigned int i = RK_WIRE_BACKEND_COUNT; i-- > 0;) {
		if (w->backends[i].ops)
			w->backends[i].ops->close(w->backends[i].backend);
		w->backends[i].ops = NULL;
	}
}

/* Undo what HELLO set up, in reverse order; whatever is not there is skipped. */
static void tear_down(struct worker *w)
{
	bool left_behind;

	if (w->executor)
		rk_executor_stop(w->executor);
	w->executor = NULL;
	left_behind = w->left_behind || (w->watch && !rk_devices_stop(w->watch));
	w->watch = NULL;
	if (w->check && !rk_check_stop(w->check)) {
		rk_log(RK_LOG_ERROR, "rk-worker: the driver does not return from a health check");
		_exit(RK_WORKER_EXIT_FAILURE);
	}
	w->check = NULL;
	close_backends(w);
	rk_crash_unwatch();
	unmap(w->env.shared, sizeof(*w->env.shared), "shared page");
	w->env.shared = NULL;
	unmap(w->env.payload, w->env.payload_bytes, "payload");
	w->env.payload = NULL;
	if (left_behind) {
		rk_log(RK_LOG_WARN,
		       "rk-worker: NVML does not return; its thread ends with the process");
		_exit(EXIT_SUCCESS);
	}
}

/* Refuse to open a library of the driver that ended an earlier worker. 0 or -ENODEV. */
static int may_open(const struct worker *w, enum rk_wire_library library, struct rk_error *err)
{
	static const char *const files[RK_WIRE_LIBRARY_COUNT] = {
		[RK_WIRE_LIBCUDA] = "libcuda.so.1",
		[RK_WIRE_LIBNVML] = "libnvidia-ml.so.1",
	};

	if (!(w->hello->skip & 1U << library))
		return 0;
	return rk_error_set(err, ENODEV,
			    "%s is not opened again before a reset: while it was, a worker %.150s",
			    files[library], w->hello->skip_why[library]);
}

/* Open @ops, whose driver may end the process meanwhile. */
static int open_driver(struct worker *w, const struct rk_backend_ops *ops, void **backend,
		       struct rk_error *err)
{
	enum rk_wire_library library = ops->driver - 1;
	int rc = may_open(w, library, err);

	if (rc)
		return rc;
	atomic_fetch_or(&w->env.shared->opening, 1U << library);
	rc = ops->open(&w->env, backend, err);
	atomic_fetch_and(&w->env.shared->opening, ~(1U << library));
	return rc;
}

static int open_one(struct worker *w, enum rk_wire_backend which, struct rk_error *err)
{
	const struct rk_backend_ops *ops;
	int rc = rk_backend_find(which, &ops, err);

	if (!rc && ops->driver)
		rc = open_driver(w, ops, &w->backends[which].backend, err);
	else if (!rc)
		rc = ops->open(&w->env, &w->backends[which].backend, err);
	if (rc)
		return rk_error_prefix(err, "backend %s", rk_backends[which].name);
	w->backends[which].ops = ops;
	return 0;
}

/*
 * Beside a backend for a device, the one for the CPU is opened, for kernels that have no code for
 * the device.
 */
static int open_backend(struct worker *w, const char *name, struct rk_error *err)
{
	int rc;

	w->primary = rk_backend_named(name);
	if (w->primary == RK_WIRE_BACKEND_COUNT)
		return rk_error_set(err, EINVAL,
				    "'%s' is no backend; see primary_backend in rkfs.conf", name);
	rc = open_one(w, w->primary, err);
	if (rc || w->primary == RK_WIRE_CPU)
		return rc;
	rc = open_one(w, RK_WIRE_CPU, err);
	if (rc)
		close_backends(w);
	return rc;
}

/* Open the primary backend, else the fallback; @why (RK_WIRE_TEXT_MAX) says why not the primary. */
static int open_either(struct worker *w, const struct rk_wire_hello *hello, char *why,
		       struct rk_error *err)
{
	struct rk_error first;
	int rc = open_backend(w, hello->primary, &first);

	why[0] = '\0';
	if (!rc)
		return 0;
	if (!hello->fallback[0]) {
		*err = first;
		return rk_error_prefix(err, "no backend to run on (fallback_backend is not set)");
	}
	rc = open_backend(w, hello->fallback, err);
	if (rc)
		return rk_error_prefix(err, "%s", first.msg);
	snprintf(why, RK_WIRE_TEXT_MAX, "%s", first.msg);
	rk_log(RK_LOG_WARN, "rk-worker: %s; falling back to %s", why, hello->fallback);
	return 0;
}

/* From the thread that checks. */
static void send_checked(void *ctx, uint64_t number, int rc, const struct rk_error *err)
{
	struct rk_wire_control out = {.type = RK_WIRE_CHECKED, .check.number = number};

	send_status(ctx, &out, rc, err);
}

/*
 * Watch the devices of the machine as @settings say, or not: whoever does keeps them all open, and
 * one worker does for all. What cannot be watched is no reason to fail.
 */
static void watch_devices(struct worker *w, const struct rk_wire_settings *settings)
{
	if (!settings->watched) {
		w->left_behind |= w->watch && !rk_devices_stop(w->watch);
		w->watch = NULL;
	} else if (w->watch) {
		rk_devices_set_period(w->watch, settings->sample_ms);
	} else if (!w->left_behind) {
		struct rk_error err = w->unwatchable;

		if (err.code ||
		    rk_devices_start(&w->watch, w->env.shared, settings->sample_ms, &err))
			rk_log(RK_LOG_WARN, "rk-worker: no devices are watched: %s", err.msg);
	}
}

/* Start the threads that work on the open backends. */
static int start_threads(struct worker *w, const struct rk_wire_settings *settings,
			 struct rk_error *err)
{
	const struct rk_executor_backend *primary = &w->backends[w->primary];
	int rc = rk_check_start(&w->check, primary->ops, primary->backend, w->env.shared,
				send_checked, w, err);

	if (rc == 0)
		rc = rk_executor_start(&w->executor, &w->env, w->messages, w->backends, err);
	if (rc)
		return rc;
	watch_devices(w, settings);
	return 0;
}

static int set_up(struct worker *w, const struct rk_wire_hello *hello, char *why,
		  struct rk_error *err)
{
	int seals, rc;

	w->env.spare = 1;
	w->env.threads = hello->threads + w->env.spare;
	w->env.payload_bytes = hello->payload_bytes;
	w->device = hello->device;
	w->env.device = &w->device;
	seals = fcntl(w->payload, F_GET_SEALS);
	if (seals < 0 || !(seals & F_SEAL_SHRINK))
		rk_packet_violation("the payload is not sealed against shrinking");
	w->env.payload = map(w->payload, hello->payload_bytes, "payload", err);
	if (!w->env.payload)
		return -err->code;
	w->env.shared = map(w->shared, sizeof(*w->env.shared), "shared page", err);
	if (!w->env.shared)
		return -err->code;
	rc = rk_crash_watch(w->env.shared, err);
	if (rc)
		return rc;
	rc = open_either(w, hello, why, err);
	if (rc)
		return rc;
	return start_threads(w, &hello->settings, err);
}

static void check_settings(const struct rk_wire_settings *settings)
{
	if (settings->log_level > RK_LOG_TRACE)
		rk_packet_violation("log level %" PRIu32, settings->log_level);
}

/* What READY says of the backend that is open. */
static void describe(const struct worker *w, struct rk_wire_ready *ready)
{
	const struct rk_executor_backend *primary = &w->backends[w->primary];

	snprintf(ready->backend, sizeof(ready->backend), "%s", rk_backends[w->primary].name);
	if (primary->ops->uuid)
		snprintf(ready->uuid, sizeof(ready->uuid), "%s",
			 primary->ops->uuid(primary->backend, &ready->index));
}

static bool handle_hello(struct worker *w, const struct rk_wire_control *in)
{
	const struct rk_wire_hello *hello = &in->hello;
	struct rk_wire_control out = {.type = RK_WIRE_READY};
	struct rk_error err;
	int rc;

	if (w->greeted)
		rk_packet_violation("a second hello");
	w->greeted = true;
	check_text(hello->primary, sizeof(hello->primary), "the primary backend's name");
	check_text(hello->fallback, sizeof(hello->fallback), "the fallback backend's name");
	check_text(hello->device.device, sizeof(hello->device.device), "the device's name");
	for (unsigned int i = 0; i < RK_WIRE_LIBRARY_COUNT; i++)
		check_text(hello->skip_why[i], sizeof(hello->skip_why[i]), "a worker's end");
	if (hello->threads < 1 || hello->threads > RK_WIRE_THREADS_MAX)
		rk_packet_violation("%" PRIu32 " threads", hello->threads);
	check_settings(&hello->settings);
	rk_log_set_level(hello->settings.log_level);
	w->hello = hello;
	(void)may_open(w, RK_WIRE_LIBNVML, &w->unwatchable);
	rc = set_up(w, hello, out.ready.fallback_why, &err);
	w->hello = NULL;
	if (rc) {
		out.ready.fallback_why[0] = '\0';
		tear_down(w);
	} else {
		describe(w, &out.ready);
		rk_log(RK_LOG_DEBUG, "rk-worker: %u threads on backend %s", hello->threads,
		       out.ready.backend);
	}
	send_status(w, &out, rc, &err);
	return true;
}

/* Parameter @i of a load packet whose texts and mode are good. */
static void check_param(const struct rk_wire_load *load, uint32_t i)
{
	const struct rk_wire_param *param = &load->params[i];

	if (param->kind < RK_WIRE_ARG_INPUT || param->kind > RK_WIRE_ARG_STATE ||
	    param->dtype >= RK_DTYPE_COUNT ||
	    (param->kind == RK_WIRE_ARG_DIM && param->dtype != RK_U64) ||
	    (param->kind == RK_WIRE_ARG_STATE && param->dtype != RK_U8))
		rk_packet_violation("%s: parameter %" PRIu32 " has kind %u and type %u", load->id,
				    i, param->kind, param->dtype);
	if (param->kind == RK_WIRE_ARG_STATE && load->state_bytes == 0)
		rk_packet_violation("%s: parameter %" PRIu32 " is a state, and the kernel has none",
				    load->id, i);
	if (param->fused > 1 ||
	    (param->fused && (param->kind != RK_WIRE_ARG_DIM || load->mode != RK_WIRE_BATCH)))
		rk_packet_violation("%s: parameter %" PRIu32 " cannot be fused", load->id, i);
}

static void check_load(const struct worker *w, const struct rk_wire_load *load)
{
	if (load->kernel >= RK_WIRE_KERNELS_MAX)
		rk_packet_violation("a load packet names kernel slot %" PRIu32, load->kernel);
	check_text(load->id, sizeof(load->id), "the kernel's id");
	check_text(load->library, sizeof(load->library), "the kernel's library");
	check_text(load->entry, sizeof(load->entry), "the kernel's entry");
	if (load->backend >= RK_WIRE_BACKEND_COUNT || !w->backends[load->backend].ops)
		rk_packet_violation("%s: backend %u is not here", load->id, load->backend);
	if (load->mode > RK_WIRE_RING || (load->mode == RK_WIRE_BATCH && load->state_bytes))
		rk_packet_violation("%s: mode %u with a state of %" PRIu64 " bytes", load->id,
				    load->mode, load->state_bytes);
	for (unsigned int i = 0; rk_backends[load->backend].launches && i < RK_WIRE_AXES; i++)
		if (load->block[i] == 0)
			rk_packet_violation("%s: a block of 0 threads", load->id);
	if (load->nparams > RK_WIRE_ARGS_MAX)
		rk_packet_violation("%s: %" PRIu32 " parameters", load->id, load->nparams);
	for (uint32_t i = 0; i < load->nparams; i++)
		check_param(load, i);
}

/* A library comes as a memfd that nobody can change any more. */
static void check_library(const struct rk_wire_load *load, const struct rk_packet_fd *with)
{
	const int wanted = F_SEAL_SHRINK | F_SEAL_WRITE;
	bool builtin = strcmp(load->library, "builtin") == 0;
	bool came = with->fd >= 0 || with->lost;
	int seals;

	if (builtin == came)
		rk_packet_violation("%s: a load packet %s a descriptor for library %.64s", load->id,
				    came ? "with" : "without", load->library);
	if (with->fd < 0)
		return;
	seals = fcntl(with->fd, F_GET_SEALS);
	if (seals < 0 || (seals & wanted) != wanted)
		rk_packet_violation("%s: the library's descriptor is no sealed memfd", load->id);
}

static bool handle_load(struct worker *w, const struct rk_wire_control *in)
{
	struct rk_wire_control out = {.type = RK_WIRE_LOADED, .kernel = in->load.kernel};
	struct rk_error err;
	int rc;

	check_load(w, &in->load);
	check_library(&in->load, &w->with);
	if (w->with.lost)
		rc = rk_error_set(&err, EMFILE,
				  "kernel %s: no descriptor is left for its library; raise the "
				  "limit (ulimit -n, LimitNOFILE=) or enable fewer kernels",
				  in->load.id);
	else
		rc = rk_executor_load(w->executor, &in->load, w->with.fd, &err);
	if (rc == -EEXIST)
		rk_packet_violation("%s", err.msg);
	if (!rc)
		rk_log(RK_LOG_DEBUG, "rk-worker: loaded %s in slot %" PRIu32, in->load.id,
		       in->load.kernel);
	send_status(w, &out, rc, &err);
	return true;
}

static bool handle_unload(struct worker *w, const struct rk_wire_control *in)
{
	struct rk_wire_control out = {.type = RK_WIRE_UNLOADED, .kernel = in->kernel};
	struct rk_error err;
	int rc;

	if (in->kernel >= RK_WIRE_KERNELS_MAX)
		rk_packet_violation("an unload packet names kernel slot %" PRIu32, in->kernel);
	rc = rk_executor_unload(w->executor, in->kernel, &err);
	send_status(w, &out, rc, &err);
	return true;
}

static bool handle_settings(struct worker *w, const struct rk_wire_control *in)
{
	check_settings(&in->settings);
	rk_log_set_level(in->settings.log_level);
	watch_devices(w, &in->settings);
	return true;
}

static bool handle_check(struct worker *w, const struct rk_wire_control *in)
{
	rk_check_ask(w->check, in->check.number);
	return true;
}

static bool handle_shutdown(struct worker *w, const struct rk_wire_control *in)
{
	(void)w;
	(void)in;
	return false;
}

/* What the daemon may send. A handler returns false where the worker is to end. */
static const struct {
	bool (*handle)(struct worker *w, const struct rk_wire_control *in);
	bool needs_ready;
} verbs[] = {
	[RK_WIRE_HELLO] = {handle_hello, false},
	[RK_WIRE_LOAD] = {handle_load, true},
	[RK_WIRE_UNLOAD] = {handle_unload, true},
	[RK_WIRE_SHUTDOWN] = {handle_shutdown, false},
	[RK_WIRE_SETTINGS] = {handle_settings, false},
	[RK_WIRE_CHECK] = {handle_check, true},
};

static bool serve_one(struct worker *w)
{
	struct rk_wire_control in;
	ssize_t len = rk_packet_recv_fd(w->control, &in, sizeof(in), &w->with);

	if (len == -EBADMSG)
		rk_packet_violation("a control packet with more than one descriptor");
	if (len == 0)
		_exit(EXIT_SUCCESS); /* the daemon is gone, and nobody waits for what is still
					running */
	if (len < 0) {
		rk_log(RK_LOG_ERROR, "rk-worker: cannot receive control packets: %s",
		       strerror((int)-len));
		_exit(RK_WORKER_EXIT_FAILURE);
	}
	if ((size_t)len != sizeof(in))
		rk_packet_violation("a control packet of %zd bytes, not %zu", len, sizeof(in));
	if (in.version != RK_WIRE_VERSION)
		rk_packet_violation("version %" PRIu32 ", not %d", in.version, RK_WIRE_VERSION);
	if (in.type >= sizeof(verbs) / sizeof(verbs[0]) || !verbs[in.type].handle)
		rk_packet_violation("a control packet of type %" PRIu32, in.type);
	if (verbs[in.type].needs_ready && !w->executor)
		rk_packet_violation("a control packet of type %" PRIu32
				    " for a worker that is not ready",
				    in.type);
	if (in.type != RK_WIRE_LOAD && (w->with.fd >= 0 || w->with.lost))
		rk_packet_violation("a control packet of type %" PRIu32 " with a descriptor",
				    in.type);
	return verbs[in.type].handle(w, &in);
}

int rk_worker_run(int control, int messages, int payload, int shared)
{
	struct worker w = {
		.control = control, .messages = messages, .payload = payload, .shared = shared};

	rk_log_set_sink(send_log, &w);
	while (serve_one(&w))
		;
	tear_down(&w);
	rk_log_set_sink(NULL, NULL);
	return EXIT_SUCCESS;
}
