/* SPDX-License-Identifier: MIT */
/* Kernels and messages without a file system, for the tests of runtime/. */
#ifndef RK_TESTS_MESSAGE_FIXTURE_H
#define RK_TESTS_MESSAGE_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "runtime/dispatch/dispatch.h"
#include "runtime/kernel/parse.h"
#include "runtime/request/message.h"
#include "runtime/kernel/registry.h"
#include "tests/unit/unit.h"

#define PATIENCE_SECS 40 /* before something that does not come fails the test */
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* CLOCK_REALTIME, for pthread_cond_timedwait. */
static inline struct timespec patience(void)
{
	struct timespec at;

	clock_gettime(CLOCK_REALTIME, &at);
	at.tv_sec += PATIENCE_SECS;
	return at;
}

static inline unsigned int open_fds(void)
{
	unsigned int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Register what @text describes, in place of the one that has the id where @replace says so.
 * Returns a reference. */
static inline struct rk_kernel *add_described(struct rk_registry *reg, const char *text,
					      bool replace)
{
	struct rk_manifest *m = malloc(sizeof(*m));
	const struct rk_kernel_source source = {.manifest = m};
	struct rk_error err = {0};
	struct rk_kernel *k;

	assert_non_null(m);
	if (rk_manifest_parse(m, text, strlen(text), "test.ini", &err) ||
	    rk_registry_add(reg, &source, replace, &k, &err))
		fail_msg("%s", err.msg);
	free(m);
	return k;
}

/* The same for DOMAIN/NAME, x = u32[n] -> y = u32[n], with more lines for [kernel]. */
static inline struct rk_kernel *add_kernel_with(struct rk_registry *reg, const char *domain,
						const char *name, const char *more, bool replace)
{
	char text[512];
	int len;

	len = snprintf(text, sizeof(text),
		       "[kernel]\nid = %s/%s\nmode = batch\ndescription = test\n%s"
		       "[inputs]\nx = u32[n]\n[outputs]\ny = u32[n]\n"
		       "[cpu]\nlibrary = builtin\nentry = echo\nargs = x, y, n\n",
		       domain, name, more);
	assert_true(len < (int)sizeof(text));
	return add_described(reg, text, replace);
}

static inline struct rk_kernel *add_kernel(struct rk_registry *reg, const char *domain,
					   const char *name)
{
	return add_kernel_with(reg, domain, name, "", false);
}

/* How many workers it has killed of late. */
static inline unsigned int kills_of(const struct rk_kernel *k)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < RK_KILLS_MAX; i++)
		n += k->kills[i] != 0;
	return n;
}

/* A message ready to be submitted; every axis of its inputs is @n long, its inputs are zero. */
static inline struct rk_message *make_message(struct rk_kernel *k, struct rk_payload *pool,
					      uint64_t n)
{
	struct rk_message *m = rk_message_new(k, 1000, 42);
	uint64_t shape[RK_MAX_RANK];
	struct rk_error err = {0};

	assert_non_null(m);
	for (unsigned int i = 0; i < RK_MAX_RANK; i++)
		shape[i] = n;
	for (unsigned int i = 0; i < k->manifest.ninputs; i++)
		if (rk_plan_bind(&m->plan, i, k->manifest.inputs[i].rank, shape, &err))
			fail_msg("%s", err.msg);
	if (rk_plan_layout(&m->plan, 1 << 30, &err) ||
	    rk_payload_alloc(pool, 0, m->plan.block_bytes, &m->block, &err))
		fail_msg("%s", err.msg);
	memset(m->block.data, 0, m->plan.block_bytes);
	rk_plan_prepare(&m->plan, m->block.data);
	return m;
}

static inline void *input_of(struct rk_message *m, unsigned int index)
{
	return (char *)m->block.data + m->plan.inputs[index].offset;
}

static inline void *output_of(struct rk_message *m, unsigned int index)
{
	return (char *)m->block.data + m->plan.outputs[index].offset;
}

/* Whether accepted = processed + failed + cancelled + timed_out + in_flight; of @k, or of all. */
static inline bool books_balance(struct rk_dispatch *d, struct rk_kernel *k)
{
	struct rk_counts c;

	rk_dispatch_snapshot(d, k, &c);
	return rk_counts_balance(&c);
}

#endif
