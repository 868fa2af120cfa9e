/* SPDX-License-Identifier: MIT */
/* Which kernels the workers have loaded, as which backend; in the supervisor's thread. */
#include <errno.h>
#include <stdio.h>

#include "runtime/base/clock.h"
#include "runtime/base/log.h"
#include "runtime/supervisor/internal.h"

#define WINDOW 16 /* load packets under way: the socket's buffer is finite */

/* 1 << enum rk_load: its library is open, or about to be */
#define HAS   (1U << RK_LOAD_ASKED | 1U << RK_LOAD_LOADED | 1U << RK_LOAD_UNLOADING)
#define HOPES (HAS | 1U << RK_LOAD_NONE) /* it may be loaded yet */

/* Whether one of the other workers is at one of @loads (1 << enum rk_load) with @k. */
static bool elsewhere(const struct rk_supervisor *sup, const struct rk_proc *p,
		      const struct rk_kernel *k, uint32_t loads)
{
	for (uint32_t i = 0; i < sup->nseats; i++) {
		const struct rk_proc *other = sup->seats[i].cur;

		if (other && other != p && loads & 1U << other->loads[k->slot])
			return true;
	}
	return false;
}

static bool is_ring(const struct rk_kernel *k)
{
	return k->manifest.mode == RK_WIRE_RING;
}

static uint32_t count_rings(struct rk_supervisor *sup, const struct rk_proc *p)
{
	struct rk_kernel *k = NULL;
	uint32_t n = 0;

	while ((k = rk_registry_any_after(sup->registry, k)))
		n += is_ring(k) && HAS & 1U << p->loads[k->slot];
	return n;
}

/*
 * Whether the ring kernel @k is not @p's to load: its state is in one place, with the worker that
 * has the fewest of its kind.
 */
static bool belongs_elsewhere(struct rk_supervisor *sup, const struct rk_proc *p,
			      const struct rk_kernel *k)
{
	uint32_t mine = count_rings(sup, p);

	if (elsewhere(sup, p, k, HAS))
		return true;
	for (uint32_t i = 0; i < sup->nseats; i++) {
		const struct rk_proc *other = sup->seats[i].cur;

		if (other && other != p && other->phase >= RK_PHASE_LOADING &&
		    other->loads[k->slot] == RK_LOAD_NONE && count_rings(sup, other) < mine)
			return true;
	}
	return false;
}

/*
 * Which of its codes a worker runs @k with: the one for the backend that it is called after, else
 * [cpu]. False where it has neither.
 */
static bool choose_backend(const struct rk_proc *p, const struct rk_kernel *k,
			   enum rk_wire_backend *backend)
{
	*backend = k->manifest.code[p->best].given ? p->best : RK_WIRE_CPU;
	return k->manifest.code[*backend].given;
}

/* Note the backend with which @p has loaded @k, or will have. */
static void set_backend(const struct rk_proc *p, struct rk_kernel *k)
{
	enum rk_wire_backend backend;

	if (choose_backend(p, k, &backend))
		atomic_store(&k->backend, 1 + backend);
}

static void activate(struct rk_supervisor *sup, const struct rk_proc *p, struct rk_kernel *k)
{
	set_backend(p, k); /* being OFF meanwhile has cleared it */
	rk_dispatch_kernel_state(sup->dispatch, k, RK_KERNEL_ACTIVE, "");
}

/* @k is not loaded (@limit: max_kernel_instances forbids it), nor tried again before it is
 * disabled. */
static void refuse_load(struct rk_supervisor *sup, struct rk_proc *p, struct rk_kernel *k,
			bool limit, const char *why)
{
	p->loads[k->slot] = RK_LOAD_REFUSED;
	if (elsewhere(sup, p, k, HOPES)) {
		rk_log(RK_LOG_WARN, "worker %u does without %s", p->seat->lane, why);
		rk_dispatch_kernel_error(sup->dispatch, k, why);
		if (is_ring(k)) /* another one may try */
			rk_supervisor_wake(sup);
		return;
	}
	rk_dispatch_kernel_state(sup->dispatch, k, RK_KERNEL_OFF, why);
	if (limit)
		rk_dispatch_kernel_over_limit(sup->dispatch, k);
	rk_dispatch_kernel_error(sup->dispatch, k, why);
	sup->observer.kernel(sup->observer.ctx, k, why);
}

/* The worker loads one kernel after the other: the time of each begins with the answer before. */
static void await_answer(struct rk_supervisor *sup, struct rk_proc *p)
{
	uint64_t limit = sup->params.load_timeout_ms * RK_NS_PER_MS;

	atomic_store(&p->load_by, p->outstanding ? rk_now_ns() + limit : 0);
}

/* A load or unload packet went out. */
static void sent(struct rk_supervisor *sup, struct rk_proc *p)
{
	if (!p->outstanding++)
		await_answer(sup, p);
}

static int on_loaded(struct rk_supervisor *sup, struct rk_proc *p, struct rk_kernel *k,
		     const struct rk_wire_control *packet)
{
	if (p->loads[k->slot] != RK_LOAD_ASKED)
		return -EPROTO;
	p->outstanding--;
	await_answer(sup, p);
	if (packet->status) {
		refuse_load(sup, p, k, false, packet->text);
		return 0;
	}
	p->loads[k->slot] = RK_LOAD_LOADED;
	rk_dispatch_kernel_loaded(sup->dispatch, p->seat->lane, k, true);
	if (atomic_load(&k->state) != RK_KERNEL_ACTIVE) {
		activate(sup, p, k);
		sup->observer.kernel(sup->observer.ctx, k, NULL);
	} else if (is_ring(k)) {
		set_backend(p, k);
		sup->observer.kernel_moved(sup->observer.ctx, k, p->seat->lane);
	}
	if (!atomic_load(&k->wanted)) /* disabled meanwhile */
		rk_dispatch_kernel_state(sup->dispatch, k, RK_KERNEL_ENDING, "disabled");
	return 0;
}

static int on_unloaded(struct rk_supervisor *sup, struct rk_proc *p, struct rk_kernel *k)
{
	if (p->loads[k->slot] != RK_LOAD_UNLOADING)
		return -EPROTO;
	p->outstanding--;
	await_answer(sup, p);
	p->loads[k->slot] = RK_LOAD_NONE;
	if (elsewhere(sup, p, k, HAS) ||
	    (atomic_load(&k->state) == RK_KERNEL_OFF && !atomic_load(&k->wanted)))
		return 0;
	if (atomic_load(&k->wanted) &&
	    !atomic_load(&k->retired)) /* enabled again, perhaps with messages queued */
		rk_dispatch_kernel_state(sup->dispatch, k, RK_KERNEL_LOADING, "");
	else
		rk_dispatch_kernel_state(sup->dispatch, k, RK_KERNEL_OFF, "disabled");
	sup->observer.kernel(sup->observer.ctx, k, NULL);
	return 0;
}

int rk_supervisor_kernel_answer(struct rk_supervisor *sup, struct rk_proc *p,
				const struct rk_wire_control *packet)
{
	struct rk_kernel *k;
	int rc;

	if (packet->kernel >= RK_WIRE_KERNELS_MAX)
		return -EPROTO;
	k = rk_registry_any_slot(sup->registry, packet->kernel);
	if (!k)
		return -EPROTO;
	rc = packet->type == RK_WIRE_LOADED ? on_loaded(sup, p, k, packet) : on_unloaded(sup, p, k);
	rk_kernel_unref(k);
	return rc;
}

void rk_supervisor_deactivate(struct rk_supervisor *sup)
{
	struct rk_kernel *k = NULL;

	while ((k = rk_registry_any_after(sup->registry, k)))
		rk_dispatch_kernel_state(sup->dispatch, k, RK_KERNEL_OFF, "no worker runs");
}

/*
 * Whether @k is one too many. What any worker has counts once, and all may have; a retired kernel
 * serves what was accepted, and does not count.
 */
static bool over_limit(struct rk_supervisor *sup, const struct rk_kernel *k)
{
	struct rk_kernel *other = NULL;
	uint64_t n = 0;

	if (rk_registry_count(sup->registry) <= sup->params.max_instances ||
	    atomic_load(&k->retired) || elsewhere(sup, NULL, k, HAS))
		return false;
	while ((other = rk_registry_any_after(sup->registry, other)))
		n += !atomic_load(&other->retired) && elsewhere(sup, NULL, other, HAS);
	return n >= sup->params.max_instances;
}

/* Whether @p can load @k, as @backend; if not, it is refused. */
static bool may_load(struct rk_supervisor *sup, struct rk_proc *p, struct rk_kernel *k,
		     enum rk_wire_backend *backend)
{
	char why[RK_ERROR_MAX];

	if (!choose_backend(p, k, backend)) {
		while (!k->manifest.code[*backend].given)
			++*backend;
		snprintf(why, sizeof(why), "%s: it has only [%s], and the backend is %s",
			 k->manifest.id, rk_backends[*backend].name, p->backend);
		refuse_load(sup, p, k, false, why);
		return false;
	}
	if (over_limit(sup, k)) {
		snprintf(why, sizeof(why), "%s is not loaded: max_kernel_instances is %llu",
			 k->manifest.id, (unsigned long long)sup->params.max_instances);
		refuse_load(sup, p, k, true, why);
		return false;
	}
	return true;
}

static void load(struct rk_supervisor *sup, struct rk_proc *p, struct rk_kernel *k)
{
	struct rk_wire_control packet = {
		.version = RK_WIRE_VERSION,
		.type = RK_WIRE_LOAD,
		.load.kernel = k->slot,
	};
	enum rk_wire_backend backend;
	struct rk_module *module;

	if (is_ring(k) && belongs_elsewhere(sup, p, k))
		return;
	if (!may_load(sup, p, k, &backend))
		return;
	snprintf(packet.load.id, sizeof(packet.load.id), "%s", k->manifest.id);
	rk_manifest_wire(&k->manifest, backend, &packet.load);
	module = k->modules[backend];
	if (rk_process_send(&p->os, &packet, module ? rk_module_fd(module) : -1))
		return; /* dead: EOF follows */
	if (atomic_load(&k->state) ==
	    RK_KERNEL_OFF) /* one that is ENDING only gets its queue run */
		rk_dispatch_kernel_expect(sup->dispatch, k);
	set_backend(p, k);
	p->loads[k->slot] = RK_LOAD_ASKED;
	sent(sup, p);
}

void rk_supervisor_forget_loads(struct rk_supervisor *sup, const struct rk_proc *p)
{
	struct rk_kernel *k = NULL;

	while ((k = rk_registry_any_after(sup->registry, k))) {
		if (!elsewhere(sup, p, k, HAS))
			atomic_store(&k->backend, 0);
		rk_dispatch_kernel_loaded(sup->dispatch, p->seat->lane, k, false);
	}
}

/* Whether @p died of the library that it was loading or unloading, and not of something else. */
static bool died_of_load(const struct rk_proc *p, uint32_t running)
{
	uint32_t fault = atomic_load(&p->os.shared->fault);

	if (p->load_overdue)
		return true;
	/* a SIGKILL from outside, as an operator's, says nothing of what it was doing */
	if (p->killed_from_outside)
		return false;
	/*
	 * It was killed for something else, with messages running. An error that spoils the context
	 * is told to whoever calls the driver next.
	 */
	return !atomic_load(&p->os.shared->crashed_message) &&
	       !(p->phase == RK_PHASE_READY && p->abandon_at) && fault != RK_WIRE_DEVICE_LOST &&
	       !(fault == RK_WIRE_STICKY && running);
}

static const char *at_what(const struct rk_proc *p, const struct rk_kernel *k)
{
	return p->loads[k->slot] == RK_LOAD_UNLOADING ? "unloading" : "loading";
}

void rk_supervisor_describe_overdue(struct rk_supervisor *sup, const struct rk_proc *p,
				    char how[RK_ERROR_MAX])
{
	uint32_t at_hand = atomic_load(&p->os.shared->loading_kernel);
	double limit = (double)sup->params.load_timeout_ms / 1000;
	struct rk_kernel *k = at_hand ? rk_registry_any_slot(sup->registry, at_hand - 1) : NULL;

	if (k)
		snprintf(how, RK_ERROR_MAX,
			 "was replaced: %s %s took longer than kernel_load_timeout (%g s)",
			 at_what(p, k), k->manifest.id, limit);
	else
		snprintf(how, RK_ERROR_MAX,
			 "was replaced: it did not answer within kernel_load_timeout (%g s)",
			 limit);
	rk_kernel_unref(k);
}

static void describe_blame(const struct rk_supervisor *sup, const struct rk_proc *p,
			   const struct rk_kernel *k, const char *how, char why[RK_ERROR_MAX])
{
	const char *what = at_what(p, k);
	int n = snprintf(why, RK_ERROR_MAX, "%s: disabled, ", k->manifest.id);

	if (p->load_overdue)
		n += snprintf(why + n, RK_ERROR_MAX - (size_t)n,
			      "%s its library took longer than kernel_load_timeout (%g s)", what,
			      (double)sup->params.load_timeout_ms / 1000);
	else
		n += snprintf(why + n, RK_ERROR_MAX - (size_t)n,
			      "the worker %.80s while %s its library", how, what);
	snprintf(why + n, RK_ERROR_MAX - (size_t)n, ": write 1 to its enable to try again");
}

bool rk_supervisor_blame_load(struct rk_supervisor *sup, struct rk_proc *p, const char *how,
			      uint32_t running)
{
	uint32_t at_hand = atomic_load(&p->os.shared->loading_kernel);
	struct rk_kernel *k;
	char why[RK_ERROR_MAX];
	bool blamed;

	if (!at_hand || !died_of_load(p, running))
		return false;
	k = rk_registry_any_slot(sup->registry, at_hand - 1);
	/* one that is being unloaded is often not wanted any more */
	blamed =
		k && (atomic_exchange(&k->wanted, false) || p->loads[k->slot] == RK_LOAD_UNLOADING);
	if (blamed) {
		describe_blame(sup, p, k, how, why);
		rk_dispatch_kernel_state(sup->dispatch, k, RK_KERNEL_OFF, why);
		rk_dispatch_kernel_error(sup->dispatch, k, why);
		sup->observer.kernel(sup->observer.ctx, k, why);
		rk_supervisor_wake(sup); /* other workers may have it, too */
	}
	rk_kernel_unref(k);
	return blamed;
}

static void unload(struct rk_supervisor *sup, struct rk_proc *p, struct rk_kernel *k)
{
	struct rk_wire_control packet = {
		.version = RK_WIRE_VERSION,
		.type = RK_WIRE_UNLOAD,
		.kernel = k->slot,
	};

	if (rk_process_send(&p->os, &packet, -1))
		return;
	p->loads[k->slot] = RK_LOAD_UNLOADING;
	rk_dispatch_kernel_loaded(sup->dispatch, p->seat->lane, k, false);
	sent(sup, p);
}

/* No worker has @k, and it cannot be called any more, or must not be loaded again. */
static void forget(struct rk_supervisor *sup, struct rk_kernel *k)
{
	/* it is still ACTIVE if its worker died */
	rk_dispatch_kernel_state(sup->dispatch, k, RK_KERNEL_OFF, "the kernel was removed");
	rk_log(RK_LOG_DEBUG, "kernel %s, slot %u, is gone", k->manifest.id, k->slot);
	rk_registry_forget(sup->registry, k);
}

void rk_supervisor_forget_retired(struct rk_supervisor *sup)
{
	struct rk_kernel *k = NULL;

	while ((k = rk_registry_any_after(sup->registry, k)))
		if (atomic_load(&k->retired) && !atomic_load(&k->pins))
			forget(sup, k);
}

/* A retired kernel serves the messages that were made for it, then is unloaded. */
static void reconcile_retired(struct rk_supervisor *sup, struct rk_proc *p, struct rk_kernel *k)
{
	bool pinned = atomic_load(&k->pins);

	switch (p->loads[k->slot]) {
	case RK_LOAD_NONE:
		if (pinned && atomic_load(&k->wanted)) {
			load(sup, p, k);
			break;
		}
		/* fall through */
	case RK_LOAD_REFUSED:
		if (!elsewhere(sup, p, k, HAS))
			forget(sup, k);
		break;
	case RK_LOAD_LOADED:
		if (pinned)
			break;
		rk_dispatch_kernel_state(sup->dispatch, k, RK_KERNEL_ENDING, "removed");
		unload(sup, p, k);
		break;
	case RK_LOAD_ASKED:
	case RK_LOAD_UNLOADING:
		break;
	}
}

static void reconcile_kernel(struct rk_supervisor *sup, struct rk_proc *p, struct rk_kernel *k)
{
	bool wanted = atomic_load(&k->wanted);
	bool ending, idle, off;

	if (!wanted &&
	    atomic_load(&k->state) == RK_KERNEL_LOADING) /* enabled and disabled at once */
		rk_dispatch_kernel_state(sup->dispatch, k, RK_KERNEL_ENDING, "disabled");
	ending = atomic_load(&k->state) == RK_KERNEL_ENDING;
	off = !wanted && atomic_load(&k->state) == RK_KERNEL_OFF; /* for what it did elsewhere */
	idle = !(ending || off) || rk_dispatch_kernel_idle(sup->dispatch, k);
	switch (p->loads[k->slot]) {
	case RK_LOAD_NONE:
		if (wanted || !idle)
			load(sup, p, k);
		else if (ending && !elsewhere(sup, p, k, HAS))
			rk_dispatch_kernel_state(sup->dispatch, k, RK_KERNEL_OFF, "disabled");
		break;
	case RK_LOAD_REFUSED:
		if (!wanted)
			p->loads[k->slot] = RK_LOAD_NONE;
		else if (atomic_load(&k->state) == RK_KERNEL_LOADING &&
			 !elsewhere(sup, p, k, HOPES)) /* enabled once more */
			load(sup, p, k);
		break;
	case RK_LOAD_LOADED:
		if (wanted && atomic_load(&k->state) != RK_KERNEL_ACTIVE)
			activate(sup, p, k);
		else if ((ending || off) && idle)
			unload(sup, p, k);
		break;
	case RK_LOAD_ASKED:
	case RK_LOAD_UNLOADING:
		break;
	}
}

void rk_supervisor_reconcile(struct rk_supervisor *sup, struct rk_proc *p)
{
	struct rk_kernel *k = NULL;

	if (p->phase != RK_PHASE_LOADING && p->phase != RK_PHASE_READY)
		return;
	while (p->outstanding < WINDOW && (k = rk_registry_any_after(sup->registry, k)))
		if (atomic_load(&k->retired))
			reconcile_retired(sup, p, k);
		else
			reconcile_kernel(sup, p, k);
	rk_kernel_unref(k); /* the rest has to wait for answers */
	if (p->phase != RK_PHASE_LOADING || p->outstanding)
		return;
	pthread_mutex_lock(&sup->lock);
	p->phase = RK_PHASE_READY;
	pthread_mutex_unlock(&sup->lock);
	p->kill_at = 0;
	p->seat->ever_ready = true;
	rk_dispatch_attach(sup->dispatch, p->seat->lane, p->os.messages, p->os.shared, sup->threads,
			   sup->params.fuse_max);
	sup->observer.ready(sup->observer.ctx, p->seat->lane, p->os.pid, p->backend,
			    p->fallback_why);
	atomic_store(&p->seat->retries, false);
	sup->observer.moved(sup->observer.ctx);
}
