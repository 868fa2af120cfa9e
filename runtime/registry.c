/* SPDX-License-Identifier: MIT */
#include "runtime/registry.h"

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
	_Atomic uint64_t count;
	struct rk_kernel **kernels; /* by slot, ascending; a reference each */
	struct domain *domains;	    /* by id, ascending */
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
	for (uint64_t i = 0; i < reg->count; i++)
		rk_kernel_unref(reg->kernels[i]);
	free(reg->kernels);
	free(reg->domains);
	pthread_rwlock_destroy(&reg->lock);
	free(reg);
}

struct rk_kernel *rk_kernel_ref(struct rk_kernel *k)
{
	atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
	return k;
}

void rk_kernel_unref(struct rk_kernel *k)
{
	if (k && atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) == 1)
		free(k);
}

static struct rk_kernel *find_locked(struct rk_registry *reg, const char *id)
{
	for (uint64_t i = 0; i < reg->count; i++)
		if (!strcmp(reg->kernels[i]->manifest.id, id))
			return reg->kernels[i];
	return NULL;
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

static struct rk_kernel *kernel_new(const struct rk_manifest *manifest)
{
	struct rk_kernel *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	atomic_init(&k->refs, 1);
	k->manifest = *manifest;
	atomic_init(&k->wanted, true);
	TAILQ_INIT(&k->queue);
	TAILQ_INIT(&k->waiting);
	TAILQ_INIT(&k->inflight);
	strcpy(k->last_error, "none");
	return k;
}

static int add_locked(struct rk_registry *reg, const struct rk_manifest *manifest,
		      struct rk_error *err)
{
	struct rk_kernel **grown;
	struct rk_kernel *k;

	if (find_locked(reg, manifest->id))
		return rk_error_set(err, EEXIST, "kernel %s is registered already", manifest->id);
	if (reg->next_slot >= RK_WIRE_KERNELS_MAX)
		return rk_error_set(err, ENOSPC, "no kernel number is left: reset and mount again");
	grown = reallocarray(reg->kernels, reg->count + 1, sizeof(*grown));
	if (!grown)
		return rk_error_set(err, ENOMEM, "no memory for kernel %s", manifest->id);
	reg->kernels = grown;
	k = kernel_new(manifest);
	if (!k)
		return rk_error_set(err, ENOMEM, "no memory for kernel %s", manifest->id);
	k->domain_id = domain_locked(reg, manifest->domain);
	if (!k->domain_id) {
		rk_kernel_unref(k);
		return rk_error_set(err, ENOMEM, "no memory for kernel %s", manifest->id);
	}
	k->slot = reg->next_slot++;
	reg->kernels[reg->count] = k;
	atomic_fetch_add_explicit(&reg->count, 1, memory_order_release);
	return 0;
}

int rk_registry_add(struct rk_registry *reg, const struct rk_manifest *manifest,
		    struct rk_error *err)
{
	int rc;

	pthread_rwlock_wrlock(&reg->lock);
	rc = add_locked(reg, manifest, err);
	pthread_rwlock_unlock(&reg->lock);
	return rc;
}

uint64_t rk_registry_count(const struct rk_registry *reg)
{
	return atomic_load_explicit(&reg->count, memory_order_acquire);
}

struct rk_kernel *rk_registry_find(struct rk_registry *reg, const char *domain, const char *name)
{
	struct rk_kernel *found = NULL;

	pthread_rwlock_rdlock(&reg->lock);
	for (uint64_t i = 0; i < reg->count && !found; i++) {
		struct rk_kernel *k = reg->kernels[i];

		if (!strcmp(k->manifest.name, name) && !strcmp(k->manifest.domain, domain))
			found = rk_kernel_ref(k);
	}
	pthread_rwlock_unlock(&reg->lock);
	return found;
}

struct rk_kernel *rk_registry_next(struct rk_registry *reg, uint32_t slot, uint32_t domain_id)
{
	struct rk_kernel *found = NULL;

	pthread_rwlock_rdlock(&reg->lock);
	for (uint64_t i = 0; i < reg->count && !found; i++) {
		struct rk_kernel *k = reg->kernels[i];

		if (k->slot >= slot && (!domain_id || k->domain_id == domain_id))
			found = rk_kernel_ref(k);
	}
	pthread_rwlock_unlock(&reg->lock);
	return found;
}

struct rk_kernel *rk_registry_slot(struct rk_registry *reg, uint32_t slot)
{
	struct rk_kernel *k = rk_registry_next(reg, slot, 0);

	if (k && k->slot != slot) {
		rk_kernel_unref(k);
		return NULL;
	}
	return k;
}

uint32_t rk_registry_domain(struct rk_registry *reg, const char *name)
{
	uint32_t id = 0;

	pthread_rwlock_rdlock(&reg->lock);
	for (uint32_t i = 0; i < reg->ndomains && !id; i++)
		if (!strcmp(reg->domains[i].name, name))
			id = reg->domains[i].id;
	pthread_rwlock_unlock(&reg->lock);
	return id;
}

uint32_t rk_registry_next_domain(struct rk_registry *reg, uint32_t id, char name[RK_NAME_MAX])
{
	uint32_t found = 0;

	pthread_rwlock_rdlock(&reg->lock);
	for (uint32_t i = 0; i < reg->ndomains && !found; i++) {
		if (reg->domains[i].id < id)
			continue;
		found = reg->domains[i].id;
		memcpy(name, reg->domains[i].name, RK_NAME_MAX);
	}
	pthread_rwlock_unlock(&reg->lock);
	return found;
}
