/* SPDX-License-Identifier: MIT */
#include "tests/unit/message_fixture.h"

#define KERNELS 300

static int setup(void **state)
{
	struct rk_registry *reg;

	assert_int_equal(rk_registry_create(&reg), 0);
	*state = reg;
	return 0;
}

static int teardown(void **state)
{
	rk_registry_destroy(*state);
	return 0;
}

static void add(struct rk_registry *reg, const char *domain, const char *name)
{
	rk_kernel_unref(add_kernel(reg, domain, name));
}

static void test_empty(void **state)
{
	char name[RK_NAME_MAX] = "untouched";

	assert_int_equal(rk_registry_count(*state), 0);
	assert_null(rk_registry_find(*state, "core", "echo"));
	assert_null(rk_registry_slot(*state, 1));
	assert_null(rk_registry_next(*state, 0, 0));
	assert_int_equal(rk_registry_domain(*state, "core"), 0);
	assert_int_equal(rk_registry_next_domain(*state, 0, name), 0);
	assert_string_equal(name, "untouched");
	rk_registry_destroy(NULL);
	rk_kernel_unref(NULL);
}

static void test_new_kernel(void **state)
{
	struct rk_kernel *k = add_kernel(*state, "core", "echo");

	assert_string_equal(k->manifest.id, "core/echo");
	assert_true(k->slot >= 1 && k->slot < RK_WIRE_KERNELS_MAX);
	assert_true(k->domain_id >= 1);
	assert_int_equal(k->state, RK_KERNEL_OFF);
	assert_true(k->wanted);
	assert_string_equal(k->last_error, "none");
	for (unsigned int i = 0; i < RK_COUNTER_COUNT; i++)
		assert_int_equal(k->count[i], 0);
	rk_kernel_unref(k);
	assert_int_equal(rk_registry_count(*state), 1);
}

static void test_taken(void **state)
{
	struct rk_kernel *k = add_kernel(*state, "core", "echo");
	struct rk_error err = {0};

	assert_int_equal(rk_registry_add(*state, &k->manifest, &err), -EEXIST);
	assert_int_equal(err.code, EEXIST);
	assert_non_null(strstr(err.msg, "core/echo"));
	assert_int_equal(rk_registry_count(*state), 1);
	rk_kernel_unref(k);
	add(*state, "core", "echo2"); /* a longer and a shorter one are others */
	add(*state, "core", "ech");
	add(*state, "cor", "echo");
	assert_int_equal(rk_registry_count(*state), 4);
}

static void test_find(void **state)
{
	struct rk_kernel *echo = add_kernel(*state, "core", "echo"), *found;

	add(*state, "graph", "echo");
	add(*state, "core", "delay");
	found = rk_registry_find(*state, "core", "echo");
	assert_ptr_equal(found, echo);
	rk_kernel_unref(found);
	found = rk_registry_find(*state, "graph", "echo");
	assert_string_equal(found->manifest.id, "graph/echo");
	rk_kernel_unref(found);
	assert_null(rk_registry_find(*state, "graph", "delay"));
	assert_null(rk_registry_find(*state, "core", "ech"));
	assert_null(rk_registry_find(*state, "core", ""));
	rk_kernel_unref(echo);
}

/* Walk by slot as readdir does, all and per domain. */
static void test_walk(void **state)
{
	static const char *const ids[][2] = {
		{"b", "one"}, {"a", "one"}, {"b", "two"}, {"c", "x"}, {"a", "two"}};
	uint32_t b, last = 0;
	unsigned int n = 0;
	struct rk_kernel *k;

	for (unsigned int i = 0; i < ARRAY_SIZE(ids); i++)
		add(*state, ids[i][0], ids[i][1]);
	for (uint32_t slot = 0; (k = rk_registry_next(*state, slot, 0)); slot = last + 1) {
		assert_true(k->slot > last);
		last = k->slot;
		assert_string_equal(k->manifest.domain, ids[n][0]);
		assert_string_equal(k->manifest.name, ids[n][1]);
		n++;
		rk_kernel_unref(k);
	}
	assert_int_equal(n, ARRAY_SIZE(ids));

	b = rk_registry_domain(*state, "b");
	n = 0;
	for (uint32_t slot = 0; (k = rk_registry_next(*state, slot, b)); slot = last + 1) {
		last = k->slot;
		assert_int_equal(k->domain_id, b);
		assert_string_equal(k->manifest.domain, "b");
		n++;
		rk_kernel_unref(k);
	}
	assert_int_equal(n, 2);
	assert_null(rk_registry_next(*state, 0, 99));
}

static void test_slot(void **state)
{
	struct rk_kernel *one = add_kernel(*state, "a", "one"), *found;

	add(*state, "a", "two");
	found = rk_registry_slot(*state, one->slot);
	assert_ptr_equal(found, one);
	rk_kernel_unref(found);
	assert_null(rk_registry_slot(*state, 0));
	assert_null(rk_registry_slot(*state, one->slot + 2));
	assert_null(rk_registry_slot(*state, UINT32_MAX));
	rk_kernel_unref(one);
}

static void test_domains(void **state)
{
	char name[RK_NAME_MAX];
	uint32_t id, b;

	add(*state, "b", "one");
	add(*state, "a", "one");
	add(*state, "b", "two");
	b = rk_registry_domain(*state, "b");
	assert_true(b >= 1);
	id = rk_registry_next_domain(*state, 0, name);
	assert_int_equal(id, b);
	assert_string_equal(name, "b");
	id = rk_registry_next_domain(*state, id + 1, name);
	assert_string_equal(name, "a");
	assert_int_equal(id, rk_registry_domain(*state, "a"));
	assert_int_equal(rk_registry_next_domain(*state, id + 1, name), 0);
	assert_string_equal(name, "a");
	assert_int_equal(rk_registry_domain(*state, "c"), 0);
}

static void test_outlives_registry(void **state)
{
	struct rk_registry *reg;
	struct rk_kernel *k;

	(void)state;
	assert_int_equal(rk_registry_create(&reg), 0);
	k = add_kernel(reg, "core", "echo");
	assert_ptr_equal(rk_kernel_ref(k), k);
	rk_registry_destroy(reg);
	rk_kernel_unref(k);
	assert_string_equal(k->manifest.id, "core/echo");
	rk_kernel_unref(k);
}

struct reader {
	struct rk_registry *reg;
	atomic_bool over;
	atomic_uint wrong;
};

static void *walk_always(void *arg)
{
	struct reader *r = arg;

	while (!atomic_load(&r->over)) {
		uint64_t at_least = rk_registry_count(r->reg), n = 0;
		struct rk_kernel *k;

		for (uint32_t slot = 0; (k = rk_registry_next(r->reg, slot, 0)); n++) {
			slot = k->slot + 1;
			rk_kernel_unref(k);
		}
		if (n < at_least)
			atomic_fetch_add(&r->wrong, 1);
	}
	return NULL;
}

static void test_readers(void **state)
{
	struct reader r = {.reg = *state};
	char domain[16], name[16];
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, walk_always, &r), 0);
	for (unsigned int i = 0; i < KERNELS; i++) {
		snprintf(domain, sizeof(domain), "d%u", i % 7);
		snprintf(name, sizeof(name), "k%u", i);
		add(*state, domain, name);
	}
	atomic_store(&r.over, true);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(r.wrong, 0);
	assert_int_equal(rk_registry_count(*state), KERNELS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_empty),   TEST(test_new_kernel), TEST(test_taken),
		TEST(test_find),    TEST(test_walk),	   TEST(test_slot),
		TEST(test_domains), TEST(test_readers),	   cmocka_unit_test(test_outlives_registry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
