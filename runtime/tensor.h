/* SPDX-License-Identifier: MIT */
/* Element types, from one table. */
#ifndef RK_RUNTIME_TENSOR_H
#define RK_RUNTIME_TENSOR_H

#include <stddef.h>
#include <stdint.h>

#define RK_MAX_RANK 8

/* name in descriptions, C type, kind */
#define RK_DTYPES(X)                                                                               \
	X(RK_F32, "f32", float, RK_KIND_FLOAT)                                                     \
	X(RK_F64, "f64", double, RK_KIND_FLOAT)                                                    \
	X(RK_I32, "i32", int32_t, RK_KIND_SIGNED)                                                  \
	X(RK_I64, "i64", int64_t, RK_KIND_SIGNED)                                                  \
	X(RK_U8, "u8", uint8_t, RK_KIND_UNSIGNED)                                                  \
	X(RK_U32, "u32", uint32_t, RK_KIND_UNSIGNED)                                               \
	X(RK_U64, "u64", uint64_t, RK_KIND_UNSIGNED)

enum rk_dtype {
#define X(id, name, ctype, kind) id,
	RK_DTYPES(X)
#undef X
	RK_DTYPE_COUNT
};

enum rk_dtype_kind {
	RK_KIND_FLOAT,
	RK_KIND_SIGNED,
	RK_KIND_UNSIGNED,
};

struct rk_dtype_info {
	const char *name;
	size_t size; /* bytes */
	enum rk_dtype_kind kind;
};

/* The row of @dtype, which must be below RK_DTYPE_COUNT; static storage. */
const struct rk_dtype_info *rk_dtype_info(enum rk_dtype dtype);

/* The type called @name of @len bytes, or RK_DTYPE_COUNT where there is none. */
enum rk_dtype rk_dtype_find(const char *name, size_t len);

/* All names, ", "-separated, for error sentences; static storage. */
const char *rk_dtype_names(void);

#endif
