/* SPDX-License-Identifier: MIT */
/* Starts a worker process, sends to it, and finds out how it ended. */
#include "runtime/supervisor/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/home.h"
#include "runtime/base/memfd.h"
#include "runtime/base/scm.h"

/* LeakSanitizer forks a process that looks at this one with ptrace */
#ifdef __SANITIZE_ADDRESS__
#define RK_LEAKS_ARE_SOUGHT true
#else
#define RK_LEAKS_ARE_SOUGHT false
#endif

#define EXIT_CANNOT_CONFINE 126
#define EXIT_CANNOT_EXEC    127
/* in thousandths of the memory: half of it counts as used by the worker from the start */
#define OOM_PREFERENCE 500
#define OOM_SCORE_MAX  1000
#define OOM_SCORE_FILE "/proc/self/oom_score_adj"

/* What the child gets, made before the fork. */
struct birth {
	int fd[4]; /* in the order of RK_WIRE_FD_* */
	int list;  /* where it prints the devices, and is no worker; -1 = it is */
	int null;
	int executable;
	struct rk_worker_user user; /* the groups of devices are added in the child */
	bool cuda;
	struct sock_fprog filter; /* its filter is NULL where there is none */
	struct rk_environment env;
	char oom_score[16];
};

/*
 * Where memory is out, the worker shall be killed, which is replaced, and not the daemon, with
 * which the mount would go. Where this fails the kernel chooses.
 */
static void prefer_for_oom(const char *score)
{
	int fd = open(OOM_SCORE_FILE, O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, score, strlen(score)) >= 0)
		close(fd);
}

/* The daemon's stdio may be somebody's pipe: a worker that held it would keep it open. */
static bool place_stdio(const struct birth *b)
{
	for (int i = 0; i < 3; i++)
		if (dup2(b->null, i) < 0 || fcntl(i, F_SETFD, 0)) /* null may be one of them */
			return false;
	return true;
}

/* The descriptors to the numbers where the worker looks for them; false where that fails. */
static bool place_descriptors(struct birth *b, int *executable)
{
	int moved[4], n = b->list < 0 ? 4 : 0;

	/* Out of the way first: a source may have the number of another's target. */
	*executable = fcntl(b->executable, F_DUPFD_CLOEXEC, 16);
	if (!n)
		b->list = fcntl(b->list, F_DUPFD_CLOEXEC, 16);
	for (int i = 0; i < n; i++) {
		moved[i] = fcntl(b->fd[i], F_DUPFD_CLOEXEC, 16);
		if (moved[i] < 0)
			return false;
	}
	if (!place_stdio(b) || (!n && dup2(b->list, STDOUT_FILENO) < 0))
		return false;
	for (int i = 0; i < n; i++)
		if (dup2(moved[i], RK_WIRE_FD_CONTROL + i) < 0)
			return false;
	return *executable >= 0 &&
	       !close_range((unsigned int)(RK_WIRE_FD_CONTROL + n), ~0U, CLOSE_RANGE_CLOEXEC);
}

/* Between fork and exec. */
static void __attribute__((noreturn)) become_worker(struct birth *b)
{
	char name[] = "rk-worker", list[] = RK_WIRE_LIST_OPTION;
	char *const argv[] = {name, b->list < 0 ? NULL : list, NULL};
	int executable;
	sigset_t none;

	/* A daemon that was dead before this shows as the end of the control socket. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || !rk_home_enter() ||
	    !place_descriptors(b, &executable))
		_exit(EXIT_CANNOT_EXEC);
	sigemptyset(&none);
	if (sigprocmask(SIG_SETMASK, &none, NULL))
		_exit(EXIT_CANNOT_EXEC);
	prefer_for_oom(b->oom_score);
	if (b->cuda && geteuid() == 0)
		rk_nvidia_load(RK_NVIDIA_MODPROBE, RK_NVIDIA_PROC, RK_NVIDIA_MODPROBE_MS);
	if (b->user.other) /* NVML shows devices whatever runs the kernels */
		b->user.ngroups = rk_nvidia_groups("/dev", b->user.groups, b->user.ngroups,
						   RK_WORKER_GROUPS_MAX);
	if (!rk_confine(&b->user, b->filter.filter ? &b->filter : NULL))
		_exit(EXIT_CANNOT_CONFINE);
	fexecve(executable, argv, b->env.list);
	_exit(EXIT_CANNOT_EXEC);
}

static int map_shared(struct rk_process *p, int *fd, struct rk_error *err)
{
	*fd = rk_memfd_create("rkfs-shared");
	if (*fd < 0)
		return rk_error_set(err, -*fd, "cannot create the shared page: %m");
	if (ftruncate(*fd, sizeof(struct rk_wire_shared)) ||
	    fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return rk_error_set(err, errno, "cannot seal the shared page: %m");
	p->shared = mmap(NULL, sizeof(*p->shared), PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	if (p->shared == MAP_FAILED) {
		p->shared = NULL;
		return rk_error_set(err, errno, "cannot map the shared page: %m");
	}
	return 0;
}

/* The score of a worker, from the daemon's own. */
static void make_oom_score(struct birth *b)
{
	int score = 0;
	FILE *f = fopen(OOM_SCORE_FILE, "re");

	if (f) {
		if (fscanf(f, "%d", &score) != 1)
			score = 0;
		fclose(f);
	}
	score += OOM_PREFERENCE;
	snprintf(b->oom_score, sizeof(b->oom_score), "%d\n",
		 score < OOM_SCORE_MAX ? score : OOM_SCORE_MAX);
}

static int fork_worker(struct rk_process *p, struct birth *b, struct rk_error *err)
{
	pid_t pid = fork();

	if (pid == 0)
		become_worker(b);
	if (pid < 0)
		return rk_error_set(err, errno, "cannot fork a worker: %m");
	p->pid = pid;
	p->pidfd = pidfd_open(pid, 0);
	if (p->pidfd < 0) {
		int rc = rk_error_set(err, errno, "cannot watch worker %d: %m", pid);

		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return rc;
	}
	return 0;
}

/* Make what the child needs, but for descriptors, and fork it. */
static int give_birth(struct rk_process *p, struct birth *b,
		      const struct rk_supervisor_params *params, const char *device,
		      struct rk_error *err)
{
	int rc = rk_environment_make(environ, params->cuda_cache_dir, device, &b->env, err);

	if (!rc && params->filter && !RK_LEAKS_ARE_SOUGHT)
		rc = rk_filter_make(&b->filter, err);
	if (!rc) {
		b->user = params->user;
		b->cuda = params->cuda;
		make_oom_score(b);
		rc = fork_worker(p, b, err);
	}
	free(b->filter.filter);
	free(b->env.list);
	return rc;
}

static void close_all(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

int rk_process_spawn(struct rk_process *p, int worker_fd, const struct rk_supervisor_params *params,
		     const char *device, struct rk_error *err)
{
	int control[2] = {-1, -1}, messages[2] = {-1, -1}, page = -1, null;
	struct rk_process got = {.pidfd = -1};
	int rc;

	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0)
		rc = rk_error_set(err, errno, "cannot open /dev/null: %m");
	else if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) ||
		 socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, messages))
		rc = rk_error_set(err, errno, "cannot create a socket pair: %m");
	else
		rc = map_shared(&got, &page, err);
	if (!rc) {
		struct birth b = {
			.fd = {control[1], messages[1], rk_payload_fd(params->payload), page},
			.list = -1,
			.null = null,
			.executable = worker_fd,
		};

		rc = give_birth(&got, &b, params, device, err);
	}
	close_all((int[]){control[1], messages[1], page, null}, 4);
	if (rc) {
		close_all((int[]){control[0], messages[0]}, 2);
		if (got.shared)
			munmap(got.shared, sizeof(*got.shared));
		return rc;
	}
	got.control = control[0];
	got.messages = messages[0];
	got.payload = rk_payload_ref(params->payload);
	*p = got;
	return 0;
}

int rk_process_list(struct rk_process *p, int worker_fd, const struct rk_supervisor_params *params,
		    struct rk_error *err)
{
	struct rk_process got = {.pidfd = -1, .messages = -1};
	int text[2], null = open("/dev/null", O_RDWR | O_CLOEXEC), rc;

	if (null < 0)
		return rk_error_set(err, errno, "cannot open /dev/null: %m");
	if (pipe2(text, O_CLOEXEC | O_NONBLOCK)) {
		rc = rk_error_set(err, errno, "cannot create a pipe: %m");
	} else {
		struct birth b = {.list = text[1], .null = null, .executable = worker_fd};

		rc = give_birth(&got, &b, params, "", err);
		close(text[1]);
		got.control = text[0];
		if (rc)
			close(text[0]);
	}
	close(null);
	if (!rc)
		*p = got;
	return rc;
}

int rk_process_send(const struct rk_process *p, const struct rk_wire_control *packet, int fd)
{
	ssize_t n = rk_scm_send(p->control, packet, sizeof(*packet), fd, MSG_DONTWAIT);

	return n < 0 ? (int)n : 0;
}

void rk_process_kill(const struct rk_process *p)
{
	/* Through the pidfd: the number may belong to somebody else by now. ESRCH is fine. */
	(void)pidfd_send_signal(p->pidfd, SIGKILL, NULL, 0);
}

bool rk_process_reap(const struct rk_process *p, char *how, size_t size, bool *clean)
{
	siginfo_t info = {0};

	if (waitid(P_PIDFD, (id_t)p->pidfd, &info, WEXITED | WNOHANG)) {
		if (errno != ECHILD)
			return false;
		*clean = false;
		snprintf(how, size, "ended"); /* somebody else collected its status */
		return true;
	}
	if (info.si_pid == 0)
		return false;
	*clean = info.si_code == CLD_EXITED && info.si_status == 0;
	if (info.si_code != CLD_EXITED) {
		const char *name = sigabbrev_np(info.si_status);

		snprintf(how, size, "was killed by SIG%s", name ? name : "?");
	} else if (info.si_status == EXIT_CANNOT_CONFINE) {
		snprintf(
			how, size,
			"could not give up its privileges; worker_user and worker_seccomp say which");
	} else if (info.si_status == EXIT_CANNOT_EXEC) {
		snprintf(how, size, "could not be executed");
	} else {
		snprintf(how, size, "exited with status %d", info.si_status);
	}
	return true;
}

bool rk_process_fault(const struct rk_process *p, char *how, size_t size)
{
	static const char *const kinds[] = {
		[RK_WIRE_STICKY] = "ended itself after a CUDA error",
		[RK_WIRE_DEVICE_LOST] = "lost its device",
	};
	uint32_t kind = atomic_load(&p->shared->fault);
	char text[RK_WIRE_TEXT_MAX];

	if (kind >= sizeof(kinds) / sizeof(kinds[0]) || !kinds[kind])
		return false;
	/* a broken worker may still write to it */
	memcpy(text, p->shared->fault_text, sizeof(text));
	text[sizeof(text) - 1] = '\0';
	rk_text_clean(text, sizeof(text), "");
	snprintf(how, size, "%s: %.280s", kinds[kind], text[0] ? text : "it does not say which");
	return true;
}

void rk_process_release(struct rk_process *p)
{
	close_all((int[]){p->pidfd, p->control, p->messages}, 3);
	if (p->shared)
		munmap(p->shared, sizeof(*p->shared));
	rk_payload_unref(p->payload);
	*p = (struct rk_process){.pidfd = -1, .control = -1, .messages = -1};
}
