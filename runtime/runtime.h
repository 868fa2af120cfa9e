/* SPDX-License-Identifier: MIT */
/*
 * The runtime: configuration, lifecycle, kernels, queues, worker and events, behind
 * one object. Knows no FUSE. All functions are thread-safe and return at once unless said
 * otherwise; observers are called from any thread, with no lock held but perhaps that of commands:
 * they must not block and give no command.
 */
#ifndef RK_RUNTIME_RUNTIME_H
#define RK_RUNTIME_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "runtime/config/config.h"
#include "runtime/supervisor/devices.h"
#include "runtime/dispatch/dispatch.h"
#include "runtime/base/error.h"
#include "runtime/events.h"
#include "runtime/health/health.h"
#include "runtime/lifecycle.h"
#include "runtime/request/payload.h"
#include "runtime/kernel/registry.h"

struct rk_runtime;

/* What observers are told of. */
enum rk_news {
	RK_NEWS_STATE,	/* the state has changed */
	RK_NEWS_EVENT,	/* an event was added */
	RK_NEWS_HEALTH, /* the status of health has changed */
	RK_NEWS_CONFIG, /* the configuration may have changed: a reload, a reset, a field was set */
};

struct rk_runtime_observer {
	void (*tell)(void *ctx, enum rk_news news);
	void *ctx;
	struct rk_runtime_observer *next; /* who is told after it; NULL = nobody */
};

/* Who gave a command, for the log and the events. */
struct rk_caller {
	uid_t uid;
	gid_t gid;
	pid_t pid;
};

/*
 * Create a runtime in state Created with the built-in kernels registered. @sources is copied;
 * @worker_fd is the open rk-worker executable, borrowed until destroy as @observer is, and those
 * after it. Starts threads: call after any fork. Fails with the errors of rk_config_load, ENOMEM,
 * or those of pthread_create and epoll.
 */
int rk_runtime_create(struct rk_runtime **rt, const struct rk_config_sources *sources,
		      int worker_fd, const struct rk_runtime_observer *observer,
		      struct rk_error *err);

/*
 * End the worker (killed after one second, abandoned after another), the threads and all
 * memory. Blocks at most those two seconds. No message may be submitted any more; those in flight
 * are cancelled first.
 */
void rk_runtime_destroy(struct rk_runtime *rt);

enum rk_state rk_runtime_state(const struct rk_runtime *rt);

/*
 * Drive the state machine. @trigger is START, DRAIN, RESUME, STOP or RESET; @drain_ms is
 * the deadline of a DRAIN in milliseconds (-1: drain_timeout; while Draining -1 changes nothing).
 * Succeeds without effect where the postcondition holds already. -EBUSY: wrong state, the sentence
 * names verb, state and what to do. RESET: also the errors of rk_config_load; blocks
 * for reading as a reload does. START is
 * asynchronous: Running comes with the first health check that passed; its failure is a state
 * (Failed) and sets the command status. Logged with @caller
 * (NULL: the daemon itself).
 */
int rk_runtime_command(struct rk_runtime *rt, enum rk_trigger trigger, int64_t drain_ms,
		       const struct rk_caller *caller, struct rk_error *err);

/*
 * Read the configuration file again and apply the safe fields, all or nothing; other differences
 * become config/pending; then scan kernels_dir. -EPERM where hot_reload_enabled is off; the errors
 * of rk_config_load. Blocks as long as reading does, which a dead file system makes for ever, or
 * until rk_runtime_give_up (-ECANCELED); -EBUSY where another reload does so, the sentence names
 * the path.
 */
int rk_runtime_reload(struct rk_runtime *rt, const struct rk_caller *caller, struct rk_error *err);

/*
 * Let whoever reads files give up (ECANCELED), now and from now on. Returns at once; before
 * rk_runtime_destroy, so that commands which block can be waited for.
 */
void rk_runtime_give_up(struct rk_runtime *rt);

/*
 * Add the event of a request that failed with @err: MessageFailed, or MessageRejected where it was
 * never accepted (@id 0). Cancelled ones and refusals of a runtime that is not running are left to
 * the events of the drain.
 */
void rk_runtime_message_failed(struct rk_runtime *rt, const struct rk_kernel *k, uint64_t id,
			       const struct rk_caller *caller, const struct rk_error *err);

/* Whether @trigger would be accepted now (idempotent cases included). */
bool rk_runtime_allows(const struct rk_runtime *rt, enum rk_trigger trigger);

/* Whether a reload, or the setting of a hot field, would be: hot_reload_enabled. */
bool rk_runtime_allows_reload(struct rk_runtime *rt);

/* last_cmd_status: "ok" or one sentence, of the last command, setting or refusal. */
void rk_runtime_status(struct rk_runtime *rt, char sentence[RK_ERROR_MAX]);

/*
 * Command @what of @caller (NULL: the daemon itself) was refused before it got as far as the
 * functions here: its outcome is logged and becomes the command status, as theirs. Returns the
 * negative errno of @why.
 */
int rk_runtime_refuse(struct rk_runtime *rt, const char *what, const struct rk_caller *caller,
		      const struct rk_error *why);

/* Why the runtime is Failed, or "" where it is not. */
void rk_runtime_failure(struct rk_runtime *rt, char sentence[RK_ERROR_MAX]);

/* The effective value of @field, as rk_config_print. */
size_t rk_runtime_config_print(struct rk_runtime *rt, const struct rk_config_field *field,
			       char *buf, size_t size);

/*
 * Set a hot field until the next reload. -EPERM: not hot, or hot_reload_enabled is off; -EINVAL.
 */
int rk_runtime_config_set(struct rk_runtime *rt, const struct rk_config_field *field,
			  const char *value, const struct rk_caller *caller, struct rk_error *err);

/*
 * The value that @field would have after a restart, if it differs from the effective one.
 * Returns its length, or -ENODATA where nothing is pending.
 */
ssize_t rk_runtime_config_pending(struct rk_runtime *rt, const struct rk_config_field *field,
				  char *buf, size_t size);

/* A copy of the effective configuration. */
void rk_runtime_config(struct rk_runtime *rt, struct rk_config *config);

/* Parts, for reading and submitting; they live as long as the runtime. */
struct rk_dispatch *rk_runtime_dispatch(struct rk_runtime *rt);
struct rk_registry *rk_runtime_registry(struct rk_runtime *rt);
struct rk_events *rk_runtime_events(struct rk_runtime *rt);

/* The payload pool that new requests use; a new reference for the caller. */
struct rk_payload *rk_runtime_payload(struct rk_runtime *rt);

/* Limits of one request, bytes; lock-free. */
uint64_t rk_runtime_max_json_bytes(const struct rk_runtime *rt);
uint64_t rk_runtime_max_message_bytes(const struct rk_runtime *rt);

/* Numbers of stats/; each is one atomic read or a sum of slots. */
uint64_t rk_runtime_kernels_active(const struct rk_runtime *rt);
/* Device memory that the worker holds, 0 where none serves; and the most that was, since a reset.
 */
uint64_t rk_runtime_gpu_memory(struct rk_runtime *rt);
uint64_t rk_runtime_gpu_memory_peak(struct rk_runtime *rt);
/* Seconds since Running was reached; stands still from Stopped or Failed on; 0 before. */
uint64_t rk_runtime_uptime_secs(const struct rk_runtime *rt);

/*
 * Enable or disable @k. Enabling is asynchronous (its failure is the kernel's last_error and an
 * event); disabling refuses new messages at once, lets those in flight end and unloads.
 */
void rk_runtime_enable(struct rk_runtime *rt, struct rk_kernel *k, bool enable,
		       const struct rk_caller *caller);

/* The backend that runs kernels ("cpu"), "none" where no worker runs. */
void rk_runtime_backend(struct rk_runtime *rt, char name[RK_WIRE_NAME_MAX]);

/* What the health checks have found; a Failed runtime is unhealthy for its own reason. */
void rk_runtime_health(struct rk_runtime *rt, struct rk_health_report *report);

/* Probe now. -EBUSY where the state has no worker, with a sentence. Logged with @caller. */
int rk_runtime_check_now(struct rk_runtime *rt, const struct rk_caller *caller,
			 struct rk_error *err);

/* Something around it does not work, or does again (@sentence ""): degraded, or not any more. */
void rk_runtime_trouble(struct rk_runtime *rt, enum rk_trouble which, const char *sentence);

/* Whether it is alive: not Failed. */
bool rk_runtime_live(const struct rk_runtime *rt);

/* Whether it takes messages and can be expected to run them: Running, and healthy or degraded. */
bool rk_runtime_ready(struct rk_runtime *rt);

/* Device @index as the worker saw it last. False where there is no such device. */
bool rk_runtime_device(struct rk_runtime *rt, uint32_t index, struct rk_device *device);

/* Milliseconds until the drain deadline, never negative; -ENODATA outside a drain. */
int64_t rk_runtime_drain_left_ms(struct rk_runtime *rt);

#endif
