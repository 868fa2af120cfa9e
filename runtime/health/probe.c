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

void rk_health_wait_locked(struct rk_health *h, uint64_t at_ns)
{
	const struct timespec at = rk_timespec(at_ns);

	if (at_ns)
		(void)pthread_cond_timedwait(&h->changed, &h->lock, &at);
	else
		(void)pthread_cond_wait(&h->changed, &h->lock);
}

/* --- the echo --- */

static void on_echo_done(struct rk_message *m, void *ctx)
{
	struct rk_health *h = ctx;

	(void)m;
	RK_GUARD(&h->lock);
	h->echo_done = true;
	pthread_cond_broadcast(&h->changed);
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
static int send_to(struct rk_health *h, struct rk_kernel *k, struct rk_error *err)
{
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
		m->ctx = h;
		h->echo_done = false; /* nobody else has it yet */
		rc = rk_dispatch_submit_probe(h->dispatch, RK_ONLY_LANE, m, err);
	}
	if (rc)
		rk_message_unref(m);
	else
		h->echo = m;
	return rc;
}

/* Send an echo. 0; -ENODEV where core/echo is not loaded; or what stands in its way. */
static int send_echo(struct rk_health *h, struct rk_error *err)
{
	struct rk_kernel *k = rk_registry_find(h->registry, "core", "echo");
	int rc;

	if (!k)
		return rk_error_set(err, ENODEV, "core/echo was removed");
	rc = rk_kernel_pin(k);
	if (rc) {
		rk_kernel_unref(k);
		return rk_error_set(err, -rc, "core/echo was removed");
	}
	rc = send_to(h, k, err);
	rk_kernel_unpin(k);
	rk_kernel_unref(k);
	return rc;
}

void rk_health_drop_echo(struct rk_health *h)
{
	struct rk_message *m = h->echo;

	if (!m)
		return;
	rk_dispatch_cancel(h->dispatch, m);
	pthread_mutex_lock(&h->lock);
	while (!h->echo_done) /* at once, or by another thread that is at it */
		rk_health_wait_locked(h, 0);
	pthread_mutex_unlock(&h->lock);
	h->echo = NULL;
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

/* A probe while it runs; the thread's own. */
struct probe {
	uint64_t epoch, deaths, begun, deadline, stall_timeout;
	rk_health_first *first; /* to be told; NULL = nobody */
	void *ctx;
	int rc; /* of the sending */
	struct rk_error err;
	/* what had happened when it was over */
	bool died, answered, echo_done;
	int status;
	char why[RK_ERROR_MAX]; /* of the answer, or of the death */
	struct rk_health_verdict v;
};

static void decide(struct probe *p, enum rk_health_outcome outcome, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void decide(struct probe *p, enum rk_health_outcome outcome, const char *fmt, ...)
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
static void judge_pending_echo(struct rk_health *h, struct probe *p)
{
	double waited = secs(rk_now_ns() - p->begun);
	uint64_t quiet;

	if (rk_dispatch_is_busy(h->dispatch, RK_ONLY_LANE, &quiet))
		decide(p, RK_HEALTH_OVERDUE,
		       "the health check was not answered in %.1f s: the device is busy", waited);
	else
		decide(p, RK_HEALTH_FAILED, "core/echo has not answered for %.1f s", waited);
}

/*
 * The driver has not come back from the check, which may have to wait for kernels that fill the
 * device: as long as messages run and answers come, it is at work.
 */
static void judge_silent_driver(struct rk_health *h, struct probe *p, uint64_t in_driver)
{
	uint64_t quiet;

	if (rk_dispatch_is_busy(h->dispatch, RK_ONLY_LANE, &quiet) && quiet < p->stall_timeout) {
		decide(p, RK_HEALTH_OVERDUE, "the device is busy: its check has taken %.1f s",
		       secs(in_driver));
		return;
	}
	p->v.hangs = true;
	decide(p, RK_HEALTH_FAILED,
	       "the driver hangs: the device's check has not returned for %.1f s", secs(in_driver));
}

static void judge(struct rk_health *h, struct probe *p)
{
	uint64_t in_driver = rk_supervisor_in_driver_ns(h->supervisor, RK_ONLY_LANE);
	char reason[RK_ERROR_MAX];

	p->v.answers = p->answered && !p->status;
	if (p->died) {
		decide(p, RK_HEALTH_FAILED, "%s", p->why);
	} else if (!p->answered && in_driver) {
		judge_silent_driver(h, p, in_driver);
	} else if (!p->answered && rk_supervisor_is_loading(h->supervisor, RK_ONLY_LANE)) {
		/* which has a deadline of its own */
		decide(p, RK_HEALTH_OVERDUE, "the worker is loading or unloading a kernel");
	} else if (!p->answered) {
		decide(p, RK_HEALTH_FAILED, "the worker does not answer");
	} else if (p->status) {
		decide(p, RK_HEALTH_FAILED, "the device does not answer: %.280s",
		       p->why[0] ? p->why : strerror(p->status));
	} else if (!h->echo && p->rc && p->rc != -ENODEV) {
		decide(p, RK_HEALTH_OVERDUE, "the health check was not sent: %.280s", p->err.msg);
	} else if (h->echo && !p->echo_done) {
		judge_pending_echo(h, p);
	} else if (h->echo && !check_echo(h->echo, reason)) {
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

/* Whether no more has to be waited for. With the lock held. */
static bool is_over_locked(const struct rk_health *h, const struct probe *p)
{
	if (h->quit || h->epoch != p->epoch || h->deaths != p->deaths)
		return true;
	return h->answered && (h->status || !h->echo || h->echo_done);
}

static void begin_locked(struct rk_health *h, struct probe *p)
{
	*p = (struct probe){
		.epoch = h->epoch,
		.deaths = h->deaths,
		.begun = rk_now_ns(),
		.stall_timeout = h->config.stall_timeout,
		.first = h->first,
		.ctx = h->first_ctx,
	};
	p->deadline = p->begun + h->config.timeout * (p->first ? RK_HEALTH_FIRST : 1);
	h->probing = true;
	h->asked = h->answered = false;
	h->first = NULL;
	h->begun_ns = p->begun;
	h->number++;
}

/* With the lock held, which is released meanwhile. */
static void send_locked(struct rk_health *h, struct probe *p)
{
	uint64_t number = h->number;
	bool late = h->echo && h->echo_done; /* the answer came after the last verdict */
	bool begun = p->first;

	pthread_mutex_unlock(&h->lock);
	if (late || begun) /* or it was another worker's */
		rk_health_drop_echo(h);
	rk_supervisor_check(h->supervisor, RK_ONLY_LANE, number);
	if (!h->echo)
		p->rc = send_echo(h, &p->err);
	pthread_mutex_lock(&h->lock);
}

static void tell(struct rk_health *h, const struct probe *p)
{
	enum rk_health_status status;
	char reason[RK_ERROR_MAX];

	pthread_mutex_lock(&h->lock);
	status = rk_health_status_locked(h, reason);
	pthread_mutex_unlock(&h->lock);
	rk_log(RK_LOG_DEBUG, "health check %s in %llu ms: %s", outcomes[p->v.outcome],
	       (unsigned long long)p->v.took_ms, p->v.reason);
	h->observer.event(
		h->observer.ctx, "HealthCheckCompleted",
		json_pack("{s:s,s:s,s:o,s:I}", "status", rk_health_name(status), "outcome",
			  outcomes[p->v.outcome], "reason",
			  rk_events_text(p->v.outcome == RK_HEALTH_PASSED ? reason : p->v.reason),
			  "took_ms", (json_int_t)p->v.took_ms));
	rk_health_tell_change(h);
}

/* The verdict is there: count, tell, act. Returns false where a stop came first. */
static bool conclude(struct rk_health *h, struct probe *p)
{
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
	h->probing = false; /* who asks from now on gets another */
	stands = !h->quit && h->epoch == p->epoch;
	if (stands) {
		memcpy(h->ailing, ailing, sizeof(h->ailing));
		rk_health_conclude_locked(h, &p->v);
	}
	give_up = p->v.hangs && !p->first && h->failures >= h->config.failure_threshold;
	pthread_mutex_unlock(&h->lock);
	if (!stands)
		return false;
	tell(h, p);
	if (give_up)
		rk_supervisor_give_up(h->supervisor, RK_ONLY_LANE, p->v.reason);
	if (!p->first)
		return true;
	if (p->v.outcome == RK_HEALTH_PASSED)
		p->first(p->ctx, p->epoch, 0, NULL);
	else
		p->first(p->ctx, p->epoch, rk_error_set(&p->err, EIO, "%s", p->v.reason), &p->err);
	return true;
}

void rk_health_probe_locked(struct rk_health *h)
{
	struct probe p;
	bool stands;

	begin_locked(h, &p);
	if (p.first)
		memset(h->told, 0, sizeof(h->told)); /* a new start */
	send_locked(h, &p);
	while (!is_over_locked(h, &p) && rk_now_ns() < p.deadline)
		rk_health_wait_locked(h, p.deadline);
	stands = !h->quit && h->epoch == p.epoch;
	p.died = h->deaths != p.deaths;
	p.answered = h->answered;
	p.echo_done = h->echo_done;
	p.status = h->status;
	snprintf(p.why, sizeof(p.why), "%s", p.died ? h->death : h->why);
	pthread_mutex_unlock(&h->lock);
	if (stands) {
		judge(h, &p);
		stands = conclude(h, &p);
	}
	/* one that the worker still has is waited for by the next probe */
	if (!stands || p.echo_done || (h->echo && !rk_dispatch_is_running(h->dispatch, h->echo)))
		rk_health_drop_echo(h);
	pthread_mutex_lock(&h->lock);
	h->probing = false;
}
