/* SPDX-License-Identifier: MIT */
/* How much of a limit each user may hold. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "runtime/request/account.h"
#include "tests/unit/unit.h"

#define LIMIT 8000
#define SHARE 2000
#define OPEN  7000 /* without root's eighth */

static struct rk_accounts a;

static int setup(void **state)
{
	(void)state;
	rk_accounts_init(&a, LIMIT, SHARE);
	return 0;
}

/* Nothing is left of anybody. */
static int teardown(void **state)
{
	(void)state;
	assert_int_equal(a.used, 0);
	assert_int_equal(a.users, 0);
	assert_int_equal(a.count, 0);
	rk_accounts_destroy(&a);
	return 0;
}

#define ACCOUNT_TEST(name) TEST_WITH(name, setup, teardown)

static void expect_charged(uid_t uid, uint64_t bytes)
{
	struct rk_error err;

	if (rk_accounts_charge(&a, uid, bytes, &err))
		fail_msg("%s", err.msg);
}

static void expect_refused(uid_t uid, uint64_t bytes, const char *why)
{
	const struct rk_accounts before = a;
	struct rk_error err;

	assert_int_equal(rk_accounts_charge(&a, uid, bytes, &err), -ENOMEM);
	if (!strstr(err.msg, why))
		fail_msg("%s", err.msg);
	assert_int_equal(a.used, before.used);
	assert_int_equal(a.users, before.users);
	assert_int_equal(a.count, before.count);
}

ACCOUNT_TEST(a_share_each)
{
	expect_charged(4711, SHARE);
	expect_refused(4711, 1,
		       "1 bytes more would exceed max_user_share of max_buffered_bytes: "
		       "2000 of 2000 are in use");
	expect_refused(4712, SHARE + 1, "max_user_share");
	expect_refused(4712, UINT64_MAX, "max_buffered_bytes: 2000 of 8000");
	expect_charged(4712, SHARE);
	expect_charged(4711, 0);
	rk_accounts_uncharge(&a, 4711, 500);
	expect_charged(4711, 500);
	expect_refused(4711, 1, "max_user_share");
	rk_accounts_uncharge(&a, 4711, SHARE);
	rk_accounts_uncharge(&a, 4712, SHARE);
}

ACCOUNT_TEST(an_eighth_is_kept)
{
	for (uid_t uid = 1; uid <= 3; uid++)
		expect_charged(4710 + uid, SHARE);
	expect_refused(4800, SHARE,
		       "2000 bytes more would exceed max_buffered_bytes for users: "
		       "6000 of 7000 are in use");
	expect_charged(4800, OPEN - 3 * SHARE);
	expect_refused(4801, 1, "for users");
	expect_charged(0, LIMIT - OPEN);
	expect_refused(0, 1, "1 bytes more would exceed max_buffered_bytes: 8000 of 8000");
	expect_refused(geteuid(), 1, "max_buffered_bytes: 8000 of 8000");
	rk_accounts_uncharge(&a, 0, LIMIT - OPEN);
	expect_charged(geteuid(), LIMIT - OPEN);
	rk_accounts_uncharge(&a, geteuid(), LIMIT - OPEN);
	rk_accounts_uncharge(&a, 4800, OPEN - 3 * SHARE);
	for (uid_t uid = 3; uid >= 1; uid--)
		rk_accounts_uncharge(&a, 4710 + uid, SHARE);
}

ACCOUNT_TEST(many_users)
{
	for (uid_t uid = 1; uid <= 1000; uid++)
		expect_charged(uid + 70000, uid % 7 + 1);
	assert_int_equal(a.count, 1000);
	for (uid_t uid = 1; uid <= 1000; uid++)
		rk_accounts_uncharge(&a, uid + 70000, uid % 7 + 1);
}

int main(void)
{
	return unit_run(NULL, NULL);
}
