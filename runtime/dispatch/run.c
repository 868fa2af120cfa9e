/* SPDX-License-Identifier: MIT */
/* The messages that workers have: how they are handed out, as runs, and leave again. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "runtime/base/clock.h"
#include "runtime/dispatch/internal.h"

/* --- runs --- */

#define BATCH_MAX    16
#define BATCH_RUN_NS (20 * 1000) /* of a message whose kernel is short */

/* What is run as one: @count messages of a turn's queue, from @first on. */
struct run {
	struct rk_wire_run *packet;
	size_t end; /* of it, in dispatch's packet */
	struct rk_message *first;
	enum rk_wire_backend backend;
	uint64_t fused; /* size of the fused dim, of all together */
	uint32_t count;
};

static enum rk_wire_backend backend_of(const struct rk_kernel *k)
{
	unsigned int backend = atomic_load(&k->backend);

	return backend ? backend - 1 : RK_WIRE_CPU;
}

static uint64_t fused_size(const struct rk_message *m)
{
	unsigned int dim = m->kernel->manifest.fused_dim;

	return dim ? m->plan.dims[dim - 1] : 0;
}

static bool may_fuse(const struct rk_message *m)
{
	return m->plan.block_bytes <= RK_FUSE_BYTES;
}

/* A run of @m alone, from byte @at of the packet on. Fails as rk_plan_grid does. */
static int begin_run(struct rk_dispatch *d, size_t at, struct rk_message *m, uint32_t slot,
		     struct run *run, struct rk_error *err)
{
	struct rk_wire_run *packet = (struct rk_wire_run *)(d->packet + at);

	memset(packet, 0, offsetof(struct rk_wire_run, args));
	packet->id = m->id;
	packet->slot = slot;
	packet->kernel = m->kernel->slot;
	*run = (struct run){
		.packet = packet,
		.first = m,
		.backend = backend_of(m->kernel),
		.fused = fused_size(m),
		.count = 1,
	};
	packet->nargs =
		rk_plan_wire(&m->plan, run->backend, m->block.offset, m->block.data, packet->args);
	run->end =
		at + offsetof(struct rk_wire_run, args) + packet->nargs * sizeof(packet->args[0]);
	m->leads = true;
	return rk_plan_grid(&m->plan, run->backend, run->fused, packet->grid, err);
}

/* Add @m to @run, unless it has to run by itself. */
static bool join_run(struct rk_dispatch *d, struct run *run, struct rk_message *m)
{
	size_t end = run->end + sizeof(struct rk_wire_more) +
		     run->packet->nargs * sizeof(struct rk_wire_arg);
	struct rk_wire_more *more = (struct rk_wire_more *)(d->packet + run->end);
	const struct rk_message *first = run->first;
	uint32_t grid[RK_WIRE_AXES];
	uint64_t fused;

	if (!may_fuse(m) || end > sizeof(d->packet) ||
	    __builtin_add_overflow(run->fused, fused_size(m), &fused) ||
	    !rk_plan_fuses(&first->plan, first->block.data, &m->plan, m->block.data) ||
	    rk_plan_grid(&first->plan, run->backend, fused, grid, NULL))
		return false;
	more->id = m->id;
	(void)rk_plan_wire(&m->plan, run->backend, m->block.offset, m->block.data, more->args);
	memcpy(run->packet->grid, grid, sizeof(grid));
	run->packet->nmore++;
	run->end = end;
	run->fused = fused;
	run->count++;
	m->leads = false;
	return true;
}

/* Add the messages behind the first one in the queue, as many as can run together with it. */
static void fill_run(struct rk_dispatch *d, uint32_t fuse_max, struct run *run)
{
	const struct rk_manifest *manifest = &run->first->kernel->manifest;
	struct rk_message *m = run->first;

	if (!manifest->fused_dim || manifest->mode != RK_WIRE_BATCH ||
	    !rk_backends[run->backend].launches || !may_fuse(m))
		return;
	while (run->count < fuse_max && (m = TAILQ_NEXT(m, queue)) && join_run(d, run, m))
		;
}

/*
 * How many messages of @t go in one packet at most, for one thread to run one after the other: its
 * share of those that wait, where all threads get one, and only of a kernel so short that waking a
 * thread for each would cost more.
 */
static uint32_t batch_of_locked(const struct rk_dispatch *d, const struct rk_turn *t)
{
	uint64_t run_ns = t->kernel->run_ns;
	uint32_t room = 0, share;

	if (t->kernel->manifest.mode != RK_WIRE_BATCH || !run_ns || run_ns > BATCH_RUN_NS)
		return 1;
	for (uint32_t i = 0; i < d->nlanes; i++)
		if (d->lanes[i].fd >= 0)
			room += d->lanes[i].nslots - d->lanes[i].running;
	share = t->queued / room;
	return share < 1 ? 1 : share < BATCH_MAX ? share : BATCH_MAX;
}

/* Add runs of the messages behind @run to the packet, up to @most messages in all. */
static void fill_packet(struct rk_dispatch *d, struct rk_lane *lane, struct run *run, uint32_t most)
{
	struct rk_message *m = run->first;
	uint32_t count = run->count, slot = run->packet->slot;
	struct run next;

	for (uint32_t i = 1; i < run->count; i++)
		m = TAILQ_NEXT(m, queue);
	while (count < most && (m = TAILQ_NEXT(m, queue)) &&
	       run->end + sizeof(struct rk_wire_run) <= sizeof(d->packet) &&
	       !begin_run(d, run->end, m, slot, &next, NULL)) {
		fill_run(d, lane->fuse_max, &next);
		for (uint32_t i = 1; i < next.count; i++)
			m = TAILQ_NEXT(m, queue);
		run->end = next.end;
		count += next.count;
	}
	run->count = count;
}

static int send_packet(const struct rk_dispatch *d, const struct rk_lane *lane, size_t len)
{
	ssize_t n;

	do
		n = send(lane->fd, d->packet, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/* @m runs in @slot of @lane. */
static void run_locked(struct rk_lane *lane, uint32_t slot, struct rk_message *m)
{
	m->lane = lane->index;
	m->slot = slot;
	m->state = RK_MESSAGE_RUNNING;
	m->kernel->running++;
}

/* The first @count messages of @t's queue run in @slot; the turn ends with its last one. */
static void occupy_locked(struct rk_dispatch *d, struct rk_lane *lane, struct rk_turn *t,
			  uint32_t slot, uint32_t count)
{
	struct rk_message **end = &lane->slots[slot], *m;

	if (!lane->running++)
		lane->progress_ns = rk_now_ns();
	for (uint32_t i = 0; i < count; i++) {
		m = TAILQ_FIRST(&t->queue);
		*end = m;
		end = &m->with;
		run_locked(lane, slot, m);
		rk_dispatch_unqueue_locked(d, m);
	}
}

/*
 * After a packet could not be sent to @lane. Dead: the supervisor sees EOF and detaches. Full: an
 * answer will come.
 */
static void unsent_locked(struct rk_lane *lane, int rc)
{
	if (rc != -EAGAIN)
		lane->fd = -1;
}

/* Hand the oldest message of @t to @lane, which has room. False if that is impossible now. */
static bool hand_out_one_locked(struct rk_dispatch *d, struct rk_lane *lane, struct rk_turn *t)
{
	struct rk_message *m = TAILQ_FIRST(&t->queue);
	struct rk_kernel *k = t->kernel;
	struct rk_error err;
	struct run run;
	uint32_t slot = 0;
	int rc;

	while (lane->slots[slot])
		slot++;
	if (begin_run(d, 0, m, slot, &run, &err)) { /* it was made for another backend */
		rk_dispatch_unqueue_locked(d, m);
		rk_dispatch_finish_locked(d, m, err.code, err.msg);
		rk_dispatch_room_locked(
			d, k); /* @m stays valid: its done callback is still to be called */
		return true;
	}
	fill_run(d, lane->fuse_max, &run);
	fill_packet(d, lane, &run, batch_of_locked(d, t));
	rc = send_packet(d, lane, run.end);
	if ((rc == -EMSGSIZE || rc == -ENOBUFS) && run.count > 1) { /* small sockets (wmem_max) */
		(void)begin_run(d, 0, m, slot, &run, &err);	    /* as before */
		rc = send_packet(d, lane, run.end);
	}
	if (rc) {
		unsent_locked(lane, rc);
		return false;
	}
	rk_dispatch_took_locked(d, lane, t);
	occupy_locked(d, lane, t, slot, run.count);
	if (k->manifest.mode == RK_WIRE_RING)
		rk_dispatch_unready_locked(d, k); /* the next one when this one is answered */
	rk_dispatch_room_locked(d, k);
	return true;
}

/* A probe has a slot of its own. If it cannot be sent, the next hand-out tries again. */
static void hand_out_probe_locked(struct rk_dispatch *d, struct rk_lane *lane)
{
	struct rk_message *m = rk_dispatch_next_probe_locked(d, lane);
	struct rk_error err;
	struct run run;
	int rc;

	if (!m)
		return;
	if (begin_run(d, 0, m, lane->nslots, &run, &err)) {
		rk_dispatch_finish_locked(d, m, err.code, err.msg);
		return;
	}
	rc = send_packet(d, lane, run.end);
	if (rc) {
		unsent_locked(lane, rc);
		return;
	}
	lane->slots[lane->nslots] = m;
	run_locked(lane, lane->nslots, m);
	if (m->kernel->manifest.mode == RK_WIRE_RING)
		rk_dispatch_unready_locked(d, m->kernel);
}

void rk_dispatch_hand_out_locked(struct rk_dispatch *d)
{
	struct rk_lane *lane;
	struct rk_turn *turn;
	uint32_t full = 0; /* lanes that take nothing now */

	for (uint32_t i = 0; i < d->nlanes; i++)
		hand_out_probe_locked(d, &d->lanes[i]);
	while ((lane = rk_dispatch_free_lane_locked(d, full, &turn)))
		if (!hand_out_one_locked(d, lane, turn))
			full |= 1U << lane->index;
}

struct rk_message *rk_dispatch_running_locked(const struct rk_lane *lane, uint32_t slot,
					      uint64_t id)
{
	struct rk_message *m = slot <= lane->nslots ? lane->slots[slot] : NULL;

	while (m && m->id != id)
		m = m->with;
	return m;
}

void rk_dispatch_left_locked(struct rk_dispatch *d, struct rk_message *m)
{
	struct rk_lane *lane = &d->lanes[m->lane];
	struct rk_message **at = &lane->slots[m->slot];
	struct rk_kernel *k = m->kernel;

	while (*at != m)
		at = &(*at)->with;
	*at = m->with;
	m->with = NULL;
	if (!lane->slots[m->slot] && !m->probe && !--lane->running && lane->closed)
		d->lane_idle = true;
	k->running--;
	if (atomic_load(&k->state) != RK_KERNEL_LOADING)
		rk_dispatch_ready_locked(d, k); /* a ring kernel runs the next one only now */
}
