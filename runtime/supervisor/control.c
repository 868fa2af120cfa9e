/* SPDX-License-Identifier: MIT */
/* The control protocol with a worker, as seen from the supervisor thread. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/clock.h"
#include "runtime/base/log.h"
#include "runtime/supervisor/internal.h"

#define LINES_PER_SECOND 200 /* of workers, in the log */

static struct rk_wire_settings settings_of(const struct rk_supervisor *sup, const struct rk_proc *p)
{
	return (struct rk_wire_settings){
		.log_level = rk_log_level(),
		.watched = p->watches,
		.sample_ms = sup->params.sample_ms,
	};
}

/* The worker that watches the devices of the machine, or NULL. */
static struct rk_proc *watcher(const struct rk_supervisor *sup)
{
	for (uint32_t i = 0; i < sup->nseats; i++)
		if (sup->seats[i].cur && sup->seats[i].cur->watches)
			return sup->seats[i].cur;
	return NULL;
}

static bool is_watching_wanted(struct rk_supervisor *sup)
{
	return sup->params.watched && !rk_supervisor_any_disabled(sup);
}

static void begin_watch(struct rk_supervisor *sup, struct rk_proc *p)
{
	RK_GUARD(&sup->lock);
	p->watches = true;
	p->watch = ++sup->watches;
}

static void end_watch(struct rk_supervisor *sup, struct rk_proc *p)
{
	RK_GUARD(&sup->lock);
	rk_supervisor_see_devices_locked(sup, p);
	p->watches = false;
}

void rk_supervisor_choose_watcher(struct rk_supervisor *sup)
{
	bool wanted = is_watching_wanted(sup);
	struct rk_proc *p = watcher(sup);

	if (wanted == !!p)
		return;
	if (wanted) {
		for (uint32_t i = 0; i < sup->nseats && !p; i++)
			p = sup->seats[i].cur;
		if (!p)
			return;
		begin_watch(sup, p);
	} else {
		end_watch(sup, p);
	}
	rk_supervisor_send_settings(sup, p);
}

int rk_supervisor_hello(struct rk_supervisor *sup, struct rk_proc *p)
{
	struct rk_wire_control packet = {
		.version = RK_WIRE_VERSION,
		.type = RK_WIRE_HELLO,
		.hello =
			{
				.threads = sup->threads,
				.skip = sup->skip,
				.payload_bytes = rk_payload_size(sup->params.payload),
				.device = sup->params.device,
			},
	};

	p->skip = sup->skip;
	if (is_watching_wanted(sup) && !watcher(sup))
		begin_watch(sup, p);
	packet.hello.settings = settings_of(sup, p);
	memcpy(packet.hello.primary, sup->params.primary, RK_WIRE_NAME_MAX);
	if (sup->falls_back)
		memcpy(packet.hello.fallback, sup->params.fallback, RK_WIRE_NAME_MAX);
	/* one whose device is gone from the list names it as it finds none */
	memcpy(packet.hello.device.device,
	       sup->params.lists && p->seat->device[0] ? p->seat->device
						       : sup->params.devices[p->seat->lane],
	       RK_WIRE_NAME_MAX);
	memcpy(packet.hello.skip_why, sup->skip_why, sizeof(sup->skip_why));
	return rk_process_send(&p->os, &packet, -1);
}

int rk_supervisor_send_shutdown(struct rk_proc *p)
{
	struct rk_wire_control packet = {
		.version = RK_WIRE_VERSION,
		.type = RK_WIRE_SHUTDOWN,
	};

	return rk_process_send(&p->os, &packet, -1);
}

void rk_supervisor_send_settings(struct rk_supervisor *sup, struct rk_proc *p)
{
	struct rk_wire_control packet = {
		.version = RK_WIRE_VERSION,
		.type = RK_WIRE_SETTINGS,
		.settings = settings_of(sup, p),
	};

	/* A dead worker needs no settings, and a full socket means that it is not listening. */
	if (rk_process_send(&p->os, &packet, -1))
		rk_log(RK_LOG_WARN, "worker %d does not take the new settings", p->os.pid);
}

void rk_supervisor_send_check(struct rk_proc *p, uint64_t number)
{
	struct rk_wire_control packet = {
		.version = RK_WIRE_VERSION,
		.type = RK_WIRE_CHECK,
		.check.number = number,
	};

	/* If it cannot be sent, no answer comes, as from a worker that hangs. */
	if (!rk_process_send(&p->os, &packet, -1))
		p->asked_check = true;
}

/* --- what the worker says --- */

static int on_ready(struct rk_supervisor *sup, struct rk_proc *p,
		    const struct rk_wire_control *packet)
{
	const struct rk_wire_ready *ready = &packet->ready;

	if (p->phase != RK_PHASE_HELLO || !memchr(ready->backend, '\0', sizeof(ready->backend)) ||
	    !memchr(ready->fallback_why, '\0', sizeof(ready->fallback_why)) ||
	    !memchr(ready->uuid, '\0', sizeof(ready->uuid)))
		return -EPROTO;
	if (packet->status) {
		snprintf(p->refusal, sizeof(p->refusal), "%s", packet->text);
		return -ENODEV;
	}
	p->best = rk_backend_named(ready->backend);
	if (p->best == RK_WIRE_BACKEND_COUNT)
		return -EPROTO;
	p->kill_at = 0; /* the loads have deadlines of their own */
	if (ready->uuid[0])
		rk_log(RK_LOG_INFO, "worker %d runs on device %s", p->os.pid, ready->uuid);
	RK_GUARD(&sup->lock);
	p->phase = RK_PHASE_LOADING;
	memcpy(p->backend, ready->backend, sizeof(p->backend));
	memcpy(p->fallback_why, ready->fallback_why, sizeof(p->fallback_why));
	memcpy(p->device, ready->uuid, sizeof(p->device));
	p->index = p->seat->is_listed ? p->seat->index : ready->index;
	if (!p->seat->is_listed && p->device[0]) {
		memcpy(p->seat->device, p->device, sizeof(p->seat->device));
		p->seat->index = p->index;
	}
	return 0;
}

bool rk_supervisor_blame_driver(struct rk_supervisor *sup, const struct rk_proc *p, const char *how)
{
	static const char *const files[RK_WIRE_LIBRARY_COUNT] = {
		[RK_WIRE_LIBCUDA] = "libcuda.so.1",
		[RK_WIRE_LIBNVML] = "libnvidia-ml.so.1",
	};
	uint32_t opening = atomic_load(&p->os.shared->opening) & ~p->skip;
	bool blamed = false;

	/* it died of a message, or was killed for something else */
	if (atomic_load(&p->os.shared->crashed_message) || p->killed_from_outside ||
	    (p->phase == RK_PHASE_READY && p->abandon_at && !p->load_overdue))
		return false;
	for (unsigned int i = 0; i < RK_WIRE_LIBRARY_COUNT; i++) {
		if (!(opening & 1U << i))
			continue;
		snprintf(sup->skip_why[i], sizeof(sup->skip_why[i]), "%.300s", how);
		sup->skip |= 1U << i;
		blamed = true;
		rk_log(RK_LOG_ERROR,
		       "worker %d %s while it opened %s, which is not opened again before a reset",
		       p->os.pid, how, files[i]);
	}
	return blamed;
}

static int on_checked(struct rk_supervisor *sup, struct rk_proc *p,
		      const struct rk_wire_control *packet)
{
	if (!p->asked_check)
		return -EPROTO;
	sup->observer.checked(sup->observer.ctx, p->seat->lane, packet->check.number,
			      packet->status, packet->text);
	return 0;
}

/* A kernel may make its worker say things without end. */
static int on_log(struct rk_supervisor *sup, struct rk_proc *p, const struct rk_wire_log *log)
{
	uint64_t unsaid;

	if (log->level > RK_LOG_TRACE || !memchr(log->text, '\0', sizeof(log->text)))
		return -EPROTO;
	if (!rk_rate_allows(&sup->lines, LINES_PER_SECOND, rk_now_ns(), &unsaid))
		return 0;
	if (unsaid)
		rk_log(RK_LOG_WARN, "%llu lines of workers before this one were not logged",
		       (unsigned long long)unsaid);
	rk_log(log->level, "worker %d: %s", p->os.pid, log->text);
	return 0;
}

int rk_supervisor_handle(struct rk_supervisor *sup, struct rk_proc *p,
			 const struct rk_wire_control *packet)
{
	int rc;

	if (packet->version != RK_WIRE_VERSION || packet->status < 0 ||
	    !memchr(packet->text, '\0', sizeof(packet->text)))
		return -EPROTO;
	if (packet->type == RK_WIRE_LOG)
		return on_log(sup, p, &packet->log);
	if (!rk_proc_is_current(p)) /* told to end; whatever it says is of no interest */
		return 0;
	switch (packet->type) {
	case RK_WIRE_READY:
		rc = on_ready(sup, p, packet);
		break;
	case RK_WIRE_LOADED:
	case RK_WIRE_UNLOADED:
		rc = rk_supervisor_kernel_answer(sup, p, packet);
		break;
	case RK_WIRE_CHECKED:
		return on_checked(sup, p, packet);
	default:
		return -EPROTO;
	}
	if (!rc)
		rk_supervisor_reconcile(sup, p);
	return rc;
}
