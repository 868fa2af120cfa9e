/* SPDX-License-Identifier: MIT */
/*
 * Blocks as threads, threads as fibers. Never compiled with ThreadSanitizer (see emu.mk): a block's
 * fibers share what is here without being in any order for it.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "tests/cuda_emu/cuda_emu.h"

#ifdef RK_EMU_TSAN
extern "C" {
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned int flags);
void __tsan_switch_to_fiber(void *fiber, unsigned int flags);
void __tsan_acquire(void *at);
void __tsan_release(void *at);
}
#else
#define __tsan_get_current_fiber()	     nullptr
#define __tsan_create_fiber(flags)	     nullptr
#define __tsan_switch_to_fiber(fiber, flags) ((void)(fiber))
#define __tsan_acquire(at)		     ((void)(at))
#define __tsan_release(at)		     ((void)(at))
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#else
#define __sanitizer_start_switch_fiber(save, bottom, size)  ((void)(save), (void)(bottom))
#define __sanitizer_finish_switch_fiber(save, bottom, size) ((void)(save), (void)(bottom))
#endif

#define STACK	(128 << 10)
#define WARP	32
#define THREADS 1024
#define NO_SYNC 1 /* of __tsan_switch_to_fiber: it is no order of what the fibers do */

__thread const struct rk_emu_place *rk_emu_here;

/* What stands still while another one runs. */
struct context {
	ucontext_t uc;
	void *fake; /* AddressSanitizer's */
	const void *stack;
	size_t size;
	void *tsan;
};

struct fiber {
	struct context context;
	struct rk_emu_place place;
	bool alive;
};

struct warp {
	unsigned int arrived; /* threads */
	uint32_t votes, result;
	unsigned int turn; /* ballots so far */
	char order[2];	   /* addresses for ThreadSanitizer, in turns */
};

struct block {
	struct context scheduler;
	struct fiber fibers[THREADS];
	struct fiber *now;
	unsigned int threads, alive;
	bool moved; /* whether a fiber did anything since the scheduler looked */
	/* the barrier */
	unsigned int arrived, turn;
	int where, votes, result;
	char order[2];
	struct warp warps[THREADS / WARP];
	const struct launch *launch;
	struct block *next; /* idle ones */
};

struct launch {
	void (*run)(void **args);
	void **args;
	struct rk_emu_dim blocks, threads;
	mutable char begun, ended; /* addresses for ThreadSanitizer */
};

static __thread struct block *block;

static void fail(const char *why)
{
	fprintf(stderr, "cuda_emu: %s\n", why);
	abort();
}

/* @from is not to be run again if @ends. */
static void switch_to(struct context *from, struct context *to, bool ends)
{
	__sanitizer_start_switch_fiber(ends ? nullptr : &from->fake, to->stack, to->size);
	__tsan_switch_to_fiber(to->tsan, NO_SYNC);
	swapcontext(&from->uc, &to->uc);
	__sanitizer_finish_switch_fiber(from->fake, nullptr, nullptr);
}

static void pause_fiber(void)
{
	switch_to(&block->now->context, &block->scheduler, false);
}

void rk_emu_yield(void)
{
	block->moved = true;
	pause_fiber();
}

static void open_barrier(struct block *b)
{
	b->result = b->votes;
	b->votes = 0;
	b->arrived = 0;
	b->turn++;
}

int rk_emu_barrier(int value, int where)
{
	struct block *b = block;
	const unsigned int turn = b->turn;
	char *order = &b->order[turn % 2];

	b->moved = true;
	if (b->arrived && b->where != where)
		fail("threads of a block wait at different barriers");
	b->where = where;
	b->votes |= value != 0;
	__tsan_release(order);
	if (++b->arrived == b->alive)
		open_barrier(b);
	while (b->turn == turn)
		pause_fiber();
	b->moved = true;
	__tsan_acquire(order);
	return b->result;
}

uint32_t rk_emu_ballot(uint32_t mask, int value)
{
	const struct rk_emu_place *p = rk_emu_here;
	unsigned int thread =
		p->thread.x + p->threads.x * (p->thread.y + p->threads.y * p->thread.z);
	struct warp *w = &block->warps[thread / WARP];
	const unsigned int turn = w->turn;
	char *order = &w->order[turn % 2];

	if (!(mask >> thread % WARP & 1))
		fail("a thread votes that is not in the mask");
	block->moved = true;
	__tsan_release(order);
	w->votes |= (uint32_t)(value != 0) << thread % WARP;
	if (++w->arrived == (unsigned int)__builtin_popcount(mask)) {
		w->result = w->votes;
		w->votes = 0;
		w->arrived = 0;
		w->turn++;
	}
	while (w->turn == turn)
		pause_fiber();
	block->moved = true;
	__tsan_acquire(order);
	return w->result;
}

static void fiber_main(void)
{
	struct block *b = block;
	struct fiber *f = b->now;

	__sanitizer_finish_switch_fiber(nullptr, &b->scheduler.stack, &b->scheduler.size);
	__tsan_acquire(&b->launch->begun);
	b->launch->run(b->launch->args);
	__tsan_release(&b->launch->ended);
	f->alive = false;
	b->moved = true;
	/* a barrier waits for those that are left */
	if (--b->alive && b->arrived == b->alive)
		open_barrier(b);
	switch_to(&f->context, &b->scheduler, true);
}

static void begin_fiber(struct fiber *f, const struct rk_emu_place *place)
{
	f->place = *place;
	f->alive = true;
	if (getcontext(&f->context.uc))
		fail("getcontext");
	f->context.uc.uc_stack.ss_sp = (void *)f->context.stack;
	f->context.uc.uc_stack.ss_size = STACK;
	makecontext(&f->context.uc, fiber_main, 0);
}

static void run_block(struct block *b, const struct rk_emu_dim *at)
{
	const struct launch *l = b->launch;
	struct rk_emu_place place = {{0, 0, 0}, *at, l->threads, l->blocks};

	for (unsigned int i = 0; i < b->threads; i++) {
		place.thread.x = i % l->threads.x;
		place.thread.y = i / l->threads.x % l->threads.y;
		place.thread.z = i / l->threads.x / l->threads.y;
		begin_fiber(&b->fibers[i], &place);
	}
	b->alive = b->threads;
	/* this thread's beginning, with its thread-local storage, comes before the fibers */
	__tsan_release(&l->begun);
	while (b->alive) {
		b->moved = false;
		for (unsigned int i = 0; i < b->threads; i++) {
			if (!b->fibers[i].alive)
				continue;
			b->now = &b->fibers[i];
			rk_emu_here = &b->now->place;
			switch_to(&b->scheduler, &b->now->context, false);
		}
		if (b->alive && !b->moved)
			fail("a barrier is not reached by all threads");
		sched_yield();
	}
}

/* Idle blocks and their fibers, which ThreadSanitizer is slow to make. */
static struct block *idle;
static pthread_mutex_t idle_lock = PTHREAD_MUTEX_INITIALIZER;

static struct block *take_block(const struct launch *l)
{
	struct block *b;

	pthread_mutex_lock(&idle_lock);
	b = idle;
	if (b)
		idle = b->next;
	pthread_mutex_unlock(&idle_lock);
	if (!b)
		b = (struct block *)calloc(1, sizeof(*b));
	if (!b)
		fail("no memory");
	b->launch = l;
	b->threads = l->threads.x * l->threads.y * l->threads.z;
	if (b->threads == 0 || b->threads > THREADS)
		fail("a block has 1 to 1024 threads");
	for (unsigned int i = 0; i < b->threads; i++) {
		struct context *c = &b->fibers[i].context;

		if (c->stack)
			continue;
		c->size = STACK;
		c->stack = mmap(nullptr, STACK, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (c->stack == MAP_FAILED)
			fail("no memory");
		c->tsan = __tsan_create_fiber(0);
	}
	b->scheduler.tsan = __tsan_get_current_fiber();
	block = b;
	return b;
}

static void put_block(struct block *b)
{
	block = nullptr;
	pthread_mutex_lock(&idle_lock);
	b->next = idle;
	idle = b;
	pthread_mutex_unlock(&idle_lock);
}

/* A block that runs beside others. */
struct together {
	const struct launch *launch;
	struct rk_emu_dim at;
	pthread_t thread;
};

static void *run_together(void *arg)
{
	const struct together *t = (const struct together *)arg;
	struct block *b = take_block(t->launch);

	run_block(b, &t->at);
	put_block(b);
	return nullptr;
}

static void launch_together(const struct launch *l)
{
	struct together *blocks = (struct together *)calloc(l->blocks.x, sizeof(*blocks));

	if (!blocks || l->blocks.y != 1 || l->blocks.z != 1)
		fail("no memory, or a cooperative grid with several axes");
	for (unsigned int i = 0; i < l->blocks.x; i++) {
		blocks[i].launch = l;
		blocks[i].at.x = i;
		if (pthread_create(&blocks[i].thread, nullptr, run_together, &blocks[i]))
			fail("no thread");
	}
	for (unsigned int i = 0; i < l->blocks.x; i++)
		pthread_join(blocks[i].thread, nullptr);
	free(blocks);
}

static void launch_in_turn(const struct launch *l)
{
	struct block *b = take_block(l);
	struct rk_emu_dim at;

	for (at.z = l->blocks.z; at.z-- > 0;)
		for (at.y = l->blocks.y; at.y-- > 0;)
			for (at.x = l->blocks.x; at.x-- > 0;)
				run_block(b, &at);
	put_block(b);
}

int rk_emu_launch(const char *entry, const uint32_t grid[3], const uint32_t block_size[3],
		  int cooperative, void **args)
{
	const struct rk_emu_kernel *k = rk_emu_kernels;
	struct launch l = {};

	while (k->name && strcmp(k->name, entry) != 0)
		k++;
	if (!k->name)
		return -1;
	l.run = k->run;
	l.args = args;
	l.blocks = {grid[0], grid[1], grid[2]};
	l.threads = {block_size[0], block_size[1], block_size[2]};
	__tsan_release(&l.begun);
	if (cooperative)
		launch_together(&l);
	else
		launch_in_turn(&l);
	__tsan_acquire(&l.ended);
	return 0;
}
