/* SPDX-License-Identifier: MIT */
/* Transitions of the runtime, and those that come from within: ready, drained, deadline, fault. */
#include <errno.h>
#include <stdio.h>

#include "runtime/base/clock.h"
#include "runtime/base/log.h"
#include "runtime/internal.h"

#define STUCK_NAMED 32 /* messages that an event of cancelled ones names */

int rk_runtime_transit_locked(struct rk_runtime *rt, enum rk_trigger trigger, const char *event,
			      json_t *fields)
{
	int rc = -EBUSY;

	if (rk_lifecycle_allows(&rt->lifecycle, trigger)) {
		rk_events_add(&rt->events, event, json_incref(fields));
		rc = rk_lifecycle_fire_locked(&rt->lifecycle, trigger);
	}
	json_decref(fields);
	return rc;
}

void rk_runtime_after_transition(struct rk_runtime *rt, enum rk_trigger trigger)
{
	rk_runtime_tell(rt, RK_NEWS_STATE);
	rk_runtime_tell(rt, RK_NEWS_EVENT);
	rk_log(RK_LOG_INFO, "state %s (%s)", rk_state_name(rk_runtime_state(rt)),
	       rk_trigger_name(trigger));
}

/* --- ways into Stopped and Failed --- */

/* Leave for Stopped or Failed, with lifecycle.lock held and nothing in flight. */
static int leave_locked(struct rk_runtime *rt, enum rk_trigger trigger, const char *event,
			json_t *fields, bool force, struct rk_message_list *held)
{
	rk_supervisor_deactivate(rt->supervisor);
	rk_supervisor_arm_drain(rt->supervisor, 0);
	atomic_store(&rt->drain_deadline_ns, 0);
	if (atomic_load(&rt->started_ns) && !atomic_load(&rt->stopped_ns))
		atomic_store(&rt->stopped_ns, rk_now_ns());
	/* all before the state can be seen: who sees Stopped sees no memory held */
	rt->beginning = 0;
	rk_health_stop(rt->health);
	(void)rk_runtime_gpu_memory(rt); /* its peak is remembered */
	rk_supervisor_stop(rt->supervisor, force, held);
	return rk_runtime_transit_locked(rt, trigger, event, fields);
}

/* What is in flight, for an event: [{"id":3,"kernel":"core/delay","state":"running",...},...] */
static json_t *name_in_flight(struct rk_runtime *rt)
{
	struct rk_message_info info[STUCK_NAMED];
	size_t n = rk_dispatch_list(&rt->dispatch, 1, info, STUCK_NAMED);
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list,
				      json_pack("{s:I,s:s,s:s,s:I,s:i,s:i}", "id",
						(json_int_t)info[i].id, "kernel", info[i].kernel,
						"state", rk_message_info_state(&info[i]), "age_ms",
						(json_int_t)info[i].age_ms, "uid", (int)info[i].uid,
						"pid", (int)info[i].pid));
	return list;
}

int rk_runtime_end_by(struct rk_runtime *rt, enum rk_trigger trigger, int code, const char *why,
		      const char *event, json_t *fields)
{
	struct rk_message_list held = TAILQ_HEAD_INITIALIZER(held);
	json_t *stuck;
	uint64_t ended;
	int rc;

	rk_lifecycle_lock(&rt->lifecycle);
	if (!rk_lifecycle_allows(&rt->lifecycle, trigger)) {
		rk_lifecycle_unlock(&rt->lifecycle);
		json_decref(fields);
		return -EBUSY;
	}
	rt->ending = true;
	rk_dispatch_accept(&rt->dispatch, false);
	rk_lifecycle_unlock(&rt->lifecycle);

	stuck = name_in_flight(rt);
	ended = rk_dispatch_end_all(&rt->dispatch, code, why, &held);
	rk_dispatch_flush(&rt->dispatch);
	if (ended)
		rk_runtime_event(rt, code == ECANCELED ? "MessagesCancelled" : "MessagesFailed",
				 json_pack("{s:I,s:o,s:O}", "count", (json_int_t)ended, "why",
					   rk_events_text(why), "messages", stuck));
	json_decref(stuck);

	rk_lifecycle_lock(&rt->lifecycle);
	rc = leave_locked(rt, trigger, event, fields, true, &held);
	rt->ending = false;
	rk_lifecycle_unlock(&rt->lifecycle);
	if (!rc)
		rk_runtime_after_transition(rt, trigger);
	if (ended)
		rk_log(RK_LOG_WARN, "%llu messages ended: %s", (unsigned long long)ended, why);
	return rc;
}

void rk_runtime_try_drained(struct rk_runtime *rt)
{
	struct rk_message_list none = TAILQ_HEAD_INITIALIZER(none);
	int rc = -EBUSY;

	rk_lifecycle_lock(&rt->lifecycle);
	/* The news may be old: a resume may have come, or another drain with messages. */
	if (rk_runtime_state(rt) == RK_DRAINING && !rt->ending &&
	    !rk_dispatch_in_flight(&rt->dispatch))
		rc = leave_locked(rt, RK_DRAINED, "Stopped", json_pack("{s:s}", "by", "drain"),
				  false, &none);
	rk_lifecycle_unlock(&rt->lifecycle);
	if (!rc)
		rk_runtime_after_transition(rt, RK_DRAINED);
}

static void on_idle(void *ctx)
{
	rk_runtime_try_drained(ctx);
}

static void on_drain_deadline(void *ctx)
{
	struct rk_runtime *rt = ctx;
	uint64_t deadline;

	RK_GUARD(&rt->command_lock);
	deadline = atomic_load(&rt->drain_deadline_ns);
	if (deadline && rk_now_ns() >= deadline)
		(void)rk_runtime_end_by(rt, RK_DEADLINE, ECANCELED, "the drain deadline passed",
					"Stopped", json_pack("{s:s}", "by", "deadline"));
}

/* Failed, for the reason @why. With command_lock held. */
static void fail(struct rk_runtime *rt, const char *why)
{
	struct rk_error status = {0};

	pthread_mutex_lock(&rt->text_lock);
	snprintf(rt->failure, sizeof(rt->failure), "%s", why);
	pthread_mutex_unlock(&rt->text_lock);
	if (rk_runtime_state(rt) == RK_STARTING) {
		rk_error_set(&status, EIO, "start: %.300s", why);
		rk_runtime_set_status(rt, &status);
	}
	rk_log(RK_LOG_ERROR, "failed: %s", why);
	(void)rk_runtime_end_by(rt, RK_FAULT, EIO, why, "Failed",
				json_pack("{s:o}", "reason", rk_events_text(why)));
}

static void on_failed(void *ctx, const char *why)
{
	struct rk_runtime *rt = ctx;

	RK_GUARD(&rt->command_lock);
	fail(rt, why);
}

/* --- the first health check --- */

/* It passed: Running, unless something came between. */
static void become_running(struct rk_runtime *rt, uint64_t number)
{
	int rc = -EBUSY;

	rk_lifecycle_lock(&rt->lifecycle);
	if (rt->beginning == number && rk_runtime_state(rt) == RK_STARTING && !rt->ending) {
		rt->beginning = 0;
		atomic_store(&rt->stopped_ns, 0);
		atomic_store(&rt->started_ns, rk_now_ns());
		/* Before the state can be seen: who sees Running may call. */
		rk_dispatch_accept(&rt->dispatch, true);
		rc = rk_runtime_transit_locked(rt, RK_READY, "Started",
					       json_pack("{s:s}", "backend", rt->started_backend));
	}
	rk_lifecycle_unlock(&rt->lifecycle);
	if (!rc)
		rk_runtime_after_transition(rt, RK_READY);
}

static bool is_beginning(struct rk_runtime *rt, uint64_t number)
{
	bool is;

	rk_lifecycle_lock(&rt->lifecycle);
	is = rt->beginning == number;
	rk_lifecycle_unlock(&rt->lifecycle);
	return is;
}

static void on_first_check(void *ctx, uint64_t number, int rc, const struct rk_error *err)
{
	struct rk_runtime *rt = ctx;
	char why[RK_ERROR_MAX];

	if (!rc) {
		become_running(rt, number);
		return;
	}
	snprintf(why, sizeof(why), "the first health check failed: %.280s", err->msg);
	RK_GUARD(&rt->command_lock);
	if (is_beginning(rt, number)) /* and stays so: only commands end it */
		fail(rt, why);
}

/* --- what the health checks tell --- */

static void on_health_event(void *ctx, const char *name, json_t *fields)
{
	rk_runtime_event(ctx, name, fields);
}

static void on_health_changed(void *ctx)
{
	rk_runtime_tell(ctx, RK_NEWS_HEALTH);
}

/* Remember the peak of the device memory that the worker holds, which dies with it. */
static void note_memory(void *ctx)
{
	(void)rk_runtime_gpu_memory(ctx);
}

const struct rk_health_observer rk_runtime_health_observer = {
	.event = on_health_event,
	.changed = on_health_changed,
	.memory = note_memory,
};

/* --- what the supervisor tells --- */

static void on_ready(void *ctx, uint32_t lane, pid_t pid, const char *backend,
		     const char *fallback_why)
{
	struct rk_runtime *rt = ctx;

	rk_runtime_event(rt, "WorkerStarted",
			 json_pack("{s:i,s:i,s:s}", "worker", (int)lane, "pid", (int)pid, "backend",
				   backend));
	rk_log(RK_LOG_INFO, "worker %d runs the %s backend", pid, backend);
	if (fallback_why[0]) {
		rk_runtime_event(rt, "BackendFallback",
				 json_pack("{s:s,s:o}", "backend", backend, "why",
					   rk_events_text(fallback_why)));
		rk_log(RK_LOG_WARN, "fell back to the %s backend: %s", backend, fallback_why);
	}
	rk_lifecycle_lock(&rt->lifecycle);
	/* A worker that a stop, a reset and a start have overtaken is ended: wait for the next. */
	if (rk_supervisor_settled(rt->supervisor, lane)) {
		rk_health_worker_ready(rt->health, lane, fallback_why);
		if (rk_runtime_state(rt) == RK_STARTING && !rt->ending && !rt->beginning) {
			rt->beginning =
				rk_health_begin(rt->health, rk_supervisor_workers(rt->supervisor),
						on_first_check, rt);
			snprintf(rt->started_backend, sizeof(rt->started_backend), "%s", backend);
		}
	}
	rk_lifecycle_unlock(&rt->lifecycle);
	rk_health_tell_change(rt->health);
}

static void on_died(void *ctx, uint32_t lane, pid_t pid, const char *how, uint32_t running)
{
	struct rk_runtime *rt = ctx;

	rk_runtime_event(rt, "WorkerDied",
			 json_pack("{s:i,s:i,s:o,s:i}", "worker", (int)lane, "pid", (int)pid, "how",
				   rk_events_text(how), "running", (int)running));
	rk_log(RK_LOG_ERROR, "worker %d %s; %u running messages failed", pid, how, running);
	rk_health_worker_died(rt->health, lane, how);
}

static void on_out(void *ctx, uint32_t lane, const char *why)
{
	struct rk_runtime *rt = ctx;

	rk_runtime_event(rt, "WorkerOut",
			 json_pack("{s:i,s:o}", "worker", (int)lane, "why", rk_events_text(why)));
	rk_log(RK_LOG_ERROR, "worker %u is out: %s", lane, why);
	rk_health_worker_out(rt->health, lane, why);
}

static void on_checked(void *ctx, uint32_t lane, uint64_t number, int status, const char *why)
{
	struct rk_runtime *rt = ctx;

	rk_health_checked(rt->health, lane, number, status, why);
}

static void on_moved(void *ctx)
{
	rk_runtime_tell(ctx, RK_NEWS_WORKER);
}

static void on_ended(void *ctx, uint32_t lane)
{
	struct rk_runtime *rt = ctx;

	rk_health_worker_ended(rt->health, lane);
}

static void on_lane_idle(void *ctx)
{
	struct rk_runtime *rt = ctx;

	rk_supervisor_kernels_changed(rt->supervisor);
}

static void on_abandoned(void *ctx, pid_t pid)
{
	rk_runtime_event(ctx, "WorkerAbandoned", json_pack("{s:i}", "pid", (int)pid));
}

static void on_kernel(void *ctx, struct rk_kernel *k, const char *why)
{
	struct rk_runtime *rt = ctx;
	const char *id = k->manifest.id;

	if (why) {
		rk_runtime_event(rt, "KernelFailed",
				 json_pack("{s:s,s:o}", "id", id, "why", rk_events_text(why)));
		rk_log(RK_LOG_ERROR, "kernel %s: %s", id, why);
		return;
	}
	rk_runtime_event(rt,
			 atomic_load(&k->state) == RK_KERNEL_ACTIVE ? "KernelActivated"
								    : "KernelDeactivated",
			 json_pack("{s:s}", "id", id));
}

static void on_kernel_moved(void *ctx, struct rk_kernel *k, uint32_t lane)
{
	rk_runtime_event(ctx, "KernelMoved",
			 json_pack("{s:s,s:i}", "id", k->manifest.id, "worker", (int)lane));
}

static void on_deadline(void *ctx, uint64_t at_ns)
{
	struct rk_runtime *rt = ctx;

	rk_supervisor_arm_expiry(rt->supervisor, at_ns);
}

/* It killed too many workers; what it has queued would kill more. */
static void on_tripped(void *ctx, struct rk_kernel *k)
{
	struct rk_runtime *rt = ctx;
	const char *id = k->manifest.id;
	char why[RK_ERROR_MAX];

	snprintf(
		why, sizeof(why),
		"%s: disabled, it killed its worker %d times within a minute: write 1 to its enable "
		"to try again",
		id, RK_KILLS_MAX);
	rk_dispatch_kernel_state(&rt->dispatch, k, RK_KERNEL_OFF, why);
	rk_dispatch_kernel_error(&rt->dispatch, k, why);
	rk_runtime_event(rt, "KernelDisabled", json_pack("{s:s,s:s}", "id", id, "why", why));
	rk_log(RK_LOG_ERROR, "%s", why);
	rk_supervisor_kernels_changed(rt->supervisor); /* other workers may have it, too */
}

static void on_unloadable(void *ctx, struct rk_kernel *k)
{
	struct rk_runtime *rt = ctx;

	(void)k;
	rk_supervisor_kernels_changed(rt->supervisor);
}

const struct rk_dispatch_observer rk_runtime_dispatch_observer = {
	.idle = on_idle,
	.lane_idle = on_lane_idle,
	.deadline = on_deadline,
	.unloadable = on_unloadable,
	.tripped = on_tripped,
};

const struct rk_supervisor_observer rk_runtime_supervisor_observer = {
	.ready = on_ready,
	.leaving = note_memory,
	.died = on_died,
	.out = on_out,
	.moved = on_moved,
	.ended = on_ended,
	.abandoned = on_abandoned,
	.failed = on_failed,
	.kernel = on_kernel,
	.kernel_moved = on_kernel_moved,
	.checked = on_checked,
	.drain_deadline = on_drain_deadline,
};
