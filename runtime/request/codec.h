/* SPDX-License-Identifier: MIT */
/*
 * Encodings of a request and its answer; each is one row: struct rk_codec. A request is fed as it
 * is written, finished at the first read, run, and answered from the message's block:
 *
 *   feed* -> finish -> (the message runs) -> answer -> drop
 *
 * A codec that learns the shapes early (safetensors: from its header) lays the message out at once
 * and copies what follows straight into the block: one copy per direction.
 * Nothing here locks or waits; one thread at a time uses a request.
 */
#ifndef RK_RUNTIME_REQUEST_CODEC_H
#define RK_RUNTIME_REQUEST_CODEC_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "runtime/base/error.h"
#include "runtime/request/message.h"
#include "runtime/request/payload.h"

struct rk_codec;

/* One request from its first byte to the end of its answer. */
struct rk_request {
	const struct rk_codec *codec;
	struct rk_kernel *kernel; /* a reference */
	struct rk_payload *pool;  /* a reference; all memory is charged here */
	uid_t uid;		  /* who asks */
	pid_t pid;
	uint64_t max_json_bytes;   /* of a JSON text */
	uint64_t max_header_bytes; /* of the header of safetensors */
	uint64_t max_feed_work;	   /* bytes that feed may work on at once; more is left to finish */
	uint64_t max_message_bytes; /* of inputs and outputs together, and of any other encoding */
	uint64_t charged;	    /* to pool, by rk_request_charge */
	struct rk_message *message; /* a reference; NULL until shapes are known or data staged */
	void *state;		    /* the codec's own */
	/*
	 * Becomes true when nobody wants the answer any more; NULL = never. Long work looks now and
	 * then, and fails with -ECANCELED.
	 */
	const atomic_bool *closed;
};

/* For codecs. Whether the @closed of a request says so: -ECANCELED, else 0. */
static inline int rk_request_closed(const atomic_bool *closed, struct rk_error *err)
{
	if (closed && atomic_load_explicit(closed, memory_order_relaxed))
		return rk_error_set(err, ECANCELED, "its file was closed");
	return 0;
}

/* The bytes of an answer: parts that lie in the block or in text. */
struct rk_answer {
	struct iovec parts[1 + RK_MAX_PORTS]; /* none is empty */
	unsigned int nparts;		      /* 0: an answer without bytes */
	char *text; /* malloc'ed, for rk_answer_drop: what is not in the block; NULL = nothing */
};

struct rk_codec {
	const char *file; /* "call.json" */

	/* Whether kernels described by @m can be called so; where not, there is no such file. */
	bool (*applies)(const struct rk_manifest *m);

	/*
	 * Take the next @len bytes. Returns 0, or -EMSGSIZE, -ENOMEM, -EINVAL with a sentence: the
	 * request is over then and only rk_request_drop may follow.
	 */
	int (*feed)(struct rk_request *r, const void *data, size_t len, struct rk_error *err);

	/*
	 * How many bytes of work finish, or after it answer, has before it: decides which thread
	 * does it. May be asked before anything is fed.
	 */
	uint64_t (*work)(const struct rk_request *r);

	/*
	 * Nothing more comes. On return r->message is laid out, its block holds the inputs and its
	 * outputs and scratch are zero (rk_plan_prepare). Fails as feed does, and ends the request
	 * then.
	 */
	int (*finish)(struct rk_request *r, struct rk_error *err);

	/*
	 * The message has run with success. Fill @a; its parts live until rk_request_drop, @a->text
	 * until rk_answer_drop, and its bytes are charged until the former. A codec whose answer is
	 * all text frees the message's block. -ENOMEM.
	 */
	int (*answer)(struct rk_request *r, struct rk_answer *a, struct rk_error *err);

	/* Free r->state, which is not NULL; called by rk_request_drop alone. */
	void (*drop)(struct rk_request *r);
};

/* codec_json.c, codec_safetensors.c, codec_raw.c: a row each, which fs/files/kernel.c names */
extern const struct rk_codec rk_codec_json, rk_codec_safetensors, rk_codec_raw;

/* codec.c */

/*
 * Begin a request to @kernel, which the caller keeps pinned (references to it and to @pool are
 * taken). @r is zeroed by the caller but for codec, uid, pid and the limits.
 */
void rk_request_init(struct rk_request *r, struct rk_kernel *kernel, struct rk_payload *pool);

/*
 * Drop everything: codec state, message, charges, references; *@r is zero then. Safe on a zeroed
 * request.
 */
void rk_request_drop(struct rk_request *r);

/* Account for @bytes more (or, negative, fewer) of buffered text. 0 or -ENOMEM. */
int rk_request_charge(struct rk_request *r, int64_t bytes, struct rk_error *err);

/* Free and zero *@a; safe on a zeroed one. */
void rk_answer_drop(struct rk_answer *a);

/*
 * For codecs. r->state, which has @size bytes and is zero at the first call; NULL with a sentence
 * where memory is out.
 */
void *rk_request_state(struct rk_request *r, size_t size, struct rk_error *err);

/* For codecs. Make r->message, and bind the inputs of its plan then. 0 or -ENOMEM. */
int rk_request_message(struct rk_request *r, struct rk_error *err);

/*
 * For codecs. Lay r->message's plan out and give it a block of that size; one that it has
 * already is resized and keeps its bytes. 0, -EINVAL, -EMSGSIZE, -ENOMEM.
 */
int rk_request_layout(struct rk_request *r, struct rk_error *err);

/* For codecs. The inputs that there are, "a, b" or "none", for a sentence about one that is not. */
#define RK_INPUT_NAMES_MAX (RK_MAX_PORTS * (RK_NAME_MAX + 2))
const char *rk_input_names(const struct rk_manifest *m, char names[RK_INPUT_NAMES_MAX]);

/* For codecs. Add the elements of output @index, where they are in the block, to @a. */
void rk_answer_add_output(struct rk_answer *a, const struct rk_message *m, unsigned int index);

#endif
