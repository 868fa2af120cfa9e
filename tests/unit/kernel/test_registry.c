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

#define RIG_TEST(name) TEST_WITH(name, setup, teardown)

RIG_TEST(empty)
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

RIG_TEST(new_kernel)
{
	struct rk_kernel *k = add_kernel(*state, "core", "echo");

	assert_string_equal(k->manifest.id, "core/echo");
	assert_true(k->slot >= 1 && k->slot < RK_WIRE_KERNELS_MAX);
	assert_true(k->domain_id >= 1);
	assert_int_equal(k->state, RK_KERNEL_OFF);
	assert_true(k->wanted);
	assert_string_equal(k->stats->last_error.msg, "none");
	for (unsigned int i = 0; i < RK_COUNTER_COUNT; i++)
		assert_int_equal(k->stats->books.count[i], 0);
	rk_kernel_unref(k);
	assert_int_equal(rk_registry_count(*state), 1);
}

RIG_TEST(taken)
{
	struct rk_kernel *k = add_kernel(*state, "core", "echo");
	struct rk_error err = {0};

	const struct rk_kernel_source source = {.manifest = &k->manifest};

	assert_int_equal(rk_registry_add(*state, &source, false, NULL, &err), -EEXIST);
	assert_int_equal(err.code, EEXIST);
	assert_non_null(strstr(err.msg, "core/echo"));
	assert_int_equal(rk_registry_count(*state), 1);
	rk_kernel_unref(k);
	add(*state, "core", "echo2"); /* a longer and a shorter one are others */
	add(*state, "core", "ech");
	add(*state, "cor", "echo");
	assert_int_equal(rk_registry_count(*state), 4);
}

RIG_TEST(find)
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
RIG_TEST(walk)
{
	static const char *const ids[][2] = {
		{"b", "one"}, {"a", "one"}, {"b", "two"}, {"c", "x"}, {"a", "two"}};
	uint32_t b, last = 0;
	unsigned int n = 0;
	struct rk_kernel *k = NULL;

	for (unsigned int i = 0; i < ARRAY_SIZE(ids); i++)
		add(*state, ids[i][0], ids[i][1]);
	while ((k = rk_registry_after(*state, k))) {
		assert_true(k->slot > last);
		last = k->slot;
		assert_string_equal(k->manifest.domain, ids[n][0]);
		assert_string_equal(k->manifest.name, ids[n][1]);
		n++;
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

RIG_TEST(slot)
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

RIG_TEST(domains)
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

TEST(outlives_registry)
{
	struct rk_registry *reg;
	struct rk_kernel *k;

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
		struct rk_kernel *k = NULL;

		while ((k = rk_registry_after(r->reg, k)))
			n++;
		if (n < at_least)
			atomic_fetch_add(&r->wrong, 1);
	}
	return NULL;
}

RIG_TEST(readers)
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

/* --- kernels that change and go --- */

static struct rk_kernel *replace(struct rk_registry *reg, const char *domain, const char *name)
{
	return add_kernel_with(reg, domain, name, "version = 2\n", true);
}

RIG_TEST(replace)
{
	struct rk_kernel *old = add_kernel(*state, "core", "echo"), *k, *found;

	atomic_store(&old->wanted, false);
	atomic_store(&old->stats->books.count[RK_COUNT_FAILED], 3);
	add(*state, "core", "other");
	k = replace(*state, "core", "echo");
	assert_int_equal(k->slot, 3); /* never the old one's */
	assert_int_equal(k->domain_id, old->domain_id);
	assert_int_equal(k->stats->books.count[RK_COUNT_FAILED], 3);
	assert_ptr_equal(k->stats, old->stats);
	assert_false(k->wanted);
	assert_int_equal(k->state, RK_KERNEL_OFF);
	assert_true(old->retired);
	assert_false(k->retired);
	assert_int_equal(rk_registry_count(*state), 2);

	found = rk_registry_find(*state, "core", "echo");
	assert_ptr_equal(found, k);
	rk_kernel_unref(found);
	assert_null(rk_registry_slot(*state, old->slot));
	found = rk_registry_any_slot(*state, old->slot);
	assert_ptr_equal(found, old);
	rk_kernel_unref(found);
	/* the statistics outlive whoever began them */
	rk_registry_forget(*state, old);
	assert_int_equal(k->stats->refs, 2);
	rk_kernel_unref(old);
	assert_int_equal(k->stats->refs, 1);
	assert_int_equal(k->stats->books.count[RK_COUNT_FAILED], 3);
	rk_kernel_unref(k);

	/* what took messages is succeeded by what takes messages */
	for (enum rk_kernel_state s = RK_KERNEL_OFF; s <= RK_KERNEL_ENDING; s++) {
		old = replace(*state, "core", "other");
		atomic_store(&old->state, s);
		k = replace(*state, "core", "other");
		assert_int_equal(k->state, s == RK_KERNEL_ACTIVE || s == RK_KERNEL_LOADING
						   ? RK_KERNEL_LOADING
						   : RK_KERNEL_OFF);
		atomic_store(&k->wanted, false);
		atomic_store(&k->state, s);
		rk_kernel_unref(old);
		old = k;
		k = replace(*state, "core", "other");
		assert_int_equal(k->state, RK_KERNEL_OFF);
		atomic_store(&k->wanted, true);
		rk_kernel_unref(old);
		rk_kernel_unref(k);
	}

	/* where there is nobody to replace it is an ordinary one */
	k = replace(*state, "core", "new");
	assert_int_equal(rk_registry_count(*state), 3);
	assert_true(k->wanted);
	rk_kernel_unref(k);
}

RIG_TEST(retire)
{
	struct rk_kernel *k = add_kernel(*state, "graph", "one"), *found;
	char name[RK_NAME_MAX];
	uint32_t domain;

	domain = rk_registry_domain(*state, "graph");
	assert_true(rk_registry_retire(*state, k));
	assert_false(rk_registry_retire(*state, k));
	assert_int_equal(rk_registry_count(*state), 0);
	assert_null(rk_registry_find(*state, "graph", "one"));
	assert_null(rk_registry_slot(*state, k->slot));
	assert_null(rk_registry_next(*state, 0, 0));
	/* its directory goes with it */
	assert_int_equal(rk_registry_domain(*state, "graph"), 0);
	assert_int_equal(rk_registry_next_domain(*state, 0, name), 0);
	found = rk_registry_any_after(*state, NULL);
	assert_ptr_equal(found, k);
	rk_kernel_unref(found);
	assert_null(rk_registry_any_after(*state, rk_kernel_ref(k)));
	assert_null(rk_registry_any_slot(*state, k->slot + 1));

	rk_registry_forget(*state, k);
	assert_null(rk_registry_any_after(*state, NULL));
	rk_registry_forget(*state, k); /* again: nothing */
	assert_int_equal(k->refs, 1);
	rk_kernel_unref(k);
	/* it comes back: another kernel in the domain of old */
	k = add_kernel(*state, "graph", "one");
	assert_int_equal(k->slot, 2);
	assert_int_equal(k->domain_id, domain);
	rk_kernel_unref(k);
}

RIG_TEST(current)
{
	struct rk_kernel *first = add_kernel(*state, "core", "echo"), *second, *third, *now;

	now = rk_registry_current(*state, first);
	assert_ptr_equal(now, first);
	rk_kernel_unref(now);
	second = replace(*state, "core", "echo");
	third = replace(*state, "core", "echo");
	now = rk_registry_current(*state, first); /* over all generations */
	assert_ptr_equal(now, third);
	rk_kernel_unref(now);
	rk_registry_retire(*state, third);
	assert_null(rk_registry_current(*state, first));
	assert_null(rk_registry_current(*state, third));
	now = add_kernel(*state, "core", "echo");
	rk_kernel_unref(now);
	assert_ptr_equal(rk_registry_current(*state, second), now);
	rk_kernel_unref(now);
	rk_kernel_unref(first);
	rk_kernel_unref(second);
	rk_kernel_unref(third);
}

static void count_call(void *ctx)
{
	(*(unsigned int *)ctx)++;
}

/* Who has pinned it keeps it; when the last one lets go of a retired kernel that is told. */
RIG_TEST(pins)
{
	struct rk_kernel *before = add_kernel(*state, "core", "before"), *k;
	unsigned int unused = 0;

	rk_registry_on_unused(*state, count_call, &unused);
	k = add_kernel(*state, "core", "echo");
	assert_int_equal(rk_kernel_pin(k), 0);
	assert_int_equal(rk_kernel_pin(k), 0);
	rk_kernel_unpin(k);
	rk_kernel_unpin(k);
	assert_int_equal(unused, 0); /* it is not retired */
	assert_int_equal(rk_kernel_pin(k), 0);
	assert_int_equal(rk_kernel_pin(k), 0);
	rk_registry_retire(*state, k);
	assert_int_equal(unused, 0);
	assert_int_equal(rk_kernel_pin(k), -ENODEV);
	assert_int_equal(k->pins, 2);
	assert_int_equal(unused, 0);
	rk_kernel_unpin(k);
	assert_int_equal(unused, 0);
	rk_kernel_unpin(k);
	assert_int_equal(unused, 1);
	assert_int_equal(k->pins, 0);
	rk_kernel_unref(k);
	/* one from before that was asked for tells nobody */
	assert_int_equal(rk_kernel_pin(before), 0);
	rk_registry_retire(*state, before);
	rk_kernel_unpin(before);
	assert_int_equal(unused, 1);
	rk_kernel_unref(before);
}

/* A message pins its kernel until it is done or given up, once. */
RIG_TEST(message_pins)
{
	struct rk_kernel *k = add_kernel(*state, "core", "echo");
	struct rk_message *m = rk_message_new(k, 0, 1);

	assert_int_equal(k->pins, 1);
	rk_message_ref(m);
	rk_message_unref(m);
	assert_int_equal(k->pins, 1);
	rk_message_settle(m);
	assert_int_equal(k->pins, 0);
	rk_message_settle(m);
	rk_message_unref(m);
	assert_int_equal(k->pins, 0);
	m = rk_message_new(k, 0, 1);
	rk_message_unref(m);
	assert_int_equal(k->pins, 0);
	assert_int_equal(k->refs, 2);
	rk_kernel_unref(k);
}

/* Numbers are never used twice, and there is an end to them. */
RIG_TEST(numbers_run_out)
{
	struct rk_kernel *k = add_kernel(*state, "core", "echo"), *next;
	struct rk_kernel_source source;
	struct rk_error err = {0};

	for (uint32_t slot = 2; slot < RK_WIRE_KERNELS_MAX; slot++) {
		source = (struct rk_kernel_source){.manifest = &k->manifest};
		assert_int_equal(rk_registry_add(*state, &source, true, &next, &err), 0);
		assert_int_equal(next->slot, slot);
		rk_registry_forget(*state, k);
		rk_kernel_unref(k);
		k = next;
	}
	source = (struct rk_kernel_source){.manifest = &k->manifest};
	assert_int_equal(rk_registry_add(*state, &source, true, NULL, &err), -ENOSPC);
	assert_non_null(strstr(err.msg, "mount again"));
	assert_false(k->retired); /* it goes on */
	rk_kernel_unref(k);
	k = rk_registry_find(*state, "core", "echo");
	assert_non_null(k);
	rk_kernel_unref(k);
}

/* --- replaced while it is pinned by others --- */

#define PINNERS 2
#define CHANGES 400

struct pinning {
	struct rk_registry *reg;
	atomic_bool over;
	atomic_uint wrong, pinned;
	struct rk_kernel *first;
};

/* As a request does: find the current one, pin it, use it. */
static void *pin_always(void *arg)
{
	struct pinning *p = arg;

	while (!atomic_load(&p->over)) {
		struct rk_kernel *k = rk_registry_current(p->reg, p->first);

		if (!k)
			continue;
		if (!rk_kernel_pin(k)) {
			/* nobody has forgotten it: the registry has a reference of its own */
			struct rk_kernel *found = rk_registry_any_slot(p->reg, k->slot);

			if (found != k)
				atomic_fetch_add(&p->wrong, 1);
			rk_kernel_unref(found);
			atomic_fetch_add(&p->pinned, 1);
			rk_kernel_unpin(k);
		}
		rk_kernel_unref(k);
	}
	return NULL;
}

RIG_TEST(replaced_while_pinned)
{
	struct pinning p = {.reg = *state, .first = add_kernel(*state, "core", "echo")};
	unsigned int left = 0, changes = 0;
	pthread_t thread[PINNERS];
	struct rk_kernel *k;

	for (unsigned int i = 0; i < PINNERS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, pin_always, &p), 0);
	while (changes < CHANGES || atomic_load(&p.pinned) < CHANGES) {
		if (changes++ < CHANGES)
			rk_kernel_unref(replace(*state, "core", "echo"));
		/* as the supervisor does */
		k = NULL;
		while ((k = rk_registry_any_after(*state, k)))
			if (atomic_load(&k->retired) && !atomic_load(&k->pins))
				rk_registry_forget(*state, k);
	}
	atomic_store(&p.over, true);
	for (unsigned int i = 0; i < PINNERS; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	assert_int_equal(p.wrong, 0);
	k = NULL;
	while ((k = rk_registry_any_after(*state, k))) {
		assert_int_equal(k->pins, 0);
		left += !k->retired;
	}
	assert_int_equal(left, 1);
	assert_int_equal(rk_registry_count(*state), 1);
	rk_kernel_unref(p.first);
}
