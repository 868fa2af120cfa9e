/* SPDX-License-Identifier: MIT */
/*
 * json ROUNDS ELEMENTS: milliseconds to turn a JSON request of ELEMENTS f32 into a block and such a
 * block into a JSON answer; and those that jansson takes to parse and to dump the same. Rounds are
 * interleaved.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "runtime/request/codec_json.h"
#include "runtime/kernel/parse.h"
#include "tests/bench/bench.h"

#define F32_DIGITS 9 /* as in an answer */

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

static double with_codec(const struct rk_manifest *m, const char *text, size_t len)
{
	uint64_t start = rk_now_ns();
	struct rk_error error = {0};
	struct rk_json doc;
	struct rk_plan plan;
	char *block, *out;
	size_t outlen;

	rk_plan_init(&plan, m);
	if (rk_json_parse(text, len, &plan, &doc, &error) ||
	    rk_plan_layout(&plan, 1UL << 32, &error))
		errx(1, "%s", error.msg);
	block = malloc(plan.block_bytes);
	if (!block)
		errx(1, "no memory");
	if (rk_json_store(&doc, &plan, block, &error))
		errx(1, "%s", error.msg);
	rk_plan_clear(&plan, block);
	memcpy(block + plan.outputs[0].offset, block + plan.inputs[0].offset, plan.inputs[0].bytes);
	if (rk_json_encode(&plan, block, &out, &outlen, &error))
		errx(1, "%s", error.msg);
	free(out);
	free(block);
	return (double)(rk_now_ns() - start) / 1e6;
}

int main(int argc, char **argv)
{
	double codec[BENCH_ROUNDS_MAX], jansson[BENCH_ROUNDS_MAX];
	struct rk_manifest *m = malloc(sizeof(*m));
	struct rk_error error = {0};
	long rounds, elements;
	size_t len;
	char *text;

	if (argc != 3)
		errx(2, "usage: json ROUNDS ELEMENTS");
	rounds = bench_number(argv[1], BENCH_ROUNDS_MAX);
	elements = bench_number(argv[2], 100000000);
	if (!m || rk_manifest_parse(m, description, strlen(description), "copy.ini", &error))
		errx(1, "%s", m ? error.msg : "no memory");
	text = make_request(elements, &len);
	for (long r = 0; r < rounds; r++) {
		jansson[r] = with_jansson(text, len);
		codec[r] = with_codec(m, text, len);
	}
	printf("codec %.1f\n", bench_median(codec, (size_t)rounds));
	printf("jansson %.1f\n", bench_median(jansson, (size_t)rounds));
	free(text);
	free(m);
	return 0;
}
