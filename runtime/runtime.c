/* SPDX-License-Identifier: MIT */
#include "runtime/runtime.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/base/clock.h"
#include "runtime/base/log.h"
#include "runtime/internal.h"

/* --- commands --- */

static struct rk_wire_device_settings device_settings(const struct rk_config *c)
{
	struct rk_wire_device_settings s = {
		.unified_memory = c->cuda_unified_memory,
		.async_memory = c->async_memory,
		.memory_pooling = c->memory_pooling,
		.watched = c->gpu_enabled,
		.memory_limit_bytes = c->memory_limit_bytes,
		.pool_initial_bytes = c->pool_initial_bytes,
		.pool_growth_factor = c->pool_growth_factor,
		.ring_idle_ms = c->ring_idle,
	};

	snprintf(s.device, sizeof(s.device), "%s", c->cuda_device);
	return s;
}

/* Of the configuration only fields that are not hot are read without its lock. */
static void supervisor_params(struct rk_runtime *rt, struct rk_supervisor_params *p)
{
	const struct rk_config *c = &rt->config;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	*p = (struct rk_supervisor_params){
		.payload = rt->payload,
		.threads = (uint32_t)c->worker_threads,
		.restart_limit = c->restart_limit,
		.load_timeout_ms = c->kernel_load_timeout,
		.max_instances = c->max_kernel_instances,
		.fuse_max = c->kernel_fusion ? (uint32_t)c->max_batch_size : 1,
		.sample_ms = rt->sample_ms,
		.device = device_settings(c),
	};
	if (!p->threads)
		p->threads = cpus > 0 ? (uint32_t)cpus : 1;
	if (p->threads > RK_WIRE_THREADS_MAX)
		p->threads = RK_WIRE_THREADS_MAX;
	snprintf(p->primary, sizeof(p->primary), "%s", c->gpu_enabled ? c->primary_backend : "cpu");
	if (strcmp(c->fallback_backend, "none") && strcmp(c->fallback_backend, p->primary))
		snprintf(p->fallback, sizeof(p->fallback), "%s", c->fallback_backend);
}

static int do_start(struct rk_runtime *rt)
{
	struct rk_supervisor_params params;
	int rc;

	rk_lifecycle_lock(&rt->lifecycle);
	rc = rk_runtime_transit_locked(rt, RK_START, "Starting", NULL);
	if (!rc) {
		supervisor_params(rt, &params);
		rk_supervisor_start(rt->supervisor, &params);
	}
	rk_lifecycle_unlock(&rt->lifecycle);
	if (!rc)
		rk_runtime_after_transition(rt, RK_START);
	return rc;
}

static void set_deadline(struct rk_runtime *rt, int64_t drain_ms)
{
	uint64_t wait_ms = drain_ms >= 0 ? (uint64_t)drain_ms : rt->config.drain_timeout;
	uint64_t at = rk_now_ns() + wait_ms * RK_NS_PER_MS;

	atomic_store(&rt->drain_deadline_ns, at);
	rk_supervisor_arm_drain(rt->supervisor, at);
}

static int do_drain(struct rk_runtime *rt, int64_t drain_ms)
{
	uint64_t in_flight = 0;
	int rc;

	rk_lifecycle_lock(&rt->lifecycle);
	if (rk_runtime_state(rt) == RK_DRAINING) {
		if (drain_ms >= 0)
			set_deadline(rt, drain_ms);
		rk_lifecycle_unlock(&rt->lifecycle);
		return 0;
	}
	if (rk_lifecycle_allows(&rt->lifecycle, RK_DRAIN)) {
		in_flight = rk_dispatch_accept(&rt->dispatch, false);
		set_deadline(rt, drain_ms); /* before the state can be seen */
	}
	rc = rk_runtime_transit_locked(rt, RK_DRAIN, "Draining",
				       json_pack("{s:I}", "in_flight", (json_int_t)in_flight));
	rk_lifecycle_unlock(&rt->lifecycle);
	if (rc)
		return rc;
	rk_dispatch_flush(&rt->dispatch);
	rk_runtime_after_transition(rt, RK_DRAIN);
	rk_runtime_try_drained(rt);
	return 0;
}

static int do_resume(struct rk_runtime *rt)
{
	int rc;

	rk_lifecycle_lock(&rt->lifecycle);
	if (rk_lifecycle_allows(&rt->lifecycle, RK_RESUME)) {
		atomic_store(&rt->drain_deadline_ns, 0);
		rk_supervisor_arm_drain(rt->supervisor, 0);
		rk_dispatch_accept(&rt->dispatch, true); /* before the state can be seen */
	}
	rc = rk_runtime_transit_locked(rt, RK_RESUME, "Resumed", NULL);
	rk_lifecycle_unlock(&rt->lifecycle);
	if (!rc)
		rk_runtime_after_transition(rt, RK_RESUME);
	return rc;
}

/* Everything as after create, but for the sequence of events and the kernels' `enable`. */
static int do_reset(struct rk_runtime *rt, const struct rk_config *config,
		    struct rk_payload *payload)
{
	struct rk_kernel *k;
	int rc;

	rk_lifecycle_lock(&rt->lifecycle);
	if (!rk_lifecycle_allows(&rt->lifecycle, RK_RESET)) {
		rk_lifecycle_unlock(&rt->lifecycle);
		return -EBUSY;
	}
	rk_dispatch_reset(&rt->dispatch);
	for (uint32_t slot = 1; (k = rk_registry_next(rt->registry, slot, 0)); slot++) {
		slot = k->slot;
		rk_dispatch_reset_kernel(&rt->dispatch, k);
		rk_kernel_unref(k);
	}
	rk_runtime_adopt_config(rt, config, payload);
	rk_health_reset(rt->health);
	pthread_mutex_lock(&rt->memory_lock);
	rt->memory_peak = 0;
	pthread_mutex_unlock(&rt->memory_lock);
	atomic_store(&rt->started_ns, 0);
	atomic_store(&rt->stopped_ns, 0);
	pthread_mutex_lock(&rt->text_lock);
	rt->failure[0] = '\0';
	pthread_mutex_unlock(&rt->text_lock);
	rc = rk_runtime_transit_locked(rt, RK_RESET, "Reset", NULL);
	rk_lifecycle_unlock(&rt->lifecycle);
	rk_runtime_after_transition(rt, RK_RESET);
	rk_runtime_tell(rt, RK_NEWS_CONFIG);
	return rc;
}

/* States in which a verb's postcondition holds already, as bits, and what to do in the wrong ones.
 */
static const unsigned int holds[RK_TRIGGER_COUNT] = {
	[RK_START] = 1U << RK_STARTING | 1U << RK_RUNNING,
	[RK_DRAIN] = 1U << RK_DRAINING | 1U << RK_STOPPED,
	[RK_RESUME] = 1U << RK_RUNNING,
	[RK_STOP] = 1U << RK_STOPPED,
	[RK_RESET] = 1U << RK_CREATED,
};

static const char *const advice[RK_STATE_COUNT] = {
	[RK_CREATED] = "write start first",
	[RK_STARTING] = "wait until it is Running, or write stop",
	[RK_RUNNING] = "write drain or stop first",
	[RK_DRAINING] = "write resume, or wait until it is Stopped",
	[RK_STOPPED] = "write reset, then start",
	[RK_FAILED] = "write reset, then start",
};

bool rk_runtime_allows(const struct rk_runtime *rt, enum rk_trigger trigger)
{
	return rk_lifecycle_allows(&rt->lifecycle, trigger) ||
	       holds[trigger] & 1U << rk_runtime_state(rt);
}

static int run_command(struct rk_runtime *rt, enum rk_trigger trigger, int64_t drain_ms,
		       const struct rk_config *config, struct rk_payload *payload,
		       struct rk_error *err)
{
	enum rk_state state = rk_runtime_state(rt);
	int rc;

	if (holds[trigger] & 1U << state && !(trigger == RK_DRAIN && state == RK_DRAINING))
		return 0;
	switch (trigger) {
	case RK_START:
		rc = do_start(rt);
		break;
	case RK_DRAIN:
		rc = do_drain(rt, drain_ms);
		break;
	case RK_RESUME:
		rc = do_resume(rt);
		break;
	case RK_STOP:
		rc = rk_runtime_end_by(rt, RK_STOP, ECANCELED, "the runtime was stopped", "Stopped",
				       json_pack("{s:s}", "by", "stop"));
		break;
	case RK_RESET:
		rc = do_reset(rt, config, payload);
		break;
	default:
		rc = -EBUSY;
	}
	state = rk_runtime_state(rt);
	if (rc == -EBUSY && holds[trigger] & 1U << state)
		return 0; /* it came about by itself meanwhile */
	if (rc)
		return rk_error_set(err, -rc, "%s: the runtime is %s: %s", rk_trigger_name(trigger),
				    rk_state_name(state), advice[state]);
	return 0;
}

void rk_runtime_log_command(const char *what, const struct rk_caller *caller, int rc,
			    const struct rk_error *err)
{
	char who[64] = "the daemon";

	if (caller)
		snprintf(who, sizeof(who), "uid %u pid %d", caller->uid, caller->pid);
	if (rc)
		rk_log(RK_LOG_WARN, "%s from %s refused: %s", what, who, err->msg);
	else
		rk_log(RK_LOG_INFO, "%s from %s", what, who);
}

/* What a reset puts into effect; the caller's. */
static int prepare_reset(struct rk_runtime *rt, struct rk_config **config,
			 struct rk_payload **payload, struct rk_error *err)
{
	struct rk_config *c = malloc(sizeof(*c));
	int rc;

	if (!c)
		rc = rk_error_set(err, ENOMEM, "no memory");
	else
		rc = rk_runtime_load_config(rt, RK_JOB_RESET, c, err);
	if (!rc)
		rc = rk_payload_create(c->max_buffered_bytes, payload, err);
	if (rc) {
		free(c);
		return rk_error_prefix(err, "reset");
	}
	*config = c;
	return 0;
}

int rk_runtime_command(struct rk_runtime *rt, enum rk_trigger trigger, int64_t drain_ms,
		       const struct rk_caller *caller, struct rk_error *err)
{
	struct rk_payload *payload = NULL;
	struct rk_config *config = NULL;
	struct rk_error why = {0};
	bool job = false;
	int rc = 0;

	/* Files are read before any lock is taken: they may take their time. */
	if (trigger == RK_RESET && rk_lifecycle_allows(&rt->lifecycle, RK_RESET)) {
		rc = rk_runtime_job_begin(rt, RK_JOB_RESET, &why);
		job = !rc;
		if (job)
			rc = prepare_reset(rt, &config, &payload, &why);
	}
	pthread_mutex_lock(&rt->command_lock);
	if (!rc) {
		if (trigger == RK_RESET && !config && rk_runtime_state(rt) != RK_CREATED)
			rc = rk_error_set(&why, EBUSY, "reset: the runtime is %s: %s",
					  rk_state_name(rk_runtime_state(rt)),
					  advice[rk_runtime_state(rt)]);
		else
			rc = run_command(rt, trigger, drain_ms, config, payload, &why);
	}
	/* Under the lock: a start that fails at once has the last word. */
	rk_runtime_set_status(rt, rc ? why.msg : "ok");
	pthread_mutex_unlock(&rt->command_lock);
	if (!rc && config) /* kernels_dir may be another now; refusals are events */
		rk_runtime_scan_kernels(rt, rt->reading[RK_JOB_RESET], NULL);
	if (job)
		rk_runtime_job_end(rt, RK_JOB_RESET);
	rk_payload_unref(payload);
	free(config);
	rk_runtime_log_command(rk_trigger_name(trigger), caller, rc, &why);
	return rc ? rk_error_set(err, why.code, "%s", why.msg) : 0;
}

int rk_runtime_check_now(struct rk_runtime *rt, const struct rk_caller *caller,
			 struct rk_error *err)
{
	enum rk_state state = rk_runtime_state(rt);
	struct rk_error why = {0};
	int rc = 0;

	if (state != RK_STARTING && state != RK_RUNNING && state != RK_DRAINING)
		rc = rk_error_set(&why, EBUSY, "check: the runtime is %s: %s", rk_state_name(state),
				  advice[state]);
	else
		rk_health_check_now(rt->health);
	rk_runtime_log_command("check", caller, rc, &why);
	return rc ? rk_error_set(err, why.code, "%s", why.msg) : 0;
}

int rk_runtime_enable(struct rk_runtime *rt, struct rk_kernel *k, bool enable,
		      const struct rk_caller *caller, struct rk_error *err)
{
	char what[RK_KERNEL_ID_MAX + 16];

	(void)err; /* asynchronous: nothing can fail here */
	atomic_store(&k->wanted, enable);
	if (enable)
		rk_runtime_expect_kernel(rt, k);
	else if (atomic_load(&k->state) != RK_KERNEL_OFF)
		rk_dispatch_kernel_state(&rt->dispatch, k, RK_KERNEL_ENDING, "disabled");
	rk_supervisor_kernels_changed(rt->supervisor);
	snprintf(what, sizeof(what), "%s %s", enable ? "enable" : "disable", k->manifest.id);
	rk_runtime_log_command(what, caller, 0, NULL);
	return 0;
}

/* --- birth and death --- */

static int create_parts(struct rk_runtime *rt, const struct rk_config *config, int worker_fd,
			struct rk_error *err)
{
	struct rk_dispatch_observer dispatch_observer = rk_runtime_dispatch_observer;
	struct rk_supervisor_observer supervisor_observer = rk_runtime_supervisor_observer;
	struct rk_health_observer health_observer = rk_runtime_health_observer;
	struct rk_payload *payload;
	int rc;

	dispatch_observer.ctx = supervisor_observer.ctx = health_observer.ctx = rt;
	if (rk_lifecycle_init(&rt->lifecycle) || rk_events_init(&rt->events) ||
	    rk_dispatch_init(&rt->dispatch, &dispatch_observer) ||
	    rk_registry_create(&rt->registry) || pthread_mutex_init(&rt->command_lock, NULL) ||
	    pthread_mutex_init(&rt->config_lock, NULL) ||
	    pthread_mutex_init(&rt->text_lock, NULL) || pthread_mutex_init(&rt->memory_lock, NULL))
		return rk_error_set(err, ENOMEM, "no memory for the runtime");
	rc = rk_runtime_jobs_init(rt, err);
	if (rc)
		return rc;
	rc = rk_payload_create(config->max_buffered_bytes, &payload, err);
	if (rc)
		return rc;
	rc = rk_supervisor_create(&rt->supervisor, &rt->dispatch, rt->registry, worker_fd,
				  &supervisor_observer, err);
	if (!rc)
		rc = rk_health_create(&rt->health, &rt->dispatch, rt->registry, rt->supervisor,
				      &health_observer, err);
	if (!rc) {
		rk_runtime_adopt_config(rt, config, payload);
		rc = rk_runtime_register_kernels(rt, err);
	}
	rk_payload_unref(payload);
	return rc;
}

int rk_runtime_create(struct rk_runtime **out, const struct rk_config_sources *sources,
		      int worker_fd, const struct rk_runtime_observer *observer,
		      struct rk_error *err)
{
	struct rk_config *config = malloc(sizeof(*config));
	struct rk_runtime *rt = calloc(1, sizeof(*rt));
	int rc;

	if (!rt || !config)
		rc = rk_error_set(err, ENOMEM, "no memory for the runtime");
	else
		rc = rk_config_load(config, sources, err);
	if (!rc)
		rc = rk_runtime_copy_sources(rt, sources, err);
	if (!rc) {
		strcpy(rt->status, "ok");
		rt->observer = observer;
		rc = create_parts(rt, config, worker_fd, err);
	}
	free(config);
	if (rc) {
		rk_runtime_destroy(rt);
		return rc;
	}
	*out = rt;
	return 0;
}

/* Who still waits for an answer gets one, and the messages their end. */
static void end_in_flight(struct rk_runtime *rt)
{
	struct rk_message_list held = TAILQ_HEAD_INITIALIZER(held);
	uint64_t ended;

	rk_dispatch_accept(&rt->dispatch, false);
	ended = rk_dispatch_end_all(&rt->dispatch, ECANCELED, "the runtime has ended", &held);
	rk_dispatch_flush(&rt->dispatch);
	rk_supervisor_stop(rt->supervisor, ended, &held);
}

void rk_runtime_destroy(struct rk_runtime *rt)
{
	if (!rt)
		return;
	rk_health_end(rt->health);
	if (rt->supervisor)
		end_in_flight(rt);
	rk_supervisor_destroy(rt->supervisor);
	rk_health_destroy(rt->health);
	rk_registry_destroy(rt->registry);
	rk_dispatch_destroy(&rt->dispatch);
	if (rt->events.ring)
		rk_events_destroy(&rt->events);
	rk_lifecycle_destroy(&rt->lifecycle);
	rk_payload_unref(rt->payload);
	rk_runtime_free_sources(rt);
	pthread_mutex_destroy(&rt->command_lock);
	pthread_mutex_destroy(&rt->config_lock);
	pthread_mutex_destroy(&rt->text_lock);
	rk_runtime_jobs_destroy(rt);
	pthread_mutex_destroy(&rt->memory_lock);
	free(rt);
}
