#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The worker is nobody: what a kernel has of root, of the environment, and of other processes.

load common

# LeakSanitizer has to fork, so a worker that has it has no filter.
need_filter() {
	! grep -qs -e -fsanitize=address "$BIN/flags" || skip "LeakSanitizer forks"
}

# up [OPTIONS]: with the kernels that try to escape
up() {
	kernels escape
	cp "$KERNELS_SRC"/escape_*.ini "$KERNELS/"
	rk_up_kernels "$@"
}

status_of() {
	awk -v key="$1:" '$1 == key { $1 = ""; print substr($0, 2) }' "/proc/$(rk_worker)/status"
}

assert_confined() {
	assert_equal "$(status_of NoNewPrivs)" 1
	assert_equal "$(status_of CapEff)" 0000000000000000
	assert_equal "$(status_of CapPrm)" 0000000000000000
	grep -q '^Max core file size *0 *0 ' "/proc/$(rk_worker)/limits"
}

@test "privilege: a worker of root's runs as worker_user, without capabilities, and works" {
	need_filter
	up worker_user=nobody
	assert_confined
	assert_equal "$(status_of Uid)" "65534 65534 65534 65534"
	assert_equal "$(status_of CapBnd)" 0000000000000000
	assert_equal "$(status_of Seccomp)" 2
	run call escape/user '{}'
	assert_output '{"uid":65534}'
	run call core/vector-add '{"a":[1],"b":[2]}'
	assert_output '{"c":[3.0]}'
	assert_value config/worker_user nobody
	# the next one too, and the daemon can end it
	kill -KILL "$(rk_worker)"
	follow WorkerStarted 2
	run call escape/user '{}'
	assert_output '{"uid":65534}'
	control stop
	control reset
	control start
	wait_for running
	run call escape/user '{}'
	assert_output '{"uid":65534}'
}

@test "privilege: root is a user like others, and still has no capability" {
	up worker_user=root
	assert_confined
	run call escape/user '{}'
	assert_output '{"uid":0}'
	run grep -c "kernels run as root" "$LOG"
	assert_output 0
}

@test "privilege: root without a user for kernels is warned once" {
	private '
		grep -v "^rkfs:" /etc/passwd >"$1/passwd" && mount --bind "$1/passwd" /etc/passwd
		"$BIN/mount.rkfs" --foreground --ready-fd=9 none "$MNT" 9>"$1/ready" 2>"$1/log" &
		until [ -s "$1/ready" ] || ! kill -0 $!; do :; done
		cat "$MNT/state"
		umount "$MNT"
		wait $!
		[ "$(grep -c "kernels run as root, for there is no user rkfs" "$1/log")" = 1 ]
		# and with one nobody is
		echo "rkfs:x:64111:64111::/:/bin/false" >>"$1/passwd"
		: >"$1/ready"
		"$BIN/mount.rkfs" --foreground --ready-fd=9 none "$MNT" 9>"$1/ready" 2>"$1/log" &
		until [ -s "$1/ready" ] || ! kill -0 $!; do :; done
		worker=$(pgrep -P $! -x rk-worker)
		grep -q "^Uid:.64111.64111.64111.64111$" "/proc/$worker/status"
		umount "$MNT"
		wait $!
		! grep "kernels run as root" "$1/log"' "$BATS_TEST_TMPDIR"
}

@test "privilege: a user that is not there is refused at the mount, and by reset" {
	run timeout 60 "$BIN/mount.rkfs" -o worker_user=no-such-user none "$MNT"
	assert_failure 32
	assert_output --partial "worker_user: there is no user no-such-user"
}

@test "privilege: a kernel that forks twice leaves nobody behind" {
	need_filter
	up
	run call escape/fork '{}'
	assert_output '{"error":1}' # EPERM
	assert_equal "$(rk_processes 'rk-.*')" "$(rk_worker)"
}

@test "privilege: a kernel that traces another process may not" {
	need_filter
	up
	sleep infinity &
	run call escape/ptrace "{\"pid\":$!}"
	assert_output '{"error":1}'
	kill $!
}

@test "privilege: worker_seccomp = no lets kernels fork" {
	up worker_seccomp=no
	assert_confined
	assert_equal "$(status_of Seccomp)" 0
	run call escape/fork '{}'
	assert_output '{"error":0}'
	# which is why it is not the default
	mapfile -t left < <(rk_processes 'rk-.*' | grep -vx "$(rk_worker)")
	assert_equal "${#left[@]}" 1
	kill -KILL "${left[0]}"
}

@test "privilege: the environment of the daemon does not reach kernels" {
	export HOME=/root SECRET=hunter2
	up
	run call escape/environment '{}'
	assert_output '{"found":0}'
	run tr '\0' '\n' <"/proc/$(rk_worker)/environ"
	assert_line "CUDA_CACHE_DISABLE=1"
	refute_line --regexp '^(HOME|SECRET|PATH|LD_PRELOAD)='
}

# What is left of one mapping, of what $2, in core files of the process $1.
assert_not_dumped() {
	awk -v name="$2" '/^[0-9a-f]+-/ { mine = index($0, name) }
		mine && /^VmFlags:/ { n++; if (!/ dd/) bad = 1 }
		END { exit bad || !n }' "/proc/$1/smaps" || fail "$2 of process $1 would be in a core file"
}

@test "privilege: no core file holds what users sent" {
	ulimit -Sc unlimited
	rk_up
	grep -q '^Max core file size *0 ' "/proc/$DAEMON/limits"
	grep -q '^Max core file size *0 *0 ' "/proc/$(rk_worker)/limits"
	assert_not_dumped "$DAEMON" rkfs-payload
	assert_not_dumped "$(rk_worker)" rkfs-payload
}

@test "privilege: cuda_cache_dir lets the driver keep what it compiles" {
	rk_up cuda_cache_dir=/var/cache/x
	run tr '\0' '\n' <"/proc/$(rk_worker)/environ"
	assert_line "CUDA_CACHE_PATH=/var/cache/x"
	refute_line --regexp '^CUDA_CACHE_DISABLE='
}
