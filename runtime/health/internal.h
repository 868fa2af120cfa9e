/* SPDX-License-Identifier: MIT */
/* Shared by the files of runtime/health/ only. The order of locks is in doc/ARCHITECTURE.md. */
#ifndef RK_RUNTIME_HEALTH_INTERNAL_H
#define RK_RUNTIME_HEALTH_INTERNAL_H

#include "runtime/base/thread.h"
#include "runtime/health/health.h"
#include "runtime/request/message.h"

#define RK_HEALTH_FIRST 10 /* times the timeout, at the start */

enum rk_health_outcome {
	RK_HEALTH_PASSED,
	RK_HEALTH_FAILED,
	RK_HEALTH_OVERDUE,
	RK_HEALTH_OUTCOME_COUNT,
};

/* What a probe has found out. */
struct rk_health_verdict {
	enum rk_health_outcome outcome;
	bool hangs;   /* the driver does */
	bool answers; /* the device does, whatever became of the echo */
	uint64_t took_ms;
	char reason[RK_ERROR_MAX]; /* "ok" where it passed */
};

/* The [health] section, nanoseconds. */
struct rk_health_config {
	uint64_t interval, timeout, stall_timeout;
	uint64_t failure_threshold, success_threshold;
};

struct rk_health {
	struct rk_dispatch *dispatch;
	struct rk_registry *registry;
	struct rk_supervisor *supervisor;
	struct rk_health_observer observer;
	pthread_t thread;
	bool started; /* the thread */

	/* Guards all that follows. */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* CLOCK_MONOTONIC */
	bool quit;
	bool wanted;	/* a worker is: between begin and stop */
	bool serves;	/* a worker does */
	bool asked;	/* somebody has asked for a probe, at once */
	uint64_t epoch; /* counts begin, stop and reset: what is older is of no interest */
	rk_health_first *first;
	void *first_ctx;
	struct rk_health_config config;
	struct rk_payload *payload; /* where echoes are put; a reference */

	/* The probe under way, or the last one. */
	bool probing;
	uint64_t begun_ns;
	uint64_t number; /* of the worker's check */
	bool answered;
	int status; /* of the answer */
	char why[RK_WIRE_TEXT_MAX];
	uint64_t deaths; /* of workers */
	bool echo_done;
	struct rk_message *echo; /* the thread's own: sent, and not looked at yet; a reference */

	/* What is known. */
	uint64_t ended_ns; /* of the last probe; 0 = none since the begin */
	uint64_t counts[RK_HEALTH_OUTCOME_COUNT];
	uint64_t failures, successes; /* in a row */
	bool unhealthy;		      /* from the failure threshold to the success threshold */
	bool died;		      /* a worker did, and no probe has passed since */
	enum rk_health_status shown;
	char reason[RK_ERROR_MAX]; /* of the last probe that did not pass */
	char death[RK_ERROR_MAX];
	char fallback[RK_ERROR_MAX]; /* why the primary backend does not run, "" if it does */
	char ailing[RK_ERROR_MAX];   /* which device is lost, or is to be reset; "" = none */
	char trouble[RK_TROUBLE_COUNT][RK_ERROR_MAX]; /* "" = none */

	/* The thread's own: what was told of each device since the start. */
	struct {
		bool lost, remap_pending, remap_failed;
		uint64_t xids;
	} told[RK_WIRE_DEVICES_MAX];
};

/* probe.c: one probe; the thread's alone */

/* Wait for news, until @at_ns at the latest (0 = for ever). With the lock held. */
void rk_health_wait_locked(struct rk_health *h, uint64_t at_ns);

/*
 * Probe: send, wait for the answers, judge them and tell what came of it. With the lock held, which
 * is released meanwhile.
 */
void rk_health_probe_locked(struct rk_health *h);

/* Look no more at the echo, wherever it is. Without the lock; returns with no callback to come. */
void rk_health_drop_echo(struct rk_health *h);

/* status.c: what is known */

/* The status now and its reason. With the lock held. */
enum rk_health_status rk_health_status_locked(const struct rk_health *h, char reason[RK_ERROR_MAX]);

/* Count @verdict and draw the conclusions. With the lock held. */
void rk_health_conclude_locked(struct rk_health *h, const struct rk_health_verdict *verdict);

/* If the status is another than when this was last called: log it, tell who waits. No lock. */
void rk_health_tell_change(struct rk_health *h);

#endif
