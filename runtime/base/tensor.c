/* SPDX-License-Identifier: MIT */
/* The table of element types, and the conversion of binary16. */
#include "runtime/base/tensor.h"

#include <string.h>

static const struct rk_dtype_info dtypes[RK_DTYPE_COUNT] = {
#define X(id, name, st_name, ctype, kind) [id] = {name, st_name, sizeof(ctype), kind},
	RK_DTYPES(X)
#undef X
};

const struct rk_dtype_info *rk_dtype_info(enum rk_dtype dtype)
{
	return &dtypes[dtype];
}

enum rk_dtype rk_dtype_find(const char *name, size_t len)
{
	unsigned int i;

	for (i = 0; i < RK_DTYPE_COUNT; i++)
		if (strlen(dtypes[i].name) == len && memcmp(dtypes[i].name, name, len) == 0)
			break;
	return (enum rk_dtype)i;
}

const char *rk_dtype_names(void)
{
	static const char names[] =
#define X(id, name, st_name, ctype, kind) ", " name
		RK_DTYPES(X)
#undef X
		;

	return names + strlen(", ");
}

/* binary16: sign, 5 bits of exponent, 10 of mantissa */
#define F16_SIGN	  0x8000u
#define F16_INFINITY	  0x7c00u
#define F16_QUIET	  0x0200u
#define F16_MANTISSA_BITS 10
#define F16_MIN_EXPONENT  (-24) /* of the smallest number: 2^-24 */

#define F32_SIGN	  0x80000000u
#define F32_INFINITY	  0x7f800000u
#define F32_MANTISSA_BITS 23
#define F32_BIAS	  127
#define F16_TO_F32_SHIFT  (F32_MANTISSA_BITS - F16_MANTISSA_BITS)

#define F64_MANTISSA_BITS 52
#define F64_BIAS	  1023

float rk_f16_to_f32(uint16_t half)
{
	uint32_t magnitude = half & ~F16_SIGN, bits;
	float value;

	if (magnitude >= F16_INFINITY) {
		bits = F32_INFINITY | magnitude << F16_TO_F32_SHIFT;
	} else if (magnitude >> F16_MANTISSA_BITS) {
		/* the exponents count from 15 and from 127 */
		bits = (magnitude << F16_TO_F32_SHIFT) +
		       ((uint32_t)(F32_BIAS - 15) << F32_MANTISSA_BITS);
	} else {
		value = (float)magnitude * 0x1p-24f;
		memcpy(&bits, &value, sizeof(bits));
	}
	bits |= (uint32_t)(half & F16_SIGN) << 16;
	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* @mantissa (of @bits bits, the highest one set) times 2^@exponent, without its sign. */
static uint16_t round_to_f16(uint64_t mantissa, unsigned int bits, int exponent)
{
	/* the exponent of the last bit that fits */
	int last = exponent + (int)bits - (F16_MANTISSA_BITS + 1), shift;
	uint64_t kept, lost, half;

	if (last < F16_MIN_EXPONENT)
		last = F16_MIN_EXPONENT;
	if (last > 5)
		return F16_INFINITY; /* 2^16 and more */
	shift = last - exponent;
	if (shift > (int)bits + 1)
		return 0;
	kept = mantissa >> shift;
	lost = mantissa - (kept << shift);
	half = 1ULL << shift >> 1;
	if (lost > half || (lost == half && kept & 1))
		kept++;
	/* the mantissa's highest bit, and a carry out of it, count into the exponent */
	return (uint16_t)(((uint64_t)(last - F16_MIN_EXPONENT) << F16_MANTISSA_BITS) + kept);
}

static uint16_t f16_from_f32(float value)
{
	uint32_t bits, mantissa;
	uint16_t sign, nan;
	int exponent;

	memcpy(&bits, &value, sizeof(bits));
	sign = (uint16_t)(bits >> 16 & F16_SIGN);
	bits &= ~F32_SIGN;
	mantissa = bits & ((1u << F32_MANTISSA_BITS) - 1);
	exponent = (int)(bits >> F32_MANTISSA_BITS);
	if (bits > F32_INFINITY) {
		nan = (uint16_t)(mantissa >> F16_TO_F32_SHIFT);
		return sign | F16_INFINITY | (nan ? nan : F16_QUIET);
	}
	if (bits == F32_INFINITY)
		return sign | F16_INFINITY;
	if (exponent == 0)
		return sign; /* below 2^-126, or zero */
	return sign | round_to_f16(mantissa | 1u << F32_MANTISSA_BITS, F32_MANTISSA_BITS + 1,
				   exponent - F32_BIAS - F32_MANTISSA_BITS);
}

uint16_t rk_f16_from_f64(double value)
{
	uint64_t bits, mantissa;
	uint16_t sign;
	int exponent;

	if (value != value)
		return f16_from_f32((float)value);
	memcpy(&bits, &value, sizeof(bits));
	sign = (uint16_t)(bits >> 48 & F16_SIGN);
	mantissa = bits & ((1ULL << F64_MANTISSA_BITS) - 1);
	exponent = (int)(bits >> F64_MANTISSA_BITS & 0x7ff);
	if (exponent == 0)
		return sign;
	return sign | round_to_f16(mantissa | 1ULL << F64_MANTISSA_BITS, F64_MANTISSA_BITS + 1,
				   exponent - F64_BIAS - F64_MANTISSA_BITS);
}

void rk_f16_widen(float *to, const uint16_t *from, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		to[i] = rk_f16_to_f32(from[i]);
}

void rk_f16_narrow(uint16_t *to, const float *from, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		to[i] = f16_from_f32(from[i]);
}
