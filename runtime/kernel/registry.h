/* SPDX-License-Identifier: MIT */
/*
 * The kernels by domain and name. A kernel stays valid as long as somebody
 * holds a reference, also after it was removed or replaced by a changed description: then it is
 * retired, runs what was made for it to the end, and is unloaded.
 */
#ifndef RK_RUNTIME_KERNEL_REGISTRY_H
#define RK_RUNTIME_KERNEL_REGISTRY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <time.h>

#include "runtime/base/error.h"
#include "runtime/base/histogram.h"
#include "runtime/kernel/manifest.h"
#include "runtime/base/module.h"
#include "runtime/base/counters.h"

struct rk_message;
TAILQ_HEAD(rk_message_list, rk_message);

#define RK_KILLS_MAX 3			  /* workers that a kernel may kill... */
#define RK_KILLS_NS  (60 * 1000000000ULL) /* within this time before it is disabled */

/* Whether a kernel can be called, as kernels/D/N/enable tells. */
enum rk_kernel_state {
	RK_KERNEL_OFF,	   /* disabled, refused, or the runtime is not running */
	RK_KERNEL_LOADING, /* takes messages already; they are run once it is loaded */
	RK_KERNEL_ACTIVE,  /* activated: counts in kernels_active */
	RK_KERNEL_ENDING,  /* being disabled: what is in flight completes, nothing is accepted */
};

/* What a kernel has done; its successors after a changed description go on counting here. */
struct rk_kernel_stats {
	atomic_uint refs;
	/* Written with dispatch.lock held. */
	struct rk_counters books;
	struct rk_histogram latency; /* from accepted to done, of those processed */
	struct rk_error last_error;  /* "none" before the first */
	uid_t last_error_uid;	     /* whose request it tells of, where something is hidden */
};

/*
 * What one user has waiting at one kernel, which takes its turn among those of others: so nobody's
 * flood delays the single call of another user, or fills his queue. It is there as long as it holds
 * a message, each of which keeps the kernel. Guarded by dispatch.lock.
 */
struct rk_turn {
	struct rk_kernel *kernel;
	uid_t uid;
	struct rk_message_list queue;	/* QUEUED, oldest first */
	struct rk_message_list waiting; /* for room in the queue; not accepted */
	uint32_t queued;		/* length of queue */
	bool is_ready;			/* on a list of those that may run */
	bool room_wanted;		/* somebody found the queue full and may be polling */
	TAILQ_ENTRY(rk_turn) ready;
	TAILQ_ENTRY(rk_turn) others; /* of the kernel */
};

TAILQ_HEAD(rk_turn_list, rk_turn);

struct rk_kernel {
	atomic_uint refs;
	uint32_t slot;	       /* number on the wire and in inode numbers; never used twice */
	uint32_t domain_id;    /* of its domain; never used twice */
	struct timespec added; /* CLOCK_REALTIME, for people */
	struct rk_manifest manifest;
	/* the user's library, and CUDA module; NULL = built in, or no such section */
	struct rk_module *modules[RK_WIRE_BACKEND_COUNT];
	char *origin;	   /* path of the description's file; NULL = compiled in */
	unsigned int scan; /* the last one that found it; guarded by the scanner's lock */
	struct rk_kernel_stats *stats; /* a reference */
	atomic_bool retired;	       /* removed or replaced; never undone */
	/*
	 * Requests and messages that need it. Pinned, then retired looked at; retired set, then
	 * this looked at: so nothing is begun with a kernel that is being unloaded.
	 */
	atomic_uint pins;
	void (*unused)(void *ctx); /* retired, and the last pin is gone; must only signal */
	void *unused_ctx;

	/* Guarded by dispatch.lock; the atomics are read without it. */
	_Atomic enum rk_kernel_state state;
	_Atomic bool wanted; /* what `enable` asks for */
	/* 1 + enum rk_wire_backend that it is loaded with, or will be; 0 = no worker, or not loaded
	 */
	_Atomic unsigned int backend;
	struct rk_turn_list turns;	 /* of the users who have something queued or waiting */
	struct rk_message_list inflight; /* QUEUED and RUNNING, oldest first */
	_Atomic uint32_t queued;	 /* in all turns */
	/* Links of dispatch's lists; each holds a reference. */
	bool is_noticed;
	TAILQ_ENTRY(rk_kernel) busy;	/* has messages in flight */
	TAILQ_ENTRY(rk_kernel) noticed; /* its observer is to be called */
	struct rk_message *cursor;	/* of rk_dispatch_list */
	unsigned int notices;
	uint32_t running;	      /* messages handed to workers */
	uint64_t run_ns;	      /* of a message, the mean of the last ones; 0 = not known */
	uint32_t loaded;	      /* 1 << lane: the workers that have it */
	uint32_t bound;		      /* 1 + the lane that a ring kernel runs on; 0 = none */
	bool over_limit;	      /* OFF because of max_kernel_instances */
	uint64_t kills[RK_KILLS_MAX]; /* when it killed its last workers, CLOCK_MONOTONIC; 0 = none
				       */
	uint64_t killed;	      /* dispatch's number of the last of them */
	char why_off[RK_ERROR_MAX];   /* why it is OFF, "" = as its enable says */
};

struct rk_registry;

/* Returns 0 or -ENOMEM. */
int rk_registry_create(struct rk_registry **reg);
void rk_registry_destroy(struct rk_registry *reg);

/* Call @unused(@ctx) for kernels added from now on; see struct rk_kernel. */
void rk_registry_on_unused(struct rk_registry *reg, void (*unused)(void *ctx), void *ctx);

/* What a kernel is made of. */
struct rk_kernel_source {
	const struct rk_manifest *manifest; /* copied */
	/* a reference of each is taken; NULL = built in, or no such section */
	struct rk_module *modules[RK_WIRE_BACKEND_COUNT];
	const char *origin; /* copied; NULL = compiled in */
};

/*
 * Add a kernel; *@kernel (NULL is allowed) is a new reference to it. Where the id is taken,
 * @replace makes the new kernel the successor of the old one, which is retired; it is LOADING where
 * that one took messages. Returns 0 or -EEXIST (the id is taken, !@replace), -ENOMEM, -ENOSPC
 * (RK_WIRE_KERNELS_MAX slots used up).
 */
int rk_registry_add(struct rk_registry *reg, const struct rk_kernel_source *source, bool replace,
		    struct rk_kernel **kernel, struct rk_error *err);

/* Retire @k. False where it is retired already. */
bool rk_registry_retire(struct rk_registry *reg, struct rk_kernel *k);

/* Forget the retired @k, which no worker has loaded. */
void rk_registry_forget(struct rk_registry *reg, struct rk_kernel *k);

/* The kernel that has @k's id now: @k itself, a successor, or NULL; a new reference. */
struct rk_kernel *rk_registry_current(struct rk_registry *reg, struct rk_kernel *k);

/* Number of kernels that are not retired; needs no lock. */
uint64_t rk_registry_count(const struct rk_registry *reg);

/* Each returns a new reference for the caller (rk_kernel_unref), or NULL. None returns a retired
 * one. */
struct rk_kernel *rk_registry_find(struct rk_registry *reg, const char *domain, const char *name);
struct rk_kernel *rk_registry_slot(struct rk_registry *reg, uint32_t slot);
/* The kernel with the lowest slot that is at least @slot, of domain @domain_id (0 = any). */
struct rk_kernel *rk_registry_next(struct rk_registry *reg, uint32_t slot, uint32_t domain_id);

/* The same, of a retired kernel too, for those who load and unload. */
struct rk_kernel *rk_registry_any_slot(struct rk_registry *reg, uint32_t slot);

/*
 * A walk over the kernels: the first one where @k is NULL, else the one after @k, whose reference
 * is dropped. NULL at the end. The second walks over retired kernels too.
 */
struct rk_kernel *rk_registry_after(struct rk_registry *reg, struct rk_kernel *k);
struct rk_kernel *rk_registry_any_after(struct rk_registry *reg, struct rk_kernel *k);

/*
 * Domains that have a kernel. Both return the domain's id (and copy its name), or 0 where there is
 * none: the one called @name; the one with the lowest id that is at least @id.
 */
uint32_t rk_registry_domain(struct rk_registry *reg, const char *name);
uint32_t rk_registry_next_domain(struct rk_registry *reg, uint32_t id, char name[RK_NAME_MAX]);

/*
 * Keep @k loaded, though it may be retired, until unpin. Returns -ENODEV where it is retired
 * already: it may be on its way out.
 */
int rk_kernel_pin(struct rk_kernel *k);
void rk_kernel_unpin(struct rk_kernel *k);

struct rk_kernel *rk_kernel_ref(struct rk_kernel *k);
void rk_kernel_unref(struct rk_kernel *k); /* NULL is allowed */

#endif
