/* SPDX-License-Identifier: MIT */
/* Element types, from one table. Everything is little-endian, as are the supported machines. */
#ifndef RK_RUNTIME_BASE_TENSOR_H
#define RK_RUNTIME_BASE_TENSOR_H

#include <stddef.h>
#include <stdint.h>

#define RK_MAX_RANK 8

/*
 * name in descriptions, name in safetensors, C type of an element in memory, kind.
 * An f16 is an IEEE 754 binary16 in memory; a kernel on the CPU gets it as float. A bool is
 * one byte, 0 or 1.
 */
#define RK_DTYPES(X)                                                                               \
	X(RK_F16, "f16", "F16", uint16_t, RK_KIND_FLOAT)                                           \
	X(RK_F32, "f32", "F32", float, RK_KIND_FLOAT)                                              \
	X(RK_F64, "f64", "F64", double, RK_KIND_FLOAT)                                             \
	X(RK_I8, "i8", "I8", int8_t, RK_KIND_SIGNED)                                               \
	X(RK_I16, "i16", "I16", int16_t, RK_KIND_SIGNED)                                           \
	X(RK_I32, "i32", "I32", int32_t, RK_KIND_SIGNED)                                           \
	X(RK_I64, "i64", "I64", int64_t, RK_KIND_SIGNED)                                           \
	X(RK_U8, "u8", "U8", uint8_t, RK_KIND_UNSIGNED)                                            \
	X(RK_U16, "u16", "U16", uint16_t, RK_KIND_UNSIGNED)                                        \
	X(RK_U32, "u32", "U32", uint32_t, RK_KIND_UNSIGNED)                                        \
	X(RK_U64, "u64", "U64", uint64_t, RK_KIND_UNSIGNED)                                        \
	X(RK_BOOL, "bool", "BOOL", uint8_t, RK_KIND_BOOL)

enum rk_dtype {
#define X(id, name, st_name, ctype, kind) id,
	RK_DTYPES(X)
#undef X
	RK_DTYPE_COUNT
};

enum rk_dtype_kind {
	RK_KIND_FLOAT,
	RK_KIND_SIGNED,
	RK_KIND_UNSIGNED,
	RK_KIND_BOOL,
};

struct rk_dtype_info {
	const char *name;
	const char *st_name; /* in safetensors */
	size_t size;	     /* bytes */
	enum rk_dtype_kind kind;
};

/* The row of @dtype, which must be below RK_DTYPE_COUNT; static storage. */
const struct rk_dtype_info *rk_dtype_info(enum rk_dtype dtype);

/* The type called @name of @len bytes, or RK_DTYPE_COUNT if there is none. */
enum rk_dtype rk_dtype_find(const char *name, size_t len);

/* All names, ", "-separated, for error sentences; static storage. */
const char *rk_dtype_names(void);

/*
 * Convert binary16 to and from wider types. Widening is exact. Narrowing rounds once, to nearest,
 * ties to even; a value that is too large becomes an infinity. A NaN stays a NaN, and one that came
 * from binary16 gets its bits back.
 */
float rk_f16_to_f32(uint16_t half);
uint16_t rk_f16_from_f64(double value);

/* The same for @count elements, which do not overlap. */
void rk_f16_widen(float *to, const uint16_t *from, uint64_t count);
void rk_f16_narrow(uint16_t *to, const float *from, uint64_t count);

#endif
