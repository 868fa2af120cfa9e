/* SPDX-License-Identifier: MIT */
/*
 * Fuzz targets: each tests/fuzz/fuzz_NAME.c defines LLVMFuzzerTestOneInput and is linked with
 * libFuzzer (make fuzz) or with replay.c, which runs tests/fuzz/corpus/NAME through it (make unit).
 */
#ifndef RK_TESTS_FUZZ_H
#define RK_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/request/codec.h"
#include "runtime/kernel/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Aborts, with or without NDEBUG: a finding. */
#define FUZZ_CHECK(what)                                                                           \
	do {                                                                                       \
		if (!(what)) {                                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                 \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/*
 * Run a request through @codec. The first byte picks the kernel it is for, the second the
 * size of the pieces; the rest is the request.
 */
void fuzz_request(const struct rk_codec *codec, const uint8_t *data, size_t size);

#endif
