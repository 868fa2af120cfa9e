/* SPDX-License-Identifier: MIT */
/*
 * Supervises worker processes. One long-lived thread spawns them, receives what
 * they answer, restarts them after a back-off while the budget lasts, and ends them; it
 * also keeps the daemon's deadlines. It never waits for a process: one that SIGKILL
 * cannot end is abandoned and named.
 *
 * All functions but destroy return at once and may be called with lifecycle.lock held. Observers
 * are called from the supervisor thread with no lock held and must not block.
 */
#ifndef RK_RUNTIME_SUPERVISOR_SUPERVISOR_H
#define RK_RUNTIME_SUPERVISOR_SUPERVISOR_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "runtime/supervisor/devices.h"
#include "runtime/supervisor/user.h"
#include "runtime/supervisor/worker.h"
#include "runtime/dispatch/dispatch.h"
#include "runtime/base/error.h"
#include "runtime/request/payload.h"
#include "runtime/kernel/registry.h"

struct rk_supervisor;

/* What a worker is started with. */
struct rk_supervisor_params {
	struct rk_payload *payload; /* borrowed by start, which takes a reference */
	uint32_t workers;	    /* 1 to RK_LANES_MAX; each has a lane of dispatch */
	uint32_t of_a_device;	    /* of these, how many share each device */
	uint32_t threads;	    /* of each; 0 = an equal part of the processors */
	char primary[RK_WIRE_NAME_MAX];
	/*
	 * "" = none. Several workers use it only together, where none could be had on the primary.
	 */
	char fallback[RK_WIRE_NAME_MAX];
	uint64_t restart_limit;	  /* restarts per minute */
	uint64_t load_timeout_ms; /* of one kernel, and of its unloading */
	uint64_t max_instances;	  /* kernels loaded at most */
	/* messages of one kernel that may run as one, on a backend that does so; 1 = each alone */
	uint32_t fuse_max;
	uint64_t sample_ms;			      /* struct rk_wire_settings */
	struct rk_wire_device_settings device;	      /* of all, but for the name of */
	char devices[RK_LANES_MAX][RK_WIRE_NAME_MAX]; /* each worker's own */
	/*
	 * Ask which devices there are before a worker comes for the first time, or back by hand, so
	 * that each sees its own alone and keeps it whatever becomes of the others' numbers.
	 */
	bool lists;
	bool all_devices; /* whatever is listed; @workers are those of one device */
	struct rk_worker_user user;
	bool watched;		       /* the devices of the machine are, by one of the workers */
	bool filter;		       /* of system calls */
	char cuda_cache_dir[PATH_MAX]; /* "" = none */
	bool cuda;		       /* may be opened */
};

struct rk_supervisor_observer {
	/*
	 * The worker of @lane serves: backend open, kernels loaded. @fallback_why is "" where the
	 * primary runs.
	 */
	void (*ready)(void *ctx, uint32_t lane, pid_t pid, const char *backend,
		      const char *fallback_why);
	/* A worker is about to be given up for dead: the last look at what it held. NULL = none. */
	void (*leaving)(void *ctx);
	/* A worker that was not told to end is dead; @running messages died with it. */
	void (*died)(void *ctx, uint32_t lane, pid_t pid, const char *how, uint32_t running);
	/* No worker can be had for @lane: the first one failed, or the restart budget is used up.
	 * Others serve. */
	void (*out)(void *ctx, uint32_t lane, const char *why);
	/* SIGKILL did not end it; its memory stays mapped. */
	void (*abandoned)(void *ctx, pid_t pid);
	/* The same for the last lane that had one. */
	void (*failed)(void *ctx, const char *why);
	/*
	 * @k was loaded (@why NULL), unloaded, or could not be loaded (@why); each is told of the
	 * first worker that has it, or the last.
	 */
	void (*kernel)(void *ctx, struct rk_kernel *k, const char *why);
	/* The ring kernel @k was active, and is with the worker of @lane now, its state zeroed. */
	void (*kernel_moved)(void *ctx, struct rk_kernel *k, uint32_t lane);
	/* The state of a worker is another one. */
	void (*moved)(void *ctx);
	/* The worker of @lane is about to be ended, because that was asked for. */
	void (*ended)(void *ctx, uint32_t lane);
	/* The worker of @lane answered check @number: @status is 0 or a positive errno, with the
	 * reason. */
	void (*checked)(void *ctx, uint32_t lane, uint64_t number, int status, const char *why);
	/* The time set by rk_supervisor_arm_drain has come. */
	void (*drain_deadline)(void *ctx);
	void *ctx;
};

/*
 * Create the supervisor and its thread; no process yet. @executable is borrowed. 0 or a negative
 * errno.
 */
int rk_supervisor_create(struct rk_supervisor **sup, struct rk_dispatch *dispatch,
			 struct rk_registry *registry, int executable,
			 const struct rk_supervisor_observer *observer, struct rk_error *err);

/* End everything and free; waits two seconds at most for processes to die. */
void rk_supervisor_destroy(struct rk_supervisor *sup);

/* Have workers from now on. */
void rk_supervisor_start(struct rk_supervisor *sup, const struct rk_supervisor_params *params);

/*
 * Have none from now on: @force kills them, else they are asked to end and killed after a second.
 * Takes over the messages in @held (see rk_dispatch_end_all), leaving it empty; they are released
 * once the processes that had them are dead.
 */
void rk_supervisor_stop(struct rk_supervisor *sup, bool force, struct rk_message_list *held);

/*
 * Have the worker of @lane serve, or not. Not: it takes nothing more, what runs on it has
 * @drain_ms, then is ended with ECANCELED, and the process ends. True: it is back, with a budget of
 * its own again. Holds for later starts, too.
 */
void rk_supervisor_enable(struct rk_supervisor *sup, uint32_t lane, bool on, uint64_t drain_ms);

/*
 * How many workers the last start has, 0 before the first one. Where it has all devices they are
 * known soon after it, until when those of one device are counted.
 */
uint32_t rk_supervisor_workers(struct rk_supervisor *sup);

/* The worker of @lane, below RK_LANES_MAX. */
void rk_supervisor_worker(struct rk_supervisor *sup, uint32_t lane, struct rk_worker_info *info);

/* Make every kernel OFF. Nothing is in flight. */
void rk_supervisor_deactivate(struct rk_supervisor *sup);

/* A kernel's `wanted` changed, or it became unloadable: load and unload what has to be. */
void rk_supervisor_kernels_changed(struct rk_supervisor *sup);

/* Pass the daemon's log level, and @sample_ms, on to the workers. */
void rk_supervisor_settings_changed(struct rk_supervisor *sup, uint64_t sample_ms);

/*
 * Have the worker of @lane that serves touch its device: the observer's checked follows, unless
 * there is no worker, it dies, or it hangs. Only the newest number asked for is sure to be
 * answered.
 */
void rk_supervisor_check(struct rk_supervisor *sup, uint32_t lane, uint64_t number);

/* How long a check of @lane has been in the driver now, nanoseconds; 0 = none is. */
uint64_t rk_supervisor_in_driver_ns(struct rk_supervisor *sup, uint32_t lane);

/* Whether the worker of @lane is loading or unloading a kernel, and so may answer no check. */
bool rk_supervisor_is_loading(struct rk_supervisor *sup, uint32_t lane);

/*
 * Kill the worker of @lane that serves, which "was replaced: @why": what runs on it fails, and
 * another follows within the restart budget. Nothing where there is none.
 */
void rk_supervisor_give_up(struct rk_supervisor *sup, uint32_t lane, const char *why);

/*
 * Device @index as the worker saw it last; what a worker has seen is kept when it is gone, and a
 * loss is remembered by UUID, until rk_supervisor_start. False where there is no such device.
 */
bool rk_supervisor_device(struct rk_supervisor *sup, uint32_t index, struct rk_device *device);

/* Call drain_deadline at @at_ns (CLOCK_MONOTONIC); 0 = never. */
void rk_supervisor_arm_drain(struct rk_supervisor *sup, uint64_t at_ns);

/* Look for expired messages at @at_ns or before. */
void rk_supervisor_arm_expiry(struct rk_supervisor *sup, uint64_t at_ns);

/*
 * Whether the worker of @lane was ended by a library of the driver, and one that does without it is
 * on its way: from before `died` is told until after the next `ready`. Any thread; never blocks.
 */
bool rk_supervisor_retries(struct rk_supervisor *sup, uint32_t lane);

/* Whether the worker of @lane is of the start that was asked for last. */
bool rk_supervisor_settled(struct rk_supervisor *sup, uint32_t lane);

/*
 * Device memory held by the workers of the start that was asked for last, bytes, from their shared
 * pages: the sum of what each holds, and of the most that each has held. 0 where there is none.
 */
void rk_supervisor_gpu_memory(struct rk_supervisor *sup, uint64_t *now, uint64_t *peak);

/* The backend that the first worker runs, or "none". */
void rk_supervisor_backend(struct rk_supervisor *sup, char name[RK_WIRE_NAME_MAX]);

#endif
