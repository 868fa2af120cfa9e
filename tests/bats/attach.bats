#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# How a mount comes about where others try the same, and what is left of it however it ends: nothing,
# and a status that a supervisor can act on.

load common

# scripts for other shells are in single quotes
# shellcheck disable=SC2016

# abort: what the abort file of the mount's connection does.
abort() {
	local dev

	dev=$(awk -v dir="$MNT" '$5 == dir { sub(".*:", "", $3); dev = $3 } END { print dev }' /proc/self/mountinfo)
	mkdir "$BATS_TEST_TMPDIR/ctl"
	mount -t fusectl none "$BATS_TEST_TMPDIR/ctl"
	echo 1 >"$BATS_TEST_TMPDIR/ctl/$dev/abort"
	umount "$BATS_TEST_TMPDIR/ctl"
	rmdir "$BATS_TEST_TMPDIR/ctl"
}

own_mounts() {
	grep -c -F " $BATS_TEST_TMPDIR" /proc/self/mountinfo || true
}

# --- the end ---

@test "abort: the mount goes, the daemon says why and fails, and another can be mounted" {
	local how

	for how in running idle stopped; do
		rk_up worker_threads=2,drain_timeout=60s
		if [[ $how == running ]]; then
			delays 2 600000 &
			until_value stats/messages_in_flight 2
		elif [[ $how == stopped ]]; then
			freeze "$DAEMON"
		fi
		abort
		kill -CONT "$DAEMON"
		assert_daemon_exits 32
		refute is_mounted
		assert_file_contains "$LOG" "^mount.rkfs: the kernel has ended the connection (umount -f"
		[[ $how != running ]] || wait %?delays || true
	done
	"$BIN/mount.rkfs" -o "log_file=$BATS_TEST_TMPDIR/the.log" none "$MNT" 3>&-
	rk_find_daemon
	abort
	await_exit "$DAEMON"
	DAEMON=
	refute is_mounted
	assert_file_contains "$BATS_TEST_TMPDIR/the.log" "the kernel has ended the connection"
}

@test "umount -f: with open files it is an abort, else an unmount" {
	local fd

	rk_up
	exec {fd}<"$MNT/state"
	run umount -f "$MNT"
	assert_failure
	assert_daemon_exits 32
	exec {fd}<&-
	refute is_mounted
	rk_up
	umount -f "$MNT"
	assert_daemon_exits 0
	refute is_mounted
}

@test "the end: the mount goes wherever it is by now: a renamed parent, a moved mount, a bind copy" {
	local top=$BATS_TEST_TMPDIR how

	mkdir -p "$top/parent/dir" "$top/copy"
	for how in TERM umount abort; do
		"$BIN/mount.rkfs" none "$top/parent/dir" 3>&-
		rk_find_daemon
		mv "$top/parent" "$top/renamed"
		mount --bind "$top/renamed/dir/kernels" "$top/copy"
		case $how in
		TERM) kill -TERM "$DAEMON" ;;
		umount) umount "$top/copy" && umount "$top/renamed/dir" ;;
		abort) (MNT=$top/renamed/dir && abort) ;;
		esac
		await_exit "$DAEMON"
		DAEMON=
		assert_equal "$(own_mounts)" 0
		mv "$top/renamed" "$top/parent"
	done
	mkdir "$top/to"
	private '
		mount -t tmpfs --make-private tmpfs /mnt
		mkdir /mnt/from /mnt/to
		"$BIN/mount.rkfs" none /mnt/from
		mount --move /mnt/from /mnt/to
		[ "$(cat /mnt/to/state)" = Running ]
		pid=$(pgrep -x mount.rkfs --ns $$ --nslist mnt)
		kill -TERM "$pid"
		while grep -q " /mnt/[ft]" /proc/self/mountinfo; do :; done
	'
}

@test "the end: a mount that something else covers is left, and a failure" {
	rk_up
	mount -t tmpfs tmpfs "$MNT"
	kill -TERM "$DAEMON"
	assert_daemon_exits 32
	assert_file_contains "$LOG" "^mount.rkfs: cannot detach $MNT: another filesystem is mounted upon it"
	umount "$MNT"
	rk_up # clears what is left
	assert_value state Running
}

# --- several at once ---

@test "six at once on one directory: one is mounted, the others say so and leave nothing" {
	local round pid status ok

	for round in 1 2 3; do
		ok=0 pids=()
		for i in 1 2 3 4 5 6; do
			"$BIN/mount.rkfs" none "$MNT" 2>"$BATS_TEST_TMPDIR/said.$i" 3>&- &
			pids+=($!)
		done
		for pid in "${pids[@]}"; do
			status=0
			wait "$pid" || status=$?
			[[ $status -eq 0 ]] && ok=$((ok + 1)) || assert_equal "$status" 32
		done
		assert_equal "$ok" 1
		run cat "$BATS_TEST_TMPDIR"/said.*
		assert_equal "$(grep -c "^mount.rkfs: $MNT is already an rkfs mount" <<<"$output")" 5
		assert_equal "$(grep -c " $MNT " /proc/self/mountinfo)" 1
		# there is one, once those that have said why are gone
		until [[ $(rk_processes mount.rkfs) =~ ^[0-9]+$ ]]; do :; done
		rk_find_daemon
		assert_value state Running
		# the next round finds a dead one
		kill -KILL "$DAEMON"
		await_exit "$DAEMON"
		DAEMON=
	done
	umount "$MNT"
}

@test "an unprivileged user: four at once, and fusermount3's reasons in one sentence" {
	private '
		mount -t tmpfs -o mode=755 tmpfs /mnt
		mknod -m 666 /mnt/fuse c 10 229
		mount --bind /mnt/fuse /dev/fuse
		mkdir /mnt/bin /mnt/dir
		cp "$BIN/mount.rkfs" "$BIN/rk-worker" /mnt/bin
		chown 65534:65534 /mnt/dir
		export HOME=/ ASAN_OPTIONS= UBSAN_OPTIONS= TSAN_OPTIONS=
		cd /
		user() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
		said() { [ "$(wc -l </mnt/why)" = 1 ] && grep -q "^mount.rkfs: cannot mount at /mnt/dir: $1" /mnt/why || { cat /mnt/why; exit 1; }; }
		for i in 1 2 3 4; do (user /mnt/bin/mount.rkfs none /mnt/dir 2>/dev/null && echo ok || echo "$?") >/mnt/status.$i & done
		wait
		[ "$(cat /mnt/status.* | sort | xargs)" = "32 32 32 ok" ]
		[ "$(grep -c " /mnt/dir " /proc/self/mountinfo)" = 1 ]
		[ "$(user cat /mnt/dir/state)" = Running ]
		user fusermount3 -u /mnt/dir
		sed "/user_allow_other/d" /etc/fuse.conf >/mnt/fuse.conf
		mount --bind /mnt/fuse.conf /etc/fuse.conf
		! user /mnt/bin/mount.rkfs -o allow_other none /mnt/dir 2>/mnt/why || exit 1
		said "fusermount3: .*user_allow_other.* /etc/fuse.conf"
		! user env PATH=/nonexistent /mnt/bin/mount.rkfs none /mnt/dir 2>/mnt/why || exit 1
		said "fusermount3 is not installed (package fuse3)"
		mkdir /mnt/dir/sub
		! user /mnt/bin/mount.rkfs none /mnt/dir 2>/mnt/why || exit 1
		grep -q "would hide sub" /mnt/why
	'
}

# --- the beginning ---

@test "what a script left in the directory is named, with what to do" {
	local status

	echo drain >"$MNT/control"
	run "$BIN/mount.rkfs" none "$MNT"
	assert_failure 32
	assert_output "mount.rkfs: $MNT is not empty: a mount there would hide control, which a script may have written while nothing was mounted; remove it, and guard the script with mountpoint -q"
	mv "$MNT/control" "$MNT/photo.jpg"
	run "$BIN/mount.rkfs" none "$MNT"
	assert_failure 32
	assert_output "mount.rkfs: $MNT is not empty: a mount there would hide photo.jpg; empty it, or choose another directory"
	rm "$MNT/photo.jpg"
}

@test "mount(8): labels, nosymfollow, mand, uhelper=: what the kernel knows is passed on, the rest ignored" {
	"$BIN/mount.rkfs" -o 'nosymfollow,mand,uhelper=x,context="system_u:object_r:tmp_t:s0:c1,c2",rootcontext=a,fscontext=b,defcontext=c,noexec' \
		none "$MNT" 3>&-
	run findmnt -no OPTIONS "$MNT"
	assert_output --regexp 'noexec.*nosymfollow'
	refute_output --partial context
	umount "$MNT"
	run "$BIN/mount.rkfs" -o context none "$MNT"
	assert_failure 1
	assert_output "mount.rkfs: -o context: needs a value, as in -o context=VALUE"
}

@test "mount(8): a remount is refused as such, whatever else comes with it" {
	local refusal="mount.rkfs: -o remount: rkfs cannot be remounted; write to config/ what may change while it runs, and umount and mount for the rest"

	rk_up
	# as util-linux 2.41 does: with what the mount has
	run "$BIN/mount.rkfs" -o "$(findmnt -no OPTIONS "$MNT"),frobnicate,remount,ro" none "$MNT"
	assert_failure 1
	assert_output "$refusal"
	umount "$MNT"
	assert_daemon_exits
	# and such options alone are nobody's error
	"$BIN/mount.rkfs" -o rw,nosuid,nodev,relatime,user_id=0,group_id=0,default_permissions,allow_other none "$MNT" 3>&-
}

# The kernel looks every 15 seconds, and the least limit is 15: some 45 seconds.
@test "fs.fuse.default_request_timeout: a reader that waits longer does not end the mount" {
	local waiter sysctl=/proc/sys/fs/fuse/default_request_timeout was

	[[ -e $sysctl ]] || return 0 # before Linux 6.14
	was=$(<$sysctl)
	echo 15 >$sysctl
	run bash -c '"$BIN/mount.rkfs" none "$MNT" 2>&1 >/dev/null 3>&-'
	echo "$was" >$sysctl
	assert_output --regexp '^mount.rkfs: warning: fs.fuse.default_request_timeout is 15: '
	rk_find_daemon
	timeout 100 cat "$MNT/wait/stopped" >"$BATS_TEST_TMPDIR/waited" 3>&- &
	waiter=$!
	call core/delay '{"ms":33000}' # the kernel looks every 15 seconds
	assert_value state Running
	control stop
	wait "$waiter"
	assert_equal "$(<"$BATS_TEST_TMPDIR/waited")" Stopped
}
