/* SPDX-License-Identifier: MIT */
/* The kernels by slot, id and domain, and how long each lives. */
#include "runtime/kernel/registry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct domain {
	uint32_t id;
	char name[RK_NAME_MAX];
};

struct rk_registry {
	pthread_rwlock_t lock;
	_Atomic uint64_t count;	    /* not retired */
	struct rk_kernel **kernels; /* by slot, ascending; a reference each */
	uint32_t nkernels;
	void (*unused)(void *ctx); /* for new kernels */
	void *unused_ctx;
	struct domain *domains; /* by id, ascending */
	uint32_t ndomains;
	uint32_t next_slot;
};

int rk_registry_create(struct rk_registry **reg)
{
	struct rk_registry *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	if (pthread_rwlock_init(&r->lock, NULL)) {
		free(r);
		return -ENOMEM;
	}
	r->next_slot = 1;
	*reg = r;
	return 0;
}

void rk_registry_destroy(struct rk_registry *reg)
{
	if (!reg)
		return;
	for (uint32_t i = 0; i < reg->nkernels; i++)
		rk_kernel_unref(reg->kernels[i]);
	free(reg->kernels);
	free(reg->domains);
	pthread_rwlock_destroy(&reg->lock);
	free(reg);
}

void rk_registry_on_unused(struct rk_registry *reg, void (*unused)(void *ctx), void *ctx)
{
	pthread_rwlock_wrlock(&reg->lock);
	reg->unused = unused;
	reg->unused_ctx = ctx;
	pthread_rwlock_unlock(&reg->lock);
}

struct rk_kernel *rk_kernel_ref(struct rk_kernel *k)
{
	atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
	return k;
}

int rk_kernel_pin(struct rk_kernel *k)
{
	atomic_fetch_add(&k->pins, 1);
	if (!atomic_load(&k->retired))
		return 0;
	rk_kernel_unpin(k);
	return -ENODEV;
}

void rk_kernel_unpin(struct rk_kernel *k)
{
	if (atomic_fetch_sub(&k->pins, 1) == 1 && atomic_load(&k->retired) && k->unused)
		k->unused(k->unused_ctx);
}

static void stats_unref(struct rk_kernel_stats *stats)
{
	if (stats && atomic_fetch_sub_explicit(&stats->refs, 1, memory_order_acq_rel) == 1)
		free(stats);
}

void rk_kernel_unref(struct rk_kernel *k)
{
	if (!k || atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) != 1)
		return;
	stats_unref(k->stats);
	for (unsigned int i = 0; i < RK_WIRE_BACKEND_COUNT; i++)
		rk_module_unref(k->modules[i]);
	free(k->origin);
	free(k);
}

static struct rk_kernel *find_locked(struct rk_registry *reg, const char *id)
{
	for (uint32_t i = 0; i < reg->nkernels; i++)
		if (!atomic_load(&reg->kernels[i]->retired) &&
		    !strcmp(reg->kernels[i]->manifest.id, id))
			return reg->kernels[i];
	return NULL;
}

static struct rk_kernel *find(struct rk_registry *reg, const char *id)
{
	struct rk_kernel *found;

	pthread_rwlock_rdlock(&reg->lock);
	found = find_locked(reg, id);
	if (found)
		rk_kernel_ref(found);
	pthread_rwlock_unlock(&reg->lock);
	return found;
}

/* The id of the domain called @name, made if need be; 0 where memory is out. */
static uint32_t domain_locked(struct rk_registry *reg, const char *name)
{
	struct domain *d;

	for (uint32_t i = 0; i < reg->ndomains; i++)
		if (!strcmp(reg->domains[i].name, name))
			return reg->domains[i].id;
	d = reallocarray(reg->domains, reg->ndomains + 1, sizeof(*d));
	if (!d)
		return 0;
	reg->domains = d;
	d += reg->ndomains;
	d->id = ++reg->ndomains;
	snprintf(d->name, sizeof(d->name), "%s", name);
	return d->id;
}

static bool takes_messages(struct rk_kernel *k)
{
	enum rk_kernel_state state = atomic_load(&k->state);

	return state == RK_KERNEL_ACTIVE || state == RK_KERNEL_LOADING;
}

/* What the kernel that succeeds @old (NULL = none) goes on counting in; NULL where memory is out.
 */
static struct rk_kernel_stats *stats_of(struct rk_kernel *old)
{
	struct rk_kernel_stats *stats;

	if (old) {
		atomic_fetch_add_explicit(&old->stats->refs, 1, memory_order_relaxed);
		return old->stats;
	}
	stats = calloc(1, sizeof(*stats));
	if (stats) {
		atomic_init(&stats->refs, 1);
		strcpy(stats->last_error.msg, "none");
	}
	return stats;
}

/* @old is whose successor it becomes, or NULL. */
static struct rk_kernel *kernel_new(const struct rk_kernel_source *source, struct rk_kernel *old)
{
	struct rk_kernel *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	atomic_init(&k->refs, 1);
	k->stats = stats_of(old);
	if (source->origin)
		k->origin = strdup(source->origin);
	if (!k->stats || !k->origin != !source->origin) {
		rk_kernel_unref(k);
		return NULL;
	}
	clock_gettime(CLOCK_REALTIME, &k->added);
	k->manifest = *source->manifest;
	for (unsigned int i = 0; i < RK_WIRE_BACKEND_COUNT; i++)
		k->modules[i] = rk_module_ref(source->modules[i]);
	atomic_init(&k->wanted, old ? atomic_load(&old->wanted) : true);
	/* what the old one took is taken from the first moment on; who runs it will load it */
	if (old && k->wanted && takes_messages(old))
		atomic_init(&k->state, RK_KERNEL_LOADING);
	TAILQ_INIT(&k->turns);
	TAILQ_INIT(&k->inflight);
	return k;
}

static bool retire_locked(struct rk_registry *reg, struct rk_kernel *k)
{
	if (atomic_exchange(&k->retired, true))
		return false;
	atomic_fetch_sub_explicit(&reg->count, 1, memory_order_release);
	return true;
}

/* Append a kernel from @source, the successor of @old (NULL = none). NULL where memory is out. */
static struct rk_kernel *append_locked(struct rk_registry *reg,
				       const struct rk_kernel_source *source, struct rk_kernel *old)
{
	struct rk_kernel **grown = reallocarray(reg->kernels, reg->nkernels + 1, sizeof(*grown));
	struct rk_kernel *k;

	if (!grown)
		return NULL;
	reg->kernels = grown;
	k = kernel_new(source, old);
	if (!k)
		return NULL;
	k->domain_id = domain_locked(reg, source->manifest->domain);
	if (!k->domain_id) {
		rk_kernel_unref(k);
		return NULL;
	}
	k->slot = reg->next_slot++;
	k->unused = reg->unused;
	k->unused_ctx = reg->unused_ctx;
	reg->kernels[reg->nkernels++] = k;
	atomic_fetch_add_explicit(&reg->count, 1, memory_order_release);
	return k;
}

static int add_locked(struct rk_registry *reg, const struct rk_kernel_source *source, bool replace,
		      struct rk_kernel **kernel, struct rk_error *err)
{
	const char *id = source->manifest->id;
	struct rk_kernel *old = find_locked(reg, id);
	struct rk_kernel *k;

	if (old && !replace)
		return rk_error_set(err, EEXIST, "kernel %s is registered already", id);
	if (reg->next_slot >= RK_WIRE_KERNELS_MAX)
		return rk_error_set(err, ENOSPC, "no kernel number is left after %d: mount again",
				    RK_WIRE_KERNELS_MAX);
	k = append_locked(reg, source, old);
	if (!k)
		return rk_error_set(err, ENOMEM, "no memory for kernel %s", id);
	if (old)
		retire_locked(reg, old);
	if (kernel)
		*kernel = rk_kernel_ref(k);
	return 0;
}

int rk_registry_add(struct rk_registry *reg, const struct rk_kernel_source *source, bool replace,
		    struct rk_kernel **kernel, struct rk_error *err)
{
	int rc;

	pthread_rwlock_wrlock(&reg->lock);
	rc = add_locked(reg, source, replace, kernel, err);
	pthread_rwlock_unlock(&reg->lock);
	return rc;
}

bool rk_registry_retire(struct rk_registry *reg, struct rk_kernel *k)
{
	bool done;

	pthread_rwlock_wrlock(&reg->lock);
	done = retire_locked(reg, k);
	pthread_rwlock_unlock(&reg->lock);
	return done;
}

void rk_registry_forget(struct rk_registry *reg, struct rk_kernel *k)
{
	bool found = false;

	pthread_rwlock_wrlock(&reg->lock);
	for (uint32_t i = 0; i < reg->nkernels; i++) {
		if (found)
			reg->kernels[i - 1] = reg->kernels[i];
		else
			found = reg->kernels[i] == k;
	}
	if (found)
		reg->nkernels--;
	pthread_rwlock_unlock(&reg->lock);
	if (found)
		rk_kernel_unref(k);
}

struct rk_kernel *rk_registry_current(struct rk_registry *reg, struct rk_kernel *k)
{
	return atomic_load(&k->retired) ? find(reg, k->manifest.id) : rk_kernel_ref(k);
}

uint64_t rk_registry_count(const struct rk_registry *reg)
{
	return atomic_load_explicit(&reg->count, memory_order_acquire);
}

struct rk_kernel *rk_registry_find(struct rk_registry *reg, const char *domain, const char *name)
{
	char id[RK_KERNEL_ID_MAX];

	if ((size_t)snprintf(id, sizeof(id), "%s/%s", domain, name) >= sizeof(id))
		return NULL;
	return find(reg, id);
}

/* The index of the first kernel whose slot is at least @slot. */
static uint32_t first_locked(const struct rk_registry *reg, uint32_t slot)
{
	uint32_t low = 0, high = reg->nkernels;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (reg->kernels[middle]->slot < slot)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct rk_kernel *next(struct rk_registry *reg, uint32_t slot, uint32_t domain_id,
			      bool retired)
{
	struct rk_kernel *found = NULL;

	pthread_rwlock_rdlock(&reg->lock);
	for (uint32_t i = first_locked(reg, slot); i < reg->nkernels && !found; i++) {
		struct rk_kernel *k = reg->kernels[i];

		if ((!domain_id || k->domain_id == domain_id) &&
		    (retired || !atomic_load(&k->retired)))
			found = rk_kernel_ref(k);
	}
	pthread_rwlock_unlock(&reg->lock);
	return found;
}

/* @k if its slot is @slot; takes over the reference. */
static struct rk_kernel *exactly(struct rk_kernel *k, uint32_t slot)
{
	if (!k || k->slot == slot)
		return k;
	rk_kernel_unref(k);
	return NULL;
}

struct rk_kernel *rk_registry_next(struct rk_registry *reg, uint32_t slot, uint32_t domain_id)
{
	return next(reg, slot, domain_id, false);
}

struct rk_kernel *rk_registry_slot(struct rk_registry *reg, uint32_t slot)
{
	return exactly(next(reg, slot, 0, false), slot);
}

struct rk_kernel *rk_registry_any_slot(struct rk_registry *reg, uint32_t slot)
{
	return exactly(next(reg, slot, 0, true), slot);
}

static struct rk_kernel *after(struct rk_registry *reg, struct rk_kernel *k, bool retired)
{
	struct rk_kernel *found = next(reg, k ? k->slot + 1 : 0, 0, retired);

	rk_kernel_unref(k);
	return found;
}

struct rk_kernel *rk_registry_after(struct rk_registry *reg, struct rk_kernel *k)
{
	return after(reg, k, false);
}

struct rk_kernel *rk_registry_any_after(struct rk_registry *reg, struct rk_kernel *k)
{
	return after(reg, k, true);
}

static bool inhabited_locked(const struct rk_registry *reg, uint32_t domain_id)
{
	for (uint32_t i = 0; i < reg->nkernels; i++)
		if (reg->kernels[i]->domain_id == domain_id &&
		    !atomic_load(&reg->kernels[i]->retired))
			return true;
	return false;
}

uint32_t rk_registry_domain(struct rk_registry *reg, const char *name)
{
	uint32_t id = 0;

	pthread_rwlock_rdlock(&reg->lock);
	for (uint32_t i = 0; i < reg->ndomains && !id; i++)
		if (!strcmp(reg->domains[i].name, name) &&
		    inhabited_locked(reg, reg->domains[i].id))
			id = reg->domains[i].id;
	pthread_rwlock_unlock(&reg->lock);
	return id;
}

uint32_t rk_registry_next_domain(struct rk_registry *reg, uint32_t id, char name[RK_NAME_MAX])
{
	uint32_t found = 0;

	pthread_rwlock_rdlock(&reg->lock);
	for (uint32_t i = 0; i < reg->ndomains && !found; i++) {
		if (reg->domains[i].id < id || !inhabited_locked(reg, reg->domains[i].id))
			continue;
		found = reg->domains[i].id;
		memcpy(name, reg->domains[i].name, RK_NAME_MAX);
	}
	pthread_rwlock_unlock(&reg->lock);
	return found;
}
