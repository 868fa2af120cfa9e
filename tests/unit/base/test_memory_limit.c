/* SPDX-License-Identifier: MIT */
/* Which memory limit counts, in trees of both versions of cgroups. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "runtime/base/memory_limit.h"

static char root[] = "/tmp/rkfs-memory-XXXXXX";

/* Each test has an empty tree, which is its working directory. */
static int set_up(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(root));
	assert_int_equal(chdir(root), 0);
	return system("mkdir -p proc/self sys/fs/cgroup/pods/one sys/fs/cgroup/memory/job");
}

static int tear_down(void **state)
{
	(void)state;
	assert_int_equal(system("rm -rf \"$PWD\""), 0);
	assert_int_equal(chdir("/"), 0);
	snprintf(root, sizeof(root), "/tmp/rkfs-memory-XXXXXX");
	return 0;
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void no_limit_is_the_machine(void **state)
{
	uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

	(void)state;
	assert_int_equal(rk_memory_limit(root), machine);
	write_file("proc/self/cgroup", "0::/pods/one\n");
	assert_int_equal(rk_memory_limit(root), machine);
	write_file("sys/fs/cgroup/pods/one/memory.max", "max\n");
	assert_int_equal(rk_memory_limit(root), machine);
	write_file("sys/fs/cgroup/pods/one/memory.max", "9223372036854771712\n");
	assert_int_equal(rk_memory_limit(root), machine);
	write_file("proc/self/cgroup", "rubbish\n0:\n\n:::\n");
	assert_int_equal(rk_memory_limit(root), machine);
}

static void the_least_of_all_above_counts(void **state)
{
	(void)state;
	write_file("proc/self/cgroup", "0::/pods/one\n");
	write_file("sys/fs/cgroup/pods/one/memory.max", "2097152\n");
	assert_int_equal(rk_memory_limit(root), 2097152);
	write_file("sys/fs/cgroup/pods/memory.max", "1048576\n");
	assert_int_equal(rk_memory_limit(root), 1048576);
	write_file("sys/fs/cgroup/pods/one/memory.max", "4096\n");
	assert_int_equal(rk_memory_limit(root), 4096);
}

/* In a cgroup namespace the path is "/"; in a container without one it is the host's. */
static void a_container_sees_its_root(void **state)
{
	(void)state;
	write_file("sys/fs/cgroup/memory.max", "3145728\n");
	write_file("proc/self/cgroup", "0::/\n");
	assert_int_equal(rk_memory_limit(root), 3145728);
	write_file("proc/self/cgroup", "0::/kubepods.slice/pod1/container1\n");
	assert_int_equal(rk_memory_limit(root), 3145728);
}

static void version_1(void **state)
{
	(void)state;
	write_file("proc/self/cgroup", "5:cpu,memory:/job\n1:name=systemd:/\n0::/\n");
	write_file("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
	write_file("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "5242880\n");
	assert_int_equal(rk_memory_limit(root), 5242880);
	write_file("proc/self/cgroup", "5:cpu:/job\n");
	assert_true(rk_memory_limit(root) > 5242880);
}

static void payloads_fit_into_a_file(void **state)
{
	struct rlimit normal, small;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &normal), 0);
	small = normal;
	small.rlim_cur = (100 << 20) + 1;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_int_equal(rk_memory_for_payloads(), 64 << 20);
	small.rlim_cur = 1;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_int_equal(rk_memory_for_payloads(), 1 << 20);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &normal), 0);
	assert_true(rk_memory_for_payloads() <= rk_memory_limit("") / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(no_limit_is_the_machine, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_least_of_all_above_counts, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_container_sees_its_root, set_up, tear_down),
		cmocka_unit_test_setup_teardown(version_1, set_up, tear_down),
		cmocka_unit_test_setup_teardown(payloads_fit_into_a_file, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
