/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/json_number.h"
#include "tests/unit/request/codec_peer.h"
#include "tests/unit/unit.h"

#define LIMIT (1 << 24)

static struct peer peer;

static int setup(void **state)
{
	(void)state;
	peer_init(&peer);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	peer_destroy(&peer);
	return 0;
}

#define JSON_TEST(name) TEST_WITH(name, setup, teardown)

static void describe(const char *inputs, const char *outputs, const char *args)
{
	char ports[512];

	snprintf(ports, sizeof(ports), "[inputs]\n%s\n[outputs]\n%s\n", inputs, outputs);
	peer_drop(&peer);
	peer_describe(&peer, ports, args);
}

/* Feed @text, from memory that ends where the text does, and finish. */
static int request(const char *text, size_t len)
{
	int rc;

	peer_begin(&peer, &rk_codec_json);
	peer.request.max_json_bytes = LIMIT;
	peer.request.max_message_bytes = LIMIT;
	rc = peer_feed(&peer, text, len, len);
	return rc ? rc : rk_codec_json.finish(&peer.request, &peer.err);
}

static void accept(const char *text)
{
	if (request(text, strlen(text)) != 0)
		fail_msg("%s: %s", text, peer.err.msg);
}

static void refuse(const char *text, size_t len, const char *words)
{
	assert_int_equal(request(text, len), -EINVAL);
	if (peer.err.code != EINVAL || !strstr(peer.err.msg, words))
		fail_msg("%.60s: \"%s\" lacks \"%s\"", text, peer.err.msg, words);
}

/* What an identity kernel answers to @text. */
static void expect_echo(const char *text, const char *answer)
{
	accept(text);
	memcpy(peer_output(&peer, 0), peer_input(&peer, 0), peer_plan(&peer)->inputs[0].bytes);
	peer_expect_answer(&peer, answer, strlen(answer));
}

JSON_TEST(vector_add)
{
	static const char answer[] = "{\"c\":[11.0,22.0,33.0],\"n2\":0}\n";
	float *a, *b, *c;

	describe("a = f32[n]\nb = f32[n]", "c = f32[n]\nn2 = u8", "a, b, c, n2, n");
	accept(" {\"b\":[10,20.0,3e1],\n\"a\":[1,2,3]}\n");
	a = (float *)peer_input(&peer, 0);
	b = (float *)peer_input(&peer, 1);
	c = (float *)peer_output(&peer, 0);
	for (int i = 0; i < 3; i++)
		c[i] = a[i] + b[i];
	peer_expect_answer(&peer, answer, strlen(answer));
}

JSON_TEST(shapes)
{
	describe("a = i32[n,2,m]", "c = i32[n,2,m]", "a, c");
	expect_echo("{\"a\":[[[1,2,3],[-4,5,6]]]}", "{\"c\":[[[1,2,3],[-4,5,6]]]}\n");
	expect_echo("{\"a\":[[[],[]],[[],[]]]}", "{\"c\":[[[],[]],[[],[]]]}\n");
	expect_echo("{\"a\":[]}", "{\"c\":[]}\n");
	refuse("{\"a\":[[]]}", 10, "axis 1 of input 'a' must be 2, not 0");
	describe("a = f64", "c = f64", "a, c");
	expect_echo("{\"a\":0.1}", "{\"c\":0.10000000000000001}\n");
	describe("a = u8[n]", "c = u8[n]", "a, c");
	expect_echo("{\"a\":[0,255,2.0,-0.0]}", "{\"c\":[0,255,2,0]}\n");
}

/* An empty array does not show its inner axes: another input may, before it or after it. */
JSON_TEST(hidden_axes)
{
	describe("a = f32[n,m]\nb = f32[m]", "c = f32[n,m]", "a, b, c");
	accept("{\"a\":[],\"b\":[1,2,3]}");
	assert_int_equal(peer_plan(&peer)->dims[0], 0);
	assert_int_equal(peer_plan(&peer)->dims[1], 3);
	accept("{\"a\":[],\"b\":[]}");
	assert_int_equal(peer_plan(&peer)->dims[1], 0);
	refuse("{\"a\":[[]],\"b\":[1]}", 18, "dim m is 0 in input 'a' but 1 in input 'b'");
}

#define NUMBER(text) "{\"x\":[0,1],\"k\":" text "}"
#define VECTOR(text) "{\"x\":[" text "],\"k\":1}"

/* x = T[2], k = T. */
static const struct {
	const char *dtype, *text, *words;
} bad_numbers[] = {
	{"f32", VECTOR("1,1e39"), "input x[1]: 1e39 is out of f32's range"},
	{"f32", VECTOR("1,-3.5e38"), "is out of f32's range"},
	{"f32", VECTOR("1,\"nan\""), "input x[1]: a string where f32 wants a number (or \"NaN\""},
	{"f32", VECTOR("1,\"NaN\\u00e9\""), "a string where f32"},
	{"f32", VECTOR("1,\"1\""), "a string where f32"},
	{"f64", VECTOR("true,1"), "input x[0]: true where f64 wants a number"},
	{"f64", VECTOR("null,1"), "null where f64"},
	{"f64", VECTOR("{},1"), "an object where f64"},
	{"f64", VECTOR("1,[]"), "input x[1]: an array where f64"},
	{"f64", VECTOR("1,1e400"), "input x[1]: 1e400 is out of f64's range"},
	{"f64", NUMBER("false"), "input k: false where f64"},
	{"u8", VECTOR("1,256"), "input x[1]: 256 is out of u8's range (0 to 255)"},
	{"u8", VECTOR("-1,256"), "input x[0]: -1 is out of u8's range (0 to 255)"},
	{"u8", VECTOR("0.5,1"), "0.5 is a fraction; u8 wants an integer"},
	{"u8", VECTOR("\"1\",1"), "a string where u8 wants a number"},
	{"i32", VECTOR("0,2147483648"), "out of i32's range (-2147483648 to 2147483647)"},
	{"i32", VECTOR("0,-2147483649"), "-2147483649 is out of i32's range"},
	{"i32", VECTOR("0,-2147483649.0"), "-2147483649.0 is out of i32's range"},
	{"u32", VECTOR("0,4294967296"), "out of u32's range (0 to 4294967295)"},
	{"u32", NUMBER("4294967296.0"), "out of u32's range (0 to 4294967295)"},
	{"i64", VECTOR("0,9223372036854775808"),
	 "input x[1]: 9223372036854775808 is out of i64's range (-9223372036854775808 to "
	 "9223372036854775807)"},
	{"i64", VECTOR("0,-9223372036854775809"), "-9223372036854775809 is out of i64's range"},
	{"i64", VECTOR("0,1e400"), "1e400 is out of i64's range"},
	{"i64", VECTOR("0,9007199254740992.5"), "9007199254740992.5 is a fraction; i64 wants an"},
	{"i64", VECTOR("0,1e-99999999999999999999999"), "is a fraction; i64 wants an integer"},
	{"f64", VECTOR("0,1e99999999999999999999999"), "is out of f64's range"},
	{"f32",
	 VECTOR("0,1000000000000000000000000000000000000000000000000000000000000000000000000"),
	 "input x[1]: 100000000000000000000000000000000000... is out of f32's range"},
	{"i64", VECTOR("0,\"1\""), "a string where i64 wants a number"},
	{"f16", VECTOR("1,65520"), "input x[1]: 65520 is out of f16's range"},
	{"f16", VECTOR("1,-65520.0"), "-65520.0 is out of f16's range"},
	{"f16", VECTOR("1,1e300"), "1e300 is out of f16's range"},
	{"f16", VECTOR("1,true"), "true where f16 wants a number (or \"NaN\""},
	{"i8", VECTOR("0,128"), "128 is out of i8's range (-128 to 127)"},
	{"i8", VECTOR("-129,0"), "-129 is out of i8's range (-128 to 127)"},
	{"i16", VECTOR("0,32768.0"), "32768.0 is out of i16's range (-32768 to 32767)"},
	{"u16", VECTOR("0,65536"), "65536 is out of u16's range (0 to 65535)"},
	{"bool", VECTOR("true,1"), "input x[1]: a number where bool wants true or false"},
	{"bool", VECTOR("0,false"), "input x[0]: a number where bool wants true or false"},
	{"bool", VECTOR("\"true\",false"), "a string where bool wants true or false"},
	{"bool", VECTOR("null,false"), "null where bool wants true or false"},
	{"u64", VECTOR("0,-1"), "-1 is out of u64's range (0 to 18446744073709551615)"},
	{"u64", VECTOR("0,1e20"), "1e20 is out of u64's range"},
	{"u64", VECTOR("0,18446744073709551616"), "18446744073709551616 is out of u64's range"},
	{"u64", VECTOR("0,\"18446744073709551616\""), "a string where u64 wants a number (or its"},
	{"u64", VECTOR("0,\"\""), "a string where u64"},
	{"u64", VECTOR("0,\"-1\""), "a string where u64"},
	{"u64", VECTOR("0,\" 1\""), "a string where u64"},
	{"u64", VECTOR("0,\"1\\u0001\""), "a string where u64"},
	{"u64", VECTOR("0,\"NaN\""), "a string where u64"},
};

JSON_TEST(bad_numbers)
{
	char inputs[64];
	size_t i;

	for (i = 0; i < sizeof(bad_numbers) / sizeof(bad_numbers[0]); i++) {
		snprintf(inputs, sizeof(inputs), "x = %s[2]\nk = %s", bad_numbers[i].dtype,
			 bad_numbers[i].dtype);
		describe(inputs, "c = u8", "x, k, c");
		refuse(bad_numbers[i].text, strlen(bad_numbers[i].text), bad_numbers[i].words);
	}
}

/* a = f32[n,m], b = f32[m], k = i32 */
static const struct {
	const char *text, *words;
} bad_requests[] = {
	{"", "malformed JSON at line 1, column 1: a value expected, but the text ends"},
	{" ", "malformed JSON"},
	{"{\"a\":[[1]],\n\"b\":[1",
	 "malformed JSON at line 2, column 7: ',' or ']' expected, but the text ends"},
	{"{\"a\":[[1]],\n\"b\":[1]}", "the request lacks the input 'k'"},
	{"{}", "the request lacks the inputs 'a', 'b', 'k'"},
	{"{} {}", "malformed JSON at line 1, column 4: end of file expected"},
	{"[]", "a request is an object of inputs"},
	{"1", "a request is an object of inputs like {\"NAME\": [1, 2]}, not a number"},
	{"{\"a\":[[1]],\"b\":[1],\"k\":1,\"a\":[[1]]}",
	 "malformed JSON at line 1, column 27: duplicate input 'a'"},
	{"{\"q\":1}", "there is no input 'q'; the inputs are: a, b, k"},
	{"{\"\":1}", "there is no input ''; the inputs are"},
	{"{\"q\\n\\u00e9\\u0007\":1}", "there is no input 'q\?\?\?'; the inputs"},
	{"{\"q\\u0000\":1}", "there is no input 'q?'"},
	{"{\"a\":\"\\u0000\"}", "input a: an array nested 2 deep is wanted"},
	{"{\"a\":\"\xff\"}", "malformed JSON"},
	{"{\"a\":[NaN]}", "(write \"NaN\", \"Infinity\" and \"-Infinity\" as strings)"},
	{"{\"a\":[-Infinity]}", "(write \"NaN\", \"Infinity\" and \"-Infinity\" as strings)"},
	{"{\"a\":[1,]}", "malformed JSON"},
	{"{\"a\":[01]}", "malformed JSON"},
	{"{\"a\":1,\"b\":[1],\"k\":1}", "input a: an array nested 2 deep is wanted (a = f32[n,m])"},
	{"{\"a\":[1],\"b\":[1],\"k\":1}", "input a: an array nested 2 deep is wanted"},
	{"{\"a\":[[[1]]],\"b\":[1],\"k\":1}", "input a: an array nested 2 deep is wanted"},
	{"{\"a\":[[1]],\"b\":[1],\"k\":[1]}", "input k: a single number is wanted (k = i32)"},
	{"{\"a\":[[1],[1,2]],\"b\":[1],\"k\":1}",
	 "input a[1]: a row of 2 where the first such row has 1"},
	{"{\"a\":[[1],2],\"b\":[1],\"k\":1}",
	 "input a[1]: a number where the first such row is an array"},
	{"{\"a\":[[],[2]],\"b\":[],\"k\":1}", "input a[1]: a row of 1"},
	{"{\"a\":[[1]],\"b\":[1,2],\"k\":1}",
	 "the shapes disagree: dim m is 1 in input 'a' but 2 in input 'b'"},
};

JSON_TEST(bad_requests)
{
	size_t i;

	describe("a = f32[n,m]\nb = f32[m]\nk = i32", "c = f32[n]", "a, b, k, c");
	for (i = 0; i < sizeof(bad_requests) / sizeof(bad_requests[0]); i++)
		refuse(bad_requests[i].text, strlen(bad_requests[i].text), bad_requests[i].words);
	refuse("{\"a\":\0}", 7, "malformed JSON");
	refuse("{}\0", 3, "malformed JSON");
}

JSON_TEST(depth_bomb)
{
	static char bomb[1 << 20];

	describe("a = f32[n]", "c = f32[n]", "a, c");
	memset(bomb, '[', sizeof(bomb));
	memcpy(bomb, "{\"a\":", 5);
	refuse(bomb, sizeof(bomb), "the maximum parsing depth is 2048");
	refuse(bomb, 1000, "malformed JSON");
}

JSON_TEST(truncated)
{
	static const char text[] =
		"{\"a\":[[1,2.5e-3],[\"NaN\",-4]],\"b\":[\"Infinity\",6],\"k\":-7}";
	size_t len;

	describe("a = f32[n,m]\nb = f32[m]\nk = i32", "c = f32[n]", "a, b, k, c");
	for (len = 0; len < sizeof(text) - 1; len++)
		refuse(text, len, "malformed JSON");
	accept(text);
}

JSON_TEST(specials)
{
	static const char text[] = "{\"x\":[\"NaN\",\"Infinity\",\"-Infinity\",-0.0]}";
	char answer[sizeof(text) + 1];

	snprintf(answer, sizeof(answer), "%s\n", text);
	describe("x = f32[n]", "x = f32[n]", "in.x, out.x");
	expect_echo(text, answer);
	describe("x = f64[n]", "x = f64[n]", "in.x, out.x");
	expect_echo(text, answer);
	describe("x = u64[n]", "x = u64[n]", "in.x, out.x");
	expect_echo("{\"x\":[\"18446744073709551615\",\"9223372036854775808\",9223372036854775807,"
		    "\"12\",9007199254740991.0]}",
		    "{\"x\":[\"18446744073709551615\",\"9223372036854775808\",9223372036854775807,"
		    "12,9007199254740991]}\n");
	describe("x = f32[n]", "x = f32[n]", "in.x, out.x");
	expect_echo("{\"x\":[1e20,1e-45,3.40282347e38,16777217,1e-60,0.1]}",
		    "{\"x\":[1.00000002e20,1.40129846e-45,3.40282347e38,16777216.0,0.0,"
		    "0.100000001]}\n");
}

/* f16 rounds once, to nearest even, straight from the text's double. */
JSON_TEST(f16)
{
	describe("x = f16[n]", "x = f16[n]", "in.x, out.x");
	/* 2^-24 and half of it (a tie, to 0), 65519.999 below the tie that would be infinity */
	expect_echo("{\"x\":[1,0.1,65504,65519.999,5.9604644775390625e-8,2.98023223876953125e-8,"
		    "2.9802322387695316e-8,-0.0,\"NaN\",\"-Infinity\",2049,2051,1e-300]}",
		    "{\"x\":[1.0,0.099976,65504.0,65504.0,5.9605e-8,0.0,"
		    "5.9605e-8,-0.0,\"NaN\",\"-Infinity\",2048.0,2052.0,0.0]}\n");
	/* 1 + 2^-11 + 2^-40: by way of f32 it would be the tie 1 + 2^-11 and end at 1 */
	expect_echo("{\"x\":[1.0004882812509095,1.00048828125]}", "{\"x\":[1.001,1.0]}\n");
	describe("x = bool[n,2]", "x = bool[n,2]", "in.x, out.x");
	expect_echo("{\"x\":[[true,false],[false,true]]}", "{\"x\":[[true,false],[false,true]]}\n");
}

/* All binary16 numbers there are. */
TEST(f16_all)
{
	char text[RK_JSON_NUMBER_MAX + 1];
	uint32_t bits;

	for (bits = 0; bits <= UINT16_MAX; bits++) {
		uint16_t half = (uint16_t)bits, back;
		struct rk_json_token token;
		size_t len;

		len = rk_json_number_print(RK_F16, &half, text);
		text[len] = '\0';
		(void)rk_json_next(text, text + len, &token);
		assert_int_equal(rk_json_number_store(&token, RK_F16, &back, NULL), 0);
		if ((half & 0x7fff) > 0x7c00)
			assert_true((back & 0x7fff) > 0x7c00);
		else
			assert_int_equal(back, half);
	}
}

/* What a request leaves out is what the description says. */
JSON_TEST(defaults)
{
	double k;

	describe("x = u8[n]\nk = f64 = 0.85", "c = u8", "x, k, c");
	accept("{\"x\":[1,2]}");
	memcpy(&k, peer_input(&peer, 1), sizeof(k));
	assert_true(k == 0.85);
	accept("{\"x\":[],\"k\":2}");
	memcpy(&k, peer_input(&peer, 1), sizeof(k));
	assert_true(k == 2);
	refuse("{\"k\":2}", 7, "the request lacks the input 'x'");
	refuse("{\"x\":[],\"k\":null}", 17, "input k: null where f64 wants a number");
}

/* Axes that are expressions, in whatever order the inputs that bind them come. */
JSON_TEST(expressions)
{
	describe("p = u8[2*n]\nx = u8[n,m]\nq = u8[n+1]", "c = u8[n-1]", "p, q, x, c");
	accept("{\"p\":[1,2,3,4],\"x\":[[1],[2]],\"q\":[1,2,3]}");
	assert_int_equal(peer_plan(&peer)->outputs[0].count, 1);
	refuse("{\"p\":[1,2,3],\"x\":[[1],[2]],\"q\":[1,2,3]}", 39,
	       "axis 0 of input 'p' (2*n) must be 4, not 3");
	refuse("{\"p\":[],\"x\":[],\"q\":[]}", 22,
	       "axis 0 of input 'q' (n+1) must be at least 1, not 0");
	refuse("{\"p\":[],\"x\":[],\"q\":[7]}", 23, "axis 0 of output 'c' (n-1) would be negative");
}

/* The classes that matter to a printer: any bits, few bits, near a power of two, whole, tiny. */
static uint64_t random_bits(uint64_t *state, enum rk_dtype dtype)
{
	uint64_t r = next_random(state), how = next_random(state) % 5;
	union {
		float f;
		double d;
		uint32_t u32;
		uint64_t u64;
	} v = {.u64 = r};

	if (how == 1)
		v.u64 = r >> (r & 63);
	else if (how == 2)
		v.u64 = (1ULL << (r & 63)) - 1 + (r >> 62);
	else if (how == 3 && dtype == RK_F32)
		v.f = (float)((int64_t)r >> (r & 63));
	else if (how == 3 && dtype == RK_F64)
		v.d = (double)((int64_t)r >> (r & 63));
	if (dtype == RK_F32 && !isfinite(v.f))
		v.u32 &= 0x807fffff;
	if (dtype == RK_F64 && !isfinite(v.d))
		v.u64 &= 0x800fffffffffffff;
	if (dtype == RK_F16 && (v.u64 & 0x7c00) == 0x7c00)
		v.u64 &= 0x83ff;
	if (dtype == RK_BOOL)
		v.u64 &= 1;
	return v.u64;
}

/* Whatever is encoded reads back to the same bits, and is what jansson would print. */
static void round_trip(enum rk_dtype dtype, size_t count, uint64_t seed)
{
	const struct rk_dtype_info *info = rk_dtype_info(dtype);
	size_t digits = dtype == RK_F16 ? 5 : dtype == RK_F32 ? 9 : 17;
	const char *any = dtype == RK_BOOL ? "false," : "0,";
	char port[32], *text, *again;
	unsigned char *bits;
	json_t *json;
	size_t i, len;

	/* the answer to @count elements of whatever kind */
	snprintf(port, sizeof(port), "x = %s[n]", info->name);
	describe(port, port, "in.x, out.x");
	text = malloc(count * strlen(any) + sizeof("{\"x\":[]}"));
	bits = malloc(count * info->size + 1);
	assert_non_null(text);
	assert_non_null(bits);
	len = (size_t)sprintf(text, "{\"x\":[");
	for (i = 0; i < count; i++)
		len += (size_t)sprintf(text + len, "%s", any);
	sprintf(text + len - !!count, "]}");
	accept(text);
	free(text);
	for (i = 0; i < count; i++) {
		uint64_t random = random_bits(&seed, dtype);

		memcpy(bits + i * info->size, &random, info->size);
	}
	memcpy(peer_output(&peer, 0), bits, count * info->size);
	text = (char *)peer_answer(&peer, &len);
	accept(text);
	assert_memory_equal(peer_input(&peer, 0), bits, count * info->size);

	json = json_loadb(text, len, 0, NULL);
	assert_non_null(json);
	again = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(digits));
	assert_non_null(again);
	assert_int_equal(strlen(again), len - 1);
	assert_memory_equal(again, text, len - 1);

	free(again);
	json_decref(json);
	free(text);
	free(bits);
}

JSON_TEST(round_trip)
{
	unsigned int dtype;

	for (dtype = 0; dtype < RK_DTYPE_COUNT; dtype++) {
		round_trip((enum rk_dtype)dtype, 100000, dtype);
		round_trip((enum rk_dtype)dtype, 1, dtype + 100);
		round_trip((enum rk_dtype)dtype, 0, 0);
	}
}

/* The row: pieces, limits, charges. */
JSON_TEST(codec)
{
	static const char text[] = "{\"a\":[1,2,3],\"b\":[10,20,30]}";
	static const char answer[] = "{\"c\":[0.0,0.0,0.0]}\n";

	peer_describe(&peer, "[inputs]\na = f32[n]\nb = f32[n]\n[outputs]\nc = f32[n]\n", "a,b,c");
	for (size_t piece = 1; piece < sizeof(text); piece++) {
		assert_int_equal(peer_send(&peer, &rk_codec_json, text, strlen(text), piece), 0);
		/* the block and the message; the text is gone */
		assert_int_equal(payload_used(peer.pool), 4096 + sizeof(struct rk_message));
		peer_expect_answer(&peer, answer, strlen(answer));
		assert_int_equal(payload_used(peer.pool), /* now the block too */
				 strlen(answer) + sizeof(struct rk_message));
	}
	peer_refuse(&peer, &rk_codec_json, "", 0, EINVAL, "malformed JSON");
	peer_refuse(&peer, &rk_codec_json, "{}", 2, EINVAL,
		    "the request lacks the inputs 'a', 'b'");
	peer_begin(&peer, &rk_codec_json);
	peer.request.max_json_bytes = strlen(text);
	assert_int_equal(peer_feed(&peer, text, strlen(text), 5), 0);
	assert_int_equal(peer_feed(&peer, " ", 1, 1), -EMSGSIZE);
	assert_non_null(strstr(peer.err.msg, "larger than max_json_bytes (28 bytes)"));
	peer_begin(&peer, &rk_codec_json);
	peer.request.max_message_bytes = 203;
	assert_int_equal(peer_feed(&peer, text, strlen(text), 5), 0);
	assert_int_equal(rk_codec_json.finish(&peer.request, &peer.err), -EMSGSIZE);
}

/* Pages of shared memory that this process has touched. */
static long touched(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	long shared;

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%*d %*d %ld", &shared), 1);
	fclose(f);
	return shared;
}

/* A short request with a large answer is decoded where it is read: that touches no page of it. */
JSON_TEST(untouched)
{
	char text[2100] = "{\"a\":[1";
	long before;

	for (size_t i = 1; i < 1000; i++)
		strcat(text, ",1");
	strcat(text, "]}");
	peer_describe(&peer, "[inputs]\na = u8[n]\n[outputs]\nc = u8[n*n]\n", "a,c");
	before = touched();
	accept(text);
	assert_in_range(touched(), 0, before + 100);
	for (size_t i = 0; i < 1000000; i++)
		assert_int_equal(peer_output(&peer, 0)[i], 0);
}

/* The text of an answer is charged while it is made, not when all the memory is taken already. */
JSON_TEST(answer_charged)
{
	unsigned long long used;
	const char *told;

	peer_describe(&peer, "[inputs]\na = u8\n[outputs]\nc = u8[1000000]\n", "a,c");
	rk_payload_unref(peer.pool);
	assert_int_equal(rk_payload_create(4 << 20, 100, &peer.pool, NULL), 0);
	accept("{\"a\":1}");
	memset(peer_output(&peer, 0), 0xff, 1000000); /* beside this megabyte, a text of four */
	assert_int_equal(rk_codec_json.answer(&peer.request, &peer.answer, &peer.err), -ENOMEM);
	assert_null(peer.answer.text);
	told = strstr(peer.err.msg, "exceed max_buffered_bytes: ");
	assert_non_null(told);
	assert_int_equal(sscanf(told, "exceed max_buffered_bytes: %llu", &used), 1);
	assert_in_range(used, 4000000, 4 << 20);
}

/* Whoever has closed his file is not worked for any more. */
JSON_TEST(closed)
{
	static const char text[] = "{\"a\":[1,2,3]}";
	atomic_bool closed = true;

	peer_describe(&peer, "[inputs]\na = f32[n]\n[outputs]\nc = f32[n]\n", "a,c");
	peer_begin(&peer, &rk_codec_json);
	peer.request.closed = &closed;
	assert_int_equal(peer_feed(&peer, text, strlen(text), 5), 0);
	assert_int_equal(rk_codec_json.finish(&peer.request, &peer.err), -ECANCELED);
	assert_int_equal(peer_send(&peer, &rk_codec_json, text, strlen(text), 5), 0);
	peer.request.closed = &closed;
	assert_int_equal(rk_codec_json.answer(&peer.request, &peer.answer, &peer.err), -ECANCELED);
	assert_null(peer.answer.text);
}
