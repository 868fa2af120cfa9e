/* SPDX-License-Identifier: MIT */
/*
 * Shared by the files of this folder only, each of which calls only those named before it:
 * events.c (what the thread waits for), mailbox.c (what other threads ask for), loads.c (what is
 * loaded), control.c (the control protocol), listing.c (which devices there are), seat.c (a worker
 * comes, goes and is replaced), supervisor.c (the thread and its time).
 * The order of locks is in doc/ARCHITECTURE.md.
 */
#ifndef RK_RUNTIME_SUPERVISOR_INTERNAL_H
#define RK_RUNTIME_SUPERVISOR_INTERNAL_H

#include <linux/filter.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "runtime/base/error.h"
#include "runtime/base/rate.h"
#include "runtime/base/thread.h"
#include "runtime/base/wire.h"
#include "runtime/request/payload.h"
#include "runtime/supervisor/supervisor.h"

/* filter.c: the system calls that a worker may not make */

/*
 * Fill *@program, whose filter the caller frees: fork, ptrace, mount and their kin fail with EPERM,
 * threads can be made. 0, or a negative errno with a sentence.
 */
int rk_filter_make(struct sock_fprog *program, struct rk_error *err);

/* environment.c: what of its environment the daemon hands on */

struct rk_environment {
	char **list; /* ends with NULL; freed by the owner, its strings are borrowed */
	char cache[PATH_MAX + 32];
	char visible[RK_WIRE_NAME_MAX + 32];
};

/*
 * Make *@env, which must stay where it is, of the variables @from that a worker may see, of where
 * the driver keeps what it has compiled: in @cache_dir, or nowhere where that is "", and of the one
 * @device, a UUID, that the driver is to show ("" = as @from has it). 0, or -ENOMEM with a
 * sentence.
 */
int rk_environment_make(char *const *from, const char *cache_dir, const char *device,
			struct rk_environment *env, struct rk_error *err);

/* nvidia.c: what its driver needs of root; both run between fork and exec */

#define RK_NVIDIA_MODPROBE    "/usr/bin/nvidia-modprobe"
#define RK_NVIDIA_PROC	      "/proc/driver/nvidia"
#define RK_NVIDIA_MODPROBE_MS 10000

/*
 * Have the program @path load the driver's modules and make the device nodes of all cards and parts
 * of cards that the driver tells of in @proc. The driver would do so itself, by a setuid program
 * that does nothing for a worker. Blocks for @timeout_ms at most (-1 = for as long as it takes),
 * after which the program is killed; where it is missing or fails, opening a device will tell.
 */
void rk_nvidia_load(const char *path, const char *proc, int timeout_ms);

/*
 * Add to the @n @groups, of which there is room for @max, those that may use device nodes of NVIDIA
 * in the directory @dev, those of MIG included. Returns how many there are then.
 */
int rk_nvidia_groups(const char *dev, gid_t *groups, int n, int max);

/* confine.c: what a worker gives up */

/*
 * In a child of one thread, before it executes: become @user, have no capability and never get one
 * again, leave no core file, die with the parent's thread, and obey @filter (NULL = none). False
 * with errno where a step fails. Safe between fork and exec.
 */
bool rk_confine(const struct rk_worker_user *user, const struct sock_fprog *filter);

/*
 * process.c: one worker process: its birth, its descriptors, its death. Used by the supervisor
 * thread only.
 */

struct rk_process {
	pid_t pid;
	int pidfd;
	int control; /* our ends, non-blocking; of a listing, what it prints */
	int messages;
	struct rk_wire_shared *shared; /* mapped page */
	struct rk_payload *payload;    /* a reference: it may be writing there */
};

/*
 * Fork and execute @worker_fd with fresh sockets, a fresh shared page and the payload of @params,
 * as the user and with the filter of @params; @device as for rk_environment_make. It dies with the
 * calling thread, which must live as long as the worker shall. Returns 0 or a negative errno; what
 * fails in the child shows as an exit status that rk_process_reap knows. Blocks for the fork only.
 */
int rk_process_spawn(struct rk_process *p, int worker_fd, const struct rk_supervisor_params *params,
		     const char *device, struct rk_error *err);

/*
 * The same for a process that prints which devices there are (RK_WIRE_LIST_OPTION) into p->control
 * and ends. Only rk_process_kill, rk_process_reap and rk_process_release are for it.
 */
int rk_process_list(struct rk_process *p, int worker_fd, const struct rk_supervisor_params *params,
		    struct rk_error *err);

/* Send one control packet, with descriptor @fd (-1 = none), without waiting. 0, -EAGAIN, or -EPIPE
 * and the like where it is dead. */
int rk_process_send(const struct rk_process *p, const struct rk_wire_control *packet, int fd);

/* SIGKILL; a dead process is fine. */
void rk_process_kill(const struct rk_process *p);

#define RK_PROCESS_SIGKILL "was killed by SIGKILL"

/*
 * Reap without waiting. True where it is dead: @how says it in words ("was killed by SIGSEGV",
 * "exited with status 3"), and *@clean whether it exited with 0.
 */
bool rk_process_reap(const struct rk_process *p, char *how, size_t size, bool *clean);

/*
 * Why it ended itself, where it left word of that in the shared page: "ended itself after a CUDA
 * error: ..." or "lost its device: ..." into @how, and true. Else false, and @how is left alone.
 */
bool rk_process_fault(const struct rk_process *p, char *how, size_t size);

/* Close and unmap everything; the process is dead or abandoned. */
void rk_process_release(struct rk_process *p);

/* what all of them work on */

#define RK_DEATHS 128 /* remembered for the restart budget */

struct rk_proc;

/* A descriptor in the event queue; fd -1 = not watched any more. */
struct rk_source {
	int fd;
	void (*handle)(struct rk_supervisor *sup, struct rk_proc *proc);
	struct rk_proc *proc;
};

enum rk_phase {
	RK_PHASE_HELLO,	  /* spawned, greeted */
	RK_PHASE_LOADING, /* backend open, loading kernels */
	RK_PHASE_READY,
	RK_PHASE_ENDING,
};

/* What a process has of a kernel. */
enum rk_load {
	RK_LOAD_NONE,
	RK_LOAD_ASKED,
	RK_LOAD_LOADED,
	RK_LOAD_REFUSED, /* tried and failed; not tried again before it is disabled */
	RK_LOAD_UNLOADING,
};

struct rk_proc {
	struct rk_process os;
	struct rk_source control, messages, pidfd;
	enum rk_phase phase; /* written with worker.lock held */
	uint64_t epoch;	     /* of the start request that it serves */
	uint64_t number;     /* no other process has it */
	uint32_t skip;	     /* as it was told: see struct rk_supervisor */
	struct rk_seat *seat;
	bool asked_check;	   /* at least once */
	bool watches;		   /* the devices of the machine, for all */
	uint64_t watch;		   /* number of that watch */
	enum rk_wire_backend best; /* the one that it is called after; cpu is there too */
	uint64_t kill_at, abandon_at;
	_Atomic uint64_t load_by; /* the next LOADED or UNLOADED must be here; 0 = none is due */
	bool load_overdue;	  /* it was not, and that is why it is killed */
	bool out_of_memory;	  /* it was killed for that */
	bool killed_from_outside; /* by SIGKILL, neither for that nor by this daemon */
	bool dead;		  /* it was seen to have ended */
	char backend[RK_WIRE_NAME_MAX];
	char device[RK_WIRE_NAME_MAX];
	uint32_t index; /* of the device */
	char fallback_why[RK_WIRE_TEXT_MAX];
	char refusal[RK_WIRE_TEXT_MAX];	    /* why it cannot serve, in its own words */
	uint8_t loads[RK_WIRE_KERNELS_MAX]; /* enum rk_load by slot */
	uint32_t outstanding;		    /* ASKED and UNLOADING ones */
	struct rk_message_list held;	    /* released when the process is dead */
	TAILQ_ENTRY(rk_proc) link;
};

TAILQ_HEAD(rk_proc_list, rk_proc);

/* What is asked of the process that serves. */
struct rk_asked {
	bool check;
	uint64_t check_number; /* the newest */
	bool want;	       /* the runtime does have workers */
	bool enabled;	       /* by hand, just now */
	bool disabled;	       /* by hand, */
	uint64_t drain_ms;     /* and how long what runs has then */
	uint64_t given_up;     /* the process with this number is to be replaced; 0 = none */
	char why[RK_ERROR_MAX];
};

/* A worker, as the processes that follow one another in it. */
struct rk_seat {
	uint32_t lane;	     /* of dispatch; its own index */
	struct rk_proc *cur; /* written by the thread with the lock held */
	bool out;	     /* it was given up; as cur */
	char why_out[RK_ERROR_MAX];
	uint32_t procs;		       /* processes that are not dead; as cur */
	uint64_t spawned;	       /* processes since the last start request; as cur */
	char device[RK_WIRE_NAME_MAX]; /* the UUID of its device, "" = not known yet; as cur */
	uint32_t index;		       /* of that device; as cur */
	struct rk_asked asked;	       /* guarded by the lock */
	/* the last death is a library's, which the next process does not open */
	atomic_bool retries;

	/* The supervisor thread's own. */
	uint64_t spawn_at;
	bool awaits_list;  /* a process comes once the devices are listed */
	bool is_listed;	   /* its device is known from there */
	uint64_t drain_by; /* cur ends once nothing runs on it, or then; 0 = it goes on */
	bool ever_ready;   /* since the last start request */
	uint64_t deaths[RK_DEATHS];
	unsigned int ndeaths;
};

/* The process that prints which devices there are. */
struct rk_listing {
	struct rk_process os;
	struct rk_source end; /* its pidfd; fd -1 = there is no process */
	uint64_t kill_at;     /* nobody waits for it longer; 0 = it is of no use any more, */
	uint64_t abandon_at;  /* and is forgotten then, dead or not */
	uint64_t epoch;	      /* the start request whose workers are known from one */
};

struct rk_supervisor {
	struct rk_dispatch *dispatch;
	struct rk_registry *registry;
	struct rk_supervisor_observer observer;
	int executable;
	pthread_t thread;
	_Atomic uint64_t drain_at, expiry_at; /* 0 = not armed */

	pthread_mutex_t lock; /* guards the requests, what was seen, and cur against readers */
	bool want, force, quit, settings_changed;
	uint64_t asked_epoch;
	uint32_t asked_seats;
	struct rk_supervisor_params asked; /* payload: a reference, handed on to params */
	uint64_t sample_ms;		   /* the newest, of a start or of changed settings */
	struct rk_message_list orphans;
	struct rk_devices devices;
	uint64_t devices_epoch; /* of the start request since which they were seen */
	struct rk_seat seats[RK_LANES_MAX];
	uint32_t nseats; /* of the start request that is served; written by the thread */
	bool falls_back; /* on the primary backend none could be had; the thread's own */

	/* The supervisor thread's own. */
	int epoll;
	struct rk_source event;
	uint64_t epoch;
	struct rk_supervisor_params params;
	uint32_t threads; /* of each worker */
	struct rk_listing listing;
	struct rk_proc_list procs; /* those that serve and those that are ending */
	struct rk_proc_list dead;  /* freed after the batch */
	uint64_t spawned;	   /* how many were */
	uint64_t watches;	   /* of devices, so far */
	struct rk_rate lines;	   /* of workers, in the log */
	uint64_t memory_kills;	   /* as they were when nothing was known of a death */
	uint64_t memory_seen_ns;
	uint32_t skip; /* 1 << enum rk_wire_library: ended a worker since the last start request */
	char skip_why[RK_WIRE_LIBRARY_COUNT][RK_WIRE_TEXT_MAX];
	struct rk_error scratch;
};

/* What other threads asked for, as the supervisor's thread takes it over. */
struct rk_requests {
	struct rk_message_list orphans;
	struct rk_payload *old; /* of the start before; the taker drops it */
	bool force, settings, started;
};

/* events.c: what the thread waits for */

/* Have the thread look at the requests. Any thread; never blocks. */
void rk_supervisor_wake(struct rk_supervisor *sup);

/* Have the thread handle @source, or not any more. 0 or a negative errno. */
int rk_supervisor_watch(struct rk_supervisor *sup, struct rk_source *source);
void rk_supervisor_unwatch(struct rk_supervisor *sup, struct rk_source *source);

/* mailbox.c: what other threads ask for and read; knows none of the files below */

/* Take the requests over, and the parameters of a start that is among them. */
void rk_supervisor_take_requests(struct rk_supervisor *sup, struct rk_requests *r);

/* There are @workers seats, as is only known now; those that come to it await the list, too. */
void rk_supervisor_count_seats(struct rk_supervisor *sup, uint32_t workers);

/* Take over what is asked of the process of @seat. */
void rk_supervisor_take_asked(struct rk_supervisor *sup, struct rk_seat *seat,
			      struct rk_asked *asked);

/* Whether a worker was disabled by hand. */
bool rk_supervisor_any_disabled(struct rk_supervisor *sup);

/* Take over what @p, if it watches, has seen of the devices, with the lock held. */
void rk_supervisor_see_devices_locked(struct rk_supervisor *sup, const struct rk_proc *p);

/* loads.c: what is loaded; in the supervisor's thread */

/* @p answered LOAD or UNLOAD. 0, or -EPROTO where that makes no sense. */
int rk_supervisor_kernel_answer(struct rk_supervisor *sup, struct rk_proc *p,
				const struct rk_wire_control *packet);

/*
 * @p died (@how), and @running messages with it: if it did so in a library that was being loaded
 * or unloaded, or was killed because that took too long, disable the kernel, which is then wanted
 * no more, and return true.
 */
bool rk_supervisor_blame_load(struct rk_supervisor *sup, struct rk_proc *p, const char *how,
			      uint32_t running);

/* How @p ends, whose load_by has passed. */
void rk_supervisor_describe_overdue(struct rk_supervisor *sup, const struct rk_proc *p,
				    char how[RK_ERROR_MAX]);

/* Where no worker serves: forget the retired kernels that nothing is pending for. */
void rk_supervisor_forget_retired(struct rk_supervisor *sup);

/* @p is gone: it has no kernel any more. */
void rk_supervisor_forget_loads(struct rk_supervisor *sup, const struct rk_proc *p);

/* Load and unload what `wanted` asks for; at the end of the first round the worker is ready. */
void rk_supervisor_reconcile(struct rk_supervisor *sup, struct rk_proc *p);

/* control.c: the control protocol; in the supervisor's thread, calls loads.c */

/* Send the greeting and the other packets. 0 or a negative errno. */
int rk_supervisor_hello(struct rk_supervisor *sup, struct rk_proc *p);
int rk_supervisor_send_shutdown(struct rk_proc *p);
void rk_supervisor_send_settings(struct rk_supervisor *sup, struct rk_proc *p);
void rk_supervisor_send_check(struct rk_proc *p, uint64_t number);

/*
 * Have one worker watch the devices of the machine, or none while one is disabled: its card may be
 * about to be reset, which cannot be done while it is open.
 */
void rk_supervisor_choose_watcher(struct rk_supervisor *sup);

/*
 * Handle one packet from @p. 0, or the reason why @p must be replaced: -EPROTO where the packet
 * makes no sense, -ENODEV where it says that @p has no backend (p->refusal has its words).
 */
int rk_supervisor_handle(struct rk_supervisor *sup, struct rk_proc *p,
			 const struct rk_wire_control *packet);

/*
 * @p died (@how): if it did so while it opened a library of the driver, have the next one skip
 * that, and return true. Each library once between two starts.
 */
bool rk_supervisor_blame_driver(struct rk_supervisor *sup, const struct rk_proc *p,
				const char *how);

/* listing.c: which devices there are, and whose each is; in the supervisor's thread */

/* Have a process for @seat: now, or once it is known which device is its own. */
void rk_supervisor_come(struct rk_supervisor *sup, struct rk_seat *seat);

/* There was a start or a stop: a list from before is of no use, and a new one is made if need be.
 */
void rk_supervisor_renew_list(struct rk_supervisor *sup);

/* See to the time of a listing at @now, and make *@first the time of what is due next. */
void rk_supervisor_time_listing(struct rk_supervisor *sup, uint64_t now);
void rk_supervisor_next_of_listing(const struct rk_supervisor *sup, uint64_t *first);

/* seat.c: how a worker is lost, replaced, ended; in the supervisor's thread */

/* Whether @p serves, or will, and was not told to end. */
static inline bool rk_proc_is_current(const struct rk_proc *p)
{
	return p->seat->cur == p;
}

void rk_supervisor_kill(struct rk_proc *p);

/*
 * The current worker @p is lost without having been told to end (@how): its running messages fail,
 * and another follows, or its seat is given up, and with the last one the runtime fails.
 */
void rk_supervisor_lost(struct rk_supervisor *sup, struct rk_proc *p, const char *how);

/* Kill @p; where it is the current one of its seat, it is lost. */
void rk_supervisor_replace(struct rk_supervisor *sup, struct rk_proc *p, const char *how);

/* No process can be had for @seat (@why): another one after a while, or none. */
void rk_supervisor_no_worker(struct rk_supervisor *sup, struct rk_seat *seat, const char *why);

/* End the current worker @p because that was asked for. */
void rk_supervisor_end(struct rk_supervisor *sup, struct rk_proc *p, bool force);

/* Do what is asked of @seat by hand: let its worker drain and end, or have one again. */
void rk_supervisor_obey(struct rk_supervisor *sup, struct rk_seat *seat,
			const struct rk_asked *asked);

/* The worker of @seat has had the time for its drain: end what runs, and it. */
void rk_supervisor_end_drain(struct rk_supervisor *sup, struct rk_seat *seat);

#endif
