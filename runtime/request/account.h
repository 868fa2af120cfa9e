/* SPDX-License-Identifier: MIT */
/*
 * How many bytes of a limit each user holds. One user's share is bounded, and a part is kept for
 * root and the user of the daemon, who are bounded by the limit alone: so nobody can leave nothing
 * for the others, or lock out who could mend it. Not thread-safe: the owner has a lock.
 */
#ifndef RK_RUNTIME_REQUEST_ACCOUNT_H
#define RK_RUNTIME_REQUEST_ACCOUNT_H

#include <stdint.h>
#include <sys/types.h>

#include "runtime/base/error.h"

struct rk_account {
	uid_t uid;
	uint64_t used; /* bytes, never 0 */
};

struct rk_accounts {
	uint64_t limit; /* of all */
	uint64_t share; /* of each user */
	uint64_t used;	/* by all */
	uint64_t users; /* of that by those with a share */
	struct rk_account *rows;
	size_t count, size;
};

/* Nothing is held yet. @share is at most @limit. */
void rk_accounts_init(struct rk_accounts *a, uint64_t limit, uint64_t share);
void rk_accounts_destroy(struct rk_accounts *a);

/*
 * @uid holds @bytes more. 0, or -ENOMEM, with nothing changed: the sentence names the bound, what
 * is used of it, and what to do.
 */
int rk_accounts_charge(struct rk_accounts *a, uid_t uid, uint64_t bytes, struct rk_error *err);

/* @uid holds @bytes less, which were charged. */
void rk_accounts_uncharge(struct rk_accounts *a, uid_t uid, uint64_t bytes);

#endif
