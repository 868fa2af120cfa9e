// SPDX-License-Identifier: MIT
/* The control side of a worker. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gpu/backend.h"
#include "gpu/crash.h"
#include "gpu/executor.h"
#include "gpu/packet.h"
#include "gpu/wire.h"
#include "gpu/worker.h"
#include "runtime/log.h"
#include "runtime/tensor.h"

struct worker {
	int control;
	int messages;
	int payload;
	int shared;
	struct rk_packet_fd with; /* what came with the packet that is being handled */
	bool greeted;
	struct rk_backend_env env;
	const struct rk_backend_ops *ops; /* NULL: no backend is open */
	void *backend;
	struct rk_executor *executor; /* NULL unless READY said 0 */
};

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
		rk_packet_violation("the %s cannot be looked at: %s", what, strerror(errno));
	if (bytes == 0 || (uint64_t)st.st_size < bytes)
		rk_packet_violation("the %s has %" PRId64 " bytes, not %" PRIu64, what,
				    (int64_t)st.st_size, bytes);
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		rk_error_set(err, errno, "cannot map the %s of %" PRIu64 " bytes: %s", what, bytes,
			     strerror(errno));
		return NULL;
	}
	return p;
}

static void unmap(void *p, uint64_t bytes, const char *what)
{
	if (p && munmap(p, bytes) < 0)
		rk_log(RK_LOG_WARN, "rk-worker: cannot unmap the %s: %s", what, strerror(errno));
}

/* Everything HELLO set up, in reverse; what is not there is passed over. */
static void tear_down(struct worker *w)
{
	if (w->ops)
		w->ops->close(w->backend);
	w->ops = NULL;
	rk_crash_unwatch();
	unmap(w->env.shared, sizeof(*w->env.shared), "shared page");
	w->env.shared = NULL;
	unmap(w->env.payload, w->env.payload_bytes, "payload");
	w->env.payload = NULL;
}

static int open_backend(struct worker *w, const char *name, struct rk_error *err)
{
	const struct rk_backend_ops *ops;
	int rc = rk_backend_find(name, &ops, err);

	if (!rc)
		rc = ops->open(&w->env, &w->backend, err);
	if (rc)
		return rk_error_prefix(err, "backend %s", name);
	w->ops = ops;
	return 0;
}

/* The primary backend, else the fallback; @why (RK_WIRE_TEXT_MAX) says why not the primary. */
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

static int set_up(struct worker *w, const struct rk_wire_hello *hello, char *why,
		  struct rk_error *err)
{
	int seals, rc;

	w->env.threads = hello->threads;
	w->env.payload_bytes = hello->payload_bytes;
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
	return rk_executor_start(&w->executor, &w->env, w->messages, w->ops, w->backend, err);
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
	if (hello->threads < 1 || hello->threads > RK_WIRE_THREADS_MAX)
		rk_packet_violation("%" PRIu32 " threads", hello->threads);
	if (hello->log_level > RK_LOG_TRACE)
		rk_packet_violation("log level %" PRIu32, hello->log_level);
	rk_log_set_level(hello->log_level);
	rc = set_up(w, hello, out.ready.fallback_why, &err);
	if (rc) {
		out.ready.fallback_why[0] = '\0';
		tear_down(w);
	} else {
		snprintf(out.ready.backend, sizeof(out.ready.backend), "%s", w->ops->name);
		rk_log(RK_LOG_DEBUG, "rk-worker: %u threads on backend %s", w->env.threads,
		       w->ops->name);
	}
	send_status(w, &out, rc, &err);
	return true;
}

static void check_load(const struct rk_wire_load *load)
{
	if (load->kernel >= RK_WIRE_KERNELS_MAX)
		rk_packet_violation("a load packet names kernel slot %" PRIu32, load->kernel);
	check_text(load->id, sizeof(load->id), "the kernel's id");
	check_text(load->library, sizeof(load->library), "the kernel's library");
	check_text(load->entry, sizeof(load->entry), "the kernel's entry");
	if (load->nparams > RK_WIRE_ARGS_MAX)
		rk_packet_violation("%s: %" PRIu32 " parameters", load->id, load->nparams);
	for (uint32_t i = 0; i < load->nparams; i++) {
		const struct rk_wire_param *param = &load->params[i];

		if (param->kind < RK_WIRE_ARG_INPUT || param->kind > RK_WIRE_ARG_DIM ||
		    param->dtype >= RK_DTYPE_COUNT ||
		    (param->kind == RK_WIRE_ARG_DIM && param->dtype != RK_U64))
			rk_packet_violation("%s: parameter %" PRIu32 " has kind %u and type %u",
					    load->id, i, param->kind, param->dtype);
	}
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

	check_load(&in->load);
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

static bool handle_log_level(struct worker *w, const struct rk_wire_control *in)
{
	(void)w;
	if (in->log.level > RK_LOG_TRACE)
		rk_packet_violation("log level %" PRIu32, in->log.level);
	rk_log_set_level(in->log.level);
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
	[RK_WIRE_LOG_LEVEL] = {handle_log_level, false},
};

static bool serve_one(struct worker *w)
{
	struct rk_wire_control in;
	ssize_t len = rk_packet_recv_fd(w->control, &in, sizeof(in), &w->with);

	if (len == -EBADMSG)
		rk_packet_violation("a control packet with more than one descriptor");
	if (len == 0)
		_exit(EXIT_SUCCESS); /* the daemon is gone, and nobody waits for what still runs */
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
	if (w.executor)
		rk_executor_stop(w.executor);
	tear_down(&w);
	rk_log_set_sink(NULL, NULL);
	return EXIT_SUCCESS;
}
