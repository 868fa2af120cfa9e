/* SPDX-License-Identifier: MIT */
/*
 * json ROUNDS ELEMENTS: milliseconds to turn a JSON request of ELEMENTS f32 into a block and such a
 * block into a JSON answer; and those that jansson takes to parse and to dump the same. Rounds are
 * interleaved.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "runtime/kernel/parse.h"
#include "runtime/request/codec.h"
#include "tests/bench/bench.h"

#define F32_DIGITS 9 /* as in an answer */
#define POOL_BYTES (4ULL << 30)

static const char description[] = "[kernel]\n"
				  "id = bench/copy\n"
				  "mode = batch\n"
				  "description = The answer is the request\n"
				  "[inputs]\n"
				  "x = f32[n]\n"
				  "[outputs]\n"
				  "x = f32[n]\n"
				  "[cpu]\n"
				  "library = builtin\n"
				  "entry = copy\n"
				  "args = in.x, out.x, n\n";

/* Reproducible values of many magnitudes; about 12 bytes each, as measured data is. */
static char *make_request(long elements, size_t *len)
{
	char *text = malloc((size_t)elements * 20 + 16);
	uint32_t seed = 1;
	size_t at;

	if (!text)
		errx(1, "no memory");
	at = (size_t)sprintf(text, "{\"x\":[");
	for (long i = 0; i < elements; i++) {
		seed = seed * 1664525 + 1013904223;
		at += (size_t)sprintf(text + at, "%s%.9g", i ? "," : "",
				      (double)(float)((int32_t)seed / 65536.0));
	}
	at += (size_t)sprintf(text + at, "]}");
	*len = at;
	return text;
}

static double with_jansson(const char *text, size_t len)
{
	uint64_t start = rk_now_ns();
	json_t *root = json_loadb(text, len, 0, NULL);
	char *out = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(F32_DIGITS));

	if (!out)
		errx(1, "jansson failed");
	free(out);
	json_decref(root);
	return (double)(rk_now_ns() - start) / 1e6;
}

static double with_codec(struct rk_kernel *k, struct rk_payload *pool, const char *text, size_t len)
{
	struct rk_request r = {.codec = &rk_codec_json,
			       .max_json_bytes = POOL_BYTES,
			       .max_message_bytes = POOL_BYTES};
	uint64_t start = rk_now_ns();
	struct rk_error error = {0};
	struct rk_answer answer;
	const struct rk_plan *plan;
	char *block;

	rk_request_init(&r, k, pool);
	if (r.codec->feed(&r, text, len, &error) || r.codec->finish(&r, &error))
		errx(1, "%s", error.msg);
	plan = &r.message->plan;
	block = r.message->block.data;
	memcpy(block + plan->outputs[0].offset, block + plan->inputs[0].offset,
	       plan->inputs[0].bytes);
	if (r.codec->answer(&r, &answer, &error))
		errx(1, "%s", error.msg);
	rk_answer_drop(&answer);
	rk_request_drop(&r);
	return (double)(rk_now_ns() - start) / 1e6;
}

int main(int argc, char **argv)
{
	double codec[BENCH_ROUNDS_MAX], jansson[BENCH_ROUNDS_MAX];
	static struct rk_manifest m;
	const struct rk_kernel_source source = {.manifest = &m};
	struct rk_error error = {0};
	struct rk_registry *registry;
	struct rk_payload *pool;
	struct rk_kernel *k;
	long rounds, elements;
	size_t len;
	char *text;

	if (argc != 3)
		errx(2, "usage: json ROUNDS ELEMENTS");
	rounds = bench_number(argv[1], BENCH_ROUNDS_MAX);
	elements = bench_number(argv[2], 100000000);
	if (rk_manifest_parse(&m, description, strlen(description), "copy.ini", &error) ||
	    rk_registry_create(&registry) ||
	    rk_registry_add(registry, &source, false, &k, &error) ||
	    rk_payload_create(POOL_BYTES, 100, &pool, &error))
		errx(1, "%s", error.msg);
	text = make_request(elements, &len);
	for (long r = 0; r < rounds; r++) {
		jansson[r] = with_jansson(text, len);
		codec[r] = with_codec(k, pool, text, len);
	}
	printf("codec %.1f\n", bench_median(codec, (size_t)rounds));
	printf("jansson %.1f\n", bench_median(jansson, (size_t)rounds));
	free(text);
	rk_payload_unref(pool);
	rk_kernel_unref(k);
	rk_registry_destroy(registry);
	return 0;
}
