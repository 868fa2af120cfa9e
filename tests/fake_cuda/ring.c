/* SPDX-License-Identifier: MIT */
/* The loop of a resident kernel, as gpu/kernels/ring.h describes it and gpu/kernels/ring.cuh does
 * it. */
#include "gpu/kernels/ring.h"

#include <sched.h>

#include "tests/fake_cuda/fake.h"

#define SPINS 64 /* looks at the ring before the first nap */

bool fake_spoiled(void)
{
	bool spoiled;

	pthread_mutex_lock(&fake.lock);
	spoiled = fake.spoiled != CUDA_SUCCESS;
	pthread_mutex_unlock(&fake.lock);
	return spoiled;
}

/* Whether message @next came before there is a reason to leave. */
static bool wait_for_message(const struct rk_ring *ring, uint64_t next)
{
	const struct rk_ring_slot *slot = &ring->slots[next % RK_RING_SLOTS];
	uint64_t since = fake_now_ns();

	for (unsigned int looks = 0;; looks++) {
		if (__atomic_load_n(&ring->quiesce, __ATOMIC_ACQUIRE))
			return false;
		if (__atomic_load_n(&slot->request, __ATOMIC_ACQUIRE) == next + 1)
			return true;
		if (ring->idle_ns && fake_now_ns() - since >= ring->idle_ns)
			return false;
		if (fake_spoiled())
			return false;
		if (looks < SPINS)
			sched_yield();
		else
			fake_nap();
	}
}

/* Run message @next; false where that spoils the device. */
static bool run_message(const struct fake_kernel *kernel, const struct fake_dims *dims,
			struct rk_ring *ring, uint64_t next)
{
	const struct rk_ring_slot *slot = &ring->slots[next % RK_RING_SLOTS];
	uint64_t args[RK_WIRE_ARGS_MAX];
	bool ok;

	for (unsigned int i = 0; i < kernel->nparams + kernel->scratch; i++)
		args[i] = slot->args[i];
	pthread_mutex_lock(&fake.lock);
	ok = fake_kernel_args_ok_locked(kernel, args);
	pthread_mutex_unlock(&fake.lock);
	if (!ok)
		return false;
	fake_kernel_call(kernel, dims, args);
	if (fake_spoiled())
		return false;
	pthread_mutex_lock(&fake.lock);
	fake.counts.ring_messages++;
	pthread_mutex_unlock(&fake.lock);
	__atomic_store_n(&ring->answers[next % RK_RING_SLOTS], next + 1, __ATOMIC_RELEASE);
	return true;
}

/* False: it says nothing, not even that it is over. */
static bool loop(const struct fake_kernel *kernel, const struct fake_dims *dims,
		 struct rk_ring *ring, uint64_t next)
{
	if (ring->version != RK_RING_VERSION) {
		fake_complain("a ring of version %llu", (unsigned long long)ring->version);
		return false;
	}
	if (ring->nargs != kernel->nparams + kernel->scratch) {
		fake_complain("%s takes %u arguments, not %llu", kernel->name,
			      kernel->nparams + kernel->scratch, (unsigned long long)ring->nargs);
		return true;
	}
	while (wait_for_message(ring, next) && run_message(kernel, dims, ring, next))
		next++;
	return true;
}

void fake_ring_run_locked(const struct fake_kernel *kernel, const struct fake_dims *dims,
			  const uint64_t *args)
{
	struct rk_ring *ring = (struct rk_ring *)(uintptr_t)args[0];
	const struct fake_block *block = fake_block_at_locked(ring, sizeof(*ring));
	bool says = false;

	if (!block || block->state == FAKE_COMING) {
		fake_misuse_locked(CUDA_SUCCESS, "the ring of %s is not in memory of the driver",
				   kernel->name);
		fake_spoil_locked(CUDA_ERROR_ILLEGAL_ADDRESS);
	}
	if (!fake.spoiled) {
		pthread_mutex_unlock(&fake.lock);
		says = loop(kernel, dims, ring, args[2]);
		pthread_mutex_lock(&fake.lock);
	}
	fake.counts.resident--;
	/* the last thing: who sees it may free the ring */
	if (!fake.spoiled && says)
		__atomic_store_n(&ring->exited, args[1], __ATOMIC_RELEASE);
}
