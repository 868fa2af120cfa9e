/* SPDX-License-Identifier: MIT */
/*
 * The kernels by domain and name. A kernel stays valid as long as somebody
 * holds a reference, also after it was removed.
 */
#ifndef RK_RUNTIME_REGISTRY_H
#define RK_RUNTIME_REGISTRY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "runtime/error.h"
#include "runtime/manifest.h"
#include "runtime/stats.h"

struct rk_message;
TAILQ_HEAD(rk_message_list, rk_message);

/* Whether a kernel can be called, as kernels/D/N/enable tells. */
enum rk_kernel_state {
	RK_KERNEL_OFF,	  /* disabled, or no worker has it loaded yet */
	RK_KERNEL_ACTIVE, /* activated: counts in kernels_active */
	RK_KERNEL_ENDING, /* being disabled: what is in flight completes, nothing is accepted */
};

struct rk_kernel {
	atomic_uint refs;
	uint32_t slot;	    /* number on the wire and in inode numbers; never used twice */
	uint32_t domain_id; /* of its domain; never used twice */
	struct rk_manifest manifest;

	/* Guarded by dispatch.lock; the atomics are read without it. */
	_Atomic enum rk_kernel_state state;
	_Atomic bool wanted;		 /* what `enable` asks for */
	struct rk_message_list queue;	 /* QUEUED, oldest first */
	struct rk_message_list waiting;	 /* waiting for queue room, not accepted */
	struct rk_message_list inflight; /* QUEUED and RUNNING, oldest first */
	_Atomic uint32_t queued;	 /* length of queue */
	/* Links of dispatch's lists; each holds a reference. */
	bool is_ready, is_noticed;
	TAILQ_ENTRY(rk_kernel) ready;	/* has queued messages */
	TAILQ_ENTRY(rk_kernel) busy;	/* has messages in flight */
	TAILQ_ENTRY(rk_kernel) noticed; /* its observer is to be called */
	unsigned int notices;
	bool over_limit;  /* OFF because of max_kernel_instances */
	bool room_wanted; /* somebody found the queue full and may be polling */
	_Atomic uint64_t count[RK_COUNTER_COUNT];
	char last_error[RK_ERROR_MAX]; /* "none" before the first */
};

struct rk_registry;

/* Returns 0 or -ENOMEM. */
int rk_registry_create(struct rk_registry **reg);
void rk_registry_destroy(struct rk_registry *reg);

/*
 * Add a kernel that @manifest (copied) describes. Returns 0 or -EEXIST (the id is
 * taken), -ENOMEM, -ENOSPC (RK_WIRE_KERNELS_MAX slots used up).
 */
int rk_registry_add(struct rk_registry *reg, const struct rk_manifest *manifest,
		    struct rk_error *err);

/* Number of kernels; needs no lock. */
uint64_t rk_registry_count(const struct rk_registry *reg);

/* Each returns a new reference for the caller (rk_kernel_unref), or NULL. */
struct rk_kernel *rk_registry_find(struct rk_registry *reg, const char *domain, const char *name);
struct rk_kernel *rk_registry_slot(struct rk_registry *reg, uint32_t slot);
/* The kernel with the lowest slot that is at least @slot, of domain @domain_id (0 = any). */
struct rk_kernel *rk_registry_next(struct rk_registry *reg, uint32_t slot, uint32_t domain_id);

/*
 * Domains. Both return the domain's id and copy its name, or 0 where there is none: the one
 * called @name; the one with the lowest id that is at least @id.
 */
uint32_t rk_registry_domain(struct rk_registry *reg, const char *name);
uint32_t rk_registry_next_domain(struct rk_registry *reg, uint32_t id, char name[RK_NAME_MAX]);

struct rk_kernel *rk_kernel_ref(struct rk_kernel *k);
void rk_kernel_unref(struct rk_kernel *k); /* NULL is allowed */

#endif
