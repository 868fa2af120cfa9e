/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tests/unit/payload_used.h"

#define LIMIT (1 << 20)

#define KERNEL "[kernel]\nid = d/k\n"
#define CPU    "[cpu]\nentry = f\nargs = "

/* '0' is the first. What raw cannot do it refuses; it is asked all the same. */
static const char *const descriptions[] = {
	KERNEL "[inputs]\na = f32[n]\nb = f32[n]\n[outputs]\nc = f32[n]\n" CPU "a,b,c\n",
	KERNEL "[inputs]\nx = f16[n]\ny = bool[n,2]\nz = i8[n-1]\n[outputs]\nx = f16[n]\n"
	       "y = bool[n,2]\nz = i8[n-1]\n[scratch]\ns = f64[n+1]\n" CPU
	       "in.x,in.y,in.z,out.x,out.y,out.z,s\n",
	KERNEL "[inputs]\na = f64[n,m]\nb = u64[2*n*m+1]\nk = f64 = 0.85\nj = i16\n[outputs]\n"
	       "c = f64[m,n]\nd = u64[n*m]\n" CPU "a,b,k,j,c,d\n",
	KERNEL "[inputs]\na = i64[n,3]\nf = bool = true\nu = u16[2]\n[outputs]\nc = i64[n*n]\n" CPU
	       "a,f,u,c\n",
	KERNEL "[inputs]\na = i32[n,m,k,l,1,2,3,o]\n[outputs]\nc = i32[o,n]\n" CPU "a,c\n",
	KERNEL "[inputs]\nk = u32 = 7\n[outputs]\nc = u8\n" CPU "k,c\n",
};

#define COUNT (sizeof(descriptions) / sizeof(descriptions[0]))

static struct rk_payload *pool;
static struct rk_kernel *kernels[COUNT];

static void set_up(void)
{
	for (size_t i = 0; i < COUNT; i++) {
		struct rk_manifest m;
		struct rk_kernel_source source = {.manifest = &m};
		struct rk_registry *registry;

		FUZZ_CHECK(!rk_registry_create(&registry));
		FUZZ_CHECK(!rk_manifest_parse(&m, descriptions[i], strlen(descriptions[i]), "fuzz",
					      NULL));
		FUZZ_CHECK(!rk_registry_add(registry, &source, false, &kernels[i], NULL));
		rk_registry_destroy(registry);
	}
	FUZZ_CHECK(!rk_payload_create(16 << 20, 100, &pool, NULL));
}

static void refused(int rc, const struct rk_error *err)
{
	FUZZ_CHECK(rc == -EINVAL || rc == -EMSGSIZE);
	FUZZ_CHECK(err->code == -rc);
	for (const char *c = err->msg; *c; c++)
		FUZZ_CHECK(*c >= ' ' && *c <= '~');
	FUZZ_CHECK(err->msg[0]);
}

/* What the kernel does: any bytes may come out, and are encoded all the same. */
static void run(struct rk_request *r)
{
	const struct rk_plan *plan = &r->message->plan;
	unsigned char *block = r->message->block.data;

	FUZZ_CHECK(r->message->block.bytes >= plan->block_bytes);
	FUZZ_CHECK(plan->block_bytes <= LIMIT);
	FUZZ_CHECK(!rk_plan_check(plan, block, NULL));
	FUZZ_CHECK(!rk_plan_check_bools(plan, block, NULL));
	for (unsigned int i = 0; i < plan->manifest->noutputs; i++)
		for (uint64_t k = 0; k < plan->outputs[i].bytes; k++)
			block[plan->outputs[i].offset + k] = (unsigned char)(k * 151 + k / 7);
	FUZZ_CHECK(!rk_plan_check(plan, block, NULL));
}

static void answer(struct rk_request *r)
{
	static volatile unsigned char sink; /* the bytes are read, not just named */
	struct rk_answer a = {0};
	json_t *json;

	FUZZ_CHECK(!r->codec->answer(r, &a, NULL));
	for (unsigned int i = 0; i < a.nparts; i++)
		for (size_t k = 0; k < a.parts[i].iov_len; k++)
			sink ^= ((const unsigned char *)a.parts[i].iov_base)[k];
	(void)sink; /* clang wants it read */
	if (r->codec == &rk_codec_json) {
		json = json_loadb(a.text, a.parts[0].iov_len, 0, NULL);
		FUZZ_CHECK(json);
		json_decref(json);
	}
	rk_answer_drop(&a);
}

void fuzz_request(const struct rk_codec *codec, const uint8_t *data, size_t size)
{
	struct rk_request r = {.codec = codec,
			       .max_json_bytes = LIMIT,
			       .max_header_bytes = LIMIT,
			       .max_feed_work = size > 1 && data[1] & 1 ? LIMIT : 64,
			       .max_message_bytes = LIMIT};
	struct rk_error err = {0};
	size_t piece, n;
	int rc = 0;

	if (!pool)
		set_up();
	if (size < 2)
		return;
	rk_request_init(&r, kernels[(uint8_t)(data[0] - '0') % COUNT], pool);
	piece = (size_t)data[1] * data[1] + 1;
	data += 2;
	size -= 2;
	/* each piece in memory of its own, so that a sanitizer sees a read past it */
	for (; size && !rc; data += n, size -= n) {
		uint8_t *copy;

		n = size < piece ? size : piece;
		copy = malloc(n);
		FUZZ_CHECK(copy);
		memcpy(copy, data, n);
		rc = codec->feed(&r, copy, n, &err);
		free(copy);
		(void)codec->work(&r);
	}
	if (!rc)
		rc = codec->finish(&r, &err);
	(void)codec->work(&r);
	if (rc) {
		refused(rc, &err);
	} else {
		run(&r);
		answer(&r);
	}
	rk_request_drop(&r);
	FUZZ_CHECK(payload_used(pool) == 0);
}
