/* SPDX-License-Identifier: MIT */
/*
 * The runtime: configuration, lifecycle, kernels, queues, worker and events, behind one object. It
 * knows no FUSE. All functions are thread-safe and return at once unless said otherwise. Observers
 * are called from any thread, with no lock held but perhaps the one that a command holds: they must
 * not block, and must give no command.
 */
#ifndef RK_RUNTIME_RUNTIME_H
#define RK_RUNTIME_RUNTIME_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "runtime/base/error.h"
#include "runtime/config/config.h"
#include "runtime/dispatch/dispatch.h"
#include "runtime/events.h"
#include "runtime/health/health.h"
#include "runtime/kernel/registry.h"
#include "runtime/lifecycle.h"
#include "runtime/request/payload.h"
#include "runtime/supervisor/devices.h"
#include "runtime/supervisor/worker.h"

struct rk_runtime;

/* What observers are told of. */
enum rk_news {
	RK_NEWS_STATE,	/* the state has changed */
	RK_NEWS_EVENT,	/* an event was added */
	RK_NEWS_HEALTH, /* the status of health has changed */
	RK_NEWS_WORKER, /* the state of a worker has changed */
	RK_NEWS_CONFIG, /* the configuration may have changed: a reload, a reset, a field was set */
};

struct rk_runtime_observer {
	void (*tell)(void *ctx, enum rk_news news);
	void *ctx;
	struct rk_runtime_observer *next; /* who is told after it; NULL = nobody */
};

/* Who gave a command, for the log and the events; NULL stands for the daemon itself. */
struct rk_caller {
	uid_t uid;
	gid_t gid;
	pid_t pid;
};

/* runtime.c: birth and death */

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
 * End the worker (killed after one second, abandoned after another), the threads and all memory.
 * Blocks at most those two seconds. No message may be submitted any more; those in flight are
 * cancelled first.
 */
void rk_runtime_destroy(struct rk_runtime *rt);

/*
 * command.c: every verb. What becomes of each is logged in one line with its caller, and put into
 * last_cmd_status.
 */

/*
 * Drive the state machine. @trigger is START, DRAIN, RESUME, STOP or RESET; @drain_ms is the
 * deadline of a DRAIN in milliseconds (-1: drain_timeout; while Draining -1 changes nothing).
 * Succeeds without effect where the postcondition holds already. -EBUSY: the state is the wrong
 * one, and the sentence names verb, state and what to do. RESET: also the errors of rk_config_load;
 * it blocks for reading as a reload does. START is asynchronous: Running comes with the first
 * health check that passes, and a failure is a state (Failed) that sets last_cmd_status once more.
 */
int rk_runtime_command(struct rk_runtime *rt, enum rk_trigger trigger, int64_t drain_ms,
		       const struct rk_caller *caller, struct rk_error *err);

/* Whether @trigger would be accepted now (idempotent cases included). */
bool rk_runtime_allows(const struct rk_runtime *rt, enum rk_trigger trigger);

/*
 * Read the configuration file again and apply the hot fields, all or nothing; other differences
 * become config/pending; then scan kernels_dir. -EPERM where hot_reload_enabled is off; the errors
 * of rk_config_load. Blocks as long as reading does, which a dead file system makes for ever, or
 * until rk_runtime_give_up (-ECANCELED). -EBUSY where another reload is still reading; the sentence
 * names the path.
 */
int rk_runtime_reload(struct rk_runtime *rt, const struct rk_caller *caller, struct rk_error *err);

/*
 * Set a hot field until the next reload. -EPERM where @field is not hot, or hot_reload_enabled is
 * off; -EINVAL.
 */
int rk_runtime_config_set(struct rk_runtime *rt, const struct rk_config_field *field,
			  const char *value, const struct rk_caller *caller, struct rk_error *err);

/*
 * Enable or disable @k. Enabling is asynchronous (its failure is the kernel's last_error and an
 * event); disabling refuses new messages at once, lets those in flight end and unloads.
 */
void rk_runtime_enable(struct rk_runtime *rt, struct rk_kernel *k, bool enable,
		       const struct rk_caller *caller);

/*
 * Have worker @lane, below rk_runtime_workers, serve or not. Asynchronous: one that is disabled
 * takes nothing more, what runs on it has drain_timeout, then the process ends. Holds until it is
 * enabled, or a start finds all disabled.
 */
void rk_runtime_worker_enable(struct rk_runtime *rt, uint32_t lane, bool enable,
			      const struct rk_caller *caller);

/* Probe now. -EBUSY, with a sentence, where the state has no worker. */
int rk_runtime_check_now(struct rk_runtime *rt, const struct rk_caller *caller,
			 struct rk_error *err);

/* outcome.c: what became of commands */

/*
 * Command @what of @caller was refused for the reason @why before it reached one of the functions
 * above: log it and note it as they do. Returns the negative errno of @why.
 */
int rk_runtime_refuse(struct rk_runtime *rt, const char *what, const struct rk_caller *caller,
		      const struct rk_error *why);

/*
 * last_cmd_status: "ok" or one sentence, of the last command, setting or refusal. What is hidden of
 * it only root (@reader 0) reads.
 */
void rk_runtime_status(struct rk_runtime *rt, uid_t reader, char sentence[RK_ERROR_MAX]);

/* jobs.c: who reads files */

/*
 * Let whoever reads files give up (ECANCELED), now and from now on. Returns at once. Comes before
 * rk_runtime_destroy, so that commands which block can be waited for.
 */
void rk_runtime_give_up(struct rk_runtime *rt);

/* news.c: what is told */

/*
 * Add the event of a request that failed with @err: MessageFailed, or MessageRejected where it was
 * never accepted (@id 0). Cancelled messages, and refusals of a runtime that is not running, are
 * left to the events of the drain.
 */
void rk_runtime_message_failed(struct rk_runtime *rt, const struct rk_kernel *k, uint64_t id,
			       const struct rk_caller *caller, const struct rk_error *err);

/* settings.c: parts, for reading and submitting; they live as long as the runtime */

enum rk_state rk_runtime_state(const struct rk_runtime *rt);
struct rk_dispatch *rk_runtime_dispatch(struct rk_runtime *rt);
struct rk_registry *rk_runtime_registry(struct rk_runtime *rt);
struct rk_events *rk_runtime_events(struct rk_runtime *rt);

/* settings.c: the configuration in effect */

/* A copy of it. */
void rk_runtime_config(struct rk_runtime *rt, struct rk_config *config);

/* The value of @field, as rk_config_print. */
size_t rk_runtime_config_print(struct rk_runtime *rt, const struct rk_config_field *field,
			       char *buf, size_t size);

/*
 * The value that @field would have after a restart, if it differs from the one in effect. Returns
 * its length, or -ENODATA where nothing is pending.
 */
ssize_t rk_runtime_config_pending(struct rk_runtime *rt, const struct rk_config_field *field,
				  char *buf, size_t size);

/* Whether a reload, or the setting of a hot field, is allowed: hot_reload_enabled. */
bool rk_runtime_allows_reload(struct rk_runtime *rt);

/* The payload pool that new requests use; a new reference for the caller. */
struct rk_payload *rk_runtime_payload(struct rk_runtime *rt);

/* Limits of one request, bytes; lock-free. */
uint64_t rk_runtime_max_json_bytes(const struct rk_runtime *rt);
uint64_t rk_runtime_max_header_bytes(const struct rk_runtime *rt);
uint64_t rk_runtime_max_message_bytes(const struct rk_runtime *rt);

/* settings.c: numbers and sentences that files show; from memory */

uint64_t rk_runtime_kernels_active(const struct rk_runtime *rt);

/* Device memory that the worker holds, bytes, 0 where none serves; and the most since a reset. */
uint64_t rk_runtime_gpu_memory(struct rk_runtime *rt);
uint64_t rk_runtime_gpu_memory_peak(struct rk_runtime *rt);

/* Seconds since Running was reached; stands still from Stopped or Failed on; 0 before. */
uint64_t rk_runtime_uptime_secs(const struct rk_runtime *rt);

/* Milliseconds until the drain deadline, never negative; -ENODATA outside a drain. */
int64_t rk_runtime_drain_left_ms(struct rk_runtime *rt);

/* The backend that runs kernels ("cpu"), "none" where no worker runs. */
void rk_runtime_backend(struct rk_runtime *rt, char name[RK_WIRE_NAME_MAX]);

/* Device @index as the worker saw it last. False where there is no such device. */
bool rk_runtime_device(struct rk_runtime *rt, uint32_t index, struct rk_device *device);

/* How many workers there are by the configuration in effect. */
uint32_t rk_runtime_workers(struct rk_runtime *rt);

/* Worker @lane, below RK_LANES_MAX, its health with the reason, and what it has done. */
void rk_runtime_worker(struct rk_runtime *rt, uint32_t lane, struct rk_worker_info *info);
enum rk_health_status rk_runtime_worker_health(struct rk_runtime *rt, uint32_t lane,
					       char reason[RK_ERROR_MAX]);

/* Why the runtime is Failed, or "" where it is not. */
void rk_runtime_failure(struct rk_runtime *rt, char sentence[RK_ERROR_MAX]);

/* What the health checks have found; a Failed runtime is unhealthy for its own reason. */
void rk_runtime_health(struct rk_runtime *rt, struct rk_health_report *report);

/* Whether the runtime is alive: not Failed. */
bool rk_runtime_live(const struct rk_runtime *rt);

/* Whether it takes messages and can be expected to run them: Running, and healthy or degraded. */
bool rk_runtime_ready(struct rk_runtime *rt);

/*
 * @sentence says what does not work around the runtime, which makes it degraded; "" says that it
 * works again. May call observers.
 */
void rk_runtime_trouble(struct rk_runtime *rt, enum rk_trouble which, const char *sentence);

#endif
