/* SPDX-License-Identifier: MIT */
/*
 * call.safetensors, after https://github.com/huggingface/safetensors (README, "Format"):
 * 8 bytes of header length, little-endian; the header, a JSON object
 * {"NAME":{"dtype":"F32","shape":[2,3],"data_offsets":[BEGIN,END]},...}, maybe padded with spaces;
 * the data, which the tensors fill without gap or overlap, in any order.
 *
 * Once the header is there, the message is laid out and what follows goes straight to its place. A
 * large header is left to finish, since feed runs where nothing may take long: the data that
 * follows one waits beside it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/request/codec.h"
#include "runtime/base/json_text.h"

#define PREFIX_BYTES	 8
#define HEADER_BYTES_MAX 100000000 /* as the format's own reader has it */
#define HEADER_ALIGN	 8
#define METADATA	 "__metadata__"
#define SHOWN_MAX	 48  /* bytes of the user's own text quoted in a sentence, with the NUL */
#define ENTRY_MAX	 400 /* of one tensor in a header of ours: name, 8 axes and 2 offsets */

/* The data of one input in the request, counted from the end of the header. */
struct span {
	uint64_t begin, end;
	unsigned int input;
};

struct safetensors {
	unsigned char prefix[PREFIX_BYTES];
	unsigned int prefix_have;
	char *header;
	uint64_t header_len, header_have;
	bool ready;	       /* the header is read, the block is there */
	struct rk_block early; /* data that came before, early_have bytes */
	uint64_t early_have;
	struct span spans[RK_MAX_PORTS]; /* in the order of the data */
	unsigned int nspans, current;
	uint64_t data_len, data_have;
	bool finished;
};

static bool st_applies(const struct rk_manifest *m)
{
	(void)m;
	return true;
}

/* The header's contents */

static void prefix_tensor(const char *shown, struct rk_error *err)
{
	rk_error_prefix(err, "tensor '%s'", shown);
}

/* Where we are in a header whose syntax is right. */
struct walk {
	const char *at, *end;
};

static enum rk_json_kind next(struct walk *w, struct rk_json_token *token)
{
	w->at = rk_json_next(w->at, w->end, token);
	return token->kind;
}

/* @token as an integer from 0 to 2^63 - 1. */
static bool read_count(const struct rk_json_token *token, uint64_t *count)
{
	size_t i;

	*count = 0;
	for (i = 0; i < token->len; i++) {
		if (token->kind != RK_JSON_NUMBER || token->text[i] < '0' || token->text[i] > '9')
			return false;
		if (__builtin_mul_overflow(*count, 10, count) ||
		    __builtin_add_overflow(*count, (uint64_t)(token->text[i] - '0'), count))
			return false;
	}
	return i && *count <= INT64_MAX;
}

/* The value @token as a list of at most @max counts. Returns how many, or -EINVAL. */
static int read_counts(struct walk *w, const struct rk_json_token *token, const char *what,
		       unsigned int max, uint64_t *counts, struct rk_error *err)
{
	struct rk_json_token element;
	unsigned int i;

	if (token->kind != RK_JSON_ARRAY)
		return rk_error_set(err, EINVAL, "%s is no array", what);
	for (i = 0; next(w, &element) != RK_JSON_CLOSE; i++) {
		if (i == max)
			return rk_error_set(err, EINVAL, "%s has more than %u elements", what, max);
		if (!read_count(&element, &counts[i]))
			return rk_error_set(err, EINVAL,
					    "element %u of %s is no integer from 0 to 2^63 - 1", i,
					    what);
	}
	return (int)i;
}

static int check_metadata(struct walk *w, const struct rk_json_token *value, struct rk_error *err)
{
	struct rk_json_token token;

	if (value->kind != RK_JSON_OBJECT)
		return rk_error_set(err, EINVAL,
				    METADATA " is %s where an object of strings is wanted",
				    rk_json_kind_name(value->kind));
	while (next(w, &token) != RK_JSON_CLOSE)
		if (next(w, &token) != RK_JSON_STRING)
			return rk_error_set(err, EINVAL,
					    METADATA " holds %s; only strings are allowed",
					    rk_json_kind_name(token.kind));
	return 0;
}

static int check_dtype(const struct rk_json_token *value, const struct rk_port *port,
		       struct rk_error *err)
{
	const char *wanted = rk_dtype_info(port->dtype)->st_name;
	char shown[SHOWN_MAX];

	if (value->kind != RK_JSON_STRING)
		return rk_error_set(err, EINVAL, "dtype is no string");
	rk_json_unescape(value, shown, sizeof(shown));
	if (strcmp(shown, wanted) == 0)
		return 0;
	return rk_error_set(err, EINVAL, "dtype is %s; this input is %s", shown, wanted);
}

/* What the header says of one tensor. */
struct tensor {
	unsigned int seen; /* fields */
	int rank;
	uint64_t shape[RK_MAX_RANK], offsets[2];
};

enum {
	SEEN_DTYPE = 1,
	SEEN_SHAPE = 2,
	SEEN_OFFSETS = 4,
	SEEN_ALL = 7,
};

static int bad_tensor(struct rk_error *err)
{
	return rk_error_set(err, EINVAL,
			    "an object of dtype, shape and data_offsets is wanted, each once");
}

/* The value of field @name, which is the next one. */
static int read_field(struct walk *w, const char *name, const struct rk_port *port,
		      struct tensor *t, struct rk_error *err)
{
	struct rk_json_token value;
	unsigned int field;
	int rc;

	next(w, &value);
	if (strcmp(name, "dtype") == 0) {
		field = SEEN_DTYPE;
		rc = check_dtype(&value, port, err);
	} else if (strcmp(name, "shape") == 0) {
		field = SEEN_SHAPE;
		rc = t->rank = read_counts(w, &value, name, RK_MAX_RANK, t->shape, err);
	} else if (strcmp(name, "data_offsets") == 0) {
		field = SEEN_OFFSETS;
		rc = read_counts(w, &value, name, 2, t->offsets, err);
		if (rc >= 0 && (rc != 2 || t->offsets[0] > t->offsets[1]))
			rc = rk_error_set(err, EINVAL, "data_offsets are not [BEGIN, END]");
	} else {
		return bad_tensor(err);
	}
	if (rc >= 0 && t->seen & field)
		return bad_tensor(err);
	t->seen |= field;
	return rc;
}

/* {"dtype":...,"shape":...,"data_offsets":...} of input @input; @value is its '{'. */
static int read_tensor(struct rk_request *r, struct walk *w, const struct rk_json_token *value,
		       unsigned int input, struct rk_error *err)
{
	struct rk_plan *plan = &r->message->plan;
	struct safetensors *st = r->state;
	struct rk_json_token token;
	struct tensor t = {0};
	char name[SHOWN_MAX];
	int rc;

	if (value->kind != RK_JSON_OBJECT)
		return bad_tensor(err);
	while (next(w, &token) != RK_JSON_CLOSE) {
		rk_json_unescape(&token, name, sizeof(name));
		rc = read_field(w, name, &plan->manifest->inputs[input], &t, err);
		if (rc < 0)
			return rc;
	}
	if (t.seen != SEEN_ALL)
		return bad_tensor(err);
	rc = rk_plan_bind(plan, input, (unsigned int)t.rank, t.shape, err);
	if (rc < 0)
		return rc;
	st->spans[st->nspans++] =
		(struct span){.begin = t.offsets[0], .end = t.offsets[1], .input = input};
	return 0;
}

static int unknown_tensor(const struct rk_manifest *m, struct rk_error *err)
{
	char names[RK_INPUT_NAMES_MAX];

	return rk_error_set(err, EINVAL, "there is no such input; the inputs are: %s",
			    rk_input_names(m, names));
}

/* The value that is next, of the name @token. */
static int read_named(struct rk_request *r, struct walk *w, const struct rk_json_token *token,
		      struct rk_error *err)
{
	const struct rk_manifest *m = r->message->plan.manifest;
	const struct safetensors *st = r->state;
	char name[2 * RK_NAME_MAX], what[sizeof(name) + 32];
	struct rk_json_token value;
	int i, rc;

	rk_json_unescape(token, name, sizeof(name));
	next(w, &value);
	i = rk_find_port(m, RK_SECTION_INPUTS, name, strlen(name));
	if (i >= 0 && r->message->plan.seen & 1u << i) {
		snprintf(what, sizeof(what), "duplicate tensor '%s'", name);
		return rk_json_malformed(st->header, token->text, what, err);
	}
	if (i >= 0)
		rc = read_tensor(r, w, &value, (unsigned int)i, err);
	else if (strcmp(name, METADATA) == 0)
		rc = check_metadata(w, &value, err);
	else
		rc = unknown_tensor(m, err);
	if (rc < 0)
		prefix_tensor(name, err);
	return rc;
}

/* All of the header, whose syntax is right and which begins with '{'. */
static int read_tensors(struct rk_request *r, struct rk_error *err)
{
	const struct safetensors *st = r->state;
	struct walk w = {.at = st->header, .end = st->header + st->header_len};
	struct rk_json_token token;
	int rc = 0;

	next(&w, &token);
	while (rc >= 0 && next(&w, &token) != RK_JSON_CLOSE)
		rc = read_named(r, &w, &token, err);
	return rc < 0 ? rc : 0;
}

static int compare_spans(const void *a, const void *b)
{
	const struct span *x = a, *y = b;

	if (x->begin != y->begin)
		return x->begin < y->begin ? -1 : 1;
	return (x->end > y->end) - (x->end < y->end);
}

/* The tensors fill the data without gap and overlap, each with as many bytes as its shape says. */
static int check_spans(struct safetensors *st, const struct rk_plan *plan, struct rk_error *err)
{
	const struct rk_port *inputs = plan->manifest->inputs;
	uint64_t end = 0;

	qsort(st->spans, st->nspans, sizeof(st->spans[0]), compare_spans);
	for (unsigned int i = 0; i < st->nspans; i++) {
		const struct span *span = &st->spans[i];
		uint64_t bytes = plan->inputs[span->input].bytes;

		if (span->end - span->begin != bytes)
			return rk_error_set(err, EINVAL,
					    "tensor '%s': data_offsets span %" PRIu64
					    " bytes, but its shape and dtype take %" PRIu64,
					    inputs[span->input].name, span->end - span->begin,
					    bytes);
		if (span->begin != end)
			return rk_error_set(err, EINVAL,
					    "tensor '%s' begins at byte %" PRIu64
					    " of the data, %s byte %" PRIu64
					    ": tensors follow each other without %s",
					    inputs[span->input].name, span->begin,
					    span->begin < end ? "inside the one that ends at"
							      : "but the one before ends at",
					    end, span->begin < end ? "overlap" : "gap");
		end = span->end;
	}
	st->data_len = end;
	return 0;
}

static void drop_header(struct rk_request *r)
{
	struct safetensors *st = r->state;

	(void)rk_request_charge(r, -(int64_t)st->header_len, NULL);
	free(st->header);
	st->header = NULL;
}

static int read_header(struct rk_request *r, struct rk_error *err)
{
	struct safetensors *st = r->state;
	int rc = rk_json_check(st->header, st->header_len, r->closed, err);

	if (rc)
		return rk_error_prefix(err, "the header");
	rc = rk_request_message(r, err);
	if (!rc)
		rc = read_tensors(r, err);
	if (!rc)
		rc = rk_request_layout(r, err);
	if (!rc)
		rc = check_spans(st, &r->message->plan, err);
	if (rc)
		return rc;
	drop_header(r);
	st->ready = true;
	return 0;
}

/* The stream: each takes what it wants of @len bytes and returns how much that was. */

static bool has_header(const struct safetensors *st)
{
	return st->prefix_have == PREFIX_BYTES && st->header_have == st->header_len;
}

static int begin_header(struct rk_request *r, struct rk_error *err)
{
	struct safetensors *st = r->state;

	for (unsigned int i = PREFIX_BYTES; i--;)
		st->header_len = st->header_len << 8 | st->prefix[i];
	if (st->header_len < strlen("{}") || st->header_len > HEADER_BYTES_MAX)
		return rk_error_set(
			err, EINVAL,
			"not safetensors: the first 8 bytes announce a header of %" PRIu64
			" bytes, which has 2 to %d",
			st->header_len, HEADER_BYTES_MAX);
	if (st->header_len > r->max_header_bytes)
		return rk_error_set(err, EMSGSIZE,
				    "the header has %" PRIu64
				    " bytes, more than max_header_bytes (%" PRIu64 ")",
				    st->header_len, r->max_header_bytes);
	if (rk_request_charge(r, (int64_t)st->header_len, err))
		return -ENOMEM;
	st->header = malloc(st->header_len);
	if (!st->header)
		return rk_error_set(err, ENOMEM, "no memory for the header");
	return 0;
}

static ssize_t take_prefix(struct rk_request *r, const unsigned char *data, size_t len,
			   struct rk_error *err)
{
	struct safetensors *st = r->state;
	size_t n = PREFIX_BYTES - st->prefix_have;
	int rc = 0;

	if (n > len)
		n = len;
	memcpy(st->prefix + st->prefix_have, data, n);
	st->prefix_have += (unsigned int)n;
	if (st->prefix_have == PREFIX_BYTES)
		rc = begin_header(r, err);
	return rc ? rc : (ssize_t)n;
}

static ssize_t take_header(struct rk_request *r, const unsigned char *data, size_t len,
			   struct rk_error *err)
{
	struct safetensors *st = r->state;
	uint64_t n = st->header_len - st->header_have;
	int rc = 0;

	if (n > len)
		n = len;
	if (st->header_have == 0 && data[0] != '{')
		return rk_error_set(err, EINVAL, "the header does not begin with '{'");
	memcpy(st->header + st->header_have, data, n);
	st->header_have += n;
	if (has_header(st) && st->header_len <= r->max_feed_work)
		rc = read_header(r, err);
	return rc ? rc : (ssize_t)n;
}

/* Data behind a header that finish is to read. */
static ssize_t take_early(struct rk_request *r, const unsigned char *data, size_t len,
			  struct rk_error *err)
{
	struct safetensors *st = r->state;
	uint64_t need;
	int rc;

	if (__builtin_add_overflow(st->early_have, len, &need) || need > r->max_message_bytes)
		return rk_error_set(err, EMSGSIZE,
				    "the data is larger than max_message_bytes (%" PRIu64 " bytes)",
				    r->max_message_bytes);
	rc = st->early.pool ? rk_payload_resize(&st->early, need, err)
			    : rk_payload_alloc(r->pool, r->uid, need, &st->early, err);
	if (rc)
		return rc;
	memcpy((char *)st->early.data + st->early_have, data, len);
	st->early_have = need;
	return (ssize_t)len;
}

static ssize_t take_data(struct rk_request *r, const unsigned char *data, size_t len,
			 struct rk_error *err)
{
	struct safetensors *st = r->state;
	const struct span *span;
	unsigned char *to;
	uint64_t n;

	while (st->current < st->nspans && st->data_have == st->spans[st->current].end)
		st->current++;
	if (st->current == st->nspans)
		return rk_error_set(
			err, EINVAL,
			"there are bytes after the last tensor, which ends at byte %" PRIu64
			" of the data",
			st->data_len);
	span = &st->spans[st->current];
	n = span->end - st->data_have;
	if (n > len)
		n = len;
	to = (unsigned char *)r->message->block.data + r->message->plan.inputs[span->input].offset;
	memcpy(to + (st->data_have - span->begin), data, n);
	st->data_have += n;
	return (ssize_t)n;
}

static int st_feed(struct rk_request *r, const void *data, size_t len, struct rk_error *err)
{
	const struct safetensors *st = rk_request_state(r, sizeof(*st), err);
	const unsigned char *from = data;
	ssize_t n;

	if (!st)
		return -ENOMEM;
	while (len) {
		if (st->prefix_have < PREFIX_BYTES)
			n = take_prefix(r, from, len, err);
		else if (st->ready)
			n = take_data(r, from, len, err);
		else if (has_header(st))
			n = take_early(r, from, len, err);
		else
			n = take_header(r, from, len, err);
		if (n < 0)
			return (int)n;
		from += n;
		len -= (size_t)n;
	}
	return 0;
}

static uint64_t st_work(const struct rk_request *r)
{
	const struct safetensors *st = r->state;

	if (!st || st->finished)
		return 0;
	if (st->ready)
		return rk_plan_bool_bytes(&r->message->plan);
	return has_header(st) ? st->header_len + st->early_have : 0;
}

/* Read a header that feed has left, and put the data that followed it where it belongs. */
static int catch_up(struct rk_request *r, struct rk_error *err)
{
	struct safetensors *st = r->state;
	const unsigned char *from = st->early.data;
	uint64_t left = st->early_have;
	ssize_t n = read_header(r, err);

	for (; n >= 0 && left; from += n, left -= (uint64_t)n)
		n = take_data(r, from, left, err);
	rk_payload_free(&st->early);
	return n < 0 ? (int)n : 0;
}

static int st_finish(struct rk_request *r, struct rk_error *err)
{
	struct safetensors *st = r->state;
	int rc;

	if (!st || !has_header(st))
		return rk_error_set(err, EINVAL,
				    "not safetensors: the request ends inside its header");
	rc = st->ready ? 0 : catch_up(r, err);
	if (rc)
		return rc;
	if (st->data_have < st->data_len)
		return rk_error_set(err, EINVAL,
				    "the request ends after %" PRIu64 " of %" PRIu64
				    " bytes of data",
				    st->data_have, st->data_len);
	rc = rk_plan_check_bools(&r->message->plan, r->message->block.data, err);
	if (rc)
		return rc;
	rk_plan_prepare(&r->message->plan, r->message->block.data);
	st->finished = true;
	return 0;
}

/* The answer */

/* The header of an answer under way. */
struct header {
	char *text;
	size_t len, size;
	uint64_t data; /* bytes of data so far */
};

static void header_add(struct header *h, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void header_add(struct header *h, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	h->len += (size_t)vsnprintf(h->text + h->len, h->size - h->len, fmt, ap);
	va_end(ap);
}

static void add_output(struct header *h, const struct rk_plan *plan, unsigned int i)
{
	const struct rk_port *port = &plan->manifest->outputs[i];
	uint64_t shape[RK_MAX_RANK], bytes = plan->outputs[i].bytes;

	rk_plan_output_shape(plan, i, shape);
	/* names are C identifiers: nothing in them to escape */
	header_add(h, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[",
		   h->len > PREFIX_BYTES + strlen("{") ? "," : "", port->name,
		   rk_dtype_info(port->dtype)->st_name);
	for (unsigned int k = 0; k < port->rank; k++)
		header_add(h, "%s%" PRIu64, k ? "," : "", shape[k]);
	header_add(h, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", h->data, h->data + bytes);
	h->data += bytes;
}

/* Large elements first, so that each lies aligned in a file that is mapped, as others write them.
 */
static unsigned int sort_outputs(const struct rk_manifest *m, unsigned int *order)
{
	unsigned int n = 0, i;
	size_t size;

	for (size = 8; size; size /= 2)
		for (i = 0; i < m->noutputs; i++)
			if (rk_dtype_info(m->outputs[i].dtype)->size == size)
				order[n++] = i;
	return n;
}

static void end_header(struct header *h)
{
	uint64_t len;
	unsigned int i;

	header_add(h, "}");
	while (h->len % HEADER_ALIGN)
		header_add(h, " ");
	for (i = 0, len = h->len - PREFIX_BYTES; i < PREFIX_BYTES; i++, len >>= 8)
		h->text[i] = (char)(len & 0xff);
}

static int st_answer(struct rk_request *r, struct rk_answer *a, struct rk_error *err)
{
	const struct rk_plan *plan = &r->message->plan;
	const struct rk_manifest *m = plan->manifest;
	struct header h = {.len = PREFIX_BYTES,
			   .size = PREFIX_BYTES + HEADER_ALIGN + 2 + m->noutputs * ENTRY_MAX};
	unsigned int order[RK_MAX_PORTS], n = sort_outputs(m, order), i;
	struct rk_answer answer = {.nparts = 1};

	if (rk_request_charge(r, (int64_t)h.size, err))
		return -ENOMEM;
	h.text = malloc(h.size);
	if (!h.text)
		return rk_error_set(err, ENOMEM, "no memory for the answer's header");
	header_add(&h, "{");
	for (i = 0; i < n; i++) {
		add_output(&h, plan, order[i]);
		rk_answer_add_output(&answer, r->message, order[i]);
	}
	end_header(&h);
	answer.parts[0] = (struct iovec){h.text, h.len};
	answer.text = h.text;
	*a = answer;
	return 0;
}

static void st_drop(struct rk_request *r)
{
	struct safetensors *st = r->state;

	rk_payload_free(&st->early);
	free(st->header);
	free(st);
}

const struct rk_codec rk_codec_safetensors = {
	.file = "call.safetensors",
	.applies = st_applies,
	.feed = st_feed,
	.work = st_work,
	.finish = st_finish,
	.answer = st_answer,
	.drop = st_drop,
};
