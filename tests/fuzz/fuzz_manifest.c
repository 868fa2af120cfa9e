/* SPDX-License-Identifier: MIT */
/* Any text as a description; one that is taken is then used with small dims. */
#include <errno.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

#define LIMIT (1 << 16)

static void print_ports(const struct rk_manifest *m)
{
	char text[64];

	for (unsigned int i = 0; i < m->ninputs; i++)
		(void)rk_port_print(m, &m->inputs[i], text, sizeof(text));
	for (unsigned int i = 0; i < m->noutputs; i++)
		(void)rk_port_print(m, &m->outputs[i], text, sizeof(text));
	for (unsigned int i = 0; i < m->nscratch; i++)
		(void)rk_port_print(m, &m->scratch[i], text, sizeof(text));
	(void)rk_codec_json.applies(m);
	(void)rk_codec_safetensors.applies(m);
	(void)rk_codec_raw.applies(m);
}

static void use(const struct rk_manifest *m, uint64_t size)
{
	struct rk_wire_arg args[RK_WIRE_ARGS_MAX];
	struct rk_wire_load load;
	uint32_t grid[RK_WIRE_AXES];
	bool given = false;
	struct rk_plan plan;
	uint64_t fused;
	void *block;

	rk_plan_init(&plan, m);
	for (unsigned int i = 0; i < m->ndims; i++)
		rk_plan_set_dim(&plan, i, size + i);
	for (unsigned int i = 0; i < m->ninputs; i++)
		FUZZ_CHECK(!rk_plan_bind_shown(&plan, i, 0, NULL, NULL));
	if (rk_plan_layout(&plan, LIMIT, NULL))
		return;
	FUZZ_CHECK(plan.block_bytes <= LIMIT);
	fused = m->fused_dim ? plan.dims[m->fused_dim - 1] : 0;
	block = malloc(plan.block_bytes);
	FUZZ_CHECK(block);
	memset(block, 0, plan.block_bytes);
	rk_plan_prepare(&plan, block);
	FUZZ_CHECK(!rk_plan_check(&plan, block, NULL));
	for (enum rk_wire_backend b = 0; b < RK_WIRE_BACKEND_COUNT; b++) {
		bool is_launched = m->code[b].given && rk_backends[b].launches;

		given |= m->code[b].given;
		rk_manifest_wire(m, b, &load);
		FUZZ_CHECK(load.nparams == rk_plan_wire(&plan, b, 0, block, args));
		(void)rk_plan_grid(&plan, b, UINT64_MAX, grid, NULL);
		FUZZ_CHECK(!rk_plan_grid(&plan, b, fused, grid, NULL));
		for (unsigned int i = 0; i < RK_WIRE_AXES; i++)
			FUZZ_CHECK(!!load.block[i] == is_launched && !!grid[i] == is_launched);
	}
	FUZZ_CHECK(given);
	FUZZ_CHECK(rk_plan_fuses(&plan, block, &plan, block) == !!m->fused_dim);
	free(block);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rk_error err = {0};
	struct rk_manifest m;
	char *text = malloc(size ? size : 1);
	int rc;

	FUZZ_CHECK(text);
	if (size)
		memcpy(text, data, size);
	rc = rk_manifest_parse(&m, text, size, "fuzz", &err);
	free(text);
	if (rc) {
		FUZZ_CHECK(rc == -EINVAL && err.code == EINVAL);
		FUZZ_CHECK(strncmp(err.msg, "fuzz:", 5) == 0);
		return 0;
	}
	print_ports(&m);
	for (uint64_t n = 0; n < 4; n++)
		use(&m, n);
	use(&m, UINT64_MAX - RK_MAX_DIMS);
	return 0;
}
