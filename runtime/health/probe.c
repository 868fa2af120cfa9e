/* SPDX-License-Identifier: MIT */
/* One probe, from its echo to its verdict. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runtime/base/clock.h"
#include "runtime/base/log.h"
#include "runtime/dispatch/dispatch.h"
#include "runtime/events.h"
#include "runtime/health/internal.h"
#include "runtime/supervisor/supervisor.h"

#define ECHO_BYTES 64

static const char *const outcomes[RK_HEALTH_OUTCOME_COUNT] = {"passed", "failed", "overdue"};

/* --- the echo --- */

static void on_echo_done(struct rk_message *m, void *ctx)
{
	struct rk_checks *c = ctx;

	(void)m;
	RK_GUARD(&c->h->lock);
	c->echo_done = true;
	pthread_cond_broadcast(&c->h->changed);
}

/* Bytes that were not there before: a block may still hold the last echo. */
static void fill(uint8_t *data, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i++) {
		seed += 0x9e3779b97f4a7c15; /* splitmix64 */
		uint64_t z = (seed ^ seed >> 30) * 0xbf58476d1ce4e5b9;

		z = (z ^ z >> 27) * 0x94d049bb133111eb;
		data[i] = (uint8_t)(z >> 56);
	}
}

/* Put the request into @m. 0 or a negative errno. */
static int write_echo(struct rk_message *m, struct rk_payload *pool, struct rk_error *err)
{
	const uint64_t shape = ECHO_BYTES;
	int rc = rk_plan_bind(&m->plan, 0, 1, &shape, err);

	if (!rc)
		rc = rk_plan_layout(&m->plan, 1 << 20, err);
	if (!rc)
		rc = rk_payload_alloc(pool, m->uid, m->plan.block_bytes, &m->block, err);
	if (rc)
		return rc;
	fill((uint8_t *)m->block.data + m->plan.inputs[0].offset, ECHO_BYTES, rk_now_ns());
	rk_plan_prepare(&m->plan, m->block.data);
	return 0;
}

/* Send a message to @k, which is pinned. */
static int send_to(struct rk_checks *c, struct rk_kernel *k, struct rk_error *err)
{
	struct rk_health *h = c->h;
	struct rk_message *m = rk_message_new(k, geteuid(), getpid());
	struct rk_payload *pool;
	int rc;

	if (!m)
		return rk_error_set(err, ENOMEM, "no memory for a health check");
	pthread_mutex_lock(&h->lock);
	pool = rk_payload_ref(h->payload);
	pthread_mutex_unlock(&h->lock);
	rc = write_echo(m, pool, err);
	rk_payload_unref(pool);
	if (!rc) {
		m->probe = true;
		m->done = on_echo_done;
		m->ctx = c;
		c->echo_done = false; /* nobody else has it yet */
		rc = rk_dispatch_submit_probe(h->dispatch, c->lane, m, err);
	}
	if (rc)
		rk_message_unref(m);
	else
		c->echo = m;
	return rc;
}

/* Send an echo. 0; -ENODEV where core/echo is not loaded; or what stands in its way. */
static int send_echo(struct rk_checks *c, struct rk_error *err)
{
	struct rk_kernel *k = rk_registry_find(c->h->registry, "core", "echo");
	int rc;

	if (!k)
		return rk_error_set(err, ENODEV, "core/echo was removed");
	rc = rk_kernel_pin(k);
	if (rc) {
		rk_kernel_unref(k);
		return rk_error_set(err, -rc, "core/echo was removed");
	}
	rc = send_to(c, k, err);
	rk_kernel_unpin(k);
	rk_kernel_unref(k);
	return rc;
}

void rk_health_drop_echo(struct rk_checks *c)
{
	struct rk_health *h = c->h;
	struct rk_message *m = c->echo;

	if (!m)
		return;
	rk_dispatch_cancel(h->dispatch, m);
	pthread_mutex_lock(&h->lock);
	while (!c->echo_done) /* at once, or by another thread that is at it */
		(void)pthread_cond_wait(&h->changed, &h->lock);
	pthread_mutex_unlock(&h->lock);
	c->echo = NULL;
	rk_message_unref(m);
}

/* It is done: whether it came back as it was sent. */
static bool check_echo(const struct rk_message *m, char reason[RK_ERROR_MAX])
{
	const char *block = m->block.data;

	if (m->error.code) {
		snprintf(reason, RK_ERROR_MAX, "%s", m->error.msg);
		return false;
	}
	if (m->plan.outputs[0].bytes == ECHO_BYTES &&
	    !memcmp(block + m->plan.inputs[0].offset, block + m->plan.outputs[0].offset,
		    ECHO_BYTES))
		return true;
	snprintf(reason, RK_ERROR_MAX, "core/echo answered with other bytes than it was sent");
	return false;
}

/* --- the verdict --- */

static void decide(struct rk_probe *p, enum rk_health_outcome outcome, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void decide(struct rk_probe *p, enum rk_health_outcome outcome, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	p->v.outcome = outcome;
	vsnprintf(p->v.reason, sizeof(p->v.reason), fmt, ap);
	va_end(ap);
}

static double secs(uint64_t ns)
{
	return (double)ns / (double)RK_NS_PER_SEC;
}

/*
 * The device answers, and the echo has not come back: other messages may fill the device, but where
 * there are none it should have.
 */
static void judge_pending_echo(struct rk_checks *c, struct rk_probe *p)
{
	double waited = secs(rk_now_ns() - p->begun);
	uint64_t quiet;

	if (rk_dispatch_is_busy(c->h->dispatch, c->lane, &quiet))
		decide(p, RK_HEALTH_OVERDUE,
		       "the health check was not answered in %.1f s: the device is busy", waited);
	else
		decide(p, RK_HEALTH_FAILED, "core/echo has not answered for %.1f s", waited);
}

/*
 * The driver has not come back from the check, which may have to wait for kernels that fill the
 * device: as long as messages run and answers come, it is at work.
 */
static void judge_silent_driver(struct rk_checks *c, struct rk_probe *p, uint64_t in_driver)
{
	uint64_t quiet;

	if (rk_dispatch_is_busy(c->h->dispatch, c->lane, &quiet) && quiet < p->stall_timeout) {
		decide(p, RK_HEALTH_OVERDUE, "the device is busy: its check has taken %.1f s",
		       secs(in_driver));
		return;
	}
	p->v.hangs = true;
	decide(p, RK_HEALTH_FAILED,
	       "the driver hangs: the device's check has not returned for %.1f s", secs(in_driver));
}

static void judge(struct rk_checks *c, struct rk_probe *p)
{
	struct rk_supervisor *supervisor = c->h->supervisor;
	uint64_t in_driver = rk_supervisor_in_driver_ns(supervisor, c->lane);
	char reason[RK_ERROR_MAX];

	p->v.answers = p->answered && !p->status;
	if (p->died) {
		decide(p, RK_HEALTH_FAILED, "%s", p->why);
	} else if (!p->answered && in_driver) {
		judge_silent_driver(c, p, in_driver);
	} else if (!p->answered && rk_supervisor_is_loading(supervisor, c->lane)) {
		/* which has a deadline of its own */
		decide(p, RK_HEALTH_OVERDUE, "the worker is loading or unloading a kernel");
	} else if (!p->answered) {
		decide(p, RK_HEALTH_FAILED, "the worker does not answer");
	} else if (p->status) {
		decide(p, RK_HEALTH_FAILED, "the device does not answer: %.280s",
		       p->why[0] ? p->why : strerror(p->status));
	} else if (!c->echo && p->rc && p->rc != -ENODEV) {
		decide(p, RK_HEALTH_OVERDUE, "the health check was not sent: %.280s", p->err.msg);
	} else if (c->echo && !p->echo_done) {
		judge_pending_echo(c, p);
	} else if (c->echo && !check_echo(c->echo, reason)) {
		decide(p, RK_HEALTH_FAILED, "%s", reason);
	} else {
		decide(p, RK_HEALTH_PASSED, "ok");
	}
}

/* Whether what @told says was not so yet; it is from then on. */
static bool is_news(bool *told)
{
	bool news = !*told;

	*told = true;
	return news;
}

/* An event of device @index, with @more of its own, which is taken over; NULL = nothing. */
static void tell_of_device(struct rk_health *h, const char *event, uint32_t index,
			   const struct rk_device *device, json_t *more)
{
	json_t *fields =
		json_pack("{s:i,s:o,s:o}", "device", (int)index, "name",
			  rk_events_text(device->name), "uuid", rk_events_text(device->uuid));

	if (more && fields)
		json_object_update(fields, more); /* without memory the event says less */
	json_decref(more);
	h->observer.event(h->observer.ctx, event, fields);
}

/* What is wrong with device @index goes into @sentence, where one is. Each is told once. */
static void look_at_device(struct rk_health *h, uint32_t index, const struct rk_device *device,
			   char sentence[RK_ERROR_MAX])
{
	if (device->xid_count > h->told[index].xids) {
		h->told[index].xids = device->xid_count;
		tell_of_device(h, "DeviceXid", index, device,
			       json_pack("{s:I,s:I}", "xid", (json_int_t)device->xid_last, "count",
					 (json_int_t)device->xid_count));
	}
	if (device->lost) {
		snprintf(sentence, RK_ERROR_MAX, "device %u (%s) is lost", index, device->name);
		if (!is_news(&h->told[index].lost))
			return;
		rk_log(RK_LOG_ERROR, "device %u (%s, %s) is lost", index, device->name,
		       device->uuid);
		tell_of_device(h, "DeviceLost", index, device, NULL);
	} else if (device->remap_failed) {
		snprintf(sentence, RK_ERROR_MAX,
			 "device %u (%s) has bad rows of memory that could not be remapped: reset "
			 "it (nvidia-smi --gpu-reset), and have it replaced if that does not help",
			 index, device->name);
		if (is_news(&h->told[index].remap_failed))
			rk_log(RK_LOG_ERROR, "%s", sentence);
	} else if (device->remap_pending) {
		snprintf(sentence, RK_ERROR_MAX,
			 "device %u (%s) has bad rows of memory, which a reset remaps: stop what "
			 "uses it, then reset it (nvidia-smi --gpu-reset)",
			 index, device->name);
		if (is_news(&h->told[index].remap_pending))
			rk_log(RK_LOG_WARN, "%s", sentence);
	}
}

/* What is wrong with the first device that something is wrong with goes into @ailing, "" = none. */
static void look_at_devices(struct rk_health *h, char ailing[RK_ERROR_MAX])
{
	struct rk_device device;

	ailing[0] = '\0';
	for (uint32_t i = 0; rk_supervisor_device(h->supervisor, i, &device); i++) {
		char sentence[RK_ERROR_MAX] = "";

		look_at_device(h, i, &device, sentence);
		if (!ailing[0])
			memcpy(ailing, sentence, sizeof(sentence));
	}
}

/* --- a probe --- */

bool rk_health_probe_is_over_locked(const struct rk_checks *c)
{
	const struct rk_health *h = c->h;

	if (h->quit || h->epoch != c->probe.epoch || c->deaths != c->probe.deaths || !c->serves)
		return true;
	return c->answered && (c->status || !c->echo || c->echo_done);
}

void rk_health_begin_probe_locked(struct rk_checks *c)
{
	struct rk_health *h = c->h;
	struct rk_probe *p = &c->probe;
	bool late = c->echo && c->echo_done; /* the answer came after the last verdict */
	bool first = c->began == RK_HEALTH_PENDING;
	uint64_t number = ++c->number;

	*p = (struct rk_probe){
		.epoch = h->epoch,
		.deaths = c->deaths,
		.begun = rk_now_ns(),
		.stall_timeout = h->config.stall_timeout,
		.first = first,
	};
	if (h->forget_told)
		memset(h->told, 0, sizeof(h->told));
	h->forget_told = false;
	p->deadline = p->begun + h->config.timeout * (first ? RK_HEALTH_FIRST : 1);
	c->probing = true;
	c->asked = c->answered = false;
	c->begun_ns = p->begun;
	pthread_mutex_unlock(&h->lock);
	if (late || first) /* or it was another process's */
		rk_health_drop_echo(c);
	rk_supervisor_check(h->supervisor, c->lane, number);
	if (!c->echo)
		p->rc = send_echo(c, &p->err);
	pthread_mutex_lock(&h->lock);
}

static void tell(struct rk_checks *c, const struct rk_probe *p)
{
	struct rk_health *h = c->h;
	enum rk_health_status status;
	char reason[RK_ERROR_MAX];

	pthread_mutex_lock(&h->lock);
	status = rk_health_status_locked(h, reason);
	pthread_mutex_unlock(&h->lock);
	rk_log(RK_LOG_DEBUG, "health check of worker %u %s in %llu ms: %s", c->lane,
	       outcomes[p->v.outcome], (unsigned long long)p->v.took_ms, p->v.reason);
	h->observer.event(
		h->observer.ctx, "HealthCheckCompleted",
		json_pack("{s:i,s:s,s:s,s:o,s:I}", "worker", (int)c->lane, "status",
			  rk_health_name(status), "outcome", outcomes[p->v.outcome], "reason",
			  rk_events_text(p->v.outcome == RK_HEALTH_PASSED ? reason : p->v.reason),
			  "took_ms", (json_int_t)p->v.took_ms));
	rk_health_tell_change(h);
}

/* The first probe of its worker since the begin is over; the thread looks what comes of it. */
static void conclude_first(struct rk_checks *c, const struct rk_probe *p)
{
	bool passed = p->v.outcome == RK_HEALTH_PASSED;
	/* the next process's first probe decides */
	bool again = !passed && rk_supervisor_retries(c->h->supervisor, c->lane);

	RK_GUARD(&c->h->lock);
	if (c->h->epoch == p->epoch && !again)
		c->began = passed ? RK_HEALTH_BEGAN : RK_HEALTH_BEGAN_NOT;
}

/* The verdict is there: count, tell, act. Returns false where a stop came first. */
static bool conclude(struct rk_checks *c, struct rk_probe *p)
{
	struct rk_health *h = c->h;
	char ailing[RK_ERROR_MAX], reason[RK_ERROR_MAX];
	bool stands, give_up;

	look_at_devices(h, ailing);
	if (ailing[0] && p->v.outcome == RK_HEALTH_FAILED) {
		memcpy(reason, p->v.reason, sizeof(reason));
		decide(p, RK_HEALTH_FAILED, "%.120s: %.180s", ailing, reason);
	}
	h->observer.memory(h->observer.ctx);
	p->v.took_ms = (rk_now_ns() - p->begun) / RK_NS_PER_MS;
	pthread_mutex_lock(&h->lock);
	c->probing = false; /* who asks from now on gets another */
	stands = !h->quit && h->epoch == p->epoch;
	if (stands) {
		memcpy(h->ailing, ailing, sizeof(h->ailing));
		rk_health_conclude_locked(c, &p->v);
	}
	give_up = p->v.hangs && !p->first && c->failures >= h->config.failure_threshold;
	pthread_mutex_unlock(&h->lock);
	if (!stands)
		return false;
	tell(c, p);
	if (give_up)
		rk_supervisor_give_up(h->supervisor, c->lane, p->v.reason);
	if (p->first)
		conclude_first(c, p);
	return true;
}

void rk_health_end_probe_locked(struct rk_checks *c)
{
	struct rk_health *h = c->h;
	struct rk_probe *p = &c->probe;
	bool stands = !h->quit && h->epoch == p->epoch;

	p->died = c->deaths != p->deaths;
	stands = stands && (c->serves || p->died);
	p->answered = c->answered;
	p->echo_done = c->echo_done;
	p->status = c->status;
	snprintf(p->why, sizeof(p->why), "%s", p->died ? c->death : c->why);
	pthread_mutex_unlock(&h->lock);
	if (stands) {
		judge(c, p);
		stands = conclude(c, p);
	}
	/* one that the worker still has is waited for by the next probe */
	if (!stands || p->echo_done || (c->echo && !rk_dispatch_is_running(h->dispatch, c->echo)))
		rk_health_drop_echo(c);
	pthread_mutex_lock(&h->lock);
	c->probing = false;
}
