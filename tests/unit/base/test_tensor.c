/* SPDX-License-Identifier: MIT */
/* binary16 and what the CPU backend makes of it. The expected bits are worked out by hand. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/cpu/internal.h"
#include "runtime/base/tensor.h"
#include "tests/unit/unit.h"
#include "tests/unit/wire_params.h"

static const struct {
	uint16_t half;
	double value;
} exact[] = {
	{0x0000, 0.0},	       {0x8000, -0.0},	    {0x0001, 0x1p-24},	  {0x8001, -0x1p-24},
	{0x03ff, 0x1.ff8p-15}, {0x0400, 0x1p-14},   {0x3555, 0x1.554p-2}, {0x3c00, 1.0},
	{0x3c01, 0x1.004p0},   {0xc000, -2.0},	    {0x7bff, 65504.0},	  {0xfbff, -65504.0},
	{0x7c00, INFINITY},    {0xfc00, -INFINITY},
};

static uint16_t narrow(float value)
{
	uint16_t half;

	rk_f16_narrow(&half, &value, 1);
	return half;
}

TEST(exact)
{
	for (size_t i = 0; i < sizeof(exact) / sizeof(exact[0]); i++) {
		float f = rk_f16_to_f32(exact[i].half);

		assert_true((double)f == exact[i].value);
		assert_int_equal(signbit(f) != 0, signbit(exact[i].value) != 0);
		assert_int_equal(narrow((float)exact[i].value), exact[i].half);
		assert_int_equal(rk_f16_from_f64(exact[i].value), exact[i].half);
	}
}

static const struct {
	double value;
	uint16_t half;
} rounded[] = {
	{0x1.002p0, 0x3c00},	       /* a tie, to even */
	{0x1.006p0, 0x3c02},	       /* a tie, to even */
	{0x1.0020000000001p0, 0x3c01}, /* above the tie by less than f32 can tell */
	{0x1.001ffffffffffp0, 0x3c00},
	{0x1.ffep0, 0x4000}, /* carries into the exponent */
	{0x1p-25, 0x0000},   /* half the smallest, a tie */
	{0x1.0000000000001p-25, 0x0001},
	{0x1.8p-24, 0x0002},   /* a tie among subnormals */
	{0x1.ffcp-15, 0x0400}, /* a subnormal that becomes normal */
	{65519.99, 0x7bff},
	{65520.0, 0x7c00}, /* a tie, to what would be 2^16 */
	{1e300, 0x7c00},
	{-1e300, 0xfc00},
	{1e-300, 0x0000},
	{-1e-300, 0x8000},
	{0x1p-1074, 0x0000},
};

TEST(rounded)
{
	for (size_t i = 0; i < sizeof(rounded) / sizeof(rounded[0]); i++) {
		float f = (float)rounded[i].value;

		assert_int_equal(rk_f16_from_f64(rounded[i].value), rounded[i].half);
		if ((double)f == rounded[i].value)
			assert_int_equal(narrow(f), rounded[i].half);
	}
}

/* Every binary16 there is comes back from f32 as it was, NaNs with their bits. */
TEST(all)
{
	for (uint32_t bits = 0; bits <= UINT16_MAX; bits++) {
		float f = rk_f16_to_f32((uint16_t)bits);

		assert_int_equal(isnan(f) != 0, (bits & 0x7fff) > 0x7c00);
		assert_int_equal(narrow(f), bits);
		if (isnan(f))
			assert_true((rk_f16_from_f64((double)f) & 0x7fff) > 0x7c00);
	}
	/* a NaN whose payload does not fit is still one */
	uint32_t bits = 0x7f800001;
	float nan;

	memcpy(&nan, &bits, sizeof(nan));
	assert_int_equal(narrow(nan), 0x7e00);
}

#define COUNT 5

/* out[i] = k * in[i], as a function would. */
static void multiply(const struct rk_backend_arg *a)
{
	const float *in = a[0].buffer;
	float *out = a[2].buffer, *scratch = a[3].buffer, k;

	memcpy(&k, &a[1].value, sizeof(k));
	for (int i = 0; i < COUNT; i++) {
		assert_true(out[i] == 0 && scratch[i] == 0);
		scratch[i] = k * in[i];
		out[i] = scratch[i];
	}
}

TEST(widen)
{
	static const struct rk_wire_param params[] = {
		IN(RK_F16), VALUE(RK_F16), OUT(RK_F16), SCRATCH(RK_F16), IN(RK_F32), VALUE(RK_F64)};
	/* 1, 65504, 2^-24, -inf, 1 + 2^-10 */
	uint16_t in[COUNT] = {0x3c00, 0x7bff, 0x0001, 0xfc00, 0x3c01};
	uint16_t want[COUNT] = {0x4000, 0x7c00, 0x0002, 0xfc00, 0x4001};
	struct {
		uint16_t data[COUNT];
		unsigned char guard[RK_WIRE_GUARD];
	} out = {0}, scratch = {0};
	struct rk_backend_arg args[6] = {{.buffer = in, .bytes = sizeof(in)},
					 {.value = 0x4000, .bytes = 2}, /* 2 */
					 {.buffer = out.data, .bytes = sizeof(out.data)},
					 {.buffer = scratch.data, .bytes = sizeof(scratch.data)},
					 {.buffer = in, .bytes = 4},
					 {.value = 77, .bytes = 8}};
	struct rk_backend_arg wide[6];
	struct rk_widen w = {0};
	unsigned char guard[RK_WIRE_GUARD];

	memset(guard, RK_WIRE_GUARD_BYTE, sizeof(guard));
	assert_true(rk_widen_needed(params, 6));
	assert_true(rk_widen_needed(params + 1, 1));
	assert_false(rk_widen_needed(params + 4, 2));
	for (int round = 0; round < 3; round++) {
		memset(&out, 0, sizeof(out));
		assert_int_equal(rk_widen_begin(&w, params, 6, args, wide, NULL), 0);
		assert_int_equal((uintptr_t)wide[0].buffer % RK_WIRE_ALIGN, 0);
		assert_int_equal((uintptr_t)wide[2].buffer % RK_WIRE_ALIGN, 0);
		assert_ptr_equal(wide[4].buffer, in);
		assert_int_equal(wide[5].value, 77);
		multiply(wide);
		rk_widen_end(&w, params, 6, args, wide);
		assert_memory_equal(out.data, want, sizeof(want));
		assert_memory_equal(out.guard, guard, sizeof(guard));
		assert_memory_equal(scratch.guard, guard, sizeof(guard));
	}
	/* a function that writes past its output is seen in the payload */
	assert_int_equal(rk_widen_begin(&w, params, 6, args, wide, NULL), 0);
	((float *)wide[2].buffer)[COUNT] = 1;
	((unsigned char *)wide[3].buffer)[wide[3].bytes + RK_WIRE_GUARD - 1] = 0;
	rk_widen_end(&w, params, 6, args, wide);
	assert_memory_not_equal(out.guard, guard, sizeof(guard));
	assert_memory_not_equal(scratch.guard, guard, sizeof(guard));
	rk_widen_free(&w);
}

/* What a large run needed goes back; the next is as good. */
TEST(large)
{
	static const struct rk_wire_param params[] = {IN(RK_F16), OUT(RK_F16)};
	uint64_t count = 1 << 20, bytes = count * sizeof(uint16_t);
	uint16_t *in = malloc(bytes), *out = malloc(bytes + RK_WIRE_GUARD);
	struct rk_backend_arg wide[2],
		args[2] = {{.buffer = in, .bytes = bytes}, {.buffer = out, .bytes = bytes}};
	struct rk_widen w = {0};

	assert_non_null(in);
	assert_non_null(out);
	for (uint64_t i = 0; i < count; i++)
		in[i] = (uint16_t)i;
	for (int round = 0; round < 2; round++) {
		assert_int_equal(rk_widen_begin(&w, params, 2, args, wide, NULL), 0);
		memcpy(wide[1].buffer, wide[0].buffer, wide[0].bytes);
		rk_widen_end(&w, params, 2, args, wide);
		assert_memory_equal(in, out, bytes);
		assert_null(w.memory);
	}
	free(in);
	free(out);
}
