/* SPDX-License-Identifier: MIT */
/* Call files: write a request, read its answer. The stream behind call.json. */
#ifndef RKFS_CALL_CALL_H
#define RKFS_CALL_CALL_H

#include <stddef.h>

#include "fs/base/attr.h"

struct rk_dispatch;
struct rkfs_calls;

/* What a row of a call file is to name; its arg is the codec, a struct rk_codec. */
extern const struct rkfs_stream_ops rkfs_call_ops;

/*
 * Start and end the codec threads and the list of open calls, whose pollers are woken whenever a
 * full queue of @dispatch has room. 0 or -ENOMEM, or pthread_create's.
 */
int rkfs_calls_create(struct rkfs_calls **calls, struct rk_dispatch *dispatch);
void rkfs_calls_destroy(struct rkfs_calls *calls); /* no call file is open any more */

/* Call files whose message is in flight or whose answer is not read to its end. */
size_t rkfs_calls_unfinished(struct rkfs_calls *calls);

/* Call @fn whenever that number falls to 0: from any thread, locks may be held, so it only signals.
 */
void rkfs_calls_on_finished(struct rkfs_calls *calls, void (*fn)(void *ctx), void *ctx);

#endif
