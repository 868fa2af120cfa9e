/* SPDX-License-Identifier: MIT */
/* The other side of a codec in the tests: a kernel, requests to it, the bytes of its answers. */
#ifndef RK_TESTS_CODEC_PEER_H
#define RK_TESTS_CODEC_PEER_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/request/codec.h"
#include "runtime/kernel/parse.h"
#include "tests/unit/payload_used.h"
#include "tests/unit/unit.h"

#define PEER_LIMIT     (1 << 20) /* bytes of a message, of a JSON text */
#define PEER_FEED_WORK 1024	 /* bytes of a header that feed reads */

struct peer {
	struct rk_registry *registry;
	struct rk_kernel *kernel;
	struct rk_payload *pool;
	struct rk_request request;
	struct rk_answer answer;
	struct rk_error err;
};

static inline void peer_add(struct peer *p, const char *description)
{
	struct rk_manifest m;
	struct rk_kernel_source source = {.manifest = &m};
	struct rk_error err = {0};

	if (rk_manifest_parse(&m, description, strlen(description), "peer", &err) != 0)
		fail_msg("%s\n%s", err.msg, description);
	rk_kernel_unref(p->kernel);
	p->kernel = NULL;
	assert_int_equal(rk_registry_add(p->registry, &source, true, &p->kernel, &err), 0);
}

/* A kernel with these sections and arguments. */
static inline void peer_describe(struct peer *p, const char *ports, const char *args)
{
	char text[4096];
	int n;

	n = snprintf(text, sizeof(text), "[kernel]\nid = d/k\n%s\n[cpu]\nentry = f\nargs = %s\n",
		     ports, args);
	assert_in_range(n, 0, sizeof(text) - 1);
	peer_add(p, text);
}

static inline void peer_init(struct peer *p)
{
	memset(p, 0, sizeof(*p));
	assert_int_equal(rk_registry_create(&p->registry), 0);
	assert_int_equal(rk_payload_create(64 << 20, 100, &p->pool, NULL), 0);
}

static inline void peer_drop(struct peer *p)
{
	rk_answer_drop(&p->answer);
	rk_request_drop(&p->request);
	assert_int_equal(payload_used(p->pool), 0);
}

static inline void peer_destroy(struct peer *p)
{
	peer_drop(p);
	rk_kernel_unref(p->kernel);
	rk_registry_destroy(p->registry);
	rk_payload_unref(p->pool);
}

static inline void peer_begin(struct peer *p, const struct rk_codec *codec)
{
	peer_drop(p);
	p->err = (struct rk_error){0};
	p->request = (struct rk_request){
		.codec = codec,
		.max_json_bytes = PEER_LIMIT,
		.max_header_bytes = PEER_LIMIT,
		.max_feed_work = PEER_FEED_WORK,
		.max_message_bytes = PEER_LIMIT,
	};
	rk_request_init(&p->request, p->kernel, p->pool);
}

/* Feed @data in pieces of at most @piece bytes, each from memory that ends where the piece does. */
static inline int peer_feed(struct peer *p, const void *data, size_t len, size_t piece)
{
	struct rk_request *r = &p->request;
	const char *from = data;
	int rc = 0;

	while (len && !rc) {
		size_t n = len < piece ? len : piece;
		char *copy = malloc(n);

		assert_non_null(copy);
		memcpy(copy, from, n);
		rc = r->codec->feed(r, copy, n, &p->err);
		free(copy);
		from += n;
		len -= n;
		(void)r->codec->work(r);
	}
	return rc;
}

static inline int peer_send(struct peer *p, const struct rk_codec *codec, const void *data,
			    size_t len, size_t piece)
{
	int rc;

	peer_begin(p, codec);
	rc = peer_feed(p, data, len, piece);
	if (!rc)
		rc = codec->finish(&p->request, &p->err);
	(void)codec->work(&p->request);
	return rc;
}

static inline const struct rk_plan *peer_plan(const struct peer *p)
{
	return &p->request.message->plan;
}

static inline unsigned char *peer_input(const struct peer *p, unsigned int i)
{
	return (unsigned char *)p->request.message->block.data + peer_plan(p)->inputs[i].offset;
}

static inline unsigned char *peer_output(const struct peer *p, unsigned int i)
{
	return (unsigned char *)p->request.message->block.data + peer_plan(p)->outputs[i].offset;
}

/* All bytes of the answer, malloc'ed. */
static inline unsigned char *peer_answer(struct peer *p, size_t *len)
{
	struct rk_request *r = &p->request;
	unsigned char *bytes;
	unsigned int i;

	rk_answer_drop(&p->answer);
	assert_int_equal(r->codec->answer(r, &p->answer, &p->err), 0);
	for (*len = i = 0; i < p->answer.nparts; i++) {
		assert_true(p->answer.parts[i].iov_len > 0);
		*len += p->answer.parts[i].iov_len;
	}
	bytes = malloc(*len + 1);
	assert_non_null(bytes);
	for (*len = i = 0; i < p->answer.nparts; i++) {
		memcpy(bytes + *len, p->answer.parts[i].iov_base, p->answer.parts[i].iov_len);
		*len += p->answer.parts[i].iov_len;
	}
	bytes[*len] = '\0';
	return bytes;
}

static inline void peer_expect_answer(struct peer *p, const void *want, size_t want_len)
{
	size_t len;
	unsigned char *got = peer_answer(p, &len);

	if (len != want_len || memcmp(got, want, len) != 0)
		fail_msg("an answer of %zu bytes, not %zu: %.300s", len, want_len, (char *)got);
	free(got);
}

/* Refused with @code and these words, whatever the pieces; nothing is left behind. */
static inline void peer_refuse(struct peer *p, const struct rk_codec *codec, const void *data,
			       size_t len, int code, const char *words)
{
	static const size_t pieces[] = {1, 3, 1000, SIZE_MAX};

	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		int rc = peer_send(p, codec, data, len, pieces[i]);

		if (rc != -code || p->err.code != code || !strstr(p->err.msg, words))
			fail_msg("%d: \"%s\" lacks \"%s\"", rc, p->err.msg, words);
		peer_drop(p);
	}
}

#endif
