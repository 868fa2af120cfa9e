/* SPDX-License-Identifier: MIT */
/* The shipped descriptions' [cuda] sections, as the .cu files have it. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/kernel/parse.h"
#include "tests/unit/unit.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* What the .cu files take for granted of their descriptions. */
static const struct {
	const char *entry;
	uint32_t block[RK_WIRE_AXES];
	uint64_t work; /* words of the last parameter, a scratch, apart from a dim's; 0 = none */
	bool cooperative;
} facts[] = {
	{"delay", {1, 1, 1}, 0, false},	       {"echo", {256, 1, 1}, 0, false},
	{"matmul", {16, 16, 1}, 0, false},     {"monte_carlo_var", {256, 1, 1}, 21515, true},
	{"pagerank", {512, 1, 1}, 514, true},  {"reduce_sum", {256, 1, 1}, 1, false},
	{"ring_echo", {256, 1, 1}, 0, false},  {"running_stats", {256, 1, 1}, 0, false},
	{"vector_add", {256, 1, 1}, 0, false},
};

/* Without what a dim adds. */
static uint64_t words_of(const struct rk_port *port)
{
	const struct rk_axis *axis = &port->axes[0];

	assert_true(port->dtype == RK_U64 || port->dtype == RK_F64);
	if (port->rank == 0)
		return 1;
	assert_int_equal(port->rank, 1);
	assert_true(axis->ndims == 0 || (axis->ndims == 1 && axis->factor == 1));
	return axis->ndims ? (uint64_t)axis->addend : axis->factor;
}

static void check_description(const struct rk_manifest *m)
{
	const struct rk_code *cpu = &m->code[RK_WIRE_CPU], *cuda = &m->code[RK_WIRE_CUDA];
	const struct rk_param *last = &cuda->params[cuda->nparams - 1];
	size_t i = 0;

	assert_true(cpu->given && cuda->given);
	assert_string_equal(cuda->library, "builtin");
	assert_string_equal(cuda->entry, cpu->entry);
	while (i < COUNT(facts) && strcmp(facts[i].entry, cuda->entry) != 0)
		i++;
	assert_true(i < COUNT(facts));
	assert_memory_equal(m->code[RK_WIRE_CUDA].launch.block, facts[i].block,
			    sizeof(facts[i].block));
	assert_int_equal(m->code[RK_WIRE_CUDA].launch.cooperative, facts[i].cooperative);
	/* the C function's parameters, then what only CUDA needs */
	for (unsigned int p = 0; p < cuda->nparams; p++) {
		if (p >= cpu->nparams) {
			assert_int_equal(cuda->params[p].kind, RK_WIRE_ARG_SCRATCH);
			continue;
		}
		assert_int_equal(cuda->params[p].kind, cpu->params[p].kind);
		assert_int_equal(cuda->params[p].index, cpu->params[p].index);
	}
	assert_int_equal(cuda->nparams > cpu->nparams, facts[i].work > 0);
	if (facts[i].work > 0)
		assert_int_equal(words_of(&m->scratch[last->index]), facts[i].work);
}

TEST(descriptions)
{
	const struct rk_manifest_builtin *builtins;
	size_t count;

	builtins = rk_manifest_builtins(&count);
	assert_int_equal(count, COUNT(facts));
	for (size_t i = 0; i < count; i++) {
		struct rk_error err = {0};
		struct rk_manifest *m = calloc(1, sizeof(*m));

		assert_non_null(m);
		if (rk_manifest_parse(m, builtins[i].text, builtins[i].len, builtins[i].name, &err))
			fail_msg("%s", err.msg);
		check_description(m);
		free(m);
	}
}
