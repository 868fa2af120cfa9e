/* SPDX-License-Identifier: MIT */
/* The runtime as an object: its parts, the configuration in effect, the numbers that files show. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/clock.h"
#include "runtime/base/log.h"
#include "runtime/internal.h"

/* --- parts --- */

enum rk_state rk_runtime_state(const struct rk_runtime *rt)
{
	return rk_lifecycle_state(&rt->lifecycle);
}

struct rk_dispatch *rk_runtime_dispatch(struct rk_runtime *rt)
{
	return &rt->dispatch;
}

struct rk_registry *rk_runtime_registry(struct rk_runtime *rt)
{
	return rt->registry;
}

struct rk_events *rk_runtime_events(struct rk_runtime *rt)
{
	return &rt->events;
}

/* --- the configuration in effect --- */

static const enum rk_log_level levels[] = {RK_LOG_ERROR, RK_LOG_WARN, RK_LOG_INFO, RK_LOG_DEBUG,
					   RK_LOG_TRACE};

static enum rk_log_level log_level_of(const struct rk_config *config)
{
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		if (!strcmp(rk_log_level_name(levels[i]), config->log_level))
			return levels[i];
	return rk_log_level();
}

/* Tell all parts that call nobody back what they have a copy of. With config_lock held. */
static void push_locked(struct rk_runtime *rt)
{
	const enum rk_log_level level = log_level_of(&rt->config);

	if (level != rk_log_level() || rt->config.metrics_interval != rt->sample_ms) {
		rk_log_set_level(level);
		rt->sample_ms = rt->config.metrics_interval;
		rk_supervisor_settings_changed(rt->supervisor, rt->sample_ms);
	}
	rk_health_config_changed(rt->health, &rt->config, rt->means.payload);
}

/* What dispatch has a copy of. */
struct limits {
	uint32_t max_queue_depth;
	uint64_t message_timeout_ns, cancel_grace_ns;
};

static struct limits limits_of(const struct rk_config *config)
{
	return (struct limits){
		.max_queue_depth = (uint32_t)config->max_queue_depth,
		.message_timeout_ns = config->message_timeout * RK_NS_PER_MS,
		.cancel_grace_ns = config->cancel_grace * RK_NS_PER_MS,
	};
}

/*
 * Put the configuration into effect, with config_lock held, which is released. Dispatch calls back,
 * so it cannot be told under the lock, and two threads may be doing so at once: each looks again
 * whether what it has told is still what holds.
 */
static void apply_and_unlock(struct rk_runtime *rt)
{
	struct limits now = limits_of(&rt->config), applied;

	push_locked(rt);
	pthread_mutex_unlock(&rt->config_lock);
	do {
		applied = now;
		rk_dispatch_set_limits(&rt->dispatch, applied.max_queue_depth,
				       applied.message_timeout_ns, applied.cancel_grace_ns);
		pthread_mutex_lock(&rt->config_lock);
		now = limits_of(&rt->config);
		pthread_mutex_unlock(&rt->config_lock);
	} while (now.max_queue_depth != applied.max_queue_depth ||
		 now.message_timeout_ns != applied.message_timeout_ns ||
		 now.cancel_grace_ns != applied.cancel_grace_ns);
}

int rk_runtime_make_means(const struct rk_config *config, struct rk_means *means,
			  struct rk_error *err)
{
	struct rk_means got;
	int rc = rk_worker_user_find(config->worker_user, &got.user, err);

	if (!rc)
		rc = rk_payload_create(config->max_buffered_bytes,
				       (unsigned int)config->max_user_share, &got.payload, err);
	if (!rc)
		*means = got;
	return rc;
}

void rk_runtime_adopt_config(struct rk_runtime *rt, const struct rk_config *config,
			     const struct rk_means *means)
{
	struct rk_payload *old;

	pthread_mutex_lock(&rt->config_lock);
	rt->config = rt->loaded = *config;
	old = rt->means.payload;
	rt->means = *means;
	(void)rk_payload_ref(means->payload);
	atomic_store(&rt->max_json_bytes, config->max_json_bytes);
	atomic_store(&rt->max_header_bytes, config->max_header_bytes);
	atomic_store(&rt->max_message_bytes, config->max_message_bytes);
	apply_and_unlock(rt);
	rk_payload_unref(old);
}

void rk_runtime_take_hot(struct rk_runtime *rt, const struct rk_config *from, json_t *changed,
			 json_t *pending)
{
	size_t count;
	const struct rk_config_field *fields = rk_config_fields(&count);

	pthread_mutex_lock(&rt->config_lock);
	for (size_t i = 0; i < count; i++) {
		if (rk_config_equal(&rt->config, from, &fields[i]))
			continue;
		json_array_append_new(fields[i].hot ? changed : pending,
				      json_string(fields[i].key));
		if (fields[i].hot)
			rk_config_copy(&rt->config, from, &fields[i]);
	}
	rt->loaded = *from;
	apply_and_unlock(rt);
}

int rk_runtime_set_field(struct rk_runtime *rt, const struct rk_config_field *field,
			 const char *value, struct rk_error *err)
{
	int rc;

	pthread_mutex_lock(&rt->config_lock);
	rc = rk_config_set(&rt->config, field, value, err);
	if (rc)
		pthread_mutex_unlock(&rt->config_lock);
	else
		apply_and_unlock(rt);
	return rc;
}

bool rk_runtime_allows_reload(struct rk_runtime *rt)
{
	RK_GUARD(&rt->config_lock);
	return rt->config.hot_reload_enabled;
}

size_t rk_runtime_config_print(struct rk_runtime *rt, const struct rk_config_field *field,
			       char *buf, size_t size)
{
	RK_GUARD(&rt->config_lock);
	return rk_config_print(&rt->config, field, buf, size);
}

ssize_t rk_runtime_config_pending(struct rk_runtime *rt, const struct rk_config_field *field,
				  char *buf, size_t size)
{
	ssize_t len = -ENODATA;

	RK_GUARD(&rt->config_lock);
	if (!field->hot && !rk_config_equal(&rt->config, &rt->loaded, field))
		len = (ssize_t)rk_config_print(&rt->loaded, field, buf, size);
	return len;
}

void rk_runtime_config(struct rk_runtime *rt, struct rk_config *config)
{
	RK_GUARD(&rt->config_lock);
	*config = rt->config;
}

struct rk_payload *rk_runtime_payload(struct rk_runtime *rt)
{
	RK_GUARD(&rt->config_lock);
	return rk_payload_ref(rt->means.payload);
}

uint64_t rk_runtime_max_json_bytes(const struct rk_runtime *rt)
{
	return atomic_load_explicit(&rt->max_json_bytes, memory_order_relaxed);
}

uint64_t rk_runtime_max_header_bytes(const struct rk_runtime *rt)
{
	return atomic_load_explicit(&rt->max_header_bytes, memory_order_relaxed);
}

uint64_t rk_runtime_max_message_bytes(const struct rk_runtime *rt)
{
	return atomic_load_explicit(&rt->max_message_bytes, memory_order_relaxed);
}

/* --- numbers and sentences --- */

void rk_runtime_failure(struct rk_runtime *rt, char sentence[RK_ERROR_MAX])
{
	bool failed = rk_runtime_state(rt) == RK_FAILED;

	RK_GUARD(&rt->text_lock);
	snprintf(sentence, RK_ERROR_MAX, "%s", failed ? rt->failure : "");
}

uint64_t rk_runtime_kernels_active(const struct rk_runtime *rt)
{
	return atomic_load_explicit(&rt->dispatch.kernels_active, memory_order_relaxed);
}

/* With memory_lock held. */
static uint64_t look_at_memory_locked(struct rk_runtime *rt)
{
	uint64_t now, peak;

	rk_supervisor_gpu_memory(rt->supervisor, &now, &peak);
	if (peak > rt->memory_peak)
		rt->memory_peak = peak;
	return now;
}

uint64_t rk_runtime_gpu_memory(struct rk_runtime *rt)
{
	RK_GUARD(&rt->memory_lock);
	return look_at_memory_locked(rt);
}

uint64_t rk_runtime_gpu_memory_peak(struct rk_runtime *rt)
{
	RK_GUARD(&rt->memory_lock);
	(void)look_at_memory_locked(rt);
	return rt->memory_peak;
}

uint64_t rk_runtime_uptime_secs(const struct rk_runtime *rt)
{
	uint64_t start = atomic_load(&rt->started_ns);
	uint64_t end = atomic_load(&rt->stopped_ns);

	if (!start)
		return 0;
	if (!end)
		end = rk_now_ns();
	return end > start ? (end - start) / RK_NS_PER_SEC : 0;
}

void rk_runtime_backend(struct rk_runtime *rt, char name[RK_WIRE_NAME_MAX])
{
	rk_supervisor_backend(rt->supervisor, name);
}

void rk_runtime_health(struct rk_runtime *rt, struct rk_health_report *report)
{
	enum rk_state state = rk_runtime_state(rt);

	rk_health_report(rt->health, report);
	if (!report->wanted)
		snprintf(report->reason, sizeof(report->reason), "the runtime is %s",
			 rk_state_name(state));
	if (state == RK_FAILED) {
		report->status = RK_HEALTH_UNHEALTHY;
		rk_runtime_failure(rt, report->reason);
	}
}

void rk_runtime_trouble(struct rk_runtime *rt, enum rk_trouble which, const char *sentence)
{
	rk_health_trouble(rt->health, which, sentence);
}

bool rk_runtime_live(const struct rk_runtime *rt)
{
	return rk_runtime_state(rt) != RK_FAILED;
}

bool rk_runtime_ready(struct rk_runtime *rt)
{
	struct rk_health_report report;

	if (rk_runtime_state(rt) != RK_RUNNING)
		return false;
	rk_health_report(rt->health, &report);
	return report.status == RK_HEALTH_HEALTHY || report.status == RK_HEALTH_DEGRADED;
}

bool rk_runtime_device(struct rk_runtime *rt, uint32_t index, struct rk_device *device)
{
	return rk_supervisor_device(rt->supervisor, index, device);
}

uint32_t rk_runtime_workers(struct rk_runtime *rt)
{
	uint32_t known = rk_supervisor_workers(rt->supervisor);

	RK_GUARD(&rt->config_lock);
	return rk_config_all_devices(&rt->config) && known ? known : rk_config_workers(&rt->config);
}

void rk_runtime_worker(struct rk_runtime *rt, uint32_t lane, struct rk_worker_info *info)
{
	rk_supervisor_worker(rt->supervisor, lane, info);
}

enum rk_health_status rk_runtime_worker_health(struct rk_runtime *rt, uint32_t lane,
					       char reason[RK_ERROR_MAX])
{
	return rk_health_worker(rt->health, lane, reason);
}

int64_t rk_runtime_drain_left_ms(struct rk_runtime *rt)
{
	uint64_t deadline = atomic_load(&rt->drain_deadline_ns);
	uint64_t now = rk_now_ns();

	if (rk_runtime_state(rt) != RK_DRAINING || !deadline)
		return -ENODATA;
	return deadline > now ? (int64_t)((deadline - now + RK_NS_PER_MS - 1) / RK_NS_PER_MS) : 0;
}
