/* SPDX-License-Identifier: MIT */
/* How much of a payload pool is in use, as its refusals say, and how much memory it takes. */
#ifndef RK_TESTS_PAYLOAD_USED_H
#define RK_TESTS_PAYLOAD_USED_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "runtime/request/payload.h"

#define PAGE 4096ULL

/* Bytes allocated and charged now; UINT64_MAX where the pool does not say. */
static inline uint64_t payload_used(struct rk_payload *pool)
{
	unsigned long long used;
	struct rk_error err = {0};
	const char *at;

	if (!rk_payload_charge(pool, 0, UINT64_MAX, &err))
		return UINT64_MAX;
	at = strstr(err.msg, "max_buffered_bytes: ");
	return at && sscanf(at, "max_buffered_bytes: %llu of ", &used) == 1 ? used : UINT64_MAX;
}

static inline uint64_t pages(uint64_t bytes)
{
	return (bytes + PAGE - 1) / PAGE * PAGE;
}

/* Bytes of memory behind the pool's file. */
static inline uint64_t backed(struct rk_payload *pool)
{
	struct stat st;

	return fstat(rk_payload_fd(pool), &st) ? UINT64_MAX : (uint64_t)st.st_blocks * 512;
}

#endif
