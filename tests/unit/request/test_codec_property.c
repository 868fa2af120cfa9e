/* SPDX-License-Identifier: MIT */
/*
 * Random descriptions and requests: what an identity kernel is given comes back to the bit, through
 * each encoding. The description is printed where one fails.
 */
#include <jansson.h>
#include <math.h>

#include "tests/unit/request/codec_peer.h"

#define ROUNDS	  1200
#define MAX_COUNT 2000 /* elements of a tensor */

static uint64_t seed;

static uint64_t below(uint64_t n)
{
	return next_random(&seed) % n;
}

/* A random kernel: every input has an output of the same type and shape. */
struct kernel {
	unsigned int nports;
	enum rk_dtype dtype[RK_MAX_PORTS];
	unsigned int rank[RK_MAX_PORTS];
	uint64_t shape[RK_MAX_PORTS][RK_MAX_RANK];
	uint64_t bytes[RK_MAX_PORTS];
	unsigned char *data[RK_MAX_PORTS];
	uint64_t dims[3];
	char ports[4100], args[200];
};

/* The text of an axis, and its size. A name alone, so that each is bound, where @plain. */
static uint64_t make_axis(struct kernel *k, char *text, size_t size, unsigned int dim, bool plain,
			  unsigned int ndims)
{
	uint64_t c = 1 + below(3);
	unsigned int other = (unsigned int)below(ndims);

	switch (plain ? 0 : below(6)) {
	case 1:
		snprintf(text, size, "%llu", (unsigned long long)c);
		return c;
	case 2:
		snprintf(text, size, "d%u+%llu", dim, (unsigned long long)c);
		return k->dims[dim] + c;
	case 3:
		snprintf(text, size, "%llu*d%u", (unsigned long long)c, dim);
		return k->dims[dim] * c;
	case 4:
		snprintf(text, size, "d%u*d%u+1", dim, other);
		return k->dims[dim] * k->dims[other] + 1;
	default:
		snprintf(text, size, "d%u", dim);
		return k->dims[dim];
	}
}

/* Values that matter: any bits, few bits, extremes; no NaN (JSON keeps no payload of it). */
static void make_element(enum rk_dtype dtype, unsigned char *to)
{
	uint64_t bits = next_random(&seed), how = below(4);
	uint64_t exponents[] = {
		[RK_F16] = 0x7c00, [RK_F32] = 0x7f800000, [RK_F64] = 0x7ffULL << 52};

	if (how == 1)
		bits >>= bits & 63;
	else if (how == 2)
		bits = 0 - (bits & 1);
	if (dtype == RK_BOOL)
		bits &= 1;
	if (rk_dtype_info(dtype)->kind == RK_KIND_FLOAT &&
	    (bits & exponents[dtype]) == exponents[dtype]) {
		if (below(4) == 0) /* an infinity */
			bits &= ~(exponents[dtype] - 1) | exponents[dtype] << 1 | exponents[dtype];
		bits &= below(2) ? ~exponents[dtype] : ~(~0ULL >> 12);
		if ((bits & exponents[dtype]) == exponents[dtype])
			bits &= ~exponents[dtype];
	}
	memcpy(to, &bits, rk_dtype_info(dtype)->size);
}

static void make_data(struct kernel *k, unsigned int i)
{
	uint64_t size = rk_dtype_info(k->dtype[i])->size, at;

	k->bytes[i] = size;
	for (unsigned int axis = 0; axis < k->rank[i]; axis++)
		k->bytes[i] *= k->shape[i][axis];
	k->data[i] = malloc(k->bytes[i] + size);
	assert_non_null(k->data[i]);
	for (at = 0; at < k->bytes[i]; at += size)
		make_element(k->dtype[i], k->data[i] + at);
}

/* @for_raw: one dim, linear in it. */
static void make_kernel(struct kernel *k, bool for_raw)
{
	unsigned int ndims = for_raw ? 1 : 1 + (unsigned int)below(3), i, axis;
	char inputs[2000] = "[inputs]\n", outputs[2000] = "[outputs]\n", text[64], *in, *out;

	memset(k, 0, sizeof(*k));
	for (i = 0; i < ndims; i++)
		k->dims[i] = ndims > 1 || below(8) ? below(6) : below(300);
	/* the first ones bind the dims */
	k->nports = ndims + (unsigned int)below(5);
	in = inputs + strlen(inputs);
	out = outputs + strlen(outputs);
	for (i = 0; i < k->nports; i++) {
		bool binds = i < ndims;
		char type[256] = "";
		uint64_t count = 1;

		k->dtype[i] = (enum rk_dtype)below(RK_DTYPE_COUNT);
		k->rank[i] = binds ? 1 : (unsigned int)below(for_raw ? 2 : RK_MAX_RANK + 1);
		for (axis = 0; axis < k->rank[i]; axis++) {
			k->shape[i][axis] =
				make_axis(k, text, sizeof(text),
					  binds ? i : (unsigned int)below(ndims), binds, ndims);
			if (for_raw && strchr(text, '*') && strchr(text, '+')) {
				snprintf(text, sizeof(text), "d0");
				k->shape[i][axis] = k->dims[0];
			}
			count *= k->shape[i][axis] ? k->shape[i][axis] : 1;
			if (count > MAX_COUNT && !binds) {
				count /= k->shape[i][axis];
				snprintf(text, sizeof(text), "1");
				k->shape[i][axis] = 1;
			}
			snprintf(type + strlen(type), sizeof(type) - strlen(type), "%s%s",
				 axis ? "," : "[", text);
		}
		if (k->rank[i])
			strcat(type, "]");
		in += sprintf(in, "p%u = %s%s\n", i, rk_dtype_info(k->dtype[i])->name, type);
		out += sprintf(out, "p%u = %s%s\n", i, rk_dtype_info(k->dtype[i])->name, type);
		sprintf(k->args + strlen(k->args), "%sin.p%u,out.p%u", i ? "," : "", i, i);
		make_data(k, i);
	}
	snprintf(k->ports, sizeof(k->ports), "%s%s[scratch]\ns = f64[d0+1]\n", inputs, outputs);
	strcat(k->args, ",s");
}

static void free_kernel(struct kernel *k)
{
	for (unsigned int i = 0; i < k->nports; i++)
		free(k->data[i]);
}

/* The inputs are what was meant; the outputs become them. */
static void run(struct peer *p, const struct kernel *k)
{
	for (unsigned int i = 0; i < k->nports; i++) {
		assert_int_equal(peer_plan(p)->inputs[i].bytes, k->bytes[i]);
		assert_memory_equal(peer_input(p, i), k->data[i], k->bytes[i]);
		assert_int_equal(peer_plan(p)->outputs[i].bytes, k->bytes[i]);
		memcpy(peer_output(p, i), peer_input(p, i), k->bytes[i]);
	}
	assert_int_equal(rk_plan_check(peer_plan(p), p->request.message->block.data, NULL), 0);
}

static void send(struct peer *p, const struct kernel *k, const struct rk_codec *codec,
		 const void *request, size_t len)
{
	if (peer_send(p, codec, request, len, 1 + below(500)) != 0)
		fail_msg("%s: %s\n%s", codec->file, p->err.msg, k->ports);
	run(p, k);
}

static void check_raw(struct peer *p, const struct kernel *k)
{
	unsigned char *request = malloc(PEER_LIMIT);
	size_t len = 0;
	unsigned int i;

	assert_non_null(request);
	for (i = 0; i < k->nports; i++) {
		memcpy(request + len, k->data[i], k->bytes[i]);
		len += k->bytes[i];
	}
	send(p, k, &rk_codec_raw, request, len);
	peer_expect_answer(p, request, len);
	free(request);
}

/* A request from scratch, its tensors in a random order; its answer read by another reader. */
static void check_safetensors(struct peer *p, const struct kernel *k)
{
	unsigned char *request = malloc(PEER_LIMIT), *answer;
	json_t *header = json_object(), *tensor;
	unsigned int i, n, start = (unsigned int)below(k->nports);
	uint64_t end = 0, header_len;
	size_t len, text_len;
	char name[16], *text;

	assert_non_null(request);
	for (n = 0; n < k->nports; n++) {
		json_t *shape = json_array();

		i = (start + n) % k->nports;
		for (unsigned int axis = 0; axis < k->rank[i]; axis++)
			json_array_append_new(shape, json_integer((json_int_t)k->shape[i][axis]));
		snprintf(name, sizeof(name), "p%u", i);
		tensor = json_pack(
			"{s:s,s:o,s:[I,I]}", "dtype", rk_dtype_info(k->dtype[i])->st_name, "shape",
			shape, "data_offsets", (json_int_t)end, (json_int_t)(end + k->bytes[i]));
		end += k->bytes[i];
		json_object_set_new(header, name, tensor);
	}
	text = json_dumps(header, below(2) ? 0 : JSON_INDENT(1));
	assert_non_null(text);
	text_len = strlen(text);
	memset(request, 0, 8);
	for (i = 0; i < 8; i++)
		request[i] = (unsigned char)((uint64_t)text_len >> 8 * i);
	memcpy(request + 8, text, text_len);
	len = 8 + text_len;
	for (n = 0; n < k->nports; n++) {
		i = (start + n) % k->nports;
		memcpy(request + len, k->data[i], k->bytes[i]);
		len += k->bytes[i];
	}
	send(p, k, &rk_codec_safetensors, request, len);
	free(text);
	json_decref(header);
	free(request);

	answer = peer_answer(p, &len);
	memcpy(&header_len, answer, 8);
	assert_int_equal(header_len % 8, 0);
	assert_int_equal(len, 8 + header_len + end);
	header = json_loadb((char *)answer + 8, header_len, 0, NULL);
	assert_non_null(header);
	assert_int_equal(json_object_size(header), k->nports);
	for (i = 0; i < k->nports; i++) {
		json_int_t from, to;
		const char *dtype;
		json_t *shape;

		snprintf(name, sizeof(name), "p%u", i);
		assert_int_equal(json_unpack(json_object_get(header, name), "{s:s,s:o,s:[II!]!}",
					     "dtype", &dtype, "shape", &shape, "data_offsets",
					     &from, &to),
				 0);
		assert_string_equal(dtype, rk_dtype_info(k->dtype[i])->st_name);
		assert_int_equal(json_array_size(shape), k->rank[i]);
		for (unsigned int axis = 0; axis < k->rank[i]; axis++)
			assert_int_equal(json_integer_value(json_array_get(shape, axis)),
					 k->shape[i][axis]);
		assert_int_equal(to - from, k->bytes[i]);
		assert_int_equal(
			(8 + header_len + (uint64_t)from) % rk_dtype_info(k->dtype[i])->size, 0);
		assert_memory_equal(answer + 8 + header_len + from, k->data[i], k->bytes[i]);
	}
	json_decref(header);
	free(answer);
}

static json_t *make_number(enum rk_dtype dtype, const void *from)
{
	uint64_t bits = 0;
	double real;
	float single;
	char digits[24];

	memcpy(&bits, from, rk_dtype_info(dtype)->size);
	memcpy(&single, &bits, sizeof(single));
	memcpy(&real, &bits, sizeof(real));
	switch (rk_dtype_info(dtype)->kind) {
	case RK_KIND_BOOL:
		return json_boolean(bits);
	case RK_KIND_SIGNED:
		bits <<= 64 - 8 * rk_dtype_info(dtype)->size;
		return json_integer((json_int_t)bits >> (64 - 8 * rk_dtype_info(dtype)->size));
	case RK_KIND_UNSIGNED:
		if (bits <= INT64_MAX)
			return json_integer((json_int_t)bits);
		snprintf(digits, sizeof(digits), "%llu", (unsigned long long)bits);
		return json_string(digits);
	case RK_KIND_FLOAT:
		break;
	}
	if (dtype != RK_F64)
		real = (double)(dtype == RK_F16 ? rk_f16_to_f32((uint16_t)bits) : single);
	if (isinf(real))
		return json_string(real < 0 ? "-Infinity" : "Infinity");
	return json_real(real);
}

static json_t *make_array(enum rk_dtype dtype, const uint64_t *shape, unsigned int rank,
			  const unsigned char **from)
{
	json_t *array;

	if (rank == 0) {
		array = make_number(dtype, *from);
		*from += rk_dtype_info(dtype)->size;
		return array;
	}
	array = json_array();
	for (uint64_t i = 0; i < shape[0]; i++)
		json_array_append_new(array, make_array(dtype, shape + 1, rank - 1, from));
	return array;
}

/* Written by another writer; the answer, which has the inputs' names, is a request itself. */
static void check_json(struct peer *p, const struct kernel *k)
{
	json_t *root = json_object();
	unsigned char *answer;
	char name[16], *text;
	size_t len;

	for (unsigned int i = 0; i < k->nports; i++) {
		const unsigned char *from = k->data[i];

		snprintf(name, sizeof(name), "p%u", i);
		json_object_set_new(root, name,
				    make_array(k->dtype[i], k->shape[i], k->rank[i], &from));
	}
	text = json_dumps(root, JSON_REAL_PRECISION(17));
	assert_non_null(text);
	json_decref(root);
	send(p, k, &rk_codec_json, text, strlen(text));
	free(text);
	answer = peer_answer(p, &len);
	send(p, k, &rk_codec_json, answer, len);
	peer_expect_answer(p, answer, len);
	free(answer);
}

TEST(identity)
{
	struct kernel k;
	struct peer p;

	peer_init(&p);
	for (unsigned int round = 0; round < ROUNDS; round++) {
		seed = round;
		make_kernel(&k, round % 2);
		peer_describe(&p, k.ports, k.args);
		if (round % 2) {
			if (!rk_codec_raw.applies(&p.kernel->manifest))
				fail_msg("no raw\n%s", k.ports);
			check_raw(&p, &k);
		}
		check_safetensors(&p, &k);
		check_json(&p, &k);
		free_kernel(&k);
	}
	peer_destroy(&p);
}
