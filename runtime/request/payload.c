/* SPDX-License-Identifier: MIT */
/*
 * Binary buddy allocation after Knuth, The Art of Computer Programming 1, section 2.5,
 * algorithms R and S. The metadata of a page is touched only when the page is at the
 * start of a block, so an idle pool costs next to nothing.
 */
#include "runtime/request/payload.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "runtime/base/memfd.h"
#include "runtime/base/thread.h"
#include "runtime/request/account.h"

#define PAGE_SHIFT  12
#define PAGE_BYTES  (1ULL << PAGE_SHIFT)
#define MAX_ORDER   36
#define MIN_SIZE    (64ULL << 20)
#define SPARE	    4		  /* address space per byte of limit, for rounding and fragments */
#define PUNCH_BYTES (64ULL << 10) /* blocks this large go back to the system at once */
#define RETAIN_BYTES                                                                               \
	(16ULL << 20) /* smaller ones once so much is retained and nothing is in use               \
		       */
#define NONE UINT32_MAX

struct page {
	uint32_t next, prev; /* free list */
	uint8_t order;	     /* of the block that starts here */
	bool free;	     /* a free block starts here */
};

struct rk_payload {
	atomic_uint refs;
	int fd;
	char *base;
	uint64_t size;	  /* a power of two */
	unsigned int top; /* order of the whole file */
	pthread_mutex_t lock;
	struct rk_accounts held; /* blocks (whole pages) and charges */
	uint64_t blocks;	 /* allocated */
	uint64_t retained; /* at most this much of freed small blocks is still backed by memory */
	uint32_t heads[MAX_ORDER + 1];
	struct page *pages;
};

static void list_add(struct rk_payload *p, uint32_t page, unsigned int order)
{
	struct page *pg = &p->pages[page];

	pg->order = (uint8_t)order;
	pg->free = true;
	pg->prev = NONE;
	pg->next = p->heads[order];
	if (pg->next != NONE)
		p->pages[pg->next].prev = page;
	p->heads[order] = page;
}

static void list_del(struct rk_payload *p, uint32_t page)
{
	struct page *pg = &p->pages[page];

	pg->free = false;
	if (pg->prev != NONE)
		p->pages[pg->prev].next = pg->next;
	else
		p->heads[pg->order] = pg->next;
	if (pg->next != NONE)
		p->pages[pg->next].prev = pg->prev;
}

static unsigned int order_of(uint64_t bytes)
{
	unsigned int order = 0;

	while ((PAGE_BYTES << order) < bytes)
		order++;
	return order;
}

static uint64_t round_page(uint64_t bytes)
{
	return (bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
}

/* Returns the first page of a block of @order, or NONE. */
static uint32_t take_locked(struct rk_payload *p, unsigned int order)
{
	unsigned int have = order;
	uint32_t page;

	while (have <= p->top && p->heads[have] == NONE)
		have++;
	if (have > p->top)
		return NONE;
	page = p->heads[have];
	list_del(p, page);
	while (have > order) {
		have--;
		list_add(p, page + (1U << have), have);
	}
	p->pages[page].order = (uint8_t)order;
	return page;
}

static void give_locked(struct rk_payload *p, uint32_t page)
{
	unsigned int order = p->pages[page].order;

	while (order < p->top) {
		uint32_t buddy = page ^ (1U << order);

		if (!p->pages[buddy].free || p->pages[buddy].order != order)
			break;
		list_del(p, buddy);
		page &= ~(1U << order);
		order++;
	}
	list_add(p, page, order);
}

/* Give the upper part of the block at @page back, so that @order is left. */
static void cut_locked(struct rk_payload *p, uint32_t page, unsigned int order)
{
	while (p->pages[page].order > order) {
		unsigned int half = --p->pages[page].order;

		p->pages[page + (1U << half)].order = (uint8_t)half;
		give_locked(p, page + (1U << half));
	}
}

/* Make the block at @page one of @order by taking what lies behind it, if that is free. */
static bool extend_locked(struct rk_payload *p, uint32_t page, unsigned int order)
{
	unsigned int have;

	for (have = p->pages[page].order; have < order; have++) {
		uint32_t buddy = page ^ (1U << have);

		if (buddy < page || !p->pages[buddy].free || p->pages[buddy].order != have)
			return false;
	}
	for (have = p->pages[page].order; have < order; have++)
		list_del(p, page + (1U << have));
	p->pages[page].order = (uint8_t)order;
	return true;
}

static size_t table_bytes(const struct rk_payload *p)
{
	return (p->size >> PAGE_SHIFT) * sizeof(*p->pages);
}

static int payload_map(struct rk_payload *p, struct rk_error *err)
{
	p->fd = rk_memfd_create("rkfs-payload");
	if (p->fd < 0)
		return rk_error_set(err, -p->fd, "cannot create payload memory: %m");
	if (ftruncate(p->fd, (off_t)p->size) ||
	    fcntl(p->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return rk_error_set(err, errno, "cannot seal payload memory: %m");
	p->base = mmap(NULL, p->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, p->fd, 0);
	if (p->base == MAP_FAILED) {
		p->base = NULL;
		return rk_error_set(
			err, errno,
			"cannot map %llu bytes of payload memory: %m (ulimit -v bounds it)",
			(unsigned long long)p->size);
	}
	if (madvise(p->base, p->size, MADV_DONTDUMP)) /* what users sent is in no core file */
		return rk_error_set(err, errno, "cannot keep payload memory out of core files: %m");
	/* not calloc, which may zero, and so touch, all of it */
	p->pages = mmap(NULL, table_bytes(p), PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p->pages == MAP_FAILED) {
		p->pages = NULL;
		return rk_error_set(err, ENOMEM, "no memory for the payload table");
	}
	return 0;
}

static void payload_destroy(struct rk_payload *p)
{
	if (p->pages)
		munmap(p->pages, table_bytes(p));
	if (p->base)
		munmap(p->base, p->size);
	if (p->fd >= 0)
		close(p->fd);
	pthread_mutex_destroy(&p->lock);
	rk_accounts_destroy(&p->held);
	free(p);
}

/* A file that may not be larger (RLIMIT_FSIZE) has less room for rounding and fragments. */
static int choose_size(struct rk_payload *p, struct rk_error *err)
{
	struct rlimit file;

	if (getrlimit(RLIMIT_FSIZE, &file) < 0)
		return rk_error_set(err, errno, "cannot read the limit on file sizes: %m");
	p->size = MIN_SIZE;
	while (p->size < p->held.limit * SPARE && p->size < PAGE_BYTES << 31 &&
	       p->size << 1 <= file.rlim_cur)
		p->size <<= 1;
	if (p->size >= p->held.limit && p->size <= file.rlim_cur)
		return 0;
	return rk_error_set(
		err, EFBIG,
		"max_buffered_bytes is %llu, but no file may be larger than %llu bytes: "
		"raise that limit (ulimit -f, LimitFSIZE=), or set less",
		(unsigned long long)p->held.limit, (unsigned long long)file.rlim_cur);
}

int rk_payload_create(uint64_t limit, unsigned int share, struct rk_payload **pool,
		      struct rk_error *err)
{
	struct rk_payload *p = calloc(1, sizeof(*p));
	int rc;

	if (!p)
		return rk_error_set(err, ENOMEM, "no memory for the payload pool");
	rc = pthread_mutex_init(&p->lock, NULL);
	if (rc) {
		free(p);
		return rk_error_set(err, rc, "cannot create a mutex");
	}
	atomic_init(&p->refs, 1);
	rk_accounts_init(&p->held, limit, limit / 100 * share);
	p->fd = -1;
	rc = choose_size(p, err);
	p->top = order_of(p->size);
	for (unsigned int i = 0; i <= MAX_ORDER; i++)
		p->heads[i] = NONE;
	if (!rc)
		rc = payload_map(p, err);
	if (rc) {
		payload_destroy(p);
		return rc;
	}
	list_add(p, 0, p->top);
	*pool = p;
	return 0;
}

struct rk_payload *rk_payload_ref(struct rk_payload *pool)
{
	atomic_fetch_add_explicit(&pool->refs, 1, memory_order_relaxed);
	return pool;
}

void rk_payload_unref(struct rk_payload *pool)
{
	if (pool && atomic_fetch_sub_explicit(&pool->refs, 1, memory_order_acq_rel) == 1)
		payload_destroy(pool);
}

int rk_payload_fd(const struct rk_payload *pool)
{
	return pool->fd;
}

uint64_t rk_payload_size(const struct rk_payload *pool)
{
	return pool->size;
}

/* Back the block by memory now: a write to a page that cannot be had would be a SIGBUS. */
static int populate(struct rk_payload *p, uint64_t offset, uint64_t bytes)
{
	int rc;

	do
		rc = fallocate(p->fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)bytes);
	while (rc && errno == EINTR);
	return rc ? -errno : 0;
}

static void punch(struct rk_payload *p, uint64_t offset, uint64_t bytes)
{
	/* A failure only keeps memory that is used again later. */
	(void)!fallocate(p->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
			 (off_t)bytes);
}

static int no_piece(uint64_t bytes, struct rk_error *err)
{
	return rk_error_set(err, ENOMEM,
			    "payload memory is fragmented: no room for %llu bytes in one piece",
			    (unsigned long long)bytes);
}

static int no_memory(uint64_t bytes, int rc, struct rk_error *err)
{
	return rk_error_set(err, ENOMEM, "the system has no memory for %llu bytes: %s",
			    (unsigned long long)bytes, strerror(-rc));
}

static int check_size(const struct rk_payload *p, uint64_t bytes, struct rk_error *err)
{
	if (bytes && bytes <= p->size)
		return 0;
	return rk_error_set(err, ENOMEM, "%llu bytes do not fit into payload memory",
			    (unsigned long long)bytes);
}

int rk_payload_alloc(struct rk_payload *pool, uid_t uid, uint64_t bytes, struct rk_block *block,
		     struct rk_error *err)
{
	uint64_t pages = round_page(bytes);
	uint32_t page = NONE;
	int rc = check_size(pool, bytes, err);

	if (rc)
		return rc;
	pthread_mutex_lock(&pool->lock);
	rc = rk_accounts_charge(&pool->held, uid, pages, err);
	if (!rc) {
		page = take_locked(pool, order_of(bytes));
		if (page == NONE) {
			rk_accounts_uncharge(&pool->held, uid, pages);
			rc = no_piece(bytes, err);
		} else {
			pool->blocks++;
		}
	}
	pthread_mutex_unlock(&pool->lock);
	if (rc)
		return rc;
	struct rk_block got = {
		.pool = rk_payload_ref(pool),
		.offset = (uint64_t)page << PAGE_SHIFT,
		.data = pool->base + ((uint64_t)page << PAGE_SHIFT),
		.bytes = bytes,
		.uid = uid,
	};
	if (pages >= PUNCH_BYTES) {
		rc = populate(pool, got.offset, pages);
		if (rc) {
			rk_payload_free(&got);
			return no_memory(bytes, rc, err);
		}
	}
	*block = got;
	return 0;
}

/*
 * Before it can be allocated again: no kernel that reads too far shall see what a request of
 * somebody else has left there. @from (a whole number of pages) on, by a hole where @punched says
 * so.
 */
static void wipe(const struct rk_block *block, uint64_t from, bool punched)
{
	uint64_t bytes = round_page(block->bytes) - from;

	if (punched)
		punch(block->pool, block->offset + from, bytes);
	else
		memset((char *)block->data + from, 0, bytes);
}

static void shrink(struct rk_block *block, uint64_t bytes)
{
	uint64_t from = round_page(block->bytes), to = round_page(bytes);
	struct rk_payload *p = block->pool;

	/* a block below PUNCH_BYTES is retained as a whole */
	wipe(block, to, from >= PUNCH_BYTES);
	pthread_mutex_lock(&p->lock);
	cut_locked(p, (uint32_t)(block->offset >> PAGE_SHIFT), order_of(bytes));
	rk_accounts_uncharge(&p->held, block->uid, from - to);
	if (from < PUNCH_BYTES)
		p->retained += from - to;
	pthread_mutex_unlock(&p->lock);
	block->bytes = bytes;
}

/* In place: 0, -EAGAIN where there is no room, -ENOMEM where there is no memory. */
static int grow(struct rk_block *block, uint64_t bytes, struct rk_error *err)
{
	uint64_t from = round_page(block->bytes), to = round_page(bytes);
	uint32_t page = (uint32_t)(block->offset >> PAGE_SHIFT);
	uint64_t populated = from < PUNCH_BYTES ? 0 : from;
	struct rk_payload *p = block->pool;
	int rc;

	pthread_mutex_lock(&p->lock);
	rc = rk_accounts_charge(&p->held, block->uid, to - from, err);
	if (!rc && !extend_locked(p, page, order_of(bytes))) {
		rk_accounts_uncharge(&p->held, block->uid, to - from);
		rc = -EAGAIN;
	}
	pthread_mutex_unlock(&p->lock);
	if (rc)
		return rc;
	if (to >= PUNCH_BYTES && to > populated) {
		rc = populate(p, block->offset + populated, to - populated);
		if (rc) {
			pthread_mutex_lock(&p->lock);
			cut_locked(p, page, order_of(block->bytes));
			rk_accounts_uncharge(&p->held, block->uid, to - from);
			pthread_mutex_unlock(&p->lock);
			return no_memory(bytes, rc, err);
		}
	}
	block->bytes = bytes;
	return 0;
}

int rk_payload_resize(struct rk_block *block, uint64_t bytes, struct rk_error *err)
{
	struct rk_block moved;
	int rc = check_size(block->pool, bytes, err);

	if (rc)
		return rc;
	if (bytes <= block->bytes) {
		shrink(block, bytes);
		return 0;
	}
	rc = grow(block, bytes, err);
	if (rc != -EAGAIN)
		return rc;
	rc = rk_payload_alloc(block->pool, block->uid, bytes, &moved, err);
	if (rc)
		return rc;
	memcpy(moved.data, block->data, block->bytes);
	rk_payload_free(block);
	*block = moved;
	return 0;
}

void rk_payload_free(struct rk_block *block)
{
	struct rk_payload *p = block->pool;
	uint64_t pages = round_page(block->bytes);

	if (!p)
		return;
	wipe(block, 0, pages >= PUNCH_BYTES);
	pthread_mutex_lock(&p->lock);
	give_locked(p, (uint32_t)(block->offset >> PAGE_SHIFT));
	rk_accounts_uncharge(&p->held, block->uid, pages);
	p->blocks--;
	if (pages < PUNCH_BYTES)
		p->retained += pages;
	if (!p->blocks && p->retained > RETAIN_BYTES) {
		punch(p, 0, p->size);
		p->retained = 0;
	}
	pthread_mutex_unlock(&p->lock);
	*block = (struct rk_block){0};
	rk_payload_unref(p);
}

int rk_payload_charge(struct rk_payload *pool, uid_t uid, uint64_t bytes, struct rk_error *err)
{
	RK_GUARD(&pool->lock);
	return rk_accounts_charge(&pool->held, uid, bytes, err);
}

void rk_payload_uncharge(struct rk_payload *pool, uid_t uid, uint64_t bytes)
{
	RK_GUARD(&pool->lock);
	rk_accounts_uncharge(&pool->held, uid, bytes);
}
