/* SPDX-License-Identifier: MIT */
/* The system calls that a worker may not make. */
#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/base/memfd.h"
#include "runtime/supervisor/internal.h"

/*
 * A kernel needs none of them, and each would reach beyond the worker: into other processes, into
 * the system, or, as io_uring does, past this filter. Those that an architecture does not have are
 * left out there.
 */
static const int denied[] = {
	/* processes that outlive the worker; posix_spawn and popen too */
	SCMP_SYS(fork),
	SCMP_SYS(vfork),
	SCMP_SYS(unshare),
	SCMP_SYS(setns),
	/* other processes */
	SCMP_SYS(ptrace),
	SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev),
	SCMP_SYS(process_madvise),
	SCMP_SYS(pidfd_getfd),
	SCMP_SYS(kcmp),
	SCMP_SYS(perf_event_open),
	/* mounts */
	SCMP_SYS(mount),
	SCMP_SYS(umount),
	SCMP_SYS(umount2),
	SCMP_SYS(mount_setattr),
	SCMP_SYS(move_mount),
	SCMP_SYS(open_tree),
	SCMP_SYS(fsopen),
	SCMP_SYS(fsconfig),
	SCMP_SYS(fsmount),
	SCMP_SYS(fspick),
	SCMP_SYS(pivot_root),
	SCMP_SYS(chroot),
	SCMP_SYS(open_by_handle_at),
	/* the system */
	SCMP_SYS(init_module),
	SCMP_SYS(finit_module),
	SCMP_SYS(delete_module),
	SCMP_SYS(kexec_load),
	SCMP_SYS(kexec_file_load),
	SCMP_SYS(reboot),
	SCMP_SYS(swapon),
	SCMP_SYS(swapoff),
	SCMP_SYS(acct),
	SCMP_SYS(quotactl),
	SCMP_SYS(quotactl_fd),
	SCMP_SYS(settimeofday),
	SCMP_SYS(clock_settime),
	SCMP_SYS(clock_adjtime),
	SCMP_SYS(adjtimex),
	SCMP_SYS(sethostname),
	SCMP_SYS(setdomainname),
	SCMP_SYS(syslog),
	SCMP_SYS(vhangup),
	SCMP_SYS(iopl),
	SCMP_SYS(ioperm),
	SCMP_SYS(modify_ldt),
	SCMP_SYS(fanotify_init),
	/* rarely used, large parts of the system that had many holes */
	SCMP_SYS(bpf),
	SCMP_SYS(add_key),
	SCMP_SYS(request_key),
	SCMP_SYS(keyctl),
	SCMP_SYS(userfaultfd),
	SCMP_SYS(io_uring_setup),
	SCMP_SYS(io_uring_enter),
	SCMP_SYS(io_uring_register),
};

static int add_rules(scmp_filter_ctx ctx)
{
	/* 32-bit calls, which would go past the rules */
	int rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(EPERM));

	/* whoever loads it sees to that itself, or whether it may */
	if (!rc)
		rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0);
	for (size_t i = 0; !rc && i < sizeof(denied) / sizeof(denied[0]); i++)
		rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), denied[i], 0);
	/* a filter cannot read what clone3 points to; without it the C library uses clone */
	if (!rc)
		rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	if (!rc)
		rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
				      SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
	return rc;
}

/* Read the program that was written to @fd. */
static int read_program(int fd, struct sock_fprog *program)
{
	struct stat st;
	void *code;

	if (fstat(fd, &st))
		return -errno;
	code = malloc((size_t)st.st_size);
	if (!code)
		return -ENOMEM;
	if (pread(fd, code, (size_t)st.st_size, 0) != (ssize_t)st.st_size) {
		free(code);
		return -EIO;
	}
	program->filter = code;
	program->len = (unsigned short)((size_t)st.st_size / sizeof(*program->filter));
	return 0;
}

int rk_filter_make(struct sock_fprog *program, struct rk_error *err)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int fd = rk_memfd_create("rkfs-filter");
	int rc = !ctx ? -ENOMEM : fd < 0 ? fd : add_rules(ctx);

	if (!rc)
		rc = seccomp_export_bpf(ctx, fd);
	if (!rc)
		rc = read_program(fd, program);
	if (ctx)
		seccomp_release(ctx);
	if (fd >= 0)
		close(fd);
	return rc ? rk_error_set(err, -rc, "cannot make the filter of system calls: %m") : 0;
}
