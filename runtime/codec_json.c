/* SPDX-License-Identifier: MIT */
#include "runtime/codec_json.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/codec.h"
#include "runtime/codec_json_number.h"

#define MIN_CAPACITY 4096
#define SHOWN_MAX    48 /* bytes of the user's own text quoted in a sentence, with the NUL */

struct rk_json {
	json_t *root; /* an object with exactly the inputs, rectangular */
};

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

/* Parsing */

/* Whether @word lies where the parser stopped: it quotes only what it took for a token. */
static bool stopped_at(const char *text, size_t len, const json_error_t *je, const char *word)
{
	size_t stop = je->position > 0 ? (size_t)je->position : 0, room = strlen(word);
	size_t from = stop > room ? stop - room : 0;

	if (from >= len)
		return false;
	return memmem(text + from, len - from < 2 * room ? len - from : 2 * room, word, room);
}

static int parse_error(const char *text, size_t len, const json_error_t *je, struct rk_error *err)
{
	char what[JSON_ERROR_TEXT_LENGTH];
	const char *hint = "";

	if (json_error_code(je) == json_error_out_of_memory || je->text[0] == '\0')
		return rk_error_set(err, ENOMEM, "not enough memory to parse the request");
	if (json_error_code(je) == json_error_numeric_overflow)
		hint = " (integers go up to 9223372036854775807: write a larger one as a real "
		       "like 1e20, or for u64 as a string; reals go up to 1.7e308)";
	else if (stopped_at(text, len, je, "NaN") || stopped_at(text, len, je, "Infinity"))
		hint = " (write \"NaN\", \"Infinity\" and \"-Infinity\" as strings)";
	return rk_error_set(err, EINVAL, "malformed JSON at line %d, column %d: %s%s", je->line,
			    je->column, rk_json_show(what, sizeof(what), je->text), hint);
}

static int check_names(json_t *root, const struct rk_manifest *m, struct rk_error *err)
{
	char shown[SHOWN_MAX], names[RK_MAX_PORTS * (RK_NAME_MAX + 2)] = "";
	size_t len = 0;
	const char *key;
	unsigned int i;
	json_t *value;

	json_object_foreach (root, key, value) {
		for (i = 0; i < m->ninputs && strcmp(m->inputs[i].name, key) != 0; i++)
			;
		if (i == m->ninputs)
			break;
	}
	if (!key)
		return 0;
	for (i = 0; i < m->ninputs; i++)
		len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s", i ? ", " : "",
					m->inputs[i].name);
	return rk_error_set(err, EINVAL, "there is no input '%s'; the inputs are: %s",
			    rk_json_show(shown, sizeof(shown), key), len ? names : "none");
}

/* The length of every axis down to @depth must be the same in all rows. */
static int check_rows(const json_t *value, struct place *at, const uint64_t *shape,
		      unsigned int known, unsigned int depth, struct rk_error *err)
{
	const json_t *row;
	size_t i;
	int rc;

	if (!json_is_array(value) || json_array_size(value) != shape[depth]) {
		if (json_is_array(value))
			rc = rk_error_set(err, EINVAL,
					  "a row of %zu where the first such row has %" PRIu64,
					  json_array_size(value), shape[depth]);
		else
			rc = rk_error_set(err, EINVAL, "%s where the first such row is an array",
					  rk_json_kind(value));
		prefix_place(at, depth, err);
		return rc;
	}
	if (depth + 1 == known)
		return 0;
	json_array_foreach (value, i, row) {
		at->index[depth] = i;
		rc = check_rows(row, at, shape, known, depth + 1, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int wrong_rank(const struct rk_manifest *m, const struct rk_port *port, struct rk_error *err)
{
	char signature[128];

	rk_port_print(m, port, signature, sizeof(signature));
	if (port->rank == 0)
		return rk_error_set(err, EINVAL, "input %s: a single number is wanted (%s)",
				    port->name, signature);
	return rk_error_set(err, EINVAL, "input %s: an array nested %u deep is wanted (%s)",
			    port->name, port->rank, signature);
}

/*
 * The shape of an input. Returns how many of its axes show, as nothing below
 * an empty array does, or -EINVAL.
 */
static int measure(const json_t *value, const struct rk_manifest *m, const struct rk_port *port,
		   uint64_t *shape, struct rk_error *err)
{
	struct place at = {.port = port};
	const json_t *first = value;
	unsigned int depth = 0;
	int rc;

	while (depth < port->rank && first) {
		if (!json_is_array(first))
			return wrong_rank(m, port, err);
		shape[depth++] = json_array_size(first);
		first = json_array_get(first, 0);
	}
	if (depth == port->rank && json_is_array(first))
		return wrong_rank(m, port, err);
	if (depth > 0) {
		rc = check_rows(value, &at, shape, depth, 0, err);
		if (rc < 0)
			return rc;
	}
	return (int)depth;
}

static int bind_inputs(const json_t *root, struct rk_plan *plan, struct rk_error *err)
{
	const struct rk_manifest *m = plan->manifest;
	uint64_t shape[RK_MAX_RANK];
	unsigned int i;
	int shown, rc;

	for (i = 0; i < m->ninputs; i++) {
		const json_t *value = json_object_get(root, m->inputs[i].name);

		if (!value)
			continue; /* rk_plan_complete names all that are missing */
		shown = measure(value, m, &m->inputs[i], shape, err);
		if (shown < 0)
			return shown;
		rc = rk_plan_bind_shown(plan, i, (unsigned int)shown, shape, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int bind_all(json_t *root, struct rk_plan *plan, struct rk_error *err)
{
	int rc;

	if (!json_is_object(root))
		return rk_error_set(err, EINVAL,
				    "a request is an object of inputs like {\"NAME\": [1, 2]}, "
				    "not an array");
	rc = check_names(root, plan->manifest, err);
	if (rc == 0)
		rc = bind_inputs(root, plan, err);
	if (rc == 0)
		rc = rk_plan_complete(plan, err);
	return rc;
}

int rk_json_parse(const char *text, size_t len, struct rk_plan *plan, struct rk_json **doc,
		  struct rk_error *err)
{
	struct rk_plan next = *plan;
	struct rk_json *json;
	json_error_t je;
	json_t *root;
	int rc;

	root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
	if (!root)
		return parse_error(text, len, &je, err);
	rc = bind_all(root, &next, err);
	if (rc < 0) {
		json_decref(root);
		return rc;
	}
	json = malloc(sizeof(*json));
	if (!json) {
		json_decref(root);
		return rk_error_set(err, ENOMEM, "not enough memory to parse the request");
	}
	json->root = root;
	*plan = next;
	*doc = json;
	return 0;
}

void rk_json_free(struct rk_json *doc)
{
	if (!doc)
		return;
	json_decref(doc->root);
	free(doc);
}

/* Storing */

static int store_axis(const json_t *value, struct place *at, unsigned int depth,
		      unsigned char **dst, struct rk_error *err)
{
	enum rk_dtype dtype = at->port->dtype;
	const json_t *element;
	size_t i;
	int rc;

	if (depth == at->port->rank) {
		rc = rk_json_number_store(value, dtype, *dst, err);
		if (rc < 0)
			prefix_place(at, depth, err);
		*dst += rk_dtype_info(dtype)->size;
		return rc;
	}
	json_array_foreach (value, i, element) {
		at->index[depth] = i;
		rc = store_axis(element, at, depth + 1, dst, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int rk_json_store(const struct rk_json *doc, const struct rk_plan *plan, void *block,
		  struct rk_error *err)
{
	const struct rk_manifest *m = plan->manifest;
	unsigned int i;
	int rc;

	for (i = 0; i < m->ninputs; i++) {
		struct place at = {.port = &m->inputs[i]};
		unsigned char *dst = (unsigned char *)block + plan->inputs[i].offset;

		if (!(plan->seen & 1u << i))
			continue; /* the default */
		rc = store_axis(json_object_get(doc->root, at.port->name), &at, 0, &dst, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Encoding */

/* A growing text. Once memory has run out it stays failed and takes nothing more. */
struct out {
	char *text;
	size_t len, size;
	bool failed;
};

/* Room for @more bytes at the end, or NULL. */
static char *out_reserve(struct out *out, size_t more)
{
	size_t need, size;
	char *text;

	if (!out->failed && out->size - out->len >= more)
		return out->text + out->len;
	if (out->failed || __builtin_add_overflow(out->len, more, &need) ||
	    __builtin_mul_overflow(need, 2, &size)) {
		out->failed = true;
		return NULL;
	}
	text = realloc(out->text, size);
	if (!text) {
		out->failed = true;
		return NULL;
	}
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
	for (i = 0; i < shape[0] && !out->failed; i++) {
		if (i)
			out_add(out, ",", 1);
		encode_axis(out, dtype, shape + 1, rank - 1, src);
	}
	out_add(out, "]", 1);
}

int rk_json_encode(const struct rk_plan *plan, const void *block, char **text, size_t *len,
		   struct rk_error *err)
{
	const struct rk_manifest *m = plan->manifest;
	uint64_t shape[RK_MAX_RANK];
	struct out out = {0};
	unsigned int i;
	char *fit;

	for (i = 0; i < m->noutputs; i++) {
		const struct rk_port *port = &m->outputs[i];
		const unsigned char *src = (const unsigned char *)block + plan->outputs[i].offset;

		/* names are C identifiers: nothing in them to escape */
		out_add(&out, i ? ",\"" : "{\"", 2);
		out_add(&out, port->name, strlen(port->name));
		out_add(&out, "\":", 2);
		rk_plan_output_shape(plan, i, shape);
		encode_axis(&out, port->dtype, shape, port->rank, &src);
	}
	out_add(&out, "}\n", sizeof("}\n")); /* with its NUL */
	if (out.failed) {
		free(out.text);
		return rk_error_set(err, ENOMEM, "not enough memory for the answer's text");
	}
	/* answers wait for slow readers: give back what doubling took too much */
	fit = realloc(out.text, out.len);
	*text = fit ? fit : out.text;
	*len = out.len - 1;
	return 0;
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
	struct text *text = r->state;
	int rc;

	if (!text) {
		r->state = text = calloc(1, sizeof(*text));
		if (!text)
			return rk_error_set(err, ENOMEM, "no memory for the request");
	}
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
	struct rk_json *doc = NULL;
	const struct text *text;
	int rc;

	rc = json_feed(r, NULL, 0, err); /* there may have been nothing */
	text = r->state;
	if (!rc)
		rc = rk_request_message(r, err);
	if (!rc)
		rc = rk_json_parse(text->data ? text->data : "", text->len, &r->message->plan, &doc,
				   err);
	if (!rc)
		rc = rk_request_layout(r, err);
	if (!rc)
		rc = rk_json_store(doc, &r->message->plan, r->message->block.data, err);
	rk_json_free(doc);
	if (rc)
		return rc;
	rk_plan_clear(&r->message->plan, r->message->block.data);
	drop_text(r);
	return 0;
}

static int json_answer(struct rk_request *r, struct rk_answer *a, struct rk_error *err)
{
	char *text;
	size_t len;
	int rc;

	rc = rk_json_encode(&r->message->plan, r->message->block.data, &text, &len, err);
	if (rc)
		return rc;
	rc = rk_request_charge(r, (int64_t)len, err);
	if (rc) {
		free(text);
		return rc;
	}
	rk_payload_free(&r->message->block); /* the answer has it all */
	*a = (struct rk_answer){.parts = {{text, len}}, .nparts = 1, .text = text};
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
