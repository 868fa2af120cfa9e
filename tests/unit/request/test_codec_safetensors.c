/* SPDX-License-Identifier: MIT */
#include "tests/unit/request/codec_peer.h"

/* One that counts its own header: @header, then @data of @len bytes. */
struct file {
	unsigned char bytes[4096];
	size_t len;
};

static struct file make(const char *header, const void *data, size_t len)
{
	struct file f = {.len = 8 + strlen(header) + len};
	size_t n = strlen(header);

	assert_true(f.len <= sizeof(f.bytes));
	for (int i = 0; i < 8; i++)
		f.bytes[i] = (unsigned char)((uint64_t)n >> 8 * i);
	memcpy(f.bytes + 8, header, n);
	memcpy(f.bytes + 8 + n, data, len);
	return f;
}

static void refuse(struct peer *p, const char *header, size_t len, int code, const char *words)
{
	static const unsigned char zeros[64];
	struct file f = make(header, zeros, len);

	peer_refuse(p, &rk_codec_safetensors, f.bytes, f.len, code, words);
}

TEST(vectors)
{
	/* b lies before a, and nothing is aligned */
	static const char header[] =
		"{\"__metadata__\":{\"made\":\"by hand\"},"
		"\"k\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[8,9]},"
		"\"a\":{\"data_offsets\":[9,17],\"shape\":[2],\"dtype\":\"F32\"},"
		"\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}   ";
	static const unsigned char data[] = {0, 0, 0x20, 0x41, 0, 0, 0xa0, 0x41, 7,
					     0, 0, 0x80, 0x3f, 0, 0, 0,	   0x40};
	/* by hand: 8 bytes, a header of 136, the wide output before the narrow one */
	static const char answer[] =
		"{\"c\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,16]},"
		"\"e\":{\"dtype\":\"U8\",\"shape\":[2,0,3],\"data_offsets\":[16,16]},"
		"\"m\":{\"dtype\":\"BOOL\",\"shape\":[],\"data_offsets\":[16,17]}}";
	static const size_t pieces[] = {1, 2, 7, 8, 9, 100, 4096};
	struct file f = make(header, data, sizeof(data)), want;
	struct peer p;
	double c[2];

	peer_init(&p);
	peer_describe(&p,
		      "[inputs]\na = f32[n]\nb = f32[n]\nk = u8\nz = f64 = 0.5\n"
		      "[outputs]\ne = u8[2,n-2,3]\nc = f64[n]\nm = bool\n",
		      "a, b, k, z, e, c, m, n");
	assert_true(rk_codec_safetensors.applies(&p.kernel->manifest));
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		float *a, *b;
		double z;

		if (peer_send(&p, &rk_codec_safetensors, f.bytes, f.len, pieces[i]) != 0)
			fail_msg("%s", p.err.msg);
		a = (float *)peer_input(&p, 0);
		b = (float *)peer_input(&p, 1);
		assert_true(a[0] == 1 && a[1] == 2 && b[0] == 10 && b[1] == 20);
		assert_int_equal(*peer_input(&p, 2), 7);
		memcpy(&z, peer_input(&p, 3), sizeof(z));
		assert_true(z == 0.5);
		c[0] = a[0] + b[0];
		c[1] = a[1] + b[1];
		memcpy(peer_output(&p, 1), c, sizeof(c));
		*peer_output(&p, 2) = 1;
		unsigned char tail[17];

		memcpy(tail, c, 16);
		tail[16] = 1;
		/* padded to 8 bytes */
		char padded[256];

		snprintf(padded, sizeof(padded), "%-*s", (int)((sizeof(answer) - 1 + 7) / 8 * 8),
			 answer);
		want = make(padded, tail, sizeof(tail));
		assert_int_equal((want.len - 17) % 8, 0);
		peer_expect_answer(&p, want.bytes, want.len);
	}
	peer_destroy(&p);
}

#define T(name, dtype, shape, from, to)                                                            \
	"\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" from "," to \
	"]}"
#define A T("a", "F32", "[2]", "0", "8")
#define B T("b", "U8", "[2]", "8", "10")

/* a = f32[n], b = u8[n] */
static const struct {
	const char *header;
	size_t len;
	const char *words;
} bad[] = {
	{"{}", 0, "the request lacks the inputs 'a', 'b'"},
	{"{" A "}", 8, "the request lacks the input 'b'"},
	{"{" A "," B, 10, "the header: malformed JSON at line 1"},
	{"{" A "," B "}}", 10, "the header: malformed JSON"},
	{"{" A "," B "}\x01", 10, "the header: malformed JSON"},
	{"{" A "," A "," B "}", 10, "column 56: duplicate tensor 'a'"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"shape\":[2]}," B "}", 10,
	 "an object of dtype, shape and data_offsets is wanted, each once"},
	{"{" T("a", "F32", "[2]", "0", "9223372036854775808") "," B "}", 10,
	 "element 1 of data_offsets is no integer"},
	{"{" T("a", "F32", "[99999999999999999999]", "0", "8") "," B "}", 10,
	 "element 0 of shape is no integer"},
	{"{" T("a", "F32", "[\"2\"]", "0", "8") "," B "}", 10, "element 0 of shape is no integer"},
	{"{" T("a", "F32", "[[2]]", "0", "8") "," B "}", 10, "element 0 of shape is no integer"},
	{"{" T("a", "F32", "[2]", "0", "8") ",\"a\\u0000\":1," B "}", 10, "tensor 'a?'"},
	{"[" A "]", 8, "the header does not begin with '{'"},
	{" {" A "," B "}", 10, "the header does not begin with '{'"},
	{"{" A "," B "," T("q", "U8", "[]", "10", "11") "}", 11,
	 "tensor 'q': there is no such input; the inputs are: a, b"},
	{"{" A "," B ",\"__metadata__\":1}", 10, "__metadata__ is a number where an object"},
	{"{" A "," B ",\"__metadata__\":{\"a\":null}}", 10, "__metadata__ holds null"},
	{"{\"a\":1," B "}", 10, "tensor 'a': an object of dtype, shape and data_offsets"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}," B "}", 10, "an object of dtype"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"offsets\":[0,8]}," B "}", 10,
	 "an object of dtype"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":8}," B "}", 10,
	 "data_offsets is no array"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}," B "}", 10,
	 "an object of dtype"},
	{"{" T("a", "F64", "[2]", "0", "16") "," B "}", 18, "dtype is F64; this input is F32"},
	{"{" T("a", "f32", "[2]", "0", "8") "," B "}", 10, "dtype is f32; this input is F32"},
	{"{" T("a", "F32\\n", "[2]", "0", "8") "," B "}", 10, "dtype is F32?; this input"},
	{"{\"a\":{\"dtype\":7,\"shape\":[2],\"data_offsets\":[0,8]}," B "}", 10,
	 "dtype is no string"},
	{"{" T("a", "F32", "2", "0", "8") "," B "}", 10, "shape is no array"},
	{"{" T("a", "F32", "[2.0]", "0", "8") "," B "}", 10, "element 0 of shape is no integer"},
	{"{" T("a", "F32", "[-2]", "0", "8") "," B "}", 10, "element 0 of shape is no integer"},
	{"{" T("a", "F32", "[1,1,1,1,1,1,1,1,2]", "0", "8") "," B "}", 10,
	 "shape has more than 8 elements"},
	{"{" T("a", "F32", "[2,1]", "0", "8") "," B "}", 10, "input 'a' has 2 axes"},
	{"{" T("a", "F32", "[2]", "0", "8,9") "," B "}", 10, "more than 2 elements"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8]}," B "}", 10,
	 "data_offsets are not [BEGIN, END]"},
	{"{" T("a", "F32", "[2]", "8", "0") "," B "}", 10, "data_offsets are not [BEGIN, END]"},
	{"{" T("a", "F32", "[2]", "0", "-8") "," B "}", 10, "element 1 of data_offsets"},
	{"{" T("a", "F32", "[2]", "0", "7") "," B "}", 10,
	 "tensor 'a': data_offsets span 7 bytes, but its shape and dtype take 8"},
	{"{" T("a", "F32", "[2]", "0", "9223372036854775807") "," B "}", 10,
	 "span 9223372036854775807 bytes"},
	{"{" A "," T("b", "U8", "[3]", "8", "11") "}", 11, "dim n is 2 in input 'a' but 3"},
	{"{" A "," T("b", "U8", "[2]", "9", "11") "}", 11,
	 "tensor 'b' begins at byte 9 of the data, but the one before ends at byte 8"},
	{"{" A "," T("b", "U8", "[2]", "7", "9") "}", 9,
	 "tensor 'b' begins at byte 7 of the data, inside the one that ends at byte 8"},
	{"{" A "," T("b", "U8", "[2]", "0", "2") "}", 8,
	 "tensor 'a' begins at byte 0 of the data, inside"},
	{"{" T("a", "F32", "[2]", "2", "10") "," T("b", "U8", "[2]", "10", "12") "}", 12,
	 "tensor 'a' begins at byte 2 of the data, but the one before ends at byte 0"},
	{"{" A "," B "}", 9, "the request ends after 9 of 10 bytes of data"},
	{"{" A "," B "}", 0, "the request ends after 0 of 10 bytes of data"},
	{"{" A "," B "}", 11, "there are bytes after the last tensor, which ends at byte 10"},
	{"{" T("a", "F32", "[0]", "0", "0") "," T("b", "U8", "[0]", "0", "0") "}", 1,
	 "there are bytes after the last tensor"},
	{"{" T("a", "F32", "[0]", "1", "1") "," T("b", "U8", "[0]", "0", "0") "}", 1,
	 "tensor 'a' begins at byte 1"},
};

TEST(refused)
{
	static const unsigned char zero_header[8], one_header[9] = {1, 0, 0, 0, 0, 0, 0, 0, '{'};
	static const unsigned char huge_header[8] = {1, 0xe1, 0xf5, 5};
	static const unsigned char large_header[8] = {0, 0xe1, 0xf5, 5};
	struct peer p;

	peer_init(&p);
	peer_describe(&p, "[inputs]\na = f32[n]\nb = u8[n]\n[outputs]\nc = u8\n", "a, b, c");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refuse(&p, bad[i].header, bad[i].len, EINVAL, bad[i].words);
	peer_refuse(&p, &rk_codec_safetensors, "", 0, EINVAL, "ends inside its header");
	peer_refuse(&p, &rk_codec_safetensors, "1234567", 7, EINVAL, "ends inside its header");
	peer_refuse(&p, &rk_codec_safetensors, zero_header, 8, EINVAL, "a header of 0 bytes");
	peer_refuse(&p, &rk_codec_safetensors, one_header, 9, EINVAL, "a header of 1 bytes");
	peer_refuse(&p, &rk_codec_safetensors, huge_header, 8, EINVAL,
		    "a header of 100000001 bytes, which has 2 to 100000000");
	peer_refuse(&p, &rk_codec_safetensors, large_header, 8, EMSGSIZE,
		    "the header has 100000000 bytes, more than max_header_bytes");
	peer_refuse(&p, &rk_codec_safetensors, "{\"a\":[1]}", 9, EINVAL, "not safetensors:");
	peer_destroy(&p);
}

/* Every cut of a good request is refused, every byte more too. */
TEST(truncated)
{
	static const unsigned char data[11];
	struct file f = make("{" A "," B "}", data, sizeof(data));
	struct peer p;

	peer_init(&p);
	peer_describe(&p, "[inputs]\na = f32[n]\nb = u8[n]\n[outputs]\nc = u8\n", "a, b, c");
	for (size_t len = 0; len < f.len - 1; len++)
		assert_int_equal(peer_send(&p, &rk_codec_safetensors, f.bytes, len, 64), -EINVAL);
	assert_int_equal(peer_send(&p, &rk_codec_safetensors, f.bytes, f.len - 1, 64), 0);
	assert_int_equal(peer_send(&p, &rk_codec_safetensors, f.bytes, f.len, 64), -EINVAL);
	peer_destroy(&p);
}

/* A header too large for feed is left to finish, and the data that follows it waits. */
TEST(large_header)
{
	static const unsigned char data[] = {1, 2, 3, 4, 5, 6};
	static const size_t pieces[] = {1, 7, 2055, 2056, 2057, 4096};
	char header[2049],
		what[] = "{" T("b", "U8", "[4]", "2", "6") "," T("a", "U8", "[2]", "0", "2");
	struct file f;
	struct peer p;

	snprintf(header, sizeof(header), "%s%*s}", what, (int)(2047 - strlen(what)), "");
	f = make(header, data, sizeof(data));
	peer_init(&p);
	peer_describe(&p, "[inputs]\na = u8[n]\nb = u8[m]\n[outputs]\nc = u8\n", "a, b, c");
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		peer_begin(&p, &rk_codec_safetensors);
		assert_int_equal(peer_feed(&p, f.bytes, f.len, pieces[i]), 0);
		assert_null(p.request.message);
		assert_int_equal(rk_codec_safetensors.work(&p.request), 2048 + sizeof(data));
		assert_int_equal(rk_codec_safetensors.finish(&p.request, &p.err), 0);
		assert_memory_equal(peer_input(&p, 0), data, 2);
		assert_memory_equal(peer_input(&p, 1), data + 2, 4);
	}
	peer_refuse(&p, &rk_codec_safetensors, f.bytes, f.len - 1, EINVAL,
		    "ends after 5 of 6 bytes of data");
	memcpy(f.bytes + f.len++, "", 1);
	peer_refuse(&p, &rk_codec_safetensors, f.bytes, f.len, EINVAL,
		    "bytes after the last tensor");
	f.bytes[f.len - sizeof(data) - 2] = ' ';
	peer_refuse(&p, &rk_codec_safetensors, f.bytes, f.len, EINVAL,
		    "the header: malformed JSON");
	peer_begin(&p, &rk_codec_safetensors);
	p.request.max_message_bytes = 6;
	assert_int_equal(peer_feed(&p, f.bytes, f.len - 1, SIZE_MAX), 0);
	assert_int_equal(peer_feed(&p, f.bytes, 1, 1), -EMSGSIZE);
	peer_destroy(&p);
}

/* What is too large is refused as soon as the header tells. */
TEST(too_large)
{
	struct file f = make("{" T("a", "F32", "[1048576]", "0", "4194304") "}", "", 0);
	struct peer p;

	peer_init(&p);
	peer_describe(&p, "[inputs]\na = f32[n]\n[outputs]\nc = u8\n", "a, c");
	peer_begin(&p, &rk_codec_safetensors);
	assert_int_equal(peer_feed(&p, f.bytes, f.len - 1, SIZE_MAX), 0);
	assert_int_equal(peer_feed(&p, f.bytes + f.len - 1, 1, SIZE_MAX), -EMSGSIZE);
	assert_non_null(strstr(p.err.msg, "max_message_bytes"));
	f = make("{" T("a", "F32", "[9223372036854775807]", "0", "9223372036854775807") "}", "", 0);
	peer_refuse(&p, &rk_codec_safetensors, f.bytes, f.len, EMSGSIZE, "max_message_bytes");
	peer_destroy(&p);
}

TEST(booleans)
{
	static const unsigned char good[] = {0, 1, 1}, wrong[] = {0, 1, 2};
	struct file f = make("{" T("a", "BOOL", "[3]", "0", "3") "}", good, 3);
	struct peer p;

	peer_init(&p);
	peer_describe(&p, "[inputs]\na = bool[n]\n[outputs]\nc = u8\n", "a, c");
	assert_int_equal(peer_send(&p, &rk_codec_safetensors, f.bytes, f.len, 64), 0);
	f = make("{" T("a", "BOOL", "[3]", "0", "3") "}", wrong, 3);
	peer_refuse(&p, &rk_codec_safetensors, f.bytes, f.len, EINVAL,
		    "input 'a': element 2 is 2; a bool is 0 or 1");
	peer_destroy(&p);
}

/* Long names, eight axes and large offsets fit the memory of a header; the sanitizer watches. */
TEST(long_answer)
{
	struct file f = make("{" T("a", "U8", "[1]", "0", "1") "}", "x", 1);
	char ports[1000], args[200];
	struct peer p;
	size_t len;

	peer_init(&p);
	snprintf(ports, sizeof(ports),
		 "[inputs]\na = u8[n]\n[outputs]\n"
		 "o%062d = bool[n-1,2147483648,1073741824,2147483647,n,n,n,n]\n"
		 "p%062d = bool[n-1,2147483648,1073741824,2147483647,n,n,n,n]\n",
		 0, 0);
	snprintf(args, sizeof(args), "a,o%062d,p%062d", 0, 0);
	peer_describe(&p, ports, args);
	peer_begin(&p, &rk_codec_safetensors);
	p.request.max_message_bytes = UINT64_MAX;
	assert_int_equal(peer_feed(&p, f.bytes, f.len, SIZE_MAX), -EMSGSIZE);
	peer_describe(&p,
		      "[inputs]\na = u8[n]\n[outputs]\n"
		      "c = bool[n-1,2147483648,1073741824,n,n,n,n,n]\n",
		      "a,c");
	peer_begin(&p, &rk_codec_safetensors);
	p.request.max_message_bytes = UINT64_MAX;
	assert_int_equal(peer_feed(&p, f.bytes, f.len, SIZE_MAX), 0);
	assert_int_equal(rk_codec_safetensors.finish(&p.request, &p.err), 0);
	free(peer_answer(&p, &len));
	assert_int_equal(len % 8, 0);
	peer_destroy(&p);
}
