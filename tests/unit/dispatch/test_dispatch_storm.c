/* SPDX-License-Identifier: MIT */
/* Submitters, a supervisor, deaths, cancels, drains, probes, kernels that go: all at once. */
#include "tests/unit/dispatch/dispatch_rig.h"

#define SUBMITTERS 3
#define EACH	   400

/* They are plain, fused, and a ring kernel's. */
static const char *const storm_kernels[KERNELS] = {
	"[kernel]\nid = test/a\nmode = batch\ndescription = test\n"
	"[inputs]\nx = u32[n]\n[outputs]\ny = u32[n]\n"
	"[cpu]\nlibrary = builtin\nentry = echo\nargs = x, y, n\n",
	"[kernel]\nid = test/b\nmode = batch\ndescription = test\nbatchable = n\n"
	"[inputs]\nx = u32[n]\n[outputs]\ny = u32[n]\n"
	"[cuda]\nmodule = builtin\nentry = echo\nargs = x, y, n\ngrid = n\nblock = 4\n",
	"[kernel]\nid = test/c\nmode = ring\ndescription = test\n"
	"[inputs]\nx = u32[n]\n[outputs]\ny = u32[n]\n"
	"[cpu]\nlibrary = builtin\nentry = echo\nargs = x, y, n\n",
};

struct storm {
	struct rk_dispatch d;
	struct rk_registry *reg;
	struct rk_payload *pool;
	struct rk_kernel *k[KERNELS];
	int fd, peer;
	unsigned int fused, together;
	struct rk_wire_shared page;
	_Alignas(64) atomic_uint submitted, done, refused, unbalanced, idle, tripped;
	atomic_bool over;
};

static void storm_done(struct rk_message *m, void *ctx)
{
	struct storm *s = ctx;

	/* one that was cancelled may be running still, and its state belongs to the lock */
	if (m->error.code == ECANCELED || m->state == RK_MESSAGE_DONE)
		atomic_fetch_add(&s->done, 1);
}

static void *storm_submit(void *arg)
{
	struct storm *s = arg;
	unsigned int seed = (unsigned int)(uintptr_t)&seed;

	for (unsigned int i = 0; i < EACH; i++) {
		struct rk_message *m = make_message(s->k[i % KERNELS], s->pool, 4);

		m->done = storm_done;
		m->ctx = s;
		while (rk_dispatch_submit(&s->d, m, i % 3, NULL)) {
			atomic_fetch_add(&s->refused, 1);
			sched_yield();
		}
		atomic_fetch_add(&s->submitted, 1);
		if (!(rand_r(&seed) % 4))
			rk_dispatch_cancel(&s->d, m);
		rk_message_unref(m);
	}
	return NULL;
}

static void *storm_sample(void *arg)
{
	struct storm *s = arg;

	while (!atomic_load(&s->over)) {
		bool ok = books_balance(&s->d, NULL);

		for (unsigned int i = 0; i < KERNELS; i++)
			ok = ok && books_balance(&s->d, s->k[i]);
		if (!ok)
			atomic_fetch_add(&s->unbalanced, 1);
	}
	return NULL;
}

static void storm_activate(struct storm *s, unsigned int i)
{
	atomic_store(&s->k[i]->backend, 1 + (i == 1 ? RK_WIRE_CUDA : RK_WIRE_CPU));
	rk_dispatch_kernel_loaded(&s->d, RK_ONLY_LANE, s->k[i], true);
	rk_dispatch_kernel_state(&s->d, s->k[i], RK_KERNEL_ACTIVE, "");
}

/* A probe, which is cancelled where it would wait too long. */
static void storm_probe(struct storm *s, unsigned int i)
{
	struct rk_message *m = make_message(s->k[i % KERNELS], s->pool, 4);

	m->probe = true;
	if (!rk_dispatch_submit_probe(&s->d, RK_ONLY_LANE, m, NULL) && i % 5)
		rk_dispatch_cancel(&s->d, m);
	rk_message_unref(m);
}

/* Switches kernels off and on, and acceptance. */
static void *storm_switch(void *arg)
{
	struct storm *s = arg;

	for (unsigned int i = 0; !atomic_load(&s->over); i++) {
		struct rk_kernel *k = s->k[i % KERNELS];

		rk_dispatch_kernel_state(&s->d, k, i % 2 ? RK_KERNEL_OFF : RK_KERNEL_ENDING, "off");
		storm_activate(s, i % KERNELS);
		storm_probe(s, i + 1);
		rk_dispatch_accept(&s->d, i % 2);
		rk_dispatch_accept(&s->d, true);
		rk_dispatch_flush(&s->d);
		rk_dispatch_set_limits(&s->d, 1 + i % 8, 0, 0);
	}
	return NULL;
}

static void release(struct rk_message_list *held)
{
	struct rk_message *m;

	while ((m = TAILQ_FIRST(held))) {
		TAILQ_REMOVE(held, m, queue);
		rk_message_unref(m);
	}
}

union storm_packet {
	struct rk_wire_run run;
	unsigned char bytes[RK_WIRE_RUN_MAX];
};

/* Answer the messages of @run, the last one first; every 50th of all is not: true. */
static bool storm_answer(struct storm *s, const struct rk_wire_run *run, unsigned int *answered)
{
	const size_t args = run->nargs * sizeof(struct rk_wire_arg);
	struct rk_wire_done done = {.slot = run->slot};
	struct rk_error err;

	atomic_store(&s->page.begun[run->slot], run->id);
	s->fused += run->nmore > 0;
	for (uint32_t i = run->nmore + 1; i > 0; i--) {
		const struct rk_wire_more *more =
			(void *)((const char *)run->args + args + (i - 2) * (sizeof(*more) + args));

		if (++*answered % 50 == 0)
			return true;
		done.id = i > 1 ? more->id : run->id;
		if (rk_dispatch_complete(&s->d, RK_ONLY_LANE, &done,
					 offsetof(struct rk_wire_done, text), &err))
			fail_msg("%s", err.msg);
	}
	return false;
}

/* The runs of a packet, of which one may kill the worker: its id, else 0. */
static uint64_t storm_packet(struct storm *s, const union storm_packet *p, size_t len,
			     unsigned int *answered)
{
	const struct rk_wire_run *run = &p->run;

	while ((const unsigned char *)run < p->bytes + len) {
		const size_t args = run->nargs * sizeof(struct rk_wire_arg);

		if (storm_answer(s, run, answered))
			return run->id;
		run = (const void *)((const char *)run->args + args +
				     run->nmore * (sizeof(struct rk_wire_more) + args));
		s->together += (const unsigned char *)run < p->bytes + len;
	}
	return 0;
}

/* The supervisor: answers, and now and then the worker dies. Until everything is done. */
static void storm_supervise(struct storm *s, pthread_t *submitters)
{
	struct rk_message_list held = TAILQ_HEAD_INITIALIZER(held);
	unsigned int answered = 0, joined = 0;
	static union storm_packet p;
	uint64_t killer;
	ssize_t len;

	while (joined < SUBMITTERS || rk_dispatch_in_flight(&s->d)) {
		if (joined < SUBMITTERS && !pthread_tryjoin_np(submitters[joined], NULL))
			joined++;
		len = recv(s->peer, &p, sizeof(p), MSG_DONTWAIT);
		if (len < 0)
			continue;
		killer = storm_packet(s, &p, (size_t)len, &answered);
		if (!killer)
			continue;
		(answered % 100 ? rk_dispatch_bury : rk_dispatch_detach)(&s->d, RK_ONLY_LANE,
									 "died", killer, &held);
		while (recv(s->peer, &p, sizeof(p), MSG_DONTWAIT) >= 0)
			;
		release(&held);
		rk_dispatch_attach(&s->d, RK_ONLY_LANE, s->fd, &s->page, 1 + answered % 4, 3);
	}
}

static void storm_idle(void *ctx)
{
	atomic_fetch_add(&((struct storm *)ctx)->idle, 1);
}

static void storm_tripped(void *ctx, struct rk_kernel *k)
{
	atomic_fetch_add(&((struct storm *)ctx)->tripped, 1);
	atomic_store(&k->wanted, true); /* enabled again at once */
}

static void storm_none(void *ctx, struct rk_kernel *k)
{
	(void)ctx;
	(void)k;
}

static void storm_end(struct storm *s)
{
	struct rk_counts c;

	rk_dispatch_snapshot(&s->d, NULL, &c);
	assert_int_equal(s->unbalanced, 0);
	assert_int_equal(c.in_flight, 0);
	assert_int_equal(s->done, s->submitted); /* each once, and none that was refused */
	assert_int_equal(s->submitted, SUBMITTERS * EACH);
	assert_true(c.count[RK_COUNT_PROCESSED] > 0);
	assert_true(s->fused > 0 && s->together > 0);
	assert_true(TAILQ_EMPTY(&s->d.probes));
	assert_int_equal(payload_used(s->pool), 0);
	for (unsigned int i = 0; i < KERNELS; i++) {
		assert_int_equal(s->k[i]->refs, 2);
		rk_kernel_unref(s->k[i]);
	}
}

TEST(storm)
{
	struct storm *s = calloc(1, sizeof(*s));
	struct rk_message_list held = TAILQ_HEAD_INITIALIZER(held);
	pthread_t submitters[SUBMITTERS], sampler, switcher;
	struct rk_error err;
	int pair[2];

	assert_non_null(s);
	const struct rk_dispatch_observer observer = {
		.idle = storm_idle, .unloadable = storm_none, .tripped = storm_tripped, .ctx = s};

	assert_int_equal(rk_dispatch_init(&s->d, &observer), 0);
	assert_int_equal(rk_registry_create(&s->reg), 0);
	assert_int_equal(rk_payload_create(64 << 20, 100, &s->pool, &err), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	s->fd = pair[0];
	s->peer = pair[1];
	for (unsigned int i = 0; i < KERNELS; i++) {
		s->k[i] = add_described(s->reg, storm_kernels[i], false);
		storm_activate(s, i);
	}
	rk_dispatch_accept(&s->d, true);
	rk_dispatch_attach(&s->d, RK_ONLY_LANE, s->fd, &s->page, 2, 3);
	assert_int_equal(pthread_create(&sampler, NULL, storm_sample, s), 0);
	assert_int_equal(pthread_create(&switcher, NULL, storm_switch, s), 0);
	for (unsigned int i = 0; i < SUBMITTERS; i++)
		assert_int_equal(pthread_create(&submitters[i], NULL, storm_submit, s), 0);
	storm_supervise(s, submitters);
	atomic_store(&s->over, true);
	assert_int_equal(pthread_join(sampler, NULL), 0);
	assert_int_equal(pthread_join(switcher, NULL), 0);
	rk_dispatch_flush(&s->d);
	assert_int_equal(rk_dispatch_end_all(&s->d, EIO, "probes alone", &held), 0);
	release(&held);
	storm_end(s);
	rk_dispatch_destroy(&s->d);
	rk_registry_destroy(s->reg);
	rk_payload_unref(s->pool);
	close(s->fd);
	close(s->peer);
	free(s);
}
