/* SPDX-License-Identifier: MIT */
/* Starts a worker process, sends to it, and finds out how it ended. */
#include "runtime/supervisor/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
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

#define EXIT_CANNOT_EXEC 127
/* in thousandths of the memory: half of it counts as used by the worker from the start */
#define OOM_PREFERENCE 500
#define OOM_SCORE_MAX  1000

/* The descriptors that the child gets, in the order of RK_WIRE_FD_*. */
struct child_fds {
	int fd[4];
	int null;
	int executable;
};

/* Between fork and exec: async-signal-safe calls only. */
static void __attribute__((noreturn)) become_worker(const struct child_fds *fds, pid_t daemon)
{
	char name[] = "rk-worker";
	char *const argv[] = {name, NULL};
	int moved[4], executable;
	sigset_t none;

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != daemon || !rk_home_enter())
		_exit(EXIT_CANNOT_EXEC);
	/* Out of the way first: a source may have the number of another's target. */
	executable = fcntl(fds->executable, F_DUPFD_CLOEXEC, 16);
	for (int i = 0; i < 4; i++) {
		moved[i] = fcntl(fds->fd[i], F_DUPFD_CLOEXEC, 16);
		if (moved[i] < 0)
			_exit(EXIT_CANNOT_EXEC);
	}
	/* The daemon's stdio may be somebody's pipe: a worker that held it would keep it open. */
	for (int i = 0; i < 3; i++)
		if (dup2(fds->null, i) < 0 || fcntl(i, F_SETFD, 0)) /* null may be one of them */
			_exit(EXIT_CANNOT_EXEC);
	for (int i = 0; i < 4; i++)
		if (dup2(moved[i], RK_WIRE_FD_CONTROL + i) < 0)
			_exit(EXIT_CANNOT_EXEC);
	if (executable < 0 || close_range(RK_WIRE_FD_SHARED + 1, ~0U, CLOSE_RANGE_CLOEXEC))
		_exit(EXIT_CANNOT_EXEC);
	sigemptyset(&none);
	if (sigprocmask(SIG_SETMASK, &none, NULL))
		_exit(EXIT_CANNOT_EXEC);
	fexecve(executable, argv, environ);
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

/*
 * Where memory is out, the worker shall be killed, which is replaced, and not the daemon, with
 * which the mount would go. Where this fails the kernel chooses.
 */
static void prefer_for_oom(pid_t pid)
{
	char path[64];
	int score = 0;
	FILE *f = fopen("/proc/self/oom_score_adj", "re");

	if (f) {
		if (fscanf(f, "%d", &score) != 1)
			score = 0;
		fclose(f);
	}
	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", pid);
	f = fopen(path, "we");
	if (!f)
		return;
	score += OOM_PREFERENCE;
	fprintf(f, "%d\n", score < OOM_SCORE_MAX ? score : OOM_SCORE_MAX);
	fclose(f);
}

static int fork_worker(struct rk_process *p, const struct child_fds *fds, struct rk_error *err)
{
	pid_t self = getpid();
	pid_t pid = fork();

	if (pid == 0)
		become_worker(fds, self);
	if (pid < 0)
		return rk_error_set(err, errno, "cannot fork a worker: %m");
	p->pid = pid;
	prefer_for_oom(pid);
	p->pidfd = pidfd_open(pid, 0);
	if (p->pidfd < 0) {
		int rc = rk_error_set(err, errno, "cannot watch worker %d: %m", pid);

		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return rc;
	}
	return 0;
}

static void close_all(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

int rk_process_spawn(struct rk_process *p, int worker_fd, struct rk_payload *payload,
		     struct rk_error *err)
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
		struct child_fds fds = {
			.fd = {control[1], messages[1], rk_payload_fd(payload), page},
			.null = null,
			.executable = worker_fd,
		};

		rc = fork_worker(&got, &fds, err);
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
	got.payload = rk_payload_ref(payload);
	*p = got;
	return 0;
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
