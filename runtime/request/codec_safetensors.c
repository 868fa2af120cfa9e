/* SPDX-License-Identifier: MIT */
/*
 * call.safetensors, after https://github.com/huggingface/safetensors (README, "Format"):
 * 8 bytes of header length, little-endian; the header, a JSON object
 * {"NAME":{"dtype":"F32","shape":[2,3],"data_offsets":[BEGIN,END]},...}, maybe padded with spaces;
 * the data, which the tensors fill without gap or overlap, in any order.
 *
 * Once the header is there, the message is laid out and what follows goes straight to its place.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
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
	bool ready;			 /* the header is read, the block is there */
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

static void prefix_tensor(const char *name, struct rk_error *err)
{
	char shown[SHOWN_MAX];

	rk_error_prefix(err, "tensor '%s'", rk_json_show(shown, sizeof(shown), name, strlen(name)));
}

/* What @value is, in words. */
static const char *kind_name(const json_t *value)
{
	static const enum rk_json_kind kinds[] = {
		[JSON_OBJECT] = RK_JSON_OBJECT, [JSON_ARRAY] = RK_JSON_ARRAY,
		[JSON_STRING] = RK_JSON_STRING, [JSON_INTEGER] = RK_JSON_NUMBER,
		[JSON_REAL] = RK_JSON_NUMBER,	[JSON_TRUE] = RK_JSON_TRUE,
		[JSON_FALSE] = RK_JSON_FALSE,	[JSON_NULL] = RK_JSON_NULL,
	};

	return rk_json_kind_name(kinds[json_typeof(value)]);
}

/* @value as a list of at most @max counts. Returns how many, or -EINVAL. */
static int read_counts(const json_t *value, const char *what, unsigned int max, uint64_t *counts,
		       struct rk_error *err)
{
	const json_t *element;
	size_t i;

	if (!json_is_array(value))
		return rk_error_set(err, EINVAL, "%s is no array", what);
	if (json_array_size(value) > max)
		return rk_error_set(err, EINVAL, "%s has more than %u elements", what, max);
	json_array_foreach (value, i, element) {
		if (!json_is_integer(element) || json_integer_value(element) < 0)
			return rk_error_set(err, EINVAL,
					    "element %zu of %s is no integer from 0 to 2^63 - 1", i,
					    what);
		counts[i] = (uint64_t)json_integer_value(element);
	}
	return (int)i;
}

static int check_metadata(json_t *value, struct rk_error *err)
{
	json_t *text;
	const char *key;

	if (json_typeof(value) != JSON_OBJECT)
		return rk_error_set(err, EINVAL,
				    METADATA " is %s where an object of strings is "
					     "wanted",
				    kind_name(value));
	json_object_foreach (value, key, text)
		if (json_typeof(text) != JSON_STRING)
			return rk_error_set(err, EINVAL,
					    METADATA " holds %s; only strings are "
						     "allowed",
					    kind_name(text));
	return 0;
}

static int check_dtype(const json_t *value, const struct rk_port *port, struct rk_error *err)
{
	const char *wanted = rk_dtype_info(port->dtype)->st_name;
	char shown[SHOWN_MAX];

	if (!json_is_string(value))
		return rk_error_set(err, EINVAL, "dtype is no string");
	if (strcmp(json_string_value(value), wanted) == 0)
		return 0;
	return rk_error_set(err, EINVAL, "dtype is %s; this input is %s",
			    rk_json_show(shown, sizeof(shown), json_string_value(value),
					 json_string_length(value)),
			    wanted);
}

/* {"dtype":...,"shape":...,"data_offsets":...} of input @input. */
static int read_tensor(struct rk_request *r, const json_t *value, unsigned int input,
		       struct rk_error *err)
{
	struct rk_plan *plan = &r->message->plan;
	struct safetensors *st = r->state;
	uint64_t shape[RK_MAX_RANK], offsets[2];
	int rc, rank;

	if (!json_is_object(value) || json_object_size(value) != 3)
		return rk_error_set(err, EINVAL,
				    "an object of dtype, shape and data_offsets is wanted");
	rc = check_dtype(json_object_get(value, "dtype"), &plan->manifest->inputs[input], err);
	if (rc < 0)
		return rc;
	rank = read_counts(json_object_get(value, "shape"), "shape", RK_MAX_RANK, shape, err);
	if (rank < 0)
		return rank;
	rc = read_counts(json_object_get(value, "data_offsets"), "data_offsets", 2, offsets, err);
	if (rc < 0)
		return rc;
	if (rc != 2 || offsets[0] > offsets[1])
		return rk_error_set(err, EINVAL, "data_offsets are not [BEGIN, END]");
	rc = rk_plan_bind(plan, input, (unsigned int)rank, shape, err);
	if (rc < 0)
		return rc;
	st->spans[st->nspans++] =
		(struct span){.begin = offsets[0], .end = offsets[1], .input = input};
	return 0;
}

static int unknown_tensor(const struct rk_manifest *m, struct rk_error *err)
{
	char names[RK_INPUT_NAMES_MAX];

	return rk_error_set(err, EINVAL, "there is no such input; the inputs are: %s",
			    rk_input_names(m, names));
}

static int read_tensors(struct rk_request *r, json_t *root, struct rk_error *err)
{
	const struct rk_manifest *m = r->message->plan.manifest;
	const char *name;
	json_t *value;
	int i, rc;

	if (!json_is_object(root))
		return rk_error_set(err, EINVAL, "the header is no JSON object");
	json_object_foreach (root, name, value) {
		i = rk_find_port(m, RK_SECTION_INPUTS, name, strlen(name));
		if (i >= 0)
			rc = read_tensor(r, value, (unsigned int)i, err);
		else if (strcmp(name, METADATA) == 0)
			rc = check_metadata(value, err);
		else
			rc = unknown_tensor(m, err);
		if (rc < 0) {
			prefix_tensor(name, err);
			return rc;
		}
	}
	return 0;
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

static int header_error(const json_error_t *je, struct rk_error *err)
{
	char what[JSON_ERROR_TEXT_LENGTH];

	if (json_error_code(je) == json_error_out_of_memory || je->text[0] == '\0')
		return rk_error_set(err, ENOMEM, "not enough memory to parse the header");
	return rk_error_set(err, EINVAL, "the header is malformed JSON at line %d, column %d: %s",
			    je->line, je->column,
			    rk_json_show(what, sizeof(what), je->text, strlen(je->text)));
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
	json_error_t je;
	int rc;
	json_t *root = json_loadb(st->header, st->header_len, JSON_REJECT_DUPLICATES, &je);

	if (!root)
		return header_error(&je, err);
	rc = rk_request_message(r, err);
	if (!rc)
		rc = read_tensors(r, root, err);
	json_decref(root);
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
	if (st->header_len > r->max_json_bytes)
		return rk_error_set(err, EMSGSIZE,
				    "the header has %" PRIu64
				    " bytes, more than max_json_bytes (%" PRIu64 ")",
				    st->header_len, r->max_json_bytes);
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
	if (st->header_have == st->header_len)
		rc = read_header(r, err);
	return rc ? rc : (ssize_t)n;
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
		else if (!st->ready)
			n = take_header(r, from, len, err);
		else
			n = take_data(r, from, len, err);
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

	if (!st || !st->ready || st->finished)
		return 0;
	return rk_plan_clear_bytes(&r->message->plan);
}

static int st_finish(struct rk_request *r, struct rk_error *err)
{
	struct safetensors *st = r->state;
	int rc;

	if (!st || !st->ready)
		return rk_error_set(err, EINVAL,
				    "not safetensors: the request ends inside its header");
	if (st->data_have < st->data_len)
		return rk_error_set(err, EINVAL,
				    "the request ends after %" PRIu64 " of %" PRIu64
				    " bytes of data",
				    st->data_have, st->data_len);
	rc = rk_plan_check_bools(&r->message->plan, r->message->block.data, err);
	if (rc)
		return rc;
	rk_plan_clear(&r->message->plan, r->message->block.data);
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
