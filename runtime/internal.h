/* SPDX-License-Identifier: MIT */
/*
 * The runtime's structure, and what the files in runtime/ share; for nobody else. The order of its
 * locks is in doc/ARCHITECTURE.md.
 */
#ifndef RK_RUNTIME_INTERNAL_H
#define RK_RUNTIME_INTERNAL_H

#include <stdatomic.h>

#include "runtime/base/rate.h"
#include "runtime/base/thread.h"
#include "runtime/health/health.h"
#include "runtime/runtime.h"
#include "runtime/supervisor/supervisor.h"

struct rk_files;

/* Jobs of which one runs at a time. */
enum rk_job_kind {
	RK_JOB_RELOAD,
	RK_JOB_RESET,
	RK_JOB_COUNT,
};

/* What a configuration takes to be put into effect. */
struct rk_means {
	struct rk_payload *payload; /* a reference */
	struct rk_worker_user user;
};

struct rk_runtime {
	/* As made at birth. */
	const struct rk_runtime_observer *observer;
	struct rk_registry *registry;
	struct rk_supervisor *supervisor;
	struct rk_health *health;
	struct {
		char *file, **options, **environ; /* NULL = none; lists end with NULL */
		uint64_t payload_bytes;
	} sources; /* of the configuration; own copies */

	/* Parts that have a lock of their own. */
	struct rk_dispatch dispatch;
	struct rk_events events;

	/* Held for a whole command, deadline or failure: one at a time. No I/O under it. */
	pthread_mutex_t command_lock;

	struct rk_lifecycle lifecycle;
	/* Guarded by lifecycle.lock; the numbers are only written with it. */
	bool ending;	    /* by force: a drain does not complete meanwhile */
	uint64_t beginning; /* of the health checks, whose first one a start waits for; 0 = none */
	char started_backend[RK_WIRE_NAME_MAX];
	_Atomic uint64_t started_ns, stopped_ns, drain_deadline_ns; /* 0 = not */

	pthread_mutex_t memory_lock;
	uint64_t memory_peak; /* over all workers since the last reset, as far as seen */

	/* The limits are only written with it. */
	pthread_mutex_t config_lock;
	struct rk_config config; /* effective */
	struct rk_config loaded; /* as the sources said at the last load */
	struct rk_means means;
	uint64_t sample_ms; /* that the supervisor was told last */
	_Atomic uint64_t max_json_bytes, max_header_bytes, max_message_bytes;

	/*
	 * Jobs read files of the user's, which may be on a dead file system. Only whoever ordered a
	 * job waits for it, and all jobs give up once `give_up` is readable.
	 */
	int give_up;				/* an eventfd */
	struct rk_files *reading[RK_JOB_COUNT]; /* the session of each job */
	pthread_mutex_t job_lock;
	pthread_cond_t job_over;    /* CLOCK_MONOTONIC */
	bool running[RK_JOB_COUNT]; /* it is under way */
	bool scanning, scan_again;  /* kernels_dir is being read; it has to be once more */

	pthread_mutex_t text_lock;
	struct rk_error status;
	char failure[RK_ERROR_MAX];
	struct rk_rate refusals; /* that are logged */
};

/* kernels.c: registration */

/* Register the kernels that are compiled in, and those of kernels_dir, whose refusals are events.
 */
int rk_runtime_register_kernels(struct rk_runtime *rt, struct rk_error *err);

/*
 * Scan kernels_dir again; @files reads. Returns the number of descriptions that were refused, with
 * the first one's sentence in @err. Blocks for reading. Where another scan is under way, that one
 * is told to begin again at its end, and this returns 0 at once.
 */
int rk_runtime_scan_kernels(struct rk_runtime *rt, struct rk_files *files, struct rk_error *err);

/* If @k is wanted and the runtime runs, @k takes messages from now on, before it is loaded. */
void rk_runtime_expect_kernel(struct rk_runtime *rt, struct rk_kernel *k);

/* states.c: transitions, and what follows from them */

/*
 * Fire @trigger with lifecycle.lock held; the event (@fields is stolen) goes in before the state
 * can be seen, its followers are told by after_transition. -EBUSY with no effect where the table
 * does not list it.
 */
int rk_runtime_transit_locked(struct rk_runtime *rt, enum rk_trigger trigger, const char *event,
			      json_t *fields);

/* Tell observers and log, with no lock held but perhaps command_lock. */
void rk_runtime_after_transition(struct rk_runtime *rt, enum rk_trigger trigger);

/*
 * End by force: refuse, end what is in flight with @code and @why, then fire. With command_lock
 * held, so that no other command comes between; the state changes last, so that whoever sees it
 * sees final counters. -EBUSY with no effect where the table does not list it.
 */
int rk_runtime_end_by(struct rk_runtime *rt, enum rk_trigger trigger, int code, const char *why,
		      const char *event, json_t *fields);

/* Draining and nothing in flight any more: Stopped. With no lock held but perhaps command_lock. */
void rk_runtime_try_drained(struct rk_runtime *rt);

/* What the parts call; ctx is to be set to the runtime. */
extern const struct rk_dispatch_observer rk_runtime_dispatch_observer;
extern const struct rk_supervisor_observer rk_runtime_supervisor_observer;
extern const struct rk_health_observer rk_runtime_health_observer;

/* jobs.c: who reads files, one of a kind at a time */

/* What jobs need. 0 or a negative errno. The second undoes it, also where the first has failed. */
int rk_runtime_jobs_init(struct rk_runtime *rt, struct rk_error *err);
void rk_runtime_jobs_destroy(struct rk_runtime *rt);

/*
 * Begin the job @kind: 0, or -EBUSY with a sentence that names the path where another one is
 * reading still after a second. rk_runtime_job_end must follow where it is 0.
 */
int rk_runtime_job_begin(struct rk_runtime *rt, enum rk_job_kind kind, struct rk_error *err);
void rk_runtime_job_end(struct rk_runtime *rt, enum rk_job_kind kind);

/* Own copies of what @sources points to. 0 or a negative errno. The second frees them, also where
 * the first has failed. */
int rk_runtime_copy_sources(struct rk_runtime *rt, const struct rk_config_sources *sources,
			    struct rk_error *err);
void rk_runtime_free_sources(struct rk_runtime *rt);

/* rk_config_load, of the runtime's sources, within the job @kind. */
int rk_runtime_load_config(struct rk_runtime *rt, enum rk_job_kind kind, struct rk_config *config,
			   struct rk_error *err);

/* settings.c: the configuration in effect */

/*
 * Make the means of @config; the caller's, who drops the payload. 0 or a negative errno with a
 * sentence. Blocks for the name service.
 */
int rk_runtime_make_means(const struct rk_config *config, struct rk_means *means,
			  struct rk_error *err);

/* Make @config the effective and the loaded one, with @means (another reference is taken). */
void rk_runtime_adopt_config(struct rk_runtime *rt, const struct rk_config *config,
			     const struct rk_means *means);

/*
 * Put the hot fields of @from into effect, which is the loaded one from now on. Appends the names
 * of those that differ to @changed, and to @pending those of the others that do.
 */
void rk_runtime_take_hot(struct rk_runtime *rt, const struct rk_config *from, json_t *changed,
			 json_t *pending);

/* Put one field into effect. 0 or -EINVAL, as rk_config_set. */
int rk_runtime_set_field(struct rk_runtime *rt, const struct rk_config_field *field,
			 const char *value, struct rk_error *err);

/* news.c: who is told */

/* Tell all observers. No lock may be held but command_lock. */
void rk_runtime_tell(const struct rk_runtime *rt, enum rk_news news);

/* Add an event and tell who follows. Steals @fields. No lock may be held but command_lock. */
void rk_runtime_event(struct rk_runtime *rt, const char *name, json_t *fields);

/* outcome.c: what became of a command */

/*
 * Command @what of @caller (NULL: the daemon itself) is over: log it in one line, and put it into
 * last_cmd_status. @rc is 0, or a negative errno with the sentence in @why, which is copied to @err
 * (NULL: nobody cares). Returns @rc.
 */
int rk_runtime_conclude(struct rk_runtime *rt, const char *what, const struct rk_caller *caller,
			int rc, const struct rk_error *why, struct rk_error *err);

/* Set last_cmd_status alone: of a start it is known only later what became of it. */
void rk_runtime_set_status(struct rk_runtime *rt, const struct rk_error *sentence);

#endif
