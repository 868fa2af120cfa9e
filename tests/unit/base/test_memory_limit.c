/* SPDX-License-Identifier: MIT */
/* Which memory limit counts, in trees of both versions of cgroups. */

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "runtime/base/memory_limit.h"
#include "tests/unit/unit.h"

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

#define RIG_TEST(name) TEST_WITH(name, set_up, tear_down)

RIG_TEST(no_limit_is_the_machine)
{
	uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

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

RIG_TEST(the_least_of_all_above_counts)
{
	write_file("proc/self/cgroup", "0::/pods/one\n");
	write_file("sys/fs/cgroup/pods/one/memory.max", "2097152\n");
	assert_int_equal(rk_memory_limit(root), 2097152);
	write_file("sys/fs/cgroup/pods/memory.max", "1048576\n");
	assert_int_equal(rk_memory_limit(root), 1048576);
	write_file("sys/fs/cgroup/pods/one/memory.max", "4096\n");
	assert_int_equal(rk_memory_limit(root), 4096);
}

/* In a cgroup namespace the path is "/"; in a container without one it is the host's. */
RIG_TEST(a_container_sees_its_root)
{
	write_file("sys/fs/cgroup/memory.max", "3145728\n");
	write_file("proc/self/cgroup", "0::/\n");
	assert_int_equal(rk_memory_limit(root), 3145728);
	write_file("proc/self/cgroup", "0::/kubepods.slice/pod1/container1\n");
	assert_int_equal(rk_memory_limit(root), 3145728);
}

RIG_TEST(version_1)
{
	write_file("proc/self/cgroup", "5:cpu,memory:/job\n1:name=systemd:/\n0::/\n");
	write_file("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
	write_file("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "5242880\n");
	assert_int_equal(rk_memory_limit(root), 5242880);
	write_file("proc/self/cgroup", "5:cpu:/job\n");
	assert_true(rk_memory_limit(root) > 5242880);
}

RIG_TEST(payloads_fit_into_a_file)
{
	struct rlimit normal, small;

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
