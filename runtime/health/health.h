/* SPDX-License-Identifier: MIT */
/*
 * Health checks. A thread of its own probes every health_check_interval, and when asked: core/echo
 * through the worker with bytes of its own, compared, in a lane that messages cannot fill; and, in
 * the worker, the driver and the device (RK_WIRE_CHECK). Both must end within
 * health_check_timeout. The outcome of a probe:
 *
 *   passed   both came back right
 *   failed   one came back wrong, or the device does not answer, or the worker does not
 *   overdue  one of them was not over in time while messages run on the device, which is busy, or
 *            there was no memory for the echo
 *
 * Busy is healthy: a probe that is overdue leaves the status as it was, or counts as passed where
 * the device has answered. But a driver that has not come back from a check while the worker has
 * answered no message for health_stall_timeout has failed it.
 *
 * An echo that the worker has and does not answer is waited for by the next probe too: no second
 * one is sent. Where core/echo is not loaded the probe is the check of the device alone. No probe
 * of a worker is begun while it does not serve.
 *
 * Each worker is probed for itself, all at once. health_failure_threshold failed ones in a row make
 * it unhealthy, health_success_threshold passed ones in a row make it healthy again; the runtime is
 * unhealthy where all of its workers are, and degraded where some are. A driver that hangs is given
 * up with its worker when the threshold is reached: rk_supervisor_give_up.
 *
 * All functions but create, end and destroy are thread-safe and answer from memory. Those that may
 * call the observer say so; the others may be called with any lock held.
 */
#ifndef RK_RUNTIME_HEALTH_HEALTH_H
#define RK_RUNTIME_HEALTH_HEALTH_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "runtime/base/error.h"
#include "runtime/config/config.h"
#include "runtime/request/payload.h"

struct rk_dispatch;
struct rk_health;
struct rk_registry;
struct rk_supervisor;

enum rk_health_status {
	RK_HEALTH_UNKNOWN,   /* not probed yet, or no worker is wanted */
	RK_HEALTH_HEALTHY,   /* the last probes passed, on the backend that was asked for */
	RK_HEALTH_DEGRADED,  /* usable, but: on the fallback backend, a failed probe below the
				threshold, a device lost, a worker is out or being
				restarted, or the log or the text file cannot be written */
	RK_HEALTH_UNHEALTHY, /* failed probes of every worker, or the runtime is Failed */
};

struct rk_health_report {
	enum rk_health_status status;
	char reason[RK_ERROR_MAX];	  /* one sentence; "ok" where healthy */
	bool wanted;			  /* a worker is wanted: between begin and stop */
	bool checked;			  /* a probe has ended since the start */
	uint64_t last_check_age_secs;	  /* since the last one ended; where checked */
	uint64_t passed, failed, overdue; /* probes since the last reset */
};

/* What is wrong around the runtime, which runs on all the same. */
enum rk_trouble {
	RK_TROUBLE_LOG,
	RK_TROUBLE_TEXTFILE,
	RK_TROUBLE_COUNT,
};

/* What it tells its owner, from any thread, with no lock held. */
struct rk_health_observer {
	/* An event called @name has happened; the reference to @fields is handed over. */
	void (*event)(void *ctx, const char *name, json_t *fields);
	void (*changed)(void *ctx); /* the status is another one */
	void (*memory)(void *ctx);  /* a probe is over: what memory the worker holds is known */
	void *ctx;
};

/*
 * Start the thread, which does nothing before the first rk_health_config_changed and
 * rk_health_begin. All parts are borrowed until destroy, @observer is copied. 0 or a negative
 * errno.
 */
int rk_health_create(struct rk_health **health, struct rk_dispatch *dispatch,
		     struct rk_registry *registry, struct rk_supervisor *supervisor,
		     const struct rk_health_observer *observer, struct rk_error *err);

/*
 * End the thread; a probe under way is cancelled. Before the worker is destroyed, whose supervisor
 * may call what is below until then. NULL is fine.
 */
void rk_health_end(struct rk_health *health);

/* Free it, ended, once the worker is destroyed. NULL is fine. */
void rk_health_destroy(struct rk_health *health);

/* What became of the first probes, of the beginning that rk_health_begin has numbered @number. */
typedef void rk_health_first(void *ctx, uint64_t number, int rc, const struct rk_error *err);

/*
 * The first of @lanes workers serves since the start: probe each as soon as it does, with ten times
 * the timeout. Returns the number of this beginning, never 0. @first is called from the health
 * thread, with no lock held, with the outcome: 0 once one has passed, and each other has passed,
 * failed or had RK_HEALTH_OTHERS_NS since; or a negative errno with the sentence, where none has.
 * It is not called after rk_health_stop, unless that came in the middle of the call, which its
 * number tells.
 */
uint64_t rk_health_begin(struct rk_health *health, uint32_t lanes, rk_health_first *first,
			 void *ctx);

#define RK_HEALTH_OTHERS_NS (5 * 1000000000ULL)

/* No worker is wanted any more: status unknown, no probes. */
void rk_health_stop(struct rk_health *health);

/* Count from 0 again, and forget what was found. */
void rk_health_reset(struct rk_health *health);

/* Probe now, or once a worker serves; a probe that is under way will do. */
void rk_health_check_now(struct rk_health *health);

/*
 * The [health] fields of @config hold from now on, and echoes go through @payload, of which a
 * reference is taken.
 */
void rk_health_config_changed(struct rk_health *health, const struct rk_config *config,
			      struct rk_payload *payload);

/*
 * What the supervisor tells of the worker of @lane: the answer to a check; it serves, on the
 * fallback for the reason @fallback_why ("" = on the primary); it died; it was given up. The last
 * two call the observer.
 */
void rk_health_checked(struct rk_health *health, uint32_t lane, uint64_t number, int status,
		       const char *why);
void rk_health_worker_ready(struct rk_health *health, uint32_t lane, const char *fallback_why);
void rk_health_worker_died(struct rk_health *health, uint32_t lane, const char *how);
void rk_health_worker_out(struct rk_health *health, uint32_t lane, const char *why);
/* It is about to be ended, because that was asked for: its probes are of no interest any more. */
void rk_health_worker_ended(struct rk_health *health, uint32_t lane);

/* The worker of @lane was disabled or enabled by hand; the former does not serve. */
void rk_health_worker_enabled(struct rk_health *health, uint32_t lane, bool enabled);

/* The status of the worker of @lane alone, with its reason. */
enum rk_health_status rk_health_worker(struct rk_health *health, uint32_t lane,
				       char reason[RK_ERROR_MAX]);

/*
 * If the status is another than when this was last called: log it and call the observer. After
 * rk_health_worker_ready, once no lock is held.
 */
void rk_health_tell_change(struct rk_health *health);

/* @sentence says what is wrong, "" that it is no more. Calls the observer. */
void rk_health_trouble(struct rk_health *health, enum rk_trouble which, const char *sentence);

void rk_health_report(struct rk_health *health, struct rk_health_report *report);

/* "healthy", "degraded", "unhealthy", "unknown". Static storage. */
const char *rk_health_name(enum rk_health_status status);

#endif
