/* SPDX-License-Identifier: MIT */
/* Shared by the files of runtime/health/ only. The order of locks is in doc/ARCHITECTURE.md. */
#ifndef RK_RUNTIME_HEALTH_INTERNAL_H
#define RK_RUNTIME_HEALTH_INTERNAL_H

#include "runtime/base/thread.h"
#include "runtime/dispatch/dispatch.h"
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

/* A probe while it runs, and what had happened when it was over. */
struct rk_probe {
	uint64_t epoch, deaths, begun, deadline, stall_timeout;
	bool first; /* of its worker, since the begin */
	int rc;	    /* of the sending */
	struct rk_error err;
	bool died, answered, echo_done;
	int status;
	char why[RK_ERROR_MAX]; /* of the answer, or of the death */
	struct rk_health_verdict v;
};

/* What came of the first probe of a worker since the begin. */
enum rk_health_began {
	RK_HEALTH_PENDING,
	RK_HEALTH_BEGAN,
	RK_HEALTH_BEGAN_NOT,
};

/* The checks of one worker; guarded by the lock of struct rk_health. */
struct rk_checks {
	struct rk_health *h;
	uint32_t lane;
	bool serves;   /* it is there, of the latest start */
	bool asked;    /* somebody has asked for a probe, at once */
	bool out;      /* it was given up */
	bool disabled; /* by hand */
	enum rk_health_began began;

	/* The probe under way, or the last one. */
	bool probing;
	struct rk_probe probe; /* the thread's own */
	uint64_t begun_ns;
	uint64_t number; /* of the worker's check */
	bool answered;
	int status; /* of the answer */
	char why[RK_WIRE_TEXT_MAX];
	uint64_t deaths; /* of its processes */
	bool echo_done;
	struct rk_message *echo; /* the thread's own: sent, and not looked at yet; a reference */

	/* What is known. */
	uint64_t ended_ns;	      /* of the last probe; 0 = none since the begin */
	uint64_t failures, successes; /* in a row */
	bool unhealthy;		      /* from the failure threshold to the success threshold */
	bool died;		      /* a process did, and no probe has passed since */
	char reason[RK_ERROR_MAX];    /* of the last probe that did not pass; why it is out */
	char death[RK_ERROR_MAX];
	char fallback[RK_ERROR_MAX]; /* why the primary backend does not run, "" if it does */
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
	bool wanted;	/* workers are: between begin and stop */
	uint64_t epoch; /* counts begin, stop and reset: what is older is of no interest */
	rk_health_first *first;
	void *first_ctx;
	bool forget_told;     /* the thread is to, of the devices */
	uint64_t first_by_ns; /* when those that have not begun are waited for no more; 0 = never */
	struct rk_health_config config;
	struct rk_payload *payload; /* where echoes are put; a reference */
	uint32_t nlanes;	    /* of the latest begin */
	struct rk_checks lanes[RK_LANES_MAX];

	/* What is known. */
	uint64_t counts[RK_HEALTH_OUTCOME_COUNT];
	enum rk_health_status shown;
	char ailing[RK_ERROR_MAX]; /* which device is lost, or is to be reset; "" = none */
	char trouble[RK_TROUBLE_COUNT][RK_ERROR_MAX]; /* "" = none */

	/* The thread's own: what was told of each device since the start. */
	struct {
		bool lost, remap_pending, remap_failed;
		uint64_t xids;
	} told[RK_WIRE_DEVICES_MAX];
};

/* probe.c: one probe; the thread's alone */

/* Begin a probe: send. With the lock held, which is released meanwhile. */
void rk_health_begin_probe_locked(struct rk_checks *c);

/* Whether the probe that was begun waits for nothing any more. With the lock held. */
bool rk_health_probe_is_over_locked(const struct rk_checks *c);

/* End it: judge, tell, act. With the lock held, which is released meanwhile. */
void rk_health_end_probe_locked(struct rk_checks *c);

/* Look no more at the echo, wherever it is. Without the lock; returns with no callback to come. */
void rk_health_drop_echo(struct rk_checks *c);

/* status.c: what is known */

/* The status now and its reason. With the lock held. */
enum rk_health_status rk_health_status_locked(const struct rk_health *h, char reason[RK_ERROR_MAX]);

/* Count @verdict and draw the conclusions. With the lock held. */
void rk_health_conclude_locked(struct rk_checks *c, const struct rk_health_verdict *verdict);

#endif
