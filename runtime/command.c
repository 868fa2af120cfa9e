/* SPDX-License-Identifier: MIT */
/* Every verb: start, drain, resume, stop, reset; reload, set a field, enable, check. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/clock.h"
#include "runtime/internal.h"

/* --- what the state allows --- */

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

static int wrong_state(enum rk_state state, const char *verb, struct rk_error *err)
{
	return rk_error_set(err, EBUSY, "%s: the runtime is %s: %s", verb, rk_state_name(state),
			    advice[state]);
}

/* --- start --- */

static struct rk_wire_device_settings device_settings(const struct rk_config *c)
{
	return (struct rk_wire_device_settings){
		.unified_memory = c->cuda_unified_memory,
		.async_memory = c->async_memory,
		.memory_pooling = c->memory_pooling,
		.memory_limit_bytes = c->memory_limit_bytes,
		.pool_initial_bytes = c->pool_initial_bytes,
		.pool_growth_factor = c->pool_growth_factor,
		.ring_idle_ms = c->ring_idle,
	};
}

_Static_assert(RK_CONFIG_WORKERS_MAX <= RK_LANES_MAX, "each worker has a lane");

/* With config_lock held. */
static void supervisor_params_locked(struct rk_runtime *rt, struct rk_supervisor_params *p)
{
	const struct rk_config *c = &rt->config;

	*p = (struct rk_supervisor_params){
		.payload = rt->means.payload,
		.workers = rk_config_workers(c),
		.of_a_device = (uint32_t)c->workers,
		.threads = (uint32_t)c->worker_threads,
		.restart_limit = c->restart_limit,
		.load_timeout_ms = c->kernel_load_timeout,
		.max_instances = c->max_kernel_instances,
		.fuse_max = c->kernel_fusion ? (uint32_t)c->max_batch_size : 1,
		.sample_ms = rt->sample_ms,
		.device = device_settings(c),
		.user = rt->means.user,
		.watched = c->gpu_enabled,
		.filter = c->worker_seccomp,
		.lists = rk_config_several_devices(c),
		.all_devices = rk_config_all_devices(c),
	};
	for (uint32_t i = 0; i < p->workers; i++)
		rk_config_device(c, i, p->devices[i], sizeof(p->devices[i]));
	snprintf(p->cuda_cache_dir, sizeof(p->cuda_cache_dir), "%s", c->cuda_cache_dir);
	snprintf(p->primary, sizeof(p->primary), "%s",
		 c->gpu_enabled ? c->primary_backend : rk_backends[RK_WIRE_CPU].name);
	if (strcmp(c->fallback_backend, "none") && strcmp(c->fallback_backend, p->primary))
		snprintf(p->fallback, sizeof(p->fallback), "%s", c->fallback_backend);
	p->cuda = rk_backend_named(p->primary) == RK_WIRE_CUDA ||
		  rk_backend_named(p->fallback) == RK_WIRE_CUDA;
}

/* A start for which every worker is disabled has all of them. */
static void enable_workers(struct rk_runtime *rt)
{
	uint32_t count = rk_runtime_workers(rt);
	struct rk_worker_info info;

	for (uint32_t i = 0; i < count; i++) {
		rk_runtime_worker(rt, i, &info);
		if (info.enabled)
			return;
	}
	for (uint32_t i = 0; i < count; i++) {
		rk_supervisor_enable(rt->supervisor, i, true, 0);
		rk_health_worker_enabled(rt->health, i, true);
	}
}

static int do_start(struct rk_runtime *rt)
{
	struct rk_supervisor_params params;
	int rc;

	if (rk_runtime_state(rt) == RK_CREATED)
		enable_workers(rt);
	rk_lifecycle_lock(&rt->lifecycle);
	rc = rk_runtime_transit_locked(rt, RK_START, "Starting", NULL);
	if (!rc) {
		/* Until it is told, so that no change of a hot field comes between. */
		pthread_mutex_lock(&rt->config_lock);
		supervisor_params_locked(rt, &params);
		rk_supervisor_start(rt->supervisor, &params);
		pthread_mutex_unlock(&rt->config_lock);
	}
	rk_lifecycle_unlock(&rt->lifecycle);
	if (!rc)
		rk_runtime_after_transition(rt, RK_START);
	return rc;
}

/* --- drain, resume and reset --- */

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
		    const struct rk_means *means)
{
	struct rk_kernel *k = NULL;
	int rc;

	rk_lifecycle_lock(&rt->lifecycle);
	if (!rk_lifecycle_allows(&rt->lifecycle, RK_RESET)) {
		rk_lifecycle_unlock(&rt->lifecycle);
		return -EBUSY;
	}
	rk_dispatch_reset(&rt->dispatch);
	while ((k = rk_registry_after(rt->registry, k)))
		rk_dispatch_reset_kernel(&rt->dispatch, k);
	rk_runtime_adopt_config(rt, config, means);
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

/* What a reset puts into effect; the caller's. */
static int prepare_reset(struct rk_runtime *rt, struct rk_config **config, struct rk_means *means,
			 struct rk_error *err)
{
	struct rk_config *c = malloc(sizeof(*c));
	int rc;

	if (!c)
		rc = rk_error_set(err, ENOMEM, "no memory");
	else
		rc = rk_runtime_load_config(rt, RK_JOB_RESET, c, err);
	if (!rc)
		rc = rk_runtime_make_means(c, means, err);
	if (rc) {
		free(c);
		return rk_error_prefix(err, "reset");
	}
	*config = c;
	return 0;
}

/* --- all verbs of the lifecycle --- */

static int run_command(struct rk_runtime *rt, enum rk_trigger trigger, int64_t drain_ms,
		       const struct rk_config *config, const struct rk_means *means,
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
		rc = do_reset(rt, config, means);
		break;
	default:
		rc = -EBUSY;
	}
	state = rk_runtime_state(rt);
	if (rc == -EBUSY && holds[trigger] & 1U << state)
		return 0; /* it came about by itself meanwhile */
	return rc ? wrong_state(state, rk_trigger_name(trigger), err) : 0;
}

int rk_runtime_command(struct rk_runtime *rt, enum rk_trigger trigger, int64_t drain_ms,
		       const struct rk_caller *caller, struct rk_error *err)
{
	struct rk_means means = {0};
	struct rk_config *config = NULL;
	struct rk_error why = {0};
	bool job = false;
	int rc = 0;

	/* Files are read before any lock is taken: they may take their time. */
	if (trigger == RK_RESET && rk_lifecycle_allows(&rt->lifecycle, RK_RESET)) {
		rc = rk_runtime_job_begin(rt, RK_JOB_RESET, &why);
		job = !rc;
		if (job)
			rc = prepare_reset(rt, &config, &means, &why);
	}
	pthread_mutex_lock(&rt->command_lock);
	if (!rc) {
		if (trigger == RK_RESET && !config && rk_runtime_state(rt) != RK_CREATED)
			rc = wrong_state(rk_runtime_state(rt), "reset", &why);
		else
			rc = run_command(rt, trigger, drain_ms, config, &means, &why);
	}
	/* Under the lock: a start that fails at once has the last word. */
	rk_runtime_conclude(rt, rk_trigger_name(trigger), caller, rc, &why, err);
	pthread_mutex_unlock(&rt->command_lock);
	if (!rc && config) /* kernels_dir may be another now; refusals are events */
		rk_runtime_scan_kernels(rt, rt->reading[RK_JOB_RESET], NULL);
	if (job)
		rk_runtime_job_end(rt, RK_JOB_RESET);
	rk_payload_unref(means.payload);
	free(config);
	return rc;
}

/* --- the configuration --- */

static int refuse_reload(struct rk_error *err, const char *what)
{
	return rk_error_set(err, EPERM,
			    "%s: hot_reload_enabled is no: set it to yes in the file and reset",
			    what);
}

static int reload(struct rk_runtime *rt, struct rk_error *err)
{
	struct rk_config *config;
	json_t *changed, *pending;
	struct rk_error why;
	int rc, refused;

	if (!rk_runtime_allows_reload(rt))
		return refuse_reload(err, "reload");
	config = malloc(sizeof(*config));
	if (!config)
		return rk_error_set(err, ENOMEM, "reload: no memory");
	rc = rk_runtime_load_config(rt, RK_JOB_RELOAD, config, err);
	if (rc) {
		rk_error_prefix(err, "reload");
		free(config);
		return rc;
	}
	changed = json_array();
	pending = json_array();
	rk_runtime_take_hot(rt, config, changed, pending);
	free(config);
	rk_runtime_tell(rt, RK_NEWS_CONFIG);
	rk_runtime_event(rt, "ConfigReloaded",
			 json_pack("{s:o,s:o}", "changed", changed, "pending", pending));
	refused = rk_runtime_scan_kernels(rt, rt->reading[RK_JOB_RELOAD], &why);
	if (!refused)
		return 0;
	if (err)
		*err = why;
	return rk_error_prefix(err, "reload: %d refused, all else is applied", refused);
}

int rk_runtime_reload(struct rk_runtime *rt, const struct rk_caller *caller, struct rk_error *err)
{
	struct rk_error why = {0};
	int rc = rk_runtime_job_begin(rt, RK_JOB_RELOAD, &why);

	if (!rc) {
		rc = reload(rt, &why);
		rk_runtime_job_end(rt, RK_JOB_RELOAD);
	}
	return rk_runtime_conclude(rt, "reload", caller, rc, &why, err);
}

static int set_field(struct rk_runtime *rt, const struct rk_config_field *field, const char *value,
		     struct rk_error *err)
{
	int rc;

	if (!field->hot)
		return rk_error_set(err, EPERM,
				    "%s cannot change while running: edit the file, then reset",
				    field->key);
	if (!rk_runtime_allows_reload(rt))
		return refuse_reload(err, field->key);
	rc = rk_runtime_set_field(rt, field, value, err);
	if (rc)
		return rc;
	rk_runtime_tell(rt, RK_NEWS_CONFIG);
	rk_runtime_event(rt, "ConfigChanged",
			 json_pack("{s:s,s:s}", "field", field->key, "value", value));
	return 0;
}

int rk_runtime_config_set(struct rk_runtime *rt, const struct rk_config_field *field,
			  const char *value, const struct rk_caller *caller, struct rk_error *err)
{
	struct rk_error why = {0};
	int rc = set_field(rt, field, value, &why);
	char what[RK_ERROR_MAX];

	snprintf(what, sizeof(what), "%s = %s", field->key, value);
	return rk_runtime_conclude(rt, what, caller, rc, &why, err);
}

/* --- kernels and health --- */

void rk_runtime_enable(struct rk_runtime *rt, struct rk_kernel *k, bool enable,
		       const struct rk_caller *caller)
{
	char what[RK_KERNEL_ID_MAX + 16];

	atomic_store(&k->wanted, enable);
	if (enable)
		rk_runtime_expect_kernel(rt, k);
	else if (atomic_load(&k->state) != RK_KERNEL_OFF)
		rk_dispatch_kernel_state(&rt->dispatch, k, RK_KERNEL_ENDING, "disabled");
	rk_supervisor_kernels_changed(rt->supervisor);
	snprintf(what, sizeof(what), "%s %s", enable ? "enable" : "disable", k->manifest.id);
	rk_runtime_conclude(rt, what, caller, 0, NULL, NULL);
}

void rk_runtime_worker_enable(struct rk_runtime *rt, uint32_t lane, bool enable,
			      const struct rk_caller *caller)
{
	uint64_t drain_ms;
	char what[64];

	pthread_mutex_lock(&rt->config_lock);
	drain_ms = rt->config.drain_timeout;
	pthread_mutex_unlock(&rt->config_lock);
	rk_health_worker_enabled(rt->health, lane, enable);
	rk_supervisor_enable(rt->supervisor, lane, enable, drain_ms);
	rk_runtime_event(rt, enable ? "WorkerEnabled" : "WorkerDisabled",
			 json_pack("{s:i}", "worker", (int)lane));
	snprintf(what, sizeof(what), "%s worker %u", enable ? "enable" : "disable", lane);
	rk_runtime_conclude(rt, what, caller, 0, NULL, NULL);
}

int rk_runtime_check_now(struct rk_runtime *rt, const struct rk_caller *caller,
			 struct rk_error *err)
{
	enum rk_state state = rk_runtime_state(rt);
	struct rk_error why = {0};
	int rc = 0;

	if (state != RK_STARTING && state != RK_RUNNING && state != RK_DRAINING)
		rc = wrong_state(state, "check", &why);
	else
		rk_health_check_now(rt->health);
	return rk_runtime_conclude(rt, "check", caller, rc, &why, err);
}
