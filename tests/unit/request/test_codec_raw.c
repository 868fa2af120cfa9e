/* SPDX-License-Identifier: MIT */
#include "tests/unit/request/codec_peer.h"

static const struct {
	const char *ports, *args;
	bool applies;
} shapes[] = {
	{"[inputs]\na = f32[n]\nb = f32[n]\n[outputs]\nc = f32[n]\n", "a,b,c", true},
	{"[inputs]\na = f32[4]\n[outputs]\nc = f32\n", "a,c", true},
	{"[inputs]\na = f32\n[outputs]\nc = f32\n", "a,c", true},
	{"[inputs]\na = f32[n,4]\nb = u8[2*n-1]\nk = i16\n[outputs]\nc = f32[n,n,n]\n", "a,b,k,c",
	 true},
	{"[inputs]\na = f32[n]\nk = f64 = 1\n[outputs]\nc = f32\n", "a,k,c", true},
	{"[inputs]\na = f32[n]\nb = f32[m]\n[outputs]\nc = f32\n", "a,b,c", false},
	{"[inputs]\na = f32[n,m]\n[outputs]\nc = f32\n", "a,c", false},
	{"[inputs]\na = f32[n,n]\n[outputs]\nc = f32\n", "a,c", false},
	{"[inputs]\na = f32[n]\nb = f32[n*n]\n[outputs]\nc = f32\n", "a,b,c", false},
	{"[inputs]\na = f32[n]\nb = f32[n-1,n+1]\n[outputs]\nc = f32\n", "a,b,c", false},
	{"[inputs]\nk = f64 = 1\n[outputs]\nc = f32\n", "k,c", false},
	{"[outputs]\nc = f32\n", "c", false},
	{"[inputs]\na = f64[9223372036854775807,9223372036854775807]\n[outputs]\nc = f32\n", "a,c",
	 false},
	{"[inputs]\na = f64[9223372036854775807,n]\n[outputs]\nc = f32\n", "a,c", false},
	{"[inputs]\na = u8[9223372036854775807]\nb = u8\n[outputs]\nc = f32\n", "a,b,c", false},
};

TEST(applies)
{
	struct peer p;

	peer_init(&p);
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		peer_describe(&p, shapes[i].ports, shapes[i].args);
		if (rk_codec_raw.applies(&p.kernel->manifest) != shapes[i].applies)
			fail_msg("%s", shapes[i].ports);
	}
	peer_destroy(&p);
}

static void expect_length(struct peer *p, size_t len, const char *words)
{
	static const char zeros[256];

	if (words)
		peer_refuse(p, &rk_codec_raw, zeros, len, EINVAL, words);
	else if (peer_send(p, &rk_codec_raw, zeros, len, 7) != 0)
		fail_msg("%zu: %s", len, p->err.msg);
}

/* Every length that fits is taken, every other refused with what would fit. */
TEST(lengths)
{
	struct peer p;
	size_t len;

	peer_init(&p);
	peer_describe(
		&p, "[inputs]\na = f32[n]\nk = u8\nd = f64 = 1\nb = u16[2,n]\n[outputs]\nc = u8\n",
		"a,k,b,d,c");
	for (len = 0; len < 100; len++)
		expect_length(&p, len,
			      len % 8 == 1 ? NULL : "its length is 8*n+1, a multiple of 8 plus 1");
	expect_length(&p, 12, "a raw request of 12 bytes fits no n: ");
	peer_describe(&p, "[inputs]\na = f32[n-2]\n[outputs]\nc = u8\n", "a,c");
	for (len = 0; len < 50; len++)
		expect_length(&p, len,
			      len % 4 == 0 ? NULL : "its length is 4*n-8, a multiple of 4 minus 8");
	peer_describe(&p, "[inputs]\na = i16[3,2]\n[outputs]\nc = u8\n", "a,c");
	for (len = 0; len < 50; len++)
		expect_length(&p, len,
			      len == 12 ? NULL : "a raw request has exactly 12 bytes, not ");
	/* 12 bytes: n is 1, and b would have -1 elements */
	peer_describe(&p, "[inputs]\na = u8[n+15]\nb = u8[n-2]\n[outputs]\nc = u8\n", "a,b,c");
	expect_length(&p, 15, "axis 0 of input 'b' (n-2) would be negative");
	expect_length(&p, 17, NULL);
	peer_destroy(&p);
}

/* Inputs find their places, outputs come in order, whatever the pieces. */
TEST(bytes)
{
	static const size_t pieces[] = {1, 2, 3, 7, 64, 4096};
	unsigned char request[7 + 14 + 2 + 56], answer[7 + 4 + 28];
	struct peer p;

	for (size_t i = 0; i < sizeof(request); i++)
		request[i] = (unsigned char)(i + 1);
	request[21] = request[22] = 1; /* the bools */
	peer_init(&p);
	/* n = 7 */
	peer_describe(&p,
		      "[inputs]\na = u8[n]\nb = u16[n]\nx = i32 = 5\nf = bool[2]\nd = f64[n]\n"
		      "[outputs]\no = u8[n]\nempty = u8[n-7]\nk = u32\nq = f32[n]\n"
		      "[scratch]\ns = f64[n]\n",
		      "a,b,x,f,d,o,empty,k,q,s");
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		int32_t x;

		if (peer_send(&p, &rk_codec_raw, request, sizeof(request), pieces[i]) != 0)
			fail_msg("%s", p.err.msg);
		assert_memory_equal(peer_input(&p, 0), request, 7);
		assert_memory_equal(peer_input(&p, 1), request + 7, 14);
		memcpy(&x, peer_input(&p, 2), sizeof(x));
		assert_int_equal(x, 5);
		assert_memory_equal(peer_input(&p, 3), request + 21, 2);
		assert_memory_equal(peer_input(&p, 4), request + 23, 56);
		memset(peer_output(&p, 0), 'o', 7);
		memset(peer_output(&p, 2), 'k', 4);
		memset(peer_output(&p, 3), 'q', 28);
		memset(answer, 'o', 7);
		memset(answer + 7, 'k', 4);
		memset(answer + 11, 'q', 28);
		peer_expect_answer(&p, answer, sizeof(answer));
		assert_null(p.answer.text);
		assert_int_equal(p.answer.nparts, 3);
	}
	request[22] = 9;
	peer_refuse(&p, &rk_codec_raw, request, sizeof(request), EINVAL,
		    "input 'f': element 1 is 9; a bool is 0 or 1");
	peer_destroy(&p);
}

/* Large ones move as they grow, and are still right; one byte too many is refused at once. */
TEST(large)
{
	size_t len = PEER_LIMIT / 4 / 3 * 3;
	unsigned char *request = malloc(PEER_LIMIT + 1);
	struct peer p;

	assert_non_null(request);
	for (size_t i = 0; i <= PEER_LIMIT; i++)
		request[i] = (unsigned char)(i * 2654435761u >> 13);
	peer_init(&p);
	peer_describe(&p, "[inputs]\na = u8[n]\nb = u8[2*n]\n[outputs]\nc = u8[n]\n", "a,b,c");
	for (size_t piece = 1000; piece < 200000; piece = piece * 3 + 1) {
		assert_int_equal(peer_send(&p, &rk_codec_raw, request, len, piece), 0);
		assert_memory_equal(peer_input(&p, 0), request, len / 3);
		assert_memory_equal(peer_input(&p, 1), request + len / 3, len / 3 * 2);
		for (size_t i = 0; i < len / 3; i++)
			assert_int_equal(peer_output(&p, 0)[i], 0);
		memset(p.request.message->block.data, 0xff, p.request.message->block.bytes);
	}
	peer_begin(&p, &rk_codec_raw);
	assert_int_equal(peer_feed(&p, request, PEER_LIMIT, 65536), 0);
	assert_int_equal(peer_feed(&p, request, 1, 1), -EMSGSIZE);
	assert_non_null(strstr(p.err.msg, "larger than max_message_bytes (1048576 bytes)"));
	/* the block has room for the answer too */
	assert_int_equal(peer_send(&p, &rk_codec_raw, request, PEER_LIMIT / 3 * 3, 65536),
			 -EMSGSIZE);
	peer_destroy(&p);
	free(request);
}
