/* SPDX-License-Identifier: MIT */
/* Which parts of which chunks are taken, by address alone. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "gpu/cuda/memory_internal.h"

void rk_pool_init(struct rk_pool *pool)
{
	TAILQ_INIT(&pool->chunks);
}

int rk_pool_add(struct rk_pool *pool, uint64_t at, uint64_t bytes)
{
	struct rk_pool_chunk *chunk = calloc(1, sizeof(*chunk));
	struct rk_pool_part *part = calloc(1, sizeof(*part));

	if (!chunk || !part) {
		free(chunk);
		free(part);
		return -ENOMEM;
	}
	chunk->at = part->at = at;
	chunk->bytes = part->bytes = bytes;
	TAILQ_INIT(&chunk->parts);
	TAILQ_INSERT_HEAD(&chunk->parts, part, link);
	TAILQ_INSERT_TAIL(&pool->chunks, chunk, link);
	return 0;
}

static struct rk_pool_part *first_fit(struct rk_pool_chunk *chunk, uint64_t bytes)
{
	struct rk_pool_part *part;

	TAILQ_FOREACH (part, &chunk->parts, link)
		if (!part->taken && part->bytes >= bytes)
			return part;
	return NULL;
}

/* Take the first @bytes of @part, which is free and has as many. */
static int take(struct rk_pool_chunk *chunk, struct rk_pool_part *part, uint64_t bytes)
{
	struct rk_pool_part *rest;

	if (part->bytes > bytes) {
		rest = calloc(1, sizeof(*rest));
		if (!rest)
			return -ENOMEM;
		rest->at = part->at + bytes;
		rest->bytes = part->bytes - bytes;
		part->bytes = bytes;
		TAILQ_INSERT_AFTER(&chunk->parts, part, rest, link);
	}
	part->taken = true;
	return 0;
}

int rk_pool_take(struct rk_pool *pool, uint64_t bytes, uint64_t *at)
{
	struct rk_pool_chunk *chunk;
	uint64_t whole;
	int rc;

	if (bytes > UINT64_MAX - (RK_POOL_ALIGN - 1))
		return -ENOSPC;
	whole = (bytes + RK_POOL_ALIGN - 1) / RK_POOL_ALIGN * RK_POOL_ALIGN;
	TAILQ_FOREACH (chunk, &pool->chunks, link) {
		struct rk_pool_part *part = first_fit(chunk, whole);

		if (!part)
			continue;
		rc = take(chunk, part, whole);
		if (rc == 0)
			*at = part->at;
		return rc;
	}
	return -ENOSPC;
}

/* Make @part and the one behind it one, where both are free. */
static void join(struct rk_pool_chunk *chunk, struct rk_pool_part *part)
{
	struct rk_pool_part *next = part ? TAILQ_NEXT(part, link) : NULL;

	if (!next || part->taken || next->taken)
		return;
	part->bytes += next->bytes;
	TAILQ_REMOVE(&chunk->parts, next, link);
	free(next);
}

bool rk_pool_give(struct rk_pool *pool, uint64_t at)
{
	struct rk_pool_chunk *chunk;
	struct rk_pool_part *part;

	TAILQ_FOREACH (chunk, &pool->chunks, link) {
		if (at < chunk->at || at - chunk->at >= chunk->bytes)
			continue;
		TAILQ_FOREACH (part, &chunk->parts, link) {
			if (part->at != at || !part->taken)
				continue;
			part->taken = false;
			join(chunk, part);
			join(chunk, TAILQ_PREV(part, rk_pool_parts, link));
			return true;
		}
	}
	return false;
}

bool rk_pool_remove_idle(struct rk_pool *pool, uint64_t *at, uint64_t *bytes)
{
	struct rk_pool_chunk *chunk;
	struct rk_pool_part *part;

	TAILQ_FOREACH (chunk, &pool->chunks, link) {
		part = TAILQ_FIRST(&chunk->parts);
		if (part->taken || TAILQ_NEXT(part, link))
			continue;
		*at = chunk->at;
		*bytes = chunk->bytes;
		TAILQ_REMOVE(&pool->chunks, chunk, link);
		free(part);
		free(chunk);
		return true;
	}
	return false;
}
