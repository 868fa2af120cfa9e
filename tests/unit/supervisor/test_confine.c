/* SPDX-License-Identifier: MIT */
/* What a worker gives up between fork and exec, and what it is left with. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/clock.h"
#include "runtime/supervisor/internal.h"
#include "tests/unit/unit.h"

#define NOBODY ((uid_t)65534)
#define OTHERS 1234 /* a group that nobody is in */

#define CAP(n) (1ULL << (n))

static int failures; /* in a child */
static bool may_lift;
static struct rlimit before[RLIM_NLIMITS]; /* of the parent */

static void expect(bool right, const char *what)
{
	if (right)
		return;
	fprintf(stderr, "# not so: %s (%s)\n", what, strerror(errno));
	failures++;
}

#define EXPECT(condition) expect(condition, #condition)

/* Run @fn in a child, which is confined as @user by a filter. */
static void in_confinement(const struct rk_worker_user *user, void (*fn)(void))
{
	struct sock_fprog filter;
	struct rk_error err;
	int status;
	pid_t pid;

	assert_int_equal(rk_filter_make(&filter, &err), 0);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		EXPECT(rk_confine(user, &filter));
		fn();
		_exit(failures ? 1 : 0);
	}
	free(filter.filter);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static const struct rk_worker_user same;

static bool refused(long rc)
{
	return rc == -1 && errno == EPERM;
}

static void calls_are_refused(void)
{
	char buf[8];

	/* no child may come of it */
	EXPECT(refused(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)));
#ifdef SYS_fork
	EXPECT(refused(syscall(SYS_fork)));
#endif
	EXPECT(syscall(SYS_clone3, buf, 0) == -1 && errno == ENOSYS);
	EXPECT(refused(fork()));
	EXPECT(!popen("true", "r"));
	EXPECT(refused(ptrace(PTRACE_TRACEME, 0, NULL, NULL)));
	EXPECT(refused(syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0)));
	EXPECT(refused(mount("none", "/nowhere", "tmpfs", 0, NULL)));
	EXPECT(refused(unshare(CLONE_NEWUSER)));
	EXPECT(refused(syscall(SYS_bpf, 0, NULL, 0)));
	EXPECT(refused(syscall(SYS_keyctl, 0, 0)));
	EXPECT(refused(syscall(SYS_init_module, NULL, 0, "")));
	EXPECT(refused(syscall(SYS_io_uring_setup, 1, NULL)));
}

TEST(what_reaches_beyond_the_worker_is_refused)
{
	in_confinement(&same, calls_are_refused);
}

static void *touch(void *arg)
{
	*(int *)arg = 1;
	return NULL;
}

static void work_goes_on(void)
{
	int touched = 0;
	pthread_t thread;
	void *library;

	EXPECT(!pthread_create(&thread, NULL, touch, &touched));
	EXPECT(!pthread_join(thread, NULL));
	EXPECT(touched);
	library = dlopen("libm.so.6", RTLD_NOW);
	EXPECT(library);
	EXPECT(library && dlsym(library, "cos"));
	EXPECT(kill(getpid(), 0) == 0);
}

TEST(threads_and_libraries_work)
{
	in_confinement(&same, work_goes_on);
}

/* The value of @key in /proc/self/status. */
static unsigned long long status_of(const char *key)
{
	unsigned long long value = ~0ULL;
	char line[256];
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key)) && line[strlen(key)] == ':')
			value = strtoull(line + strlen(key) + 1, NULL, 16);
	if (f)
		fclose(f);
	return value;
}

static void nothing_is_left(void)
{
	struct rlimit core = {1, 1};
	int deathsig = 0;

	EXPECT(status_of("CapInh") == 0);
	EXPECT(status_of("CapPrm") == 0);
	EXPECT(status_of("CapEff") == 0);
	EXPECT(status_of("CapAmb") == 0);
	EXPECT(status_of("NoNewPrivs") == 1);
	EXPECT(status_of("Seccomp") == 2);
	EXPECT(!getrlimit(RLIMIT_CORE, &core) && core.rlim_cur == 0 && core.rlim_max == 0);
	EXPECT(!prctl(PR_GET_PDEATHSIG, &deathsig) && deathsig == SIGKILL);
}

TEST(no_privilege_is_left)
{
	in_confinement(&same, nothing_is_left);
}

/* A root that may not lift limits, as in a container, keeps them. */
static bool is_lifted(int resource)
{
	struct rlimit now = {0};

	return !getrlimit(resource, &now) &&
	       now.rlim_cur == (may_lift ? RLIM_INFINITY : before[resource].rlim_cur);
}

static void is_nobody(void)
{
	gid_t groups[4];
	uid_t r, e, s;

	nothing_is_left();
	EXPECT(status_of("CapBnd") == 0);
	EXPECT(!getresuid(&r, &e, &s) && r == NOBODY && e == NOBODY && s == NOBODY);
	EXPECT(!getresgid(&r, &e, &s) && r == NOBODY && e == NOBODY && s == NOBODY);
	EXPECT(getgroups(4, groups) == 1 && groups[0] == OTHERS);
	EXPECT(is_lifted(RLIMIT_NPROC));
	EXPECT(is_lifted(RLIMIT_MEMLOCK));
	/* of this thread: setuid() asks every one, a sanitizer's own among them, and aborts where
	 * their answers differ */
	EXPECT(syscall(SYS_setuid, 0) == -1);
}

TEST(a_worker_of_roots_becomes_its_user)
{
	const struct rk_worker_user nobody = {
		.other = true, .uid = NOBODY, .gid = NOBODY, .ngroups = 1, .groups = {OTHERS}};

	if (geteuid() != 0)
		skip();
	assert_int_equal(getrlimit(RLIMIT_NPROC, &before[RLIMIT_NPROC]), 0);
	assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &before[RLIMIT_MEMLOCK]), 0);
	may_lift = status_of("CapEff") & CAP(CAP_SYS_RESOURCE);
	in_confinement(&nobody, is_nobody);
}

TEST(users_are_looked_up)
{
	struct rk_worker_user user = {0};
	struct rk_error err;

	assert_int_equal(rk_worker_user_find("no-such-user", &user, &err), -EINVAL);
	assert_string_equal(err.msg, "worker_user: there is no user no-such-user; make it, or name "
				     "another");
	if (geteuid() != 0) {
		assert_int_equal(rk_worker_user_find("", &user, &err), 0);
		assert_false(user.other);
		assert_int_equal(rk_worker_user_find("root", &user, &err), -EPERM);
		assert_non_null(strstr(err.msg, "only root may have workers run as root"));
		return;
	}
	assert_int_equal(rk_worker_user_find("root", &user, &err), 0);
	assert_false(user.other);
	assert_int_equal(rk_worker_user_find("nobody", &user, &err), 0);
	assert_true(user.other);
	assert_int_equal(user.uid, NOBODY);
	assert_true(user.ngroups >= 1);
	assert_int_equal(user.groups[0], user.gid);
}

TEST(the_environment_is_an_allow_list)
{
	char *const given[] = {
		"HOME=/root",	     "LD_PRELOAD=/x.so",     "AWS_SECRET_ACCESS_KEY=x",
		"LANG=C.UTF-8",	     "LANGUAGES=x",	     "CUDA_VISIBLE_DEVICES=1",
		"LD_LIBRARY_PATH=l", "CUDA_CACHE_PATH=/c",   "CUDA_CACHE_DISABLE=0",
		"LD_AUDIT=/y.so",    "RK_TEST=/t",	     "RKFS_LOG_LEVEL=info",
		"LC_ALL=C",	     "OMP_NUM_THREADS=2",    "TSAN_OPTIONS=z",
		"PATH=/bin",	     "NOTIFY_SOCKET=/run/n", NULL,
	};
	static const char *const want[] = {
		"LANG=C.UTF-8", "CUDA_VISIBLE_DEVICES=1", "LD_LIBRARY_PATH=l", "RK_TEST=/t",
		"LC_ALL=C",	"OMP_NUM_THREADS=2",	  "TSAN_OPTIONS=z"};
	const size_t n = sizeof(want) / sizeof(want[0]);
	struct rk_environment env;
	struct rk_error err;

	for (int cached = 0; cached < 2; cached++) {
		assert_int_equal(rk_environment_make(given, cached ? "/cache" : "", "", &env, &err),
				 0);
		for (size_t i = 0; i < n; i++)
			assert_string_equal(env.list[i], want[i]);
		assert_string_equal(env.list[n],
				    cached ? "CUDA_CACHE_PATH=/cache" : "CUDA_CACHE_DISABLE=1");
		assert_null(env.list[n + 1]);
		free(env.list);
	}
	/* a worker with a device of its own sees that one, whatever the daemon may see */
	assert_int_equal(rk_environment_make(given, "", "GPU-1", &env, &err), 0);
	assert_string_equal(env.list[1], "LD_LIBRARY_PATH=l");
	assert_string_equal(env.list[n], "CUDA_VISIBLE_DEVICES=GPU-1");
	assert_null(env.list[n + 1]);
	free(env.list);
}

/* --- NVIDIA's driver --- */

static char dir[64];

static int make_dir(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/rk_confine_XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static void make_file(const char *name, const char *text, mode_t mode, gid_t group)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chown(path, (uid_t)-1, group), 0);
	assert_int_equal(chmod(path, mode), 0);
}

TEST_WITH(the_groups_of_devices_are_joined, make_dir, remove_dir)
{
	gid_t groups[5] = {77, 1001};
	char path[80];

	if (geteuid() != 0)
		skip();
	snprintf(path, sizeof(path), "%s/nvidia-caps", dir);
	assert_int_equal(mkdir(path, 0750), 0);
	assert_int_equal(chown(path, 0, 1009), 0);
	make_file("nvidia0", "", 0660, 1001);
	make_file("nvidia1", "", 0660, 1002);
	make_file("nvidiactl", "", 0660, 0);	 /* root's */
	make_file("nvidia-uvm", "", 0600, 1003); /* the group may nothing */
	make_file("nvidia-caps/nvidia-cap12", "", 0440, 1004);
	make_file("null", "", 0666, 1005);
	assert_int_equal(rk_nvidia_groups(dir, groups, 2, 5), 4);
	assert_int_equal(groups[0], 77);
	assert_int_equal(groups[1], 1001);
	assert_int_equal(groups[2], 1002);
	assert_int_equal(groups[3], 1004);
	assert_int_equal(rk_nvidia_groups(dir, groups, 2, 3), 3); /* no room for more */
}

/* Make the directory @name of dir, and those above it. */
static void make_dirs(const char *name)
{
	char command[256];

	snprintf(command, sizeof(command), "mkdir -p %s/%s", dir, name);
	assert_int_equal(system(command), 0);
}

/* Read the file @name of dir into @text. */
static void read_file(const char *name, char *text, size_t size)
{
	char path[256];
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "r");
	assert_non_null(f);
	n = fread(text, 1, size - 1, f);
	text[n] = '\0';
	fclose(f);
}

/* A program in the place of nvidia-modprobe. */
static void make_modprobe(const char *what)
{
	char script[1024];

	snprintf(script, sizeof(script), "#!/bin/sh\n%s", what);
	make_file("modprobe", script, 0755, getegid());
}

TEST_WITH(nodes_are_made_of_every_card, make_dir, remove_dir)
{
	char path[80], what[512], text[1024], want[1024];

	snprintf(path, sizeof(path), "%s/modprobe", dir);
	rk_nvidia_load(path, dir, -1); /* there is none */

	/* the cards show once the module is loaded, which is what the first run does */
	make_dirs("unloaded/0000:01:00.0");
	make_dirs("unloaded/0000:02:00.0");
	make_dirs("unloaded/0000:03:00.0");
	make_file("unloaded/0000:01:00.0/information",
		  "Model: \t\t NVIDIA H100\nDevice Minor: \t 3\n", 0644, getegid());
	make_file("unloaded/0000:02:00.0/information", "Device Minor: \t 0\n", 0644, getegid());
	make_file("unloaded/0000:03:00.0/information", "Model: \t\t new\n", 0644, getegid());
	make_dirs("capabilities/gpu3/mig/gi7/ci0");
	make_file("capabilities/gpu3/mig/config", "", 0644, getegid()); /* an administrator's */
	make_file("capabilities/gpu3/mig/gi7/access", "", 0644, getegid());
	make_file("capabilities/gpu3/mig/gi7/ci0/access", "", 0644, getegid());
	snprintf(what, sizeof(what),
		 "echo \"$*:$HOME\" >>%s/ran\n[ -e %s/gpus ] || mv %s/unloaded %s/gpus\n", dir, dir,
		 dir, dir);
	make_modprobe(what);
	rk_nvidia_load(path, dir, -1);
	read_file("ran", text, sizeof(text));
	snprintf(want, sizeof(want),
		 ":\n-c 255 -c 3 -c 0 -f %s/capabilities/gpu3/mig/gi7/access "
		 "-f %s/capabilities/gpu3/mig/gi7/ci0/access:\n-u -c 0:\n",
		 dir, dir);
	assert_string_equal(text, want);
}

TEST_WITH(modprobe_is_given_up, make_dir, remove_dir)
{
	uint64_t begin = rk_now_ns();
	char path[80];

	snprintf(path, sizeof(path), "%s/modprobe", dir);
	make_modprobe("exec sleep infinity\n");
	rk_nvidia_load(path, dir, 500); /* for all of its runs together */
	assert_true(rk_now_ns() - begin < 1400000000);
}
