/* SPDX-License-Identifier: MIT */
/* The thread that asks the driver whether the device still answers. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "gpu/base/thread.h"
#include "gpu/check.h"
#include "runtime/base/clock.h"
#include "runtime/base/thread.h"

#define PATIENCE_NS RK_NS_PER_SEC

struct rk_check {
	const struct rk_backend_ops *ops;
	void *backend;
	struct rk_wire_shared *shared;
	rk_check_answer *answer;
	void *ctx;
	pthread_t thread; /* there is none where ops has no check */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool asked; /* guarded by lock, as is all that follows; number is what is to be answered */
	uint64_t number;
	bool stopping;
	bool ended;
};

/* Called and returns with the lock held. */
static void check_locked(struct rk_check *check)
{
	uint64_t number = check->number;
	struct rk_error err;
	int rc;

	check->asked = false;
	pthread_mutex_unlock(&check->lock);
	atomic_store(&check->shared->in_driver_since_ns, rk_now_ns());
	rc = check->ops->check(check->backend, &err);
	atomic_store(&check->shared->in_driver_since_ns, 0);
	pthread_mutex_lock(&check->lock);
	if (check->asked || check->stopping)
		return;
	pthread_mutex_unlock(&check->lock);
	check->answer(check->ctx, number, rc, &err);
	pthread_mutex_lock(&check->lock);
}

static void *check_main(void *arg)
{
	struct rk_check *check = arg;

	rk_thread_name("rk-check");
	RK_GUARD(&check->lock);
	while (!check->stopping)
		if (check->asked)
			check_locked(check);
		else
			pthread_cond_wait(&check->changed, &check->lock);
	check->ended = true;
	pthread_cond_signal(&check->changed);
	return NULL;
}

static void free_check(struct rk_check *check)
{
	pthread_mutex_destroy(&check->lock);
	pthread_cond_destroy(&check->changed);
	free(check);
}

int rk_check_start(struct rk_check **check, const struct rk_backend_ops *ops, void *backend,
		   struct rk_wire_shared *shared, rk_check_answer *answer, void *ctx,
		   struct rk_error *err)
{
	struct rk_check *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return rk_error_set(err, ENOMEM, "no memory to check the device");
	c->ops = ops;
	c->backend = backend;
	c->shared = shared;
	c->answer = answer;
	c->ctx = ctx;
	rc = rk_cond_init(&c->changed);
	if (rc) {
		free(c);
		return rk_error_set(err, rc, "cannot check the device: %m");
	}
	pthread_mutex_init(&c->lock, NULL); /* without attributes it cannot fail */
	rc = ops->check ? pthread_create(&c->thread, NULL, check_main, c) : 0;
	if (rc) {
		free_check(c);
		return rk_error_set(err, rc, "cannot start a thread to check the device: %m");
	}
	*check = c;
	return 0;
}

void rk_check_ask(struct rk_check *check, uint64_t number)
{
	if (!check->ops->check) {
		check->answer(check->ctx, number, 0, NULL);
		return;
	}
	RK_GUARD(&check->lock);
	check->asked = true;
	check->number = number;
	pthread_cond_signal(&check->changed);
}

bool rk_check_stop(struct rk_check *check)
{
	const struct timespec until = rk_timespec(rk_now_ns() + PATIENCE_NS);
	bool ended;
	int rc = 0;

	if (check->ops->check) {
		pthread_mutex_lock(&check->lock);
		check->stopping = true;
		pthread_cond_signal(&check->changed);
		while (!check->ended && rc == 0)
			rc = pthread_cond_timedwait(&check->changed, &check->lock, &until);
		ended = check->ended;
		pthread_mutex_unlock(&check->lock);
		if (!ended || pthread_join(check->thread, NULL))
			return false;
	}
	free_check(check);
	return true;
}
