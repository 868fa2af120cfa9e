/* SPDX-License-Identifier: MIT */
/* f16 for C functions: what they take is widened to float, what they give is narrowed. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/cpu/internal.h"
#include "runtime/base/tensor.h"

#define RETAINED_MAX (1ULL << 20) /* bytes that a thread keeps from run to run */
#define WIDER	     2		  /* how many times the bytes of a binary16 a float takes */

static bool is_f16_buffer(const struct rk_wire_param *param)
{
	return param->dtype == RK_F16 && param->kind != RK_WIRE_ARG_SCALAR;
}

bool rk_widen_needed(const struct rk_wire_param *params, unsigned int nparams)
{
	for (unsigned int i = 0; i < nparams; i++)
		if (params[i].dtype == RK_F16)
			return true;
	return false;
}

static uint64_t wide_bytes(const struct rk_wire_param *param, const struct rk_backend_arg *arg)
{
	uint64_t bytes = WIDER * arg->bytes + rk_param_guard(param);

	return (bytes + RK_WIRE_ALIGN - 1) / RK_WIRE_ALIGN * RK_WIRE_ALIGN;
}

static int reserve(struct rk_widen *w, uint64_t bytes, struct rk_error *err)
{
	if (bytes <= w->bytes)
		return 0;
	rk_widen_free(w);
	w->memory = aligned_alloc(RK_WIRE_ALIGN, bytes);
	if (!w->memory)
		return rk_error_set(err, ENOMEM, "no memory to convert f16: %" PRIu64 " bytes",
				    bytes);
	w->bytes = bytes;
	return 0;
}

static void widen_buffer(const struct rk_wire_param *param, const struct rk_backend_arg *arg,
			 void *to)
{
	uint64_t count = arg->bytes / sizeof(uint16_t);

	if (param->kind == RK_WIRE_ARG_INPUT) {
		rk_f16_widen(to, arg->buffer, count);
		return;
	}
	memset(to, 0, WIDER * arg->bytes);
	memset((unsigned char *)to + WIDER * arg->bytes, RK_WIRE_GUARD_BYTE, RK_WIRE_GUARD);
}

/* The value's bytes come first, whatever the byte order. */
static uint64_t widen_value(uint64_t value)
{
	uint16_t half;
	float single;

	memcpy(&half, &value, sizeof(half));
	single = rk_f16_to_f32(half);
	value = 0;
	memcpy(&value, &single, sizeof(single));
	return value;
}

int rk_widen_begin(struct rk_widen *w, const struct rk_wire_param *params, unsigned int nparams,
		   const struct rk_backend_arg *args, struct rk_backend_arg *wide,
		   struct rk_error *err)
{
	uint64_t bytes = 0, at = 0;
	int rc;

	/* no overflow: all of them lie in the payload */
	for (unsigned int i = 0; i < nparams; i++)
		if (is_f16_buffer(&params[i]))
			bytes += wide_bytes(&params[i], &args[i]);
	rc = reserve(w, bytes, err);
	if (rc)
		return rc;
	for (unsigned int i = 0; i < nparams; i++) {
		wide[i] = args[i];
		if (is_f16_buffer(&params[i])) {
			wide[i].buffer = w->memory + at;
			wide[i].bytes = WIDER * args[i].bytes;
			widen_buffer(&params[i], &args[i], wide[i].buffer);
			at += wide_bytes(&params[i], &args[i]);
		} else if (params[i].dtype == RK_F16) {
			wide[i].value = widen_value(args[i].value);
			wide[i].bytes = sizeof(float);
		}
	}
	return 0;
}

void rk_widen_end(struct rk_widen *w, const struct rk_wire_param *params, unsigned int nparams,
		  const struct rk_backend_arg *args, const struct rk_backend_arg *wide)
{
	for (unsigned int i = 0; i < nparams; i++) {
		unsigned char *to = args[i].buffer;

		if (!is_f16_buffer(&params[i]))
			continue;
		if (params[i].kind == RK_WIRE_ARG_OUTPUT)
			rk_f16_narrow(args[i].buffer, wide[i].buffer,
				      args[i].bytes / sizeof(uint16_t));
		memcpy(to + args[i].bytes, (unsigned char *)wide[i].buffer + wide[i].bytes,
		       rk_param_guard(&params[i]));
	}
	if (w->bytes > RETAINED_MAX)
		rk_widen_free(w);
}

void rk_widen_free(struct rk_widen *w)
{
	free(w->memory);
	*w = (struct rk_widen){0};
}
