/* SPDX-License-Identifier: MIT */
/*
 * A worker's seat: its process is lost, replaced or ended, and another follows as long as the
 * budget for restarts lasts; then the seat is given up, and with the last one the runtime fails.
 */
#include <errno.h>
#include <stdio.h>

#include "runtime/base/clock.h"
#include "runtime/base/log.h"
#include "runtime/supervisor/internal.h"

#define END_GRACE_NS  (1 * RK_NS_PER_SEC) /* asked to end -> SIGKILL */
#define KILL_GRACE_NS (1 * RK_NS_PER_SEC) /* SIGKILL -> abandoned */
#define BUDGET_NS     (60 * RK_NS_PER_SEC)
#define BACKOFF_NS    (100 * RK_NS_PER_MS)

void rk_supervisor_kill(struct rk_proc *p)
{
	rk_process_kill(&p->os);
	p->kill_at = 0;
	p->abandon_at = rk_now_ns() + KILL_GRACE_NS;
}

/* @p is no longer the current process; it is dead already, or is killed at kill_at. */
static void retire(struct rk_supervisor *sup, struct rk_proc *p)
{
	rk_supervisor_unwatch(sup, &p->messages);
	atomic_store(&p->load_by, 0);
	pthread_mutex_lock(&sup->lock);
	rk_supervisor_see_devices_locked(sup, p);
	p->seat->cur = NULL;
	pthread_mutex_unlock(&sup->lock);
	if (p->seat->drain_by)
		(void)rk_dispatch_close_lane(sup->dispatch, p->seat->lane, false);
	p->seat->drain_by = 0;
	sup->observer.moved(sup->observer.ctx);
}

/* Whether another restart is within the budget; counts this death. */
static bool within_budget(const struct rk_supervisor *sup, struct rk_seat *seat, uint64_t now,
			  unsigned int *recent)
{
	unsigned int n = 1;

	seat->deaths[seat->ndeaths++ % RK_DEATHS] = now;
	for (unsigned int i = 1; i < RK_DEATHS && i < seat->ndeaths; i++) {
		if (now - seat->deaths[(seat->ndeaths - 1 - i) % RK_DEATHS] > BUDGET_NS)
			break;
		n++;
	}
	*recent = n;
	return n <= sup->params.restart_limit && n < RK_DEATHS;
}

/* Whether no other seat than @seat has a worker, or will have one. */
static bool is_last(const struct rk_supervisor *sup, const struct rk_seat *seat)
{
	for (uint32_t i = 0; i < sup->nseats; i++)
		if (&sup->seats[i] != seat && !sup->seats[i].out)
			return false;
	return true;
}

/* Whether no worker could be had on the primary backend, and the other was not tried. */
static bool may_fall_back(const struct rk_supervisor *sup)
{
	if (sup->falls_back || !sup->params.fallback[0])
		return false;
	for (uint32_t i = 0; i < sup->nseats; i++)
		if (sup->seats[i].ever_ready)
			return false;
	return true;
}

/* All seats once more, on the fallback backend. */
static void fall_back(struct rk_supervisor *sup)
{
	sup->falls_back = true;
	for (uint32_t i = 0; i < sup->nseats; i++) {
		pthread_mutex_lock(&sup->lock);
		sup->seats[i].out = false;
		pthread_mutex_unlock(&sup->lock);
		sup->seats[i].spawn_at = rk_now_ns();
	}
}

static void give_up_seat(struct rk_supervisor *sup, struct rk_seat *seat, const char *why)
{
	bool last = is_last(sup, seat);

	/* whoever sees that it is out finds the reason in health, too */
	if (!last)
		sup->observer.out(sup->observer.ctx, seat->lane, why);
	pthread_mutex_lock(&sup->lock);
	seat->out = true;
	snprintf(seat->why_out, sizeof(seat->why_out), "%s", why);
	pthread_mutex_unlock(&sup->lock);
	sup->observer.moved(sup->observer.ctx);
	if (last && may_fall_back(sup))
		fall_back(sup);
	else if (last)
		sup->observer.failed(sup->observer.ctx, why);
}

/* Another process after a while, if the budget allows it. */
static void try_again(struct rk_supervisor *sup, struct rk_seat *seat, const char *why)
{
	uint64_t now = rk_now_ns();
	unsigned int recent;

	if (within_budget(sup, seat, now, &recent)) {
		seat->spawn_at = now + (BACKOFF_NS << (recent > 6 ? 5 : recent - 1));
		return;
	}
	rk_error_set(&sup->scratch, EIO,
		     "%s; %u deaths within a minute are more than restart_limit %llu", why, recent,
		     (unsigned long long)sup->params.restart_limit);
	give_up_seat(sup, seat, sup->scratch.msg);
}

void rk_supervisor_no_worker(struct rk_supervisor *sup, struct rk_seat *seat, const char *why)
{
	if (seat->ever_ready)
		try_again(sup, seat, why);
	else
		give_up_seat(sup, seat, why);
}

/* The message whose kernel ended @p, 0 = unknown. */
static uint64_t culprit(struct rk_supervisor *sup, const struct rk_proc *p)
{
	uint64_t crashed = atomic_load(&p->os.shared->crashed_message);

	/* it is the worker that grew: where several kernels ran, which of them did it is unknown */
	return crashed || !p->out_of_memory ? crashed
					    : rk_dispatch_only_kernel(sup->dispatch, p->seat->lane);
}

/* What follows @p, which died (@how, @why with its name) and @running messages with it. */
static void succeed(struct rk_supervisor *sup, struct rk_proc *p, const char *how, const char *why,
		    uint32_t running)
{
	struct rk_seat *seat = p->seat;

	if (atomic_load(&seat->retries) || rk_supervisor_blame_load(sup, p, how, running))
		seat->spawn_at = rk_now_ns(); /* without what was blamed; once for each */
	else if (seat->ever_ready && rk_dispatch_blamed(sup->dispatch, seat->lane))
		/* the kernel pays, which is disabled in time */
		seat->spawn_at = rk_now_ns() + BACKOFF_NS;
	else if (p->killed_from_outside)
		/* even the first one of a start: nothing is wrong with the device */
		try_again(sup, seat, why);
	else
		rk_supervisor_no_worker(sup, seat,
					!seat->ever_ready && p->refusal[0] ? p->refusal : why);
}

void rk_supervisor_lost(struct rk_supervisor *sup, struct rk_proc *p, const char *how)
{
	char why[RK_ERROR_MAX], fault[RK_ERROR_MAX];
	uint32_t running, lane = p->seat->lane;

	if (rk_process_fault(&p->os, fault, sizeof(fault)))
		how = fault; /* the worker said why it ended */
	snprintf(why, sizeof(why), "worker %d %.280s", p->os.pid, how);
	if (sup->observer.leaving)
		sup->observer.leaving(sup->observer.ctx);
	retire(sup, p);
	running = (p->dead ? rk_dispatch_bury : rk_dispatch_detach)(sup->dispatch, lane, why,
								    culprit(sup, p), &p->held);
	rk_supervisor_forget_loads(sup, p);
	atomic_store(&p->seat->retries, rk_supervisor_blame_driver(sup, p, how));
	sup->observer.died(sup->observer.ctx, lane, p->os.pid, how, running);
	succeed(sup, p, how, why, running);
	rk_supervisor_wake(sup); /* it may be wanted no more; what it alone had is for others */
}

void rk_supervisor_replace(struct rk_supervisor *sup, struct rk_proc *p, const char *how)
{
	rk_supervisor_kill(p);
	if (rk_proc_is_current(p))
		rk_supervisor_lost(sup, p, how);
}

void rk_supervisor_end(struct rk_supervisor *sup, struct rk_proc *p, bool force)
{
	sup->observer.ended(sup->observer.ctx, p->seat->lane);
	retire(sup, p);
	(void)rk_dispatch_detach(sup->dispatch, p->seat->lane, "the worker was stopped", 0,
				 &p->held);
	rk_supervisor_forget_loads(sup, p);
	p->phase = RK_PHASE_ENDING;
	p->kill_at = rk_now_ns() + END_GRACE_NS;
	p->abandon_at = 0;
	if (force || rk_supervisor_send_shutdown(p))
		rk_supervisor_kill(p);
}

/* Nothing more is handed to the worker of @seat, which ends once nothing runs on it. */
static void drain(struct rk_supervisor *sup, struct rk_seat *seat, uint64_t drain_ms)
{
	if (!seat->drain_by) {
		seat->drain_by = rk_now_ns() + drain_ms * RK_NS_PER_MS + 1; /* never 0 */
		sup->observer.moved(sup->observer.ctx);
	}
	if (seat->cur->phase != RK_PHASE_READY ||
	    !rk_dispatch_close_lane(sup->dispatch, seat->lane, true))
		rk_supervisor_end(sup, seat->cur, false);
}

/* The worker of @seat is wanted after all, or again. */
static void resume(struct rk_supervisor *sup, struct rk_seat *seat)
{
	if (seat->cur && !seat->drain_by)
		return;
	pthread_mutex_lock(&sup->lock);
	seat->out = false;
	pthread_mutex_unlock(&sup->lock);
	seat->drain_by = 0;
	if (seat->cur) {
		(void)rk_dispatch_close_lane(sup->dispatch, seat->lane, false);
	} else if (!seat->spawn_at && !seat->awaits_list) {
		seat->ndeaths = 0;
		rk_supervisor_come(sup, seat);
	}
	sup->observer.moved(sup->observer.ctx);
}

void rk_supervisor_obey(struct rk_supervisor *sup, struct rk_seat *seat,
			const struct rk_asked *asked)
{
	if (asked->disabled && seat->cur) {
		drain(sup, seat, asked->drain_ms);
	} else if (asked->disabled) {
		seat->spawn_at = 0;
		seat->awaits_list = false;
		pthread_mutex_lock(&sup->lock);
		seat->out = false;
		pthread_mutex_unlock(&sup->lock);
	} else if (asked->want && (seat->drain_by || asked->enabled)) {
		resume(sup, seat);
	}
}

void rk_supervisor_end_drain(struct rk_supervisor *sup, struct rk_seat *seat)
{
	struct rk_proc *p = seat->cur;

	(void)rk_dispatch_cancel_lane(sup->dispatch, seat->lane,
				      "cancelled: its worker was disabled, and the drain took too "
				      "long",
				      &p->held);
	rk_supervisor_end(sup, p, true);
	rk_supervisor_wake(sup); /* what it alone had loaded is for others now */
}
