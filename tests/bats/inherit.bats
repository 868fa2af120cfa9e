#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# What mount.rkfs and its tools inherit from whoever starts them, and must not depend on: closed
# descriptors, limits, signals, umask, the working directory.

load common

# scripts for other shells are in single quotes
# shellcheck disable=SC2016

# also where a test fails half-way
eval "common_$(declare -f teardown)"
teardown() {
	common_teardown
	[[ -z ${CGROUP-} ]] || rmdir "$CGROUP"
}

works() {
	run timeout 60 "$BIN/rkcall" --mount "$MNT" core/vector-add '{"a":[1],"b":[2]}'
	assert_success
	assert_output '{"c":[3.0]}'
}

# survives_a_crash: the first worker is killed and replaced, for which much is opened anew.
survives_a_crash() {
	local old

	old=$(rk_worker)
	kill -KILL "$old"
	follow WorkerStarted 2 >/dev/null
	assert [ "$(rk_worker)" != "$old" ]
	works
}

@test "closed: any of descriptors 0, 1 and 2, in the background and in the foreground" {
	local how mode args fd name

	for mode in background foreground; do
		args=()
		[[ $mode == background ]] || args=(--foreground)
		for how in '<&-' '>&-' '2>&-' '<&- >&- 2>&-'; do
			echo "# $mode $how"
			eval '"$BIN/mount.rkfs" "${args[@]}" none "$MNT"' "$how" '3>&- &'
			[[ $mode == foreground ]] || wait $!
			until is_mounted && [[ $(value state) == Running ]]; do :; done
			rk_find_daemon
			for fd in 0 1 2; do
				name=$(readlink "/proc/$DAEMON/fd/$fd")
				[[ $name == /dev/null || $mode == foreground ]] || fail "$fd is $name"
				refute [ -z "$name" ]
				[[ $name != /dev/fuse && $name != *rk-worker* && $name != *memfd* ]] || fail "$fd is $name"
			done
			works
			survives_a_crash
			umount "$MNT"
			await_exit "$DAEMON"
			DAEMON=
		done
	done
}

@test "closed: rkcall and rktop say what they cannot read and write, and the worker what it is" {
	rk_up
	run bash -c '"$BIN/rkcall" -m "$MNT" core/vector-add "{\"a\":[1],\"b\":[2]}" <&-'
	assert_success
	assert_output '{"c":[3.0]}'
	run bash -c '"$BIN/rkcall" -m "$MNT" core/vector-add - <&-'
	assert_failure 1
	assert_output --partial "Bad file descriptor"
	run bash -c '"$BIN/rkcall" -m "$MNT" core/vector-add "{\"a\":[1],\"b\":[2]}" >&-'
	assert_failure 1
	run bash -c '"$BIN/rkcall" -m "$MNT" core/vector-add "{\"a\":[1],\"b\":[2]}" 2>&-'
	assert_output '{"c":[3.0]}'
	run bash -c '"$BIN/rktop" --once --delay 0.1 -m "$MNT" <&- 2>&-'
	assert_success
	assert_output --partial Running
	run bash -c '"$BIN/rktop" --once --delay 0.1 -m "$MNT" >&-'
	assert_failure 1
	run bash -c '"$BIN/rk-worker" <&- >&- 3>&- 4>&-'
	assert_failure 2
	assert_output --partial "started by mount.rkfs"
}

# --- limits ---

@test "limits: file sizes, CPU time, stacks, descriptors of the shell that mounts" {
	local limit

	for limit in '-f 1000000' '-S -t 1' '-s 256' '-s unlimited' '-S -n 64' '-S -i 1'; do
		echo "# ulimit $limit"
		run timeout 60 bash -c "ulimit $limit"' && exec "$BIN/mount.rkfs" none "$MNT" >/dev/null 2>&1 3>&-'
		assert_success
		rk_find_daemon
		works
		survives_a_crash
		umount "$MNT"
		await_exit "$DAEMON"
		DAEMON=
	done
}

@test "limits: a file size that cannot be lifted is a sentence" {
	run timeout 60 setpriv --bounding-set=-sys_resource --inh-caps=-sys_resource \
		bash -c 'ulimit -f 1000 && exec "$BIN/mount.rkfs" none "$MNT" 2>&1 3>&-'
	assert_failure 32
	assert_output --regexp '^mount.rkfs: max_buffered_bytes is [0-9]+, but no file may be larger than 1024000 bytes: .*ulimit -f'
	# enough for all payloads, if not for as much room as it would take
	run timeout 60 setpriv --bounding-set=-sys_resource --inh-caps=-sys_resource \
		bash -c 'ulimit -f 1048576 && exec "$BIN/mount.rkfs" none "$MNT" >/dev/null 2>&1 3>&-'
	assert_success
	rk_find_daemon
	works
}

@test "limits: a kernel's stack is 8 MiB, whatever the shell's is" {
	local limit

	mkdir "$KERNELS"
	cat >"$BATS_TEST_TMPDIR/deep.c" <<-'EOF'
		#include <string.h>
		void deep(float *y) { volatile char room[6 << 20]; memset((char *)room, 1, sizeof(room)); *y = room[4096]; }
	EOF
	cc -shared -fPIC -o "$KERNELS/deep.so" "$BATS_TEST_TMPDIR/deep.c"
	printf '[kernel]\nid = my/deep\n[outputs]\ny = f32\n[cpu]\nlibrary = deep.so\nentry = deep\nargs = y\n' >"$KERNELS/deep.ini"
	for limit in 512 8192 unlimited; do
		run timeout 60 bash -c "ulimit -s $limit"' && exec "$BIN/mount.rkfs" -o kernels_dir="$KERNELS" none "$MNT" >/dev/null 2>&1 3>&-'
		assert_success
		rk_find_daemon
		run "$BIN/rkcall" -m "$MNT" my/deep '{}'
		assert_output '{"y":1.0}'
		umount "$MNT"
		await_exit "$DAEMON"
		DAEMON=
	done
}

@test "limits: vm.memfd_noexec=2 leaves users' libraries alone" {
	kernels axpby
	# the sysctl is the PID namespace's
	run private 'exec unshare --pid --fork --mount-proc bash -euc "
		echo 2 >/proc/sys/vm/memfd_noexec
		\"$BIN/mount.rkfs\" -o kernels_dir=\"$KERNELS\" none \"$MNT\"
		cat \"$MNT\"/kernels/*/axpby/enable
		echo stop >\"$MNT/control\"
		umount \"$MNT\""' 3>&-
	assert_success
	assert_output 1
}

# --- signals, umask, working directory ---

@test "signals: all blocked, SIGCHLD and others ignored" {
	local mode

	# a dead mount, which is cleared by children whose status is asked for
	"$BIN/mount.rkfs" none "$MNT" 3>&-
	rk_find_daemon
	kill -KILL "$DAEMON"
	await_exit "$DAEMON"
	DAEMON=
	python3 - "$BIN/mount.rkfs" none "$MNT" 3>&- <<-'EOF'
		import os, signal, sys
		for s in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGALRM):
		    signal.signal(s, signal.SIG_IGN)
		signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
		os.execv(sys.argv[1], sys.argv[1:])
	EOF
	works
	rk_find_daemon
	survives_a_crash
	kill -TERM "$DAEMON"
	await_exit "$DAEMON"
	DAEMON=
	refute is_mounted
}

@test "umask: the log is created with mode 0640" {
	(umask 077 && exec "$BIN/mount.rkfs" -o "log_file=$BATS_TEST_TMPDIR/the.log" none "$MNT" 3>&-)
	assert_equal "$(stat -c %a "$BATS_TEST_TMPDIR/the.log")" 640
}

@test "working directory: no filesystem is kept busy by it, in the foreground either" {
	private '
		mount -t tmpfs tmpfs /mnt
		cd /mnt
		printf "[runtime]\nworker_threads = 3\n" >my.conf
		exec {ready}< <(cd /mnt && exec "$BIN/mount.rkfs" --foreground --ready-fd=9 my.conf "$MNT" 9>&1 >/dev/null 2>&1)
		pid=$!
		read -r -u "$ready"
		cd /
		umount /mnt
		[ "$(cat "$MNT/config/worker_threads")" = 3 ]
		umount "$MNT"
		wait "$pid"
	'
	cd "$MNT"
	"$BIN/mount.rkfs" none . 3>&-
	cd /
	umount "$MNT"
}

# --- memory ---

# in_cgroup BYTES COMMAND...: run it in a memory cgroup with that limit; $CGROUP is its directory.
in_cgroup() {
	local file=memory.max top=/sys/fs/cgroup

	if [[ -e $top/memory/memory.limit_in_bytes ]]; then
		file=memory.limit_in_bytes top+=/memory
	else
		echo +memory >"$top/cgroup.subtree_control"
	fi
	CGROUP=$top/rkfs-test-$$
	mkdir -p "$CGROUP"
	echo "$1" >"$CGROUP/$file"
	shift
	(echo "$BASHPID" >"$CGROUP/cgroup.procs" && exec "$@")
}

leave_cgroup() {
	await_exit "$DAEMON"
	DAEMON=
	rmdir "$CGROUP"
	CGROUP=
}

@test "memory: in a small cgroup payloads are bounded, and the daemon outlives those who fill them" {
	in_cgroup 256M "$BIN/mount.rkfs" none "$MNT" 3>&-
	rk_find_daemon
	assert_value config/max_buffered_bytes 128M
	assert_value config/max_message_bytes 128M
	assert_value config/max_json_bytes 4M
	py <<-'EOF'
		fds = [open_call("core/echo", encoding="raw") for _ in range(10)]
		def fill(fd):
		    for _ in range(60):
		        os.write(fd, bytes(1 << 20))
		said = [outcome(fill, fd) for fd in fds]
		assert "ENOMEM" in said and said[0] != "ENOMEM", said
		assert get("state") == "Running"
		for fd in fds: os.close(fd)
	EOF
	works
	umount "$MNT"
	leave_cgroup
	# what somebody sets is his to decide, and a warning
	in_cgroup 256M "$BIN/mount.rkfs" -o "max_buffered_bytes=1G,log_file=$BATS_TEST_TMPDIR/the.log" none "$MNT" 3>&-
	rk_find_daemon
	assert_value config/max_buffered_bytes 1G
	assert_file_contains "$BATS_TEST_TMPDIR/the.log" "max_buffered_bytes is 1073741824, and the memory limit .* 268435456"
	umount "$MNT"
	leave_cgroup
}

@test "memory: where it is out the worker is killed, not the daemon" {
	local pid

	mkdir "$KERNELS"
	cat >"$BATS_TEST_TMPDIR/hog.c" <<-'EOF'
		#include <stdlib.h>
		#include <string.h>
		void hog(float *y) { for (;;) { char *p = malloc(1 << 20); if (p) memset(p, 1, 1 << 20); *y += p != 0; } }
	EOF
	cc -shared -fPIC -o "$KERNELS/hog.so" "$BATS_TEST_TMPDIR/hog.c"
	printf '[kernel]\nid = my/hog\n[outputs]\ny = f32\n[cpu]\nlibrary = hog.so\nentry = hog\nargs = y\n' >"$KERNELS/hog.ini"
	in_cgroup 200M "$BIN/mount.rkfs" -o "kernels_dir=$KERNELS,worker_threads=2" none "$MNT" 3>&-
	rk_find_daemon
	assert_equal "$(<"/proc/$(rk_worker)/oom_score_adj")" $(($(<"/proc/$DAEMON/oom_score_adj") + 500))
	run timeout 60 "$BIN/rkcall" -m "$MNT" my/hog '{}'
	assert_failure 1
	assert_output --partial "was killed by the out-of-memory killer of the kernel (SIGKILL) in this kernel"
	works
	# beside others nobody can tell, and nobody is blamed; a third one in a row disables it
	py <<-'EOF'
		beside = submit("core/delay", {"ms": 60000})
		assert outcome(call, "my/hog", {}) == "EIO" and outcome(answer_of, beside) == "EIO"
		for kernel in "my/hog", "core/delay":
		    assert last_error(kernel).endswith("was killed by the out-of-memory killer of the kernel (SIGKILL)"), last_error(kernel)
		assert get("kernels/my/hog/enable") == "1"
		assert [outcome(call, "my/hog", {}) for _ in range(2)] == ["EIO"] * 2
		until(lambda: [e["id"] for e in events("KernelDisabled")], ["my/hog"])
	EOF
	assert_equal "$(rk_processes mount.rkfs)" "$DAEMON"
	umount "$MNT"
	leave_cgroup
}
