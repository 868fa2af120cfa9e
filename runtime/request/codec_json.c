/* SPDX-License-Identifier: MIT */
/*
 * call.json: {"a":[1,2],"b":[3,4]} -> {"c":[4.0,6.0]}. A request is read in two steps, because its
 * block can only be allocated once the shapes are known: parse, then store. The axes below an empty
 * array do not show: they are what another input says, else as small as can be. Time and memory are
 * linear in the text.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/request/codec.h"
#include "runtime/base/json_number.h"
#include "runtime/base/json_text.h"

#define MIN_CAPACITY 4096
#define LARGE	     (64 * 1024) /* bytes of an answer from which on it grows in smaller steps */
#define SHOWN_MAX    (2 * RK_NAME_MAX) /* bytes of a name in the request, quoted or looked up */

/* Where in an input we are, for sentences: "a[1][2]". */
struct place {
	const struct rk_port *port;
	uint64_t index[RK_MAX_RANK];
};

static void prefix_place(const struct place *at, unsigned int depth, struct rk_error *err)
{
	char path[RK_MAX_RANK * 24] = "";
	unsigned int i;
	size_t len = 0;

	for (i = 0; i < depth; i++)
		len += (size_t)snprintf(path + len, sizeof(path) - len, "[%" PRIu64 "]",
					at->index[i]);
	rk_error_prefix(err, "input %s%s", at->port->name, path);
}

/* A parsed request: where in its text the inputs are. */
struct json {
	const atomic_bool *closed;	  /* the request's */
	const char *inputs[RK_MAX_PORTS]; /* NULL: the request lacks it */
	const char *end;
};

/* Parsing: the shapes */

/* The shape of one input, as its arrays show it one after the other. */
struct shape {
	const struct rk_manifest *manifest;
	struct place place;
	const char *at, *end; /* of the text */
	const atomic_bool *closed;
	uint64_t axes[RK_MAX_RANK];
	unsigned int known;  /* bit i: axes[i] is: an array that deep has ended */
	unsigned int opened; /* how deep arrays have been seen */
	bool has_element;
};

static int wrong_rank(const struct shape *s, struct rk_error *err)
{
	const struct rk_port *port = s->place.port;
	char signature[128];

	rk_port_print(s->manifest, port, signature, sizeof(signature));
	if (port->rank == 0)
		return rk_error_set(err, EINVAL, "input %s: a single number is wanted (%s)",
				    port->name, signature);
	return rk_error_set(err, EINVAL, "input %s: an array nested %u deep is wanted (%s)",
			    port->name, port->rank, signature);
}

/* An element that is no array: what it is, store sees. */
static int measure_element(struct shape *s, const struct rk_json_token *token, struct rk_error *err)
{
	const struct rk_port *port = s->place.port;
	unsigned char unused[sizeof(uint64_t)];
	int rc;

	if (token->kind == RK_JSON_ARRAY && !s->has_element)
		return wrong_rank(s, err);
	if (token->kind == RK_JSON_ARRAY || token->kind == RK_JSON_OBJECT) {
		rc = rk_json_number_store(token, port->dtype, unused, err);
		prefix_place(&s->place, port->rank, err);
		return rc;
	}
	s->has_element = true;
	return 0;
}

/* An array of @size elements ends. All at the same @depth must be as long as the first. */
static int measure_end(struct shape *s, unsigned int depth, uint64_t size, struct rk_error *err)
{
	int rc;

	if (!(s->known & 1u << depth)) {
		s->axes[depth] = size;
		s->known |= 1u << depth;
		return 0;
	}
	if (s->axes[depth] == size)
		return 0;
	rc = rk_error_set(err, EINVAL, "a row of %" PRIu64 " where the first such row has %" PRIu64,
			  size, s->axes[depth]);
	prefix_place(&s->place, depth, err);
	return rc;
}

/* The value that begins with @token, inside @depth arrays; at most RK_MAX_RANK + 1 deep. */
static int measure(struct shape *s, const struct rk_json_token *token, unsigned int depth,
		   struct rk_error *err)
{
	struct rk_json_token element;
	uint64_t size;
	int rc;

	if (depth == s->place.port->rank)
		return measure_element(s, token, err);
	if (token->kind != RK_JSON_ARRAY) {
		if (depth >= s->opened)
			return wrong_rank(s, err);
		rc = rk_error_set(err, EINVAL, "%s where the first such row is an array",
				  rk_json_kind_name(token->kind));
		prefix_place(&s->place, depth, err);
		return rc;
	}
	if (s->opened == depth)
		s->opened++;
	for (size = 0;; size++) {
		s->at = rk_json_next(s->at, s->end, &element);
		if (element.kind == RK_JSON_CLOSE)
			return measure_end(s, depth, size, err);
		s->place.index[depth] = size;
		rc = rk_request_closed(s->closed, err);
		if (!rc)
			rc = measure(s, &element, depth + 1, err);
		if (rc < 0)
			return rc;
	}
}

/* The input called @name, which the request does not have yet. Returns its index or -EINVAL. */
static int find_input(const struct rk_manifest *m, const char *text, const struct json *doc,
		      const struct rk_json_token *name, struct rk_error *err)
{
	char shown[SHOWN_MAX], what[SHOWN_MAX + 32], names[RK_INPUT_NAMES_MAX];
	int index;

	rk_json_unescape(name, shown, sizeof(shown));
	index = rk_find_port(m, RK_SECTION_INPUTS, shown, strlen(shown));
	if (index < 0)
		return rk_error_set(err, EINVAL, "there is no input '%s'; the inputs are: %s",
				    shown, rk_input_names(m, names));
	if (!doc->inputs[index])
		return index;
	snprintf(what, sizeof(what), "duplicate input '%s'", shown);
	return rk_json_malformed(text, name->text, what, err);
}

/* All "NAME": VALUE of the object that begins before @at. */
static int bind_inputs(const char *text, const char *at, struct rk_plan *plan, struct json *doc,
		       struct rk_error *err)
{
	const struct rk_manifest *m = plan->manifest;
	struct rk_json_token token;
	int index, rc;

	for (;;) {
		struct shape s = {.manifest = m, .end = doc->end, .closed = doc->closed};

		at = rk_json_next(at, doc->end, &token);
		if (token.kind == RK_JSON_CLOSE)
			return rk_plan_complete(plan, err);
		index = find_input(m, text, doc, &token, err);
		if (index < 0)
			return index;
		s.place.port = &m->inputs[index];
		doc->inputs[index] = at;
		s.at = rk_json_next(at, doc->end, &token);
		rc = measure(&s, &token, 0, err);
		if (rc < 0)
			return rc;
		rc = rk_plan_bind_shown(plan, (unsigned int)index, s.opened, s.axes, err);
		if (rc < 0)
			return rc;
		at = s.at;
	}
}

/* The text is well formed, and its shapes are bound; its numbers are for store(). */
static int parse(const char *text, size_t len, struct rk_plan *plan, struct json *doc,
		 struct rk_error *err)
{
	struct rk_json_token token;
	const char *at;
	int rc;

	rc = rk_json_check(text, len, doc->closed, err);
	if (rc < 0)
		return rc;
	doc->end = text + len;
	at = rk_json_next(text, doc->end, &token);
	if (token.kind != RK_JSON_OBJECT)
		return rk_error_set(err, EINVAL,
				    "a request is an object of inputs like {\"NAME\": [1, 2]}, "
				    "not %s",
				    rk_json_kind_name(token.kind));
	return bind_inputs(text, at, plan, doc, err);
}

/* Storing: the numbers */

/* Where element @n of an input of this @shape is. */
static void find_place(struct place *place, uint64_t n, const uint64_t *shape)
{
	unsigned int axis;

	for (axis = place->port->rank; axis-- > 0; n /= shape[axis])
		place->index[axis] = n % shape[axis];
}

/* The brackets are known to be right: only what is between them counts. */
static int store_input(const struct json *doc, const struct rk_plan *plan, unsigned int index,
		       unsigned char *dst, struct rk_error *err)
{
	struct place place = {.port = &plan->manifest->inputs[index]};
	enum rk_dtype dtype = place.port->dtype;
	const char *at = doc->inputs[index];
	struct rk_json_token token;
	uint64_t n;
	int rc;

	for (n = 0; n < plan->inputs[index].count; n++) {
		do
			at = rk_json_next(at, doc->end, &token);
		while (token.kind == RK_JSON_ARRAY || token.kind == RK_JSON_CLOSE);
		rc = rk_request_closed(doc->closed, err);
		if (rc)
			return rc;
		rc = rk_json_number_store(&token, dtype, dst, err);
		if (rc < 0) {
			find_place(&place, n, plan->shapes[index]);
			prefix_place(&place, place.port->rank, err);
			return rc;
		}
		dst += rk_dtype_info(dtype)->size;
	}
	return 0;
}

/* The numbers of the inputs that the request has, into a block that is laid out. */
static int store(const struct json *doc, const struct rk_plan *plan, void *block,
		 struct rk_error *err)
{
	unsigned int i;
	int rc;

	for (i = 0; i < plan->manifest->ninputs; i++) {
		if (!doc->inputs[i])
			continue; /* the default */
		rc = store_input(doc, plan, i, (unsigned char *)block + plan->inputs[i].offset,
				 err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Encoding */

/* A growing text. Once it is given up, or memory has run out, it takes nothing more. */
struct out {
	struct rk_request *r; /* whose user is charged with size bytes */
	struct rk_error *err;
	char *text;
	size_t len, size;
	bool failed;
};

/* Room for @more bytes at the end, or NULL. */
static char *out_reserve(struct out *out, size_t more)
{
	size_t need = out->len + more, size = need < LARGE ? 2 * need : need + need / 4;
	char *text;

	if (out->failed)
		return NULL;
	if (out->size >= need)
		return out->text + out->len;
	out->failed = true; /* unless all of it succeeds */
	/* what is in advance only saves time */
	if (rk_request_charge(out->r, (int64_t)(size - out->size), NULL)) {
		size = need < LARGE ? need : need + LARGE;
		if (rk_request_charge(out->r, (int64_t)(size - out->size), out->err))
			return NULL;
	}
	text = realloc(out->text, size);
	if (!text) {
		(void)rk_request_charge(out->r, -(int64_t)(size - out->size), NULL);
		rk_error_set(out->err, ENOMEM, "no memory for the answer's text");
		return NULL;
	}
	out->failed = false;
	out->text = text;
	out->size = size;
	return text + out->len;
}

static void out_add(struct out *out, const char *text, size_t len)
{
	char *at = out_reserve(out, len);

	if (!at)
		return;
	memcpy(at, text, len);
	out->len += len;
}

/* @shape[0 .. @rank) of elements from *@src on. */
static void encode_axis(struct out *out, enum rk_dtype dtype, const uint64_t *shape,
			unsigned int rank, const unsigned char **src)
{
	uint64_t i;
	char *at;

	if (rank == 0) {
		at = out_reserve(out, RK_JSON_NUMBER_MAX);
		if (at)
			out->len += rk_json_number_print(dtype, *src, at);
		*src += rk_dtype_info(dtype)->size;
		return;
	}
	out_add(out, "[", 1);
	for (i = 0; i < shape[0] && !out->failed && !rk_request_closed(out->r->closed, NULL); i++) {
		if (i)
			out_add(out, ",", 1);
		encode_axis(out, dtype, shape + 1, rank - 1, src);
	}
	out_add(out, "]", 1);
}

/*
 * The outputs in @block as one JSON object in one line, with a final newline. A broken kernel may
 * write to the block meanwhile: the answer is garbage then, never a crash.
 */
static void encode(struct out *out, const struct rk_plan *plan, const void *block)
{
	const struct rk_manifest *m = plan->manifest;
	uint64_t shape[RK_MAX_RANK];
	unsigned int i;

	for (i = 0; i < m->noutputs; i++) {
		const struct rk_port *port = &m->outputs[i];
		const unsigned char *src = (const unsigned char *)block + plan->outputs[i].offset;

		/* names are C identifiers: nothing in them to escape */
		out_add(out, i ? ",\"" : "{\"", 2);
		out_add(out, port->name, strlen(port->name));
		out_add(out, "\":", 2);
		rk_plan_output_shape(plan, i, shape);
		encode_axis(out, port->dtype, shape, port->rank, &src);
	}
	out_add(out, "}\n", 2);
}

/* The codec */

struct text {
	char *data;
	size_t len, size;
};

static bool json_applies(const struct rk_manifest *m)
{
	(void)m;
	return true;
}

/* Room for @more bytes of text. */
static int text_reserve(struct rk_request *r, struct text *text, size_t more, struct rk_error *err)
{
	size_t need, size = text->size ? text->size : MIN_CAPACITY;
	char *grown;

	if (__builtin_add_overflow(text->len, more, &need) || need > r->max_json_bytes)
		return rk_error_set(err, EMSGSIZE,
				    "the request is larger than max_json_bytes (%" PRIu64 " bytes)",
				    r->max_json_bytes);
	while (size < need)
		size *= 2;
	if (size == text->size)
		return 0;
	if (rk_request_charge(r, (int64_t)(size - text->size), err))
		return -ENOMEM;
	grown = realloc(text->data, size);
	if (!grown)
		return rk_error_set(err, ENOMEM, "no memory for the request");
	text->data = grown;
	text->size = size;
	return 0;
}

static int json_feed(struct rk_request *r, const void *data, size_t len, struct rk_error *err)
{
	struct text *text = rk_request_state(r, sizeof(*text), err);
	int rc;

	if (!text)
		return -ENOMEM;
	rc = text_reserve(r, text, len, err);
	if (rc)
		return rc;
	if (len)
		memcpy(text->data + text->len, data, len);
	text->len += len;
	return 0;
}

static uint64_t json_work(const struct rk_request *r)
{
	const struct text *text = r->state;

	if (r->message)
		return r->message->plan.block_bytes;
	return text ? text->len : 0;
}

/* The text has been read: its memory is free for others while the message waits and runs. */
static void drop_text(struct rk_request *r)
{
	struct text *text = r->state;

	(void)rk_request_charge(r, -(int64_t)text->size, NULL);
	free(text->data);
	*text = (struct text){0};
}

static int json_finish(struct rk_request *r, struct rk_error *err)
{
	struct json doc = {.closed = r->closed};
	const struct text *text;
	int rc;

	rc = json_feed(r, NULL, 0, err); /* there may have been nothing */
	text = r->state;
	if (!rc)
		rc = rk_request_message(r, err);
	if (!rc)
		rc = parse(text->data ? text->data : "", text->len, &r->message->plan, &doc, err);
	if (!rc)
		rc = rk_request_layout(r, err);
	if (!rc)
		rc = store(&doc, &r->message->plan, r->message->block.data, err);
	if (rc)
		return rc;
	rk_plan_prepare(&r->message->plan, r->message->block.data);
	drop_text(r);
	return 0;
}

static int json_answer(struct rk_request *r, struct rk_answer *a, struct rk_error *err)
{
	struct out out = {.r = r, .err = err};
	char *text;

	encode(&out, &r->message->plan, r->message->block.data);
	if (out.failed || rk_request_closed(r->closed, err)) { /* which drop uncharges */
		free(out.text);
		return out.failed ? -ENOMEM : -ECANCELED;
	}
	/* answers wait for slow readers: give back what was taken in advance */
	text = realloc(out.text, out.len);
	if (!text)
		text = out.text;
	else
		(void)rk_request_charge(r, -(int64_t)(out.size - out.len), NULL);
	rk_payload_free(&r->message->block); /* the answer has it all */
	*a = (struct rk_answer){.parts = {{text, out.len}}, .nparts = 1, .text = text};
	return 0;
}

static void json_drop(struct rk_request *r)
{
	struct text *text = r->state;

	free(text->data);
	free(text);
}

const struct rk_codec rk_codec_json = {
	.file = "call.json",
	.applies = json_applies,
	.feed = json_feed,
	.work = json_work,
	.finish = json_finish,
	.answer = json_answer,
	.drop = json_drop,
};
