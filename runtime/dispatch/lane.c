/* SPDX-License-Identifier: MIT */
/* Which lane takes which turn next, and which kernels each has. */
#include <strings.h>

#include "runtime/dispatch/internal.h"

static uint32_t bit_of(const struct rk_lane *lane)
{
	return 1U << lane->index;
}

/*
 * The turn that @lane takes next, or NULL: of those bound to it and those of all in alternation, so
 * that neither keeps the other waiting.
 */
static struct rk_turn *next_turn_locked(const struct rk_dispatch *d, const struct rk_lane *lane)
{
	struct rk_turn *bound = TAILQ_FIRST(&lane->bound), *shared;

	TAILQ_FOREACH (shared, &d->ready, ready)
		if (shared->kernel->loaded & bit_of(lane))
			break;
	if (bound && shared)
		return lane->took_bound ? shared : bound;
	return bound ? bound : shared;
}

struct rk_lane *rk_dispatch_free_lane_locked(struct rk_dispatch *d, uint32_t except,
					     struct rk_turn **turn)
{
	struct rk_lane *best = NULL;

	for (uint32_t i = 0; i < d->nlanes; i++) {
		struct rk_lane *lane = &d->lanes[i];
		struct rk_turn *next;

		if (lane->fd < 0 || lane->closed || lane->running >= lane->nslots ||
		    except & bit_of(lane) || (best && best->running <= lane->running))
			continue;
		next = next_turn_locked(d, lane);
		if (!next)
			continue;
		best = lane;
		*turn = next;
	}
	return best;
}

void rk_dispatch_took_locked(struct rk_dispatch *d, struct rk_lane *lane, struct rk_turn *turn)
{
	struct rk_turn_list *list = rk_dispatch_list_locked(d, turn->kernel);

	lane->took_bound = list == &lane->bound;
	TAILQ_REMOVE(list, turn, ready);
	TAILQ_INSERT_TAIL(list, turn, ready);
	/* the order in which they are ready again */
	TAILQ_REMOVE(&turn->kernel->turns, turn, others);
	TAILQ_INSERT_TAIL(&turn->kernel->turns, turn, others);
}

struct rk_message *rk_dispatch_next_probe_locked(const struct rk_dispatch *d,
						 const struct rk_lane *lane)
{
	struct rk_message *m;

	if (lane->fd < 0 || lane->slots[lane->nslots])
		return NULL;
	TAILQ_FOREACH (m, &d->probes, inflight)
		if (m->lane == lane->index && m->state == RK_MESSAGE_QUEUED &&
		    atomic_load(&m->kernel->state) != RK_KERNEL_LOADING &&
		    m->kernel->loaded & bit_of(lane) &&
		    !(m->kernel->manifest.mode == RK_WIRE_RING && m->kernel->running))
			break;
	return m;
}

/* Bind the ring kernel @k to one of the lanes that have it, or to none. */
static void bind_locked(struct rk_dispatch *d, struct rk_kernel *k)
{
	rk_dispatch_unready_locked(d, k);
	k->bound = (uint32_t)ffs((int)k->loaded);
	if (atomic_load(&k->state) != RK_KERNEL_LOADING)
		rk_dispatch_ready_locked(d, k);
}

void rk_dispatch_loaded_locked(struct rk_dispatch *d, struct rk_lane *lane, struct rk_kernel *k,
			       bool loaded)
{
	if (loaded)
		k->loaded |= bit_of(lane);
	else
		k->loaded &= ~bit_of(lane);
	if (k->manifest.mode == RK_WIRE_RING && !(k->bound && k->loaded & 1U << (k->bound - 1)))
		bind_locked(d, k);
}
