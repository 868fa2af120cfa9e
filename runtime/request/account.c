/* SPDX-License-Identifier: MIT */
/* Counts bytes by user. */
#include "runtime/request/account.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#define RESERVE 8 /* one part of so many is kept for root and the daemon's user */

void rk_accounts_init(struct rk_accounts *a, uint64_t limit, uint64_t share)
{
	*a = (struct rk_accounts){.limit = limit, .share = share};
}

void rk_accounts_destroy(struct rk_accounts *a)
{
	free(a->rows);
}

static bool has_share(uid_t uid)
{
	return uid != 0 && uid != geteuid();
}

/* The row of @uid, a new one where there is none yet; NULL = no memory. */
static struct rk_account *row_of(struct rk_accounts *a, uid_t uid)
{
	for (size_t i = 0; i < a->count; i++)
		if (a->rows[i].uid == uid)
			return &a->rows[i];
	if (a->count == a->size) {
		size_t size = a->size ? 2 * a->size : 8;
		void *grown = reallocarray(a->rows, size, sizeof(*a->rows));

		if (!grown)
			return NULL;
		a->rows = grown;
		a->size = size;
	}
	a->rows[a->count] = (struct rk_account){.uid = uid};
	return &a->rows[a->count++];
}

static int over(const char *bound, uint64_t bytes, uint64_t used, uint64_t limit,
		struct rk_error *err)
{
	return rk_error_set(err, ENOMEM,
			    "%llu bytes more would exceed %s: %llu of %llu are in use; read or "
			    "close unread answers, or raise it",
			    (unsigned long long)bytes, bound, (unsigned long long)used,
			    (unsigned long long)limit);
}

static int charge_user(struct rk_accounts *a, uid_t uid, uint64_t bytes, struct rk_error *err)
{
	uint64_t open = a->limit - a->limit / RESERVE;
	struct rk_account *row;

	if (bytes > open || a->users > open - bytes)
		return over("max_buffered_bytes for users", bytes, a->users, open, err);
	row = row_of(a, uid);
	if (!row)
		return rk_error_set(err, ENOMEM, "no memory to count what a user holds");
	if (bytes <= a->share && row->used <= a->share - bytes) {
		row->used += bytes;
		a->users += bytes;
		return 0;
	}
	over("max_user_share of max_buffered_bytes", bytes, row->used, a->share, err);
	if (!row->used)
		*row = a->rows[--a->count];
	return -ENOMEM;
}

int rk_accounts_charge(struct rk_accounts *a, uid_t uid, uint64_t bytes, struct rk_error *err)
{
	int rc;

	if (!bytes)
		return 0;
	if (bytes > a->limit || a->used > a->limit - bytes)
		return over("max_buffered_bytes", bytes, a->used, a->limit, err);
	rc = has_share(uid) ? charge_user(a, uid, bytes, err) : 0;
	if (!rc)
		a->used += bytes;
	return rc;
}

void rk_accounts_uncharge(struct rk_accounts *a, uid_t uid, uint64_t bytes)
{
	a->used -= bytes;
	if (!bytes || !has_share(uid))
		return;
	a->users -= bytes;
	for (size_t i = 0; i < a->count; i++) {
		struct rk_account *row = &a->rows[i];

		if (row->uid != uid)
			continue;
		row->used -= bytes;
		if (!row->used)
			*row = a->rows[--a->count];
		return;
	}
}
