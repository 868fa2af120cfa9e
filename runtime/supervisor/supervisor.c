/* SPDX-License-Identifier: MIT */
/* The supervisor's thread: it spawns worker processes, ends them, and keeps every deadline. */

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/base/clock.h"
#include "runtime/base/log.h"
#include "runtime/base/memory_limit.h"
#include "runtime/supervisor/internal.h"

#define BATCH	     16
#define EOF_GRACE_NS (100 * RK_NS_PER_MS) /* sockets closed, but not dead */
/* the same in a library's hands: how the process dies decides whether that is to blame */
#define EOF_LOADING_GRACE_NS (1 * RK_NS_PER_SEC)
#define START_NS	     (60 * RK_NS_PER_SEC) /* spawn -> backend open */

static void release_held(struct rk_message_list *held)
{
	struct rk_message *m;

	while ((m = TAILQ_FIRST(held))) {
		TAILQ_REMOVE(held, m, queue);
		rk_message_unref(m);
	}
}

static void bury(struct rk_supervisor *sup, struct rk_proc *p, bool dead)
{
	rk_supervisor_unwatch(sup, &p->control);
	rk_supervisor_unwatch(sup, &p->messages);
	rk_supervisor_unwatch(sup, &p->pidfd);
	TAILQ_REMOVE(&sup->procs, p, link);
	pthread_mutex_lock(&sup->lock);
	rk_supervisor_see_devices_locked(sup, p);
	p->seat->procs--;
	pthread_mutex_unlock(&sup->lock);
	sup->observer.moved(sup->observer.ctx);
	if (dead) {
		release_held(&p->held);
		rk_process_release(&p->os);
		TAILQ_INSERT_TAIL(&sup->dead, p, link); /* its sources may be in this batch */
	}
	/* An abandoned one may still write to its payload: nothing of it is ever freed. */
}

static void on_pidfd(struct rk_supervisor *sup, struct rk_proc *p)
{
	char how[RK_ERROR_MAX];
	bool clean;

	if (!rk_process_reap(&p->os, how, sizeof(how), &clean))
		return;
	p->dead = true;
	if (!clean)
		(void)rk_process_fault(&p->os, how, sizeof(how));
	/* not by this daemon */
	if (!p->abandon_at && !strcmp(how, RK_PROCESS_SIGKILL)) {
		p->out_of_memory = rk_memory_kills() > sup->memory_kills;
		p->killed_from_outside = !p->out_of_memory;
	}
	if (p->out_of_memory)
		snprintf(how, sizeof(how),
			 "was killed by the out-of-memory killer of the kernel (SIGKILL)");
	if (rk_proc_is_current(p))
		rk_supervisor_lost(sup, p, how); /* logs it */
	else
		rk_log(clean ? RK_LOG_INFO : RK_LOG_WARN, "worker %d %s", p->os.pid, how);
	bury(sup, p, true);
}

static void on_eof(struct rk_supervisor *sup, struct rk_proc *p, struct rk_source *source)
{
	const struct rk_wire_shared *shared = p->os.shared;
	bool loading = atomic_load(&shared->loading_kernel) || atomic_load(&shared->opening);
	uint64_t at = rk_now_ns() + (loading ? EOF_LOADING_GRACE_NS : EOF_GRACE_NS);

	rk_supervisor_unwatch(sup, source);
	if (!p->abandon_at && (!p->kill_at || at < p->kill_at))
		p->kill_at = at;
}

static void on_messages(struct rk_supervisor *sup, struct rk_proc *p)
{
	struct rk_error err = {0};

	for (int i = 0; i < 4 * BATCH && rk_proc_is_current(p); i++) {
		char packet[RK_WIRE_DONE_MAX];
		ssize_t n = recv(p->messages.fd, packet, sizeof(packet), MSG_DONTWAIT | MSG_TRUNC);
		char how[RK_ERROR_MAX];

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0 && errno == ECONNRESET) /* once; what was sent before follows */
			continue;
		if (n <= 0) {
			on_eof(sup, p, &p->messages);
			return;
		}
		if ((size_t)n > sizeof(packet)) {
			rk_supervisor_replace(
				sup, p, "was replaced: the worker sent an answer that is too long");
		} else if (rk_dispatch_complete(sup->dispatch, p->seat->lane, packet, (size_t)n,
						&err)) {
			snprintf(how, sizeof(how), "was replaced: %.280s", err.msg);
			rk_supervisor_replace(sup, p, how);
		}
	}
}

/* Replace @p, because rk_supervisor_handle returned @rc. */
static void replace_speaker(struct rk_supervisor *sup, struct rk_proc *p, int rc)
{
	char how[RK_ERROR_MAX] = "was replaced: it sent a malformed control packet";

	if (rc == -ENODEV)
		snprintf(how, sizeof(how), "has no backend: %.280s", p->refusal);
	rk_supervisor_replace(sup, p, how);
}

/* Kernels may write what they like, and what a worker says comes to many places. */
static void clean(struct rk_wire_control *packet)
{
	rk_text_clean(packet->text, sizeof(packet->text), "");
	if (packet->type == RK_WIRE_LOG) {
		rk_text_clean(packet->log.text, sizeof(packet->log.text), "");
	} else if (packet->type == RK_WIRE_READY) {
		rk_text_clean(packet->ready.fallback_why, sizeof(packet->ready.fallback_why), "");
		rk_text_clean(packet->ready.uuid, sizeof(packet->ready.uuid), "");
	}
}

static void on_control(struct rk_supervisor *sup, struct rk_proc *p)
{
	for (int i = 0; i < BATCH; i++) {
		struct rk_wire_control packet;
		ssize_t n = recv(p->control.fd, &packet, sizeof(packet), MSG_DONTWAIT | MSG_TRUNC);
		int rc;

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0 && errno == ECONNRESET)
			continue;
		if (n <= 0) {
			on_eof(sup, p, &p->control);
			return;
		}
		if ((size_t)n == sizeof(packet))
			clean(&packet);
		rc = (size_t)n == sizeof(packet) ? rk_supervisor_handle(sup, p, &packet) : -EPROTO;
		if (rc) {
			replace_speaker(sup, p, rc);
			return;
		}
	}
}

static void adopt(struct rk_supervisor *sup, struct rk_proc *p)
{
	p->control = (struct rk_source){p->os.control, on_control, p};
	p->messages = (struct rk_source){p->os.messages, on_messages, p};
	p->pidfd = (struct rk_source){p->os.pidfd, on_pidfd, p};
	p->kill_at = rk_now_ns() + START_NS;
	TAILQ_INIT(&p->held);
	TAILQ_INSERT_TAIL(&sup->procs, p, link);
	RK_GUARD(&sup->lock);
	p->seat->cur = p;
	p->seat->spawned++;
	p->seat->procs++;
}

/* Whether @p died before it was greeted: then its pidfd tells how. */
static bool hung_up(const struct rk_proc *p)
{
	struct pollfd control = {.fd = p->os.control};

	return poll(&control, 1, 0) == 1 && control.revents & POLLHUP;
}

static void spawn(struct rk_supervisor *sup, struct rk_seat *seat)
{
	struct rk_proc *p = calloc(1, sizeof(*p));
	struct rk_error err = {0};
	int rc;

	seat->spawn_at = 0;
	if (!p)
		rc = rk_error_set(&err, ENOMEM, "no memory for a worker");
	else
		rc = rk_process_spawn(&p->os, sup->executable, &sup->params,
				      seat->is_listed ? seat->device : "", &err);
	if (rc) {
		free(p);
		rk_log(RK_LOG_WARN, "no worker: %s", err.msg);
		rk_supervisor_no_worker(sup, seat, err.msg);
		return;
	}
	p->epoch = sup->epoch;
	p->seat = seat;
	p->number = ++sup->spawned;
	adopt(sup, p);
	if (rk_supervisor_watch(sup, &p->control) || rk_supervisor_watch(sup, &p->messages) ||
	    rk_supervisor_watch(sup, &p->pidfd))
		rk_supervisor_replace(sup, p, "could not be watched");
	else if (rk_supervisor_hello(sup, p) && !hung_up(p))
		rk_supervisor_replace(sup, p, "could not be greeted");
}

/* Pass on what is asked of the worker of @seat. */
static void ask(struct rk_supervisor *sup, struct rk_seat *seat, const struct rk_requests *r)
{
	struct rk_proc *p;
	struct rk_asked asked;
	char how[RK_ERROR_MAX];

	rk_supervisor_take_asked(sup, seat, &asked);
	rk_supervisor_obey(sup, seat, &asked);
	p = seat->cur;
	if (!p)
		return;
	if (r->settings)
		rk_supervisor_send_settings(sup, p);
	if (asked.check && p->phase == RK_PHASE_READY)
		rk_supervisor_send_check(p, asked.check_number);
	if (asked.given_up == p->number) {
		snprintf(how, sizeof(how), "was replaced: %.280s", asked.why);
		rk_supervisor_replace(sup, p, how);
	}
}

/*
 * The process that may still write to what @m holds: the latest of its lane, which may be ending.
 */
static struct rk_proc *writer_of(struct rk_supervisor *sup, const struct rk_message *m)
{
	struct rk_proc *p = TAILQ_LAST(&sup->procs, rk_proc_list);

	while (p && p->seat->lane != m->lane)
		p = TAILQ_PREV(p, rk_proc_list, link);
	return p;
}

static void keep_orphans(struct rk_supervisor *sup, struct rk_message_list *orphans)
{
	struct rk_message *m;

	while ((m = TAILQ_FIRST(orphans))) {
		struct rk_proc *p = writer_of(sup, m);

		TAILQ_REMOVE(orphans, m, queue);
		if (p)
			TAILQ_INSERT_TAIL(&p->held, m, queue);
		else
			rk_message_unref(m);
	}
}

static bool any_current(const struct rk_supervisor *sup)
{
	for (uint32_t i = 0; i < RK_LANES_MAX; i++)
		if (sup->seats[i].cur)
			return true;
	return false;
}

/* Do what other threads asked for. */
static void serve_requests(struct rk_supervisor *sup)
{
	struct rk_requests r;

	rk_supervisor_take_requests(sup, &r);
	rk_payload_unref(r.old);
	keep_orphans(sup, &r.orphans);
	for (struct rk_seat *seat = sup->seats; seat < sup->seats + RK_LANES_MAX; seat++)
		if (seat->cur && seat->cur->epoch != sup->epoch)
			rk_supervisor_end(sup, seat->cur, r.force);
	if (r.started) { /* it may have loaded one after the runtime had seen to that */
		rk_supervisor_deactivate(sup);
		rk_supervisor_renew_list(sup);
	}
	for (struct rk_seat *seat = sup->seats; seat < sup->seats + sup->nseats; seat++)
		ask(sup, seat, &r);
	rk_supervisor_choose_watcher(sup);
	for (struct rk_seat *seat = sup->seats; seat < sup->seats + sup->nseats; seat++)
		if (seat->cur)
			rk_supervisor_reconcile(sup, seat->cur);
	if (!any_current(sup))
		rk_supervisor_forget_retired(sup);
}

static void on_wake(struct rk_supervisor *sup, struct rk_proc *unused)
{
	(void)unused;
	rk_wake_clear(sup->event.fd);
	serve_requests(sup);
}

static bool due(_Atomic uint64_t *at, uint64_t now)
{
	uint64_t when = atomic_load(at);

	/* Re-armed meanwhile: leave it. */
	return when && now >= when && atomic_compare_exchange_strong(at, &when, 0);
}

static void expire(struct rk_supervisor *sup, uint64_t now)
{
	char how[RK_ERROR_MAX];
	uint64_t next;
	uint32_t stuck = rk_dispatch_expire(sup->dispatch, now, &next);

	if (next)
		rk_supervisor_arm_expiry(sup, next);
	for (uint32_t lane = 0; lane < sup->nseats; lane++) {
		if (!(stuck & 1U << lane) || !sup->seats[lane].cur)
			continue;
		snprintf(how, sizeof(how), "was replaced: %s",
			 rk_dispatch_why_overdue(sup->dispatch, lane));
		rk_supervisor_replace(sup, sup->seats[lane].cur, how);
	}
}

static void load_overdue(struct rk_supervisor *sup, struct rk_proc *p)
{
	char how[RK_ERROR_MAX];

	p->load_overdue = true;
	rk_supervisor_describe_overdue(sup, p, how);
	rk_supervisor_replace(sup, p, how);
}

/*
 * Why @p is killed. A process that holds a device closes its connections long before it is dead:
 * the driver cleans up between.
 */
static const char *why_killed(const struct rk_proc *p)
{
	if (p->control.fd < 0 || p->messages.fd < 0)
		return "closed its connections, as one that was killed does";
	return "was replaced: it did not answer in time";
}

static void run_timers(struct rk_supervisor *sup)
{
	uint64_t now = rk_now_ns();
	struct rk_proc *p, *next;

	if (due(&sup->drain_at, now))
		sup->observer.drain_deadline(sup->observer.ctx);
	if (due(&sup->expiry_at, now))
		expire(sup, now);
	rk_supervisor_time_listing(sup, now);
	for (p = TAILQ_FIRST(&sup->procs); p; p = next) {
		next = TAILQ_NEXT(p, link);
		if (atomic_load(&p->load_by) && now >= atomic_load(&p->load_by)) {
			load_overdue(sup, p);
		} else if (p->kill_at && now >= p->kill_at) {
			rk_supervisor_replace(sup, p, why_killed(p));
		} else if (p->abandon_at && now >= p->abandon_at) {
			rk_log(RK_LOG_ERROR, "worker %d survives SIGKILL (state D?): abandoned",
			       p->os.pid);
			sup->observer.abandoned(sup->observer.ctx, p->os.pid);
			bury(sup, p, false);
		}
	}
	for (struct rk_seat *seat = sup->seats; seat < sup->seats + sup->nseats; seat++) {
		if (seat->drain_by && now >= seat->drain_by)
			rk_supervisor_end_drain(sup, seat);
		if (seat->spawn_at && now >= seat->spawn_at)
			spawn(sup, seat);
	}
}

/* Milliseconds until the next timer, rounded up; -1 = none. */
static int timeout_ms(struct rk_supervisor *sup)
{
	uint64_t first = 0, now;
	struct rk_proc *p;

	rk_earlier(&first, atomic_load(&sup->drain_at));
	rk_earlier(&first, atomic_load(&sup->expiry_at));
	rk_supervisor_next_of_listing(sup, &first);
	for (uint32_t i = 0; i < sup->nseats; i++) {
		rk_earlier(&first, sup->seats[i].spawn_at);
		rk_earlier(&first, sup->seats[i].drain_by);
	}
	TAILQ_FOREACH (p, &sup->procs, link) {
		rk_earlier(&first, atomic_load(&p->load_by));
		rk_earlier(&first, p->kill_at);
		rk_earlier(&first, p->abandon_at);
	}
	if (!first)
		return -1;
	now = rk_now_ns();
	if (first <= now)
		return 0;
	first = (first - now + RK_NS_PER_MS - 1) / RK_NS_PER_MS;
	return first > 3600000 ? 3600000 : (int)first;
}

static void free_dead(struct rk_supervisor *sup)
{
	struct rk_proc *p;

	while ((p = TAILQ_FIRST(&sup->dead))) {
		TAILQ_REMOVE(&sup->dead, p, link);
		free(p);
	}
}

static bool finished(struct rk_supervisor *sup)
{
	bool quit;

	pthread_mutex_lock(&sup->lock);
	quit = sup->quit;
	pthread_mutex_unlock(&sup->lock);
	return quit && TAILQ_EMPTY(&sup->procs) && sup->listing.end.fd < 0;
}

/* A worker that has hung up is dying, perhaps by the out-of-memory killer. */
static bool any_dying(const struct rk_supervisor *sup)
{
	for (uint32_t i = 0; i < sup->nseats; i++) {
		const struct rk_proc *p = sup->seats[i].cur;

		if (p && p->phase == RK_PHASE_READY && p->kill_at)
			return true;
	}
	return false;
}

/* Once a second, so that what that killer does next can be told from what it did. */
static void count_memory_kills(struct rk_supervisor *sup)
{
	uint64_t now = rk_now_ns();

	if (!any_current(sup) || any_dying(sup) ||
	    (sup->memory_seen_ns && now - sup->memory_seen_ns < RK_NS_PER_SEC))
		return;
	sup->memory_seen_ns = now;
	sup->memory_kills = rk_memory_kills();
}

static void *supervise(void *arg)
{
	struct rk_supervisor *sup = arg;

	pthread_setname_np(pthread_self(), "rk-supervisor");
	while (!finished(sup)) {
		struct epoll_event ev[BATCH];
		int n = epoll_wait(sup->epoll, ev, BATCH, timeout_ms(sup));

		for (int i = 0; i < n; i++) {
			struct rk_source *s = ev[i].data.ptr;

			if (s->fd >= 0) /* not unwatched earlier in this batch */
				s->handle(sup, s->proc);
		}
		run_timers(sup);
		free_dead(sup);
		count_memory_kills(sup);
	}
	return NULL;
}

static int start_thread(struct rk_supervisor *sup, struct rk_error *err)
{
	int rc = rk_thread_start(&sup->thread, supervise, sup);

	return rc ? rk_error_set(err, rc, "cannot start the supervisor thread: %m") : 0;
}

static void supervisor_free(struct rk_supervisor *sup)
{
	if (sup->epoll >= 0)
		close(sup->epoll);
	if (sup->event.fd >= 0)
		close(sup->event.fd);
	rk_payload_unref(sup->params.payload);
	rk_payload_unref(sup->asked.payload);
	pthread_mutex_destroy(&sup->lock);
	free(sup);
}

int rk_supervisor_create(struct rk_supervisor **out, struct rk_dispatch *dispatch,
			 struct rk_registry *registry, int executable,
			 const struct rk_supervisor_observer *observer, struct rk_error *err)
{
	struct rk_supervisor *sup = calloc(1, sizeof(*sup));
	int rc;

	if (!sup)
		return rk_error_set(err, ENOMEM, "no memory for the supervisor");
	rc = pthread_mutex_init(&sup->lock, NULL);
	if (rc) {
		free(sup);
		return rk_error_set(err, rc, "cannot create a mutex");
	}
	sup->dispatch = dispatch;
	sup->registry = registry;
	sup->executable = executable;
	sup->observer = *observer;
	for (uint32_t i = 0; i < RK_LANES_MAX; i++)
		sup->seats[i].lane = i;
	sup->listing.end.fd = -1;
	TAILQ_INIT(&sup->procs);
	TAILQ_INIT(&sup->dead);
	TAILQ_INIT(&sup->orphans);
	sup->epoll = epoll_create1(EPOLL_CLOEXEC);
	sup->event = (struct rk_source){eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), on_wake, NULL};
	if (sup->epoll < 0 || sup->event.fd < 0 || rk_supervisor_watch(sup, &sup->event))
		rc = rk_error_set(err, errno, "cannot create an event queue: %m");
	else
		rc = start_thread(sup, err);
	if (rc) {
		supervisor_free(sup);
		return rc;
	}
	*out = sup;
	return 0;
}

void rk_supervisor_destroy(struct rk_supervisor *sup)
{
	if (!sup)
		return;
	pthread_mutex_lock(&sup->lock);
	sup->quit = true;
	sup->want = false;
	sup->asked_epoch++;
	pthread_mutex_unlock(&sup->lock);
	rk_supervisor_wake(sup);
	pthread_join(sup->thread, NULL);
	free_dead(sup);
	release_held(&sup->orphans);
	supervisor_free(sup);
}
