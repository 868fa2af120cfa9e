#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# mount.rkfs as mount(8), fstab, init systems and people call it, and how it ends.

# scripts for other shells are in single quotes; every test is a subshell
# shellcheck disable=SC2016,SC2030,SC2031,SC2153

load common

# run, for what leaves a daemon behind: one that keeps its stdio would make run wait for its end.
launch() {
	status=0
	timeout 60 "$@" >"$BATS_TEST_TMPDIR/said" 2>&1 3>&- || status=$?
	output=$(<"$BATS_TEST_TMPDIR/said")
}

# rk_mount [ARG...]: as a user does, with the daemon going into the background.
rk_mount() {
	launch "$BIN/mount.rkfs" "$@"
}

# How many mounts there are below the test's own directory; others come and go.
own_mounts() {
	grep -c -F " $BATS_TEST_TMPDIR" /proc/self/mountinfo || true
}

# refused STATUS SENTENCE ARG...: it fails so, and leaves nothing.
refused() {
	local want=$1 sentence=$2 mounts

	shift 2
	mounts=$(own_mounts)
	rk_mount "$@"
	assert_failure "$want"
	assert_output --regexp "^mount\.rkfs: .*$sentence"
	assert_equal "$(wc -l <<<"$output")" 1
	assert_equal "$(rk_processes 'mount.rkfs|rk-worker')" ""
	assert_equal "$(own_mounts)" "$mounts"
}

# Daemons that have been told to end do so, and their workers with them.
await_ends() {
	# shellcheck disable=SC2046 # a list of pids
	await_exit $(rk_processes 'mount.rkfs|rk-worker')
}

# --- what it is called with ---

@test "mount: returns once it is mounted and Running; umount ends everything" {
	rk_mount none "$MNT"
	assert_success
	refute_output
	assert_value state Running
	rk_find_daemon
	assert [ -n "$(rk_worker)" ]
	run findmnt -nro TARGET,SOURCE,FSTYPE "$MNT"
	assert_output "$MNT none fuse.rkfs"
	run findmnt -nrt fuse.rkfs -o TARGET
	assert_line "$MNT"
	umount "$MNT"
	await_exit "$DAEMON"
	assert_equal "$(rk_processes 'mount.rkfs|rk-worker')" ""
	assert_dir_exists "$MNT"
	assert_equal "$(ls -A "$MNT")" ""
}

@test "make up: mounted and Running, the five commands that it prints work; make down" {
	local top=$BATS_TEST_DIRNAME/../.. command

	unset MAKEFLAGS MFLAGS MAKELEVEL
	# what is under test is built already, and perhaps in another way
	launch make -C "$top" up MNT="$MNT" BUILD="$BIN" MAKE=true
	assert_success
	assert_value state Running
	assert_value stats/kernels_registered 9
	assert_value config/hot_reload_enabled yes
	assert_equal "$(grep -c '^  ' <<<"$output")" 5
	grep '^  ' <<<"$output" >"$BATS_TEST_TMPDIR/commands"
	while read -r command; do
		run timeout 20 sh -c "$command"
		assert_success
		assert_output
	done <"$BATS_TEST_TMPDIR/commands"
	assert_value state Stopped
	assert_value stats/messages_processed 1
	rk_find_daemon
	launch make -C "$top" down MNT="$MNT"
	assert_success
	await_exit "$DAEMON"
	refute is_mounted
	launch make -C "$top" down MNT="$MNT"
	assert_success
	assert_output --partial "no rkfs is mounted"
}

@test "mount: DIR may be relative, have a slash at its end, blanks, commas, be a link" {
	local dir=$BATS_TEST_TMPDIR/"a b,c\\d"

	mkdir "$dir"
	ln -s "a b,c\\d" "$BATS_TEST_TMPDIR/link"
	cd "$BATS_TEST_TMPDIR"
	for name in "$dir" "./a b,c\\d" "a b,c\\d/" link ./link/../link//; do
		rk_mount none "$name"
		assert_success
		assert_equal "$(cat "$dir/state")" Running
		rk_find_daemon
		umount "$dir"
		await_exit "$DAEMON"
	done
}

@test "mount: DIR alone reads the system's configuration file if there is one" {
	rk_mount -o nostart "$MNT"
	assert_success
	run findmnt -no SOURCE "$MNT"
	assert_output rkfs
	rk_find_daemon
	umount "$MNT"
	await_exit "$DAEMON"
	private '
		cp -a /etc "$RK_TEST/etc"
		mkdir -p "$RK_TEST/etc/rkfs"
		mount --bind "$RK_TEST/etc" /etc
		echo "[runtime]
worker_threads = 3" >/etc/rkfs/rkfs.conf
		"$BIN/mount.rkfs" "$MNT"
		[ "$(cat "$MNT/config/worker_threads")" = 3 ]
		umount "$MNT"
		"$BIN/mount.rkfs" none "$MNT"
		[ "$(cat "$MNT/config/worker_threads")" = 0 ]
		umount "$MNT"
		echo rubbish >/etc/rkfs/rkfs.conf
		status=0
		"$BIN/mount.rkfs" "$MNT" 2>"$RK_TEST/why" || status=$?
		[ "$status" = 32 ]
		grep -q "^mount.rkfs: /etc/rkfs/rkfs.conf:1: " "$RK_TEST/why"
		rm /etc/rkfs/rkfs.conf
		"$BIN/mount.rkfs" "$MNT"
		[ "$(cat "$MNT/config/worker_threads")" = 0 ]
		umount "$MNT"
	'
}

@test "mount: CONFIG, relative too, then the environment, then -o" {
	cd "$BATS_TEST_TMPDIR"
	printf '[runtime]\nworker_threads = 2\nmax_queue_depth = 22\ndrain_timeout = 2s\nhot_reload_enabled = yes\n' >my.conf
	RKFS_MAX_QUEUE_DEPTH=33 RKFS_DRAIN_TIMEOUT=3s RKFS_MOUNT=/elsewhere rk_mount -o drain_timeout=4s my.conf "$MNT"
	assert_success
	assert_value config/worker_threads 2
	assert_value config/max_queue_depth 33
	assert_value config/drain_timeout 4s
	assert_value config/preset production
	control reload
	run findmnt -no SOURCE "$MNT"
	assert_output --regexp 'my\.conf$'
}

@test "mount: options of mount(8) and fstab that change nothing are accepted; -n, -t, -s, -v" {
	rk_mount none "$MNT" -n -v -t rkfs -o \
		"rw,defaults,nofail,_netdev,user,noexec,nosuid,nodev,auto,noauto,x-systemd.requires=a,x-foo,comment=b,nostart"
	assert_success
	assert_output "mount.rkfs: none mounted on $MNT"
	assert_value state Created
	run findmnt -no OPTIONS "$MNT"
	assert_output --regexp 'nosuid.*nodev.*noexec'
	rk_find_daemon
	umount "$MNT"
	await_exit "$DAEMON"
	refused 1 "frobnicate" -o frobnicate none "$MNT"
	rk_mount -s -o frobnicate,nostart,foo=bar none "$MNT"
	assert_success
}

@test "mount: -o repeated and with a comma in a value: the last one counts" {
	rk_mount -o worker_threads=2,nostart -o worker_threads=3,,max_queue_depth=5, \
		-o "log_file=$BATS_TEST_TMPDIR/a\\,b" none "$MNT"
	assert_success
	assert_value config/worker_threads 3
	assert_value config/max_queue_depth 5
	assert_value config/log_file "$BATS_TEST_TMPDIR/a,b"
	assert_file_exists "$BATS_TEST_TMPDIR/a,b"
}

@test "mount: --help and --version" {
	rk_mount --help
	assert_success
	assert_output --partial "Usage: mount.rkfs"
	assert_output --partial "drain_timeout=TIME"
	rk_mount --version
	assert_success
	assert_output "mount.rkfs (rkfs) 0.1.0"
	run bash -c '"$BIN/mount.rkfs" --help >/dev/full'
	assert_failure 2
}

@test "mount: exit status 1 and one sentence for what it cannot make sense of" {
	refused 1 "DIR is missing"
	refused 1 "one argument too many" none "$MNT" extra
	refused 1 "empty" none ""
	refused 1 "'-x' is not understood" -x none "$MNT"
	refused 1 "'--frob' is not understood" --frob none "$MNT"
	refused 1 "-o needs an argument" none "$MNT" -o
	refused 1 "worker_threads: needs a value" -o worker_threads none "$MNT"
	refused 1 "no such option" -o nostart=yes none "$MNT"
	refused 1 "remount" -o remount none "$MNT"
	refused 1 "read-only" -o ro none "$MNT"
	refused 1 "file descriptor" --ready-fd=x none "$MNT"
	refused 1 "77" --ready-fd=77 none "$MNT"
	refused 1 "-N" none "$MNT" -N
}

@test "mount: exit status 32 and one sentence for what cannot be mounted" {
	local conf=$BATS_TEST_TMPDIR/bad.conf

	refused 32 "worker_threads.*257" -o worker_threads=257 none "$MNT"
	refused 32 "drain_timeout.*soon" -o drain_timeout=soon none "$MNT"
	RKFS_LOG_LEVEL=loud refused 32 "RKFS_LOG_LEVEL.*loud" none "$MNT"
	RKFS_FOO=1 refused 32 "RKFS_FOO" none "$MNT"
	refused 32 "no-such.conf" "$BATS_TEST_TMPDIR/no-such.conf" "$MNT"
	printf '[runtime]\n\nlog_level = loud\n' >"$conf"
	refused 32 "$conf:3: log_level" "$conf" "$MNT"
	refused 32 "no/such" -o log_file=/no/such/dir/log none "$MNT"
	refused 32 "does not exist" none "$BATS_TEST_TMPDIR/missing"
	refused 32 "is not a directory" none "$conf"
	mkdir "$BATS_TEST_TMPDIR/full"
	touch "$BATS_TEST_TMPDIR/full/file"
	refused 32 "is not empty" none "$BATS_TEST_TMPDIR/full"
	ln -s loop "$BATS_TEST_TMPDIR/loop"
	refused 32 "symbolic links" none "$BATS_TEST_TMPDIR/loop"
	refused 32 "File name too long|longer than a path" none "/$(printf 'x%.0s' {1..5000})"
	refused 32 "99999999" -N 99999999 none "$MNT"
	# the runtime does not start: unmounted again by the time that it is said
	refused 32 "cuda" -o preset=high_performance none "$MNT"
	assert_equal "$(ls -A "$MNT")" ""
}

@test "mount: exit status 2 where the installation is not whole" {
	local libexec

	libexec=$(<"$BIN/prefix_flags")
	private '
		mount -t tmpfs tmpfs /mnt
		mkdir /mnt/dir
		cp "$BIN/mount.rkfs" /mnt
		[ ! -d "$1" ] || mount -t tmpfs tmpfs "$1"
		status=0
		/mnt/mount.rkfs none /mnt/dir 2>/mnt/why || status=$?
		[ "$status" = 2 ]
		[ "$(cat /mnt/why)" = "mount.rkfs: $1/rk-worker: No such file or directory" ]
	' "$libexec"
}

@test "mount: out of descriptors, wherever: an error that says so, and nothing is left" {
	local n said=0

	for n in {5..16} 20 24 28 32 64; do
		launch bash -c 'ulimit -n "$1"; exec "$BIN/mount.rkfs" none "$MNT"' x "$n"
		if [[ $status -eq 0 ]]; then
			assert_value state Running
			umount "$MNT"
			break
		fi
		[[ $output != "mount.rkfs: "*"Too many open files"* ]] || said=$((said + 1))
		await_ends
		refute is_mounted
	done
	assert_success
	assert [ "$said" -gt 3 ]
}

@test "mount: -f checks everything and mounts nothing" {
	rk_mount -f none "$MNT"
	assert_success
	refute_output
	refute is_mounted
	rk_mount -fv none "$MNT"
	assert_success
	refute is_mounted
	assert_equal "$(rk_processes 'mount.rkfs|rk-worker')" ""
	refused 32 "does not exist" -f none "$BATS_TEST_TMPDIR/missing"
	refused 32 "worker_threads" -f -o worker_threads=x none "$MNT"
	refused 1 "no such option" -f -o frob none "$MNT"
}

@test "mount: -N reads its own files, and executes its worker, where it was started" {
	local conf=$BATS_TEST_TMPDIR/rkfs.conf pid

	kernels axpby
	printf '[runtime]\ndrain_timeout = 7s\nhot_reload_enabled = yes\nkernels_dir = %s\n[health]\nhealth_check_interval = 70s\n' \
		"$KERNELS" >"$conf"
	sed 's/7s/9s/; s/70s/90s/' "$conf" >"$conf.theirs"
	coproc OTHER { exec unshare -m --propagation private bash -c '
		mount --bind "$1.theirs" "$1" && mount -t tmpfs tmpfs "$2" && mount --bind /dev/null "$BIN/rk-worker" || exit
		echo "$$"; read -r' other "$conf" "$KERNELS" 3>&-; }
	read -r -u "${OTHER[0]}" pid
	rk_mount -N "$pid" "$conf" "$MNT"
	assert_success
	rk_find_daemon
	in_other() { nsenter -t "$pid" -m "$@"; }
	assert_equal "$(in_other cat "$MNT/config/drain_timeout" "$MNT/stats/kernels_registered")" $'7s\n10'
	assert_equal "$(readlink "/proc/$(rk_worker)/ns/mnt")" "$(readlink /proc/self/ns/mnt)"
	sed -i 's/70s/80s/' "$conf"
	in_other tee "$MNT/control" <<<reload
	assert_equal "$(in_other cat "$MNT/config/health_check_interval" "$MNT/stats/kernels_registered")" $'80s\n10'
	in_other umount "$MNT"
	await_exit "$DAEMON"
}

@test "mount: setuid it refuses to run" {
	cp "$BIN/mount.rkfs" "$BATS_TEST_TMPDIR/mount.rkfs"
	chown 65534 "$BATS_TEST_TMPDIR/mount.rkfs"
	chmod u+s "$BATS_TEST_TMPDIR/mount.rkfs"
	run "$BATS_TEST_TMPDIR/mount.rkfs" none "$MNT"
	assert_failure 1
	assert_output --partial "must not be setuid"
	refute is_mounted
}

@test "mount: -N mounts in another mount namespace" {
	local pid

	# lives until its standard input is closed
	coproc OTHER { exec unshare -m --propagation private bash -c 'echo "$$"; read -r' 3>&-; }
	read -r -u "${OTHER[0]}" pid
	rk_mount -N "$pid" none "$MNT"
	assert_success
	refute is_mounted
	assert_equal "$(nsenter -t "$pid" -m cat "$MNT/state")" Running
	rk_find_daemon
	nsenter -t "$pid" -m umount "$MNT"
	await_exit "$DAEMON"
	rk_mount -N "/proc/$pid/ns/mnt" none "$MNT"
	assert_success
	rk_find_daemon
	kill "$pid" # nobody but the daemon is left in there
	await_exit "$pid"
	kill "$DAEMON"
	await_exit "$DAEMON"
}

# --- mount(8) ---

# What private scripts begin with: /sbin/mount.rkfs, without changing this machine.
SBIN='
	mkdir "$RK_TEST/sbin"
	cp "$BIN/mount.rkfs" "$BIN/rk-worker" "$RK_TEST/sbin"
	mount --bind "$RK_TEST/sbin" /sbin
'

@test "mount(8): -t rkfs, umount, and the helper's exit status" {
	private "$SBIN"'
		mount -t rkfs none "$MNT" -o worker_threads=2,nofail,noatime
		[ "$(cat "$MNT/config/worker_threads")" = 2 ]
		[ "$(findmnt -no SOURCE,FSTYPE "$MNT" | xargs)" = "none fuse.rkfs" ]
		status=0
		mount -t rkfs none "$MNT" 2>"$RK_TEST/why" || status=$?
		[ "$status" = 32 ]
		grep -q "already an rkfs mount" "$RK_TEST/why"
		umount "$MNT"
		status=0
		mount -t rkfs -o frobnicate none "$MNT" 2>"$RK_TEST/why" || status=$?
		[ "$status" = 1 ]
		mount -s -t rkfs -o frobnicate none "$MNT"
		umount -t fuse.rkfs "$MNT"
		mount -f -t rkfs none "$MNT"
		! mountpoint -q "$MNT" || exit 1
		mount -n -t rkfs none "$MNT"
		umount -n "$MNT"
	'
	await_ends
}

@test "mount(8): fstab: mount DIR, mount -a twice, a file as source" {
	printf '[runtime]\nworker_threads = 5\n' >"$BATS_TEST_TMPDIR/my.conf"
	private "$SBIN"'
		mkdir "$RK_TEST/second"
		echo "none $MNT rkfs noauto,user,x-systemd.automount,worker_threads=4 0 0
'"$BATS_TEST_TMPDIR/my.conf"' $RK_TEST/second rkfs defaults,_netdev,nofail 0 0" >"$RK_TEST/fstab"
		mount -T "$RK_TEST/fstab" "$MNT"
		[ "$(cat "$MNT/config/worker_threads")" = 4 ]
		[ "$(findmnt -no OPTIONS "$MNT" | grep -c noexec)" = 1 ]
		umount "$MNT"
		for again in 1 2; do
			mount -a -T "$RK_TEST/fstab" -t rkfs
			[ "$(cat "$RK_TEST/second/config/worker_threads")" = 5 ]
			[ "$(findmnt -nrt fuse.rkfs -o TARGET | grep -cxF "$RK_TEST/second")" = 1 ]
		done
		! mountpoint -q "$MNT" || exit 1
		umount "$RK_TEST/second"
	'
	await_ends
}

@test "mount(8): who may what: uid=, gid=, control_mode=, call_gid=, call_mode=, from fstab too" {
	private "$SBIN"'
		mount -t rkfs none "$MNT" -o uid=daemon,gid=nogroup,control_mode=0664,call_gid=bin,call_mode=0666
		[ "$(stat -c "%U %G %a" "$MNT/control")" = "daemon nogroup 664" ]
		[ "$(stat -c "%U %G %a" "$MNT/kernels/core/echo/call.json")" = "daemon bin 666" ]
		umount "$MNT"
		mkdir "$RK_TEST/second"
		echo "none $MNT rkfs nofail,uid=12001,gid=12002,control_mode=660 0 0
none $RK_TEST/second rkfs call_gid=nogroup 0 0" >"$RK_TEST/fstab"
		mount -a -T "$RK_TEST/fstab" -t rkfs
		[ "$(stat -c "%u %g %a" "$MNT/control")" = "12001 12002 660" ]
		[ "$(stat -c "%u %g %a" "$MNT/kernels/core/echo/call.json")" = "12001 12002 600" ]
		[ "$(stat -c "%U %G %a" "$RK_TEST/second/control")" = "root root 600" ]
		[ "$(stat -c "%U %G %a" "$RK_TEST/second/kernels/core/echo/call.json")" = "root nogroup 660" ]
		umount "$MNT" "$RK_TEST/second"
		# since 2.41 mount(8) looks up the names of uid= and gid= itself
		by_mount="mount: $MNT: failed to parse mount options"
		refused() {
			status=0
			mount -t rkfs none "$MNT" -o "$1" 2>"$RK_TEST/why" || status=$?
			[ "$status" = 1 ]
			why=$(cat "$RK_TEST/why")
			[[ $why == "mount.rkfs: -o $1$2" ]] || [[ $1 == [ug]id=* && $why == "$by_mount"* ]]
		}
		user=": there is no such user; it must be the name of a user, or a number from 0 to 4294967294"
		mode=": must be an octal number with 6 for the owner and 0, 2, 4 or 6 for the group and for others, such as 0660"
		refused uid=no-such-user "$user"
		refused gid=no-such-group "${user//user/group}"
		refused call_gid=-1 "${user//user/group}"
		refused control_mode=0770 "$mode"
		refused control_mode=u=rw "$mode"
		refused call_mode=0640 "${mode/0, 2, 4 or 6/0 or 6}"
		refused call_mode ": needs a value, as in -o call_mode=MODE"
		! mountpoint -q "$MNT" || exit 1
	'
	await_ends
}

@test "mount(8): -o remount is refused however it is asked for, and nothing has happened" {
	# as installed, since by the directory alone libmount finds another name than mount.rkfs
	env -u MAKEFLAGS make -s -C "$BATS_TEST_DIRNAME/../.." -o all install BUILD="$BIN" \
		DESTDIR="$BATS_TEST_TMPDIR/root" >/dev/null
	private '
		cp "$BIN/rk-worker" "$RK_TEST/root/sbin"
		mount --bind "$RK_TEST/root/sbin" /sbin
		echo "none $MNT rkfs noauto,nofail 0 0" >"$RK_TEST/fstab"
		mount -T "$RK_TEST/fstab" "$MNT"
		options=$(findmnt -no OPTIONS "$MNT")
		refused() {
			status=0
			mount "$@" 2>"$RK_TEST/why" || status=$?
			[ "$status" = 1 ]
			[ "$(cat "$RK_TEST/why")" = "mount.rkfs: -o remount: rkfs cannot be remounted; write to config/ what may change while it runs, and umount and mount for the rest" ]
			[ "$(findmnt -no OPTIONS "$MNT")" = "$options" ]
		}
		refused -o remount "$MNT"
		refused -o remount,ro "$MNT"
		refused -t rkfs -o remount "$MNT"
		refused -t rkfs -o remount,ro none "$MNT"
		refused -T "$RK_TEST/fstab" -o remount,log_level=debug "$MNT"
		echo start >"$MNT/control"
		umount "$MNT"
		# that name mounts as well
		mount -t fuse.rkfs none "$MNT"
		[ "$(findmnt -no FSTYPE "$MNT")" = fuse.rkfs ]
		umount -l "$MNT"
	'
	await_ends
}

@test "mount: an unprivileged user, through fusermount3" {
	export -f await_exit
	private '
		mount -t tmpfs -o mode=755 tmpfs /mnt
		mknod -m 666 /mnt/fuse c 10 229
		mount --bind /mnt/fuse /dev/fuse
		mkdir /mnt/bin /mnt/dir
		cp "$BIN/mount.rkfs" "$BIN/rk-worker" /mnt/bin
		chown 65534:65534 /mnt/dir
		chmod 700 /mnt/dir
		export HOME=/ ASAN_OPTIONS= UBSAN_OPTIONS= TSAN_OPTIONS=
		cd /
		user() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
		user /mnt/bin/mount.rkfs -o worker_threads=2 none /mnt/dir
		[ "$(user cat /mnt/dir/state)" = Running ]
		[ "$(user stat -c %u /mnt/dir/control)" = 65534 ]
		user bash -c "exec 4<>/mnt/dir/kernels/core/echo/call.json
			echo {\\\"data\\\":[1]} >&4; cat <&4" | grep -qxF "{\"data\":[1]}"
		! cat /mnt/dir/state 2>/dev/null || exit 1 # not even root, without allow_root
		status=0
		user /mnt/bin/mount.rkfs none /mnt/dir 2>/mnt/why || status=$?
		[ "$status" = 32 ]
		grep -q "already an rkfs mount" /mnt/why
		user bash -c "echo drain >/mnt/dir/control; cat /mnt/dir/wait/stopped" | grep -qx Stopped
		user fusermount3 -u /mnt/dir
		user /mnt/bin/mount.rkfs none /mnt/dir
		pid=$(pgrep -u 65534 -x mount.rkfs --ns $$ --nslist mnt)
		kill -KILL "$pid"
		await_exit "$pid"
		user /mnt/bin/mount.rkfs none /mnt/dir # clears the dead one, through fusermount3 too
		[ "$(user cat /mnt/dir/state)" = Running ]
		user fusermount3 -u /mnt/dir
		# where he may not write, he may not mount
		mkdir /mnt/others
		status=0
		user /mnt/bin/mount.rkfs none /mnt/others 2>/mnt/why || status=$?
		[ "$status" = 32 ]
		grep -q "^mount.rkfs: cannot mount at /mnt/others: " /mnt/why
		umount /dev/fuse
		status=0
		chmod 600 /mnt/fuse
		mount --bind /mnt/fuse /dev/fuse
		user /mnt/bin/mount.rkfs none /mnt/dir 2>/mnt/why || status=$?
		[ "$status" = 32 ]
		[ "$(wc -l </mnt/why)" = 1 ]
	'
}

@test "mount: on a directory of a read-only filesystem" {
	private '
		mount -t tmpfs tmpfs /mnt
		mkdir /mnt/dir
		mount -o remount,ro /mnt
		"$BIN/mount.rkfs" none /mnt/dir
		[ "$(cat /mnt/dir/state)" = Running ]
		umount /mnt/dir
	'
}

# --- what lies there already ---

@test "mount: a second mount at the same place, or inside, is refused" {
	rk_up
	rk_mount none "$MNT"
	assert_failure 32
	assert_output "mount.rkfs: $MNT is already an rkfs mount; umount it first, or choose another directory"
	rk_mount none "$MNT/stats"
	assert_failure 32
	assert_output --partial "inside the rkfs that is mounted at $MNT"
	mkdir "$BATS_TEST_TMPDIR/second"
	rk_mount none "$BATS_TEST_TMPDIR/second" # elsewhere is fine
	assert_success
	assert_equal "$(cat "$BATS_TEST_TMPDIR/second/state") $(value state)" "Running Running"
	kill "$(rk_processes mount.rkfs | grep -vx "$DAEMON")"
	timeout 20 cat "$BATS_TEST_TMPDIR/second/wait/stopped" || true
	assert_value state Running
}

@test "mount: a dead rkfs is cleared, several on each other too" {
	local i

	for i in 1 2 3; do
		rk_mount none "$MNT"
		assert_success
		assert_value state Running
		assert_equal "$(grep -c " $MNT " /proc/self/mountinfo)" 1
		rk_find_daemon
		kill -KILL "$DAEMON"
		await_exit "$DAEMON"
		run cat "$MNT/state"
		assert_output --partial "Transport endpoint is not connected"
	done
	rk_mount -f none "$MNT" # looks, and leaves it
	assert is_mounted
	rk_up
	assert_value state Running
}

@test "mount: a dead mount of another filesystem is not touched" {
	bash -c 'exec 4<>/dev/fuse
		exec mount -i -t fuse.other -o fd=4,rootmode=40000,user_id=0,group_id=0 other "$MNT"'
	run stat -f "$MNT"
	assert_output --partial "Transport endpoint is not connected"
	rk_mount none "$MNT"
	assert_failure 32
	# mount of util-linux 2.41 loses the subtype
	assert_output --regexp "is a dead mount of type fuse(\\.other)?, which is not rkfs's to clear"
	assert is_mounted
	umount "$MNT"
}

@test "mount: at a mount whose server is stopped: a sentence instead of a hang" {
	rk_up
	freeze "$DAEMON"
	rk_mount none "$MNT"
	kill -CONT "$DAEMON"
	assert_failure 32
	assert_output --partial "does not answer"
	assert_value state Running
	# below it, too
	freeze "$DAEMON"
	rk_mount none "$MNT/stats"
	kill -CONT "$DAEMON"
	assert_failure 32
}

# --- in the background ---

@test "mount: \$(mount.rkfs ...) and pipes do not hang: stdio is let go" {
	local fd

	run timeout 20 bash -c 'out=$("$BIN/mount.rkfs" none "$MNT" 2>&1); echo "[$out]"' 3>&-
	assert_success
	assert_output "[]"
	rk_find_daemon
	for fd in 0 1 2; do
		assert_equal "$(readlink "/proc/$DAEMON/fd/$fd")" /dev/null
		assert_equal "$(readlink "/proc/$(rk_worker)/fd/$fd")" /dev/null
	done
	assert_equal "$(readlink "/proc/$DAEMON/cwd")" /
	assert_equal "$(ps -o sid= -p "$DAEMON" | tr -d ' ')" "$DAEMON"
}

@test "mount: the worker gets no descriptor of the daemon's, and no signal mask" {
	rk_up
	assert_equal "$(find "/proc/$(rk_worker)/fd" -type l -lname '/dev/fuse' | wc -l)" 0
	assert_equal "$(find "/proc/$(rk_worker)/fd" -type l -lname '*/log' | wc -l)" 0
	assert_equal "$(awk '/^SigBlk/ { print $2 }' "/proc/$(rk_worker)/status")" 0000000000000000
}

@test "mount: log_file: what happens is there, one JSON object per line with structured_logging" {
	local log=$BATS_TEST_TMPDIR/my.log

	rk_mount -o "log_file=$log" none "$MNT"
	assert_success
	control drain
	run grep -c . "$log"
	assert_success
	python3 -c 'import json, sys; [json.loads(line) for line in open(sys.argv[1])]' "$log"
	assert_file_contains "$log" Running
	assert_file_contains "$log" Stopped
	rk_find_daemon
	umount "$MNT"
	await_exit "$DAEMON"
	rm "$log"
	rk_mount -o "log_file=$log,preset=development" none "$MNT"
	assert_success
	run head -n1 "$log"
	refute_output --regexp '^\{'
}

@test "mount: --ready-fd gets one newline, and only once it is Running" {
	exec {ready}< <(exec "$BIN/mount.rkfs" --foreground --ready-fd=9 none "$MNT" 9>&1 >"$LOG" 2>&1 3>&-)
	DAEMON=$!
	read -t 60 -r -u "$ready"
	assert_value state Running
	assert_equal "$(timeout 20 cat <&"$ready")" "" # EOF: it was closed
	exec {ready}<&-
	umount "$MNT"
	assert_daemon_exits
	exec {ready}< <(exec "$BIN/mount.rkfs" --foreground --ready-fd=9 -o preset=high_performance none "$MNT" \
		9>&1 >"$LOG" 2>&1 3>&-)
	DAEMON=$!
	run read -t 60 -r -u "$ready"
	assert_failure 1
	exec {ready}<&-
	assert_daemon_exits 32
	assert_file_contains "$LOG" "mount.rkfs: .*cuda"
	refute is_mounted
}

# --- the end ---

@test "umount: EBUSY while a file is open, and nothing has happened" {
	local fd

	rk_up
	exec {fd}<"$MNT/state"
	run umount "$MNT"
	assert_failure 32
	assert_output --partial "busy"
	assert_value state Running
	run call core/echo '{"data":[1]}'
	assert_output '{"data":[1]}'
	exec {fd}<&-
	umount "$MNT"
	assert_daemon_exits
}

@test "umount -l: drains: what runs completes and is answered, nothing else is accepted" {
	rk_up worker_threads=2,drain_timeout=60s
	py <<-'EOF'
		idle, dirfd = open_call("core/echo"), os.open(MNT, os.O_RDONLY)
		waits = wait_task("stopped")
		tasks = [delay_task(600) for _ in range(3)]
		until_in_flight(3)
		late = os.open(path("stats/all"), os.O_RDONLY)
		state = os.open(path("state"), os.O_RDONLY)
		subprocess.run(["umount", "-l", MNT], check=True)
		until(lambda: os.pread(state, 100, 0), b"Draining\n")
		assert outcome(ask, idle, {"data": [1]}) == "ESHUTDOWN"
		assert [t.result() >= 600 for t in tasks] == [True] * 3
		assert waits.result() == "Stopped"
	EOF
	assert_daemon_exits
	assert_equal "$(ls -A "$MNT")" ""
}

@test "umount -l: with only an idle file open it ends" {
	local fd

	rk_up
	exec {fd}<"$MNT/state"
	umount -l "$MNT"
	await_exit "$DAEMON"
	run cat <&"$fd"
	assert_failure
	assert_output --partial "not connected"
	exec {fd}<&-
	assert_daemon_exits
}

@test "umount -l: what is mounted there next is left alone" {
	local fd first

	rk_up worker_threads=2,drain_timeout=60s
	delays 1 600 &
	until_value stats/messages_in_flight 1
	exec {fd}<"$MNT/state" # so that the mount lives on
	umount -l "$MNT"
	first=$DAEMON
	rk_mount -o worker_threads=3 none "$MNT"
	assert_success
	assert_value config/worker_threads 3
	await_exit "$first"
	wait "$first"
	assert_value config/worker_threads 3
	run cat <&"$fd"
	assert_output --partial "not connected"
	exec {fd}<&-
	wait %?delays
	assert_outcomes 1 'ok [0-9]+'
	assert_equal "$(own_mounts)" 1
	# and what is mounted upon it
	rk_find_daemon
	mount -t tmpfs -o mode=755 tmpfs "$MNT"
	kill "$DAEMON"
	await_exit "$DAEMON"
	assert_equal "$(findmnt -rno FSTYPE "$MNT" | tail -n1)" tmpfs
	umount "$MNT"
	run cat "$MNT/state"
	assert_output --partial "not connected"
}

@test "SIGTERM and SIGINT: drain, answer, unmount, exit 0" {
	local number

	for number in TERM INT; do
		rk_up worker_threads=2,drain_timeout=60s
		delays 3 500 &
		until_value stats/messages_in_flight 3
		timeout 60 cat "$MNT/events_follow" >"$BATS_TEST_TMPDIR/events" 3>&- &
		follower=$!
		kill -"$number" "$DAEMON"
		assert_equal "$(wait_for stopped)" Stopped
		wait "$follower" # EOF
		assert_daemon_exits
		refute is_mounted
		wait %?delays
		assert_outcomes 3 'ok [5-9][0-9]{2}|ok 1[0-9]{3}'
		assert_file_contains "$BATS_TEST_TMPDIR/events" '"event":"Stopped","by":"drain"'
	done
}

@test "SIGTERM where nothing can be drained: it stops and ends" {
	rk_up nostart
	timeout 60 cat "$MNT/wait/running" >"$BATS_TEST_TMPDIR/waited" 3>&- &
	kill -TERM "$DAEMON"
	assert_daemon_exits
	refute is_mounted
	wait $! || true # answered, whatever it is
	rk_up
	control stop
	kill -TERM "$DAEMON"
	assert_daemon_exits
}

@test "SIGTERM: a second one does not wait for the calls" {
	rk_up drain_timeout=600s
	delays 2 600000 &
	until_value stats/messages_in_flight 2
	kill -TERM "$DAEMON"
	until_value state Draining
	kill -INT "$DAEMON"
	assert_daemon_exits
	wait %?delays
	assert_outcomes 2 ECANCELED
	refute is_mounted
}

@test "SIGTERM: drain_timeout bounds it" {
	rk_up drain_timeout=200ms
	delays 2 600000 &
	until_value stats/messages_in_flight 2
	kill -TERM "$DAEMON"
	assert_daemon_exits
	wait %?delays
	assert_outcomes 2 ECANCELED
}

@test "Ctrl-C during a drain keeps that drain and its deadline; a second one ends it" {
	rk_up drain_timeout=600s
	delays 1 700 &
	until_value stats/messages_in_flight 1
	control drain 300
	kill -INT "$DAEMON"
	assert_daemon_exits
	wait %?delays
	assert_outcomes 1 'ok [0-9]+'

	rk_up drain_timeout=600s
	delays 1 600000 &
	until_value stats/messages_in_flight 1
	control drain 300
	kill -INT "$DAEMON"
	kill -TERM "$DAEMON"
	assert_daemon_exits
	wait %?delays
	assert_outcomes 1 ECANCELED
}

@test "SIGTERM: finished answers can be read until the deadline" {
	rk_up drain_timeout=60s
	py <<-'EOF'
		fd = open_call("core/echo", os.O_NONBLOCK)
		write_all(fd, b'{"data":[1,2,3]}')
		outcome(os.read, fd, 0)
		while outcome(os.read, fd, 1) != b"{":
		    poll(fd, select.POLLIN)
		os.kill(DAEMON, signal.SIGTERM)
		until(lambda: get("state"), "Stopped")
		assert read_all(fd) == b'"data":[1,2,3]}\n'
	EOF
	assert_daemon_exits
}

@test "SIGTERM: an answer that nobody reads holds it up until the deadline, not longer" {
	rk_up drain_timeout=300ms
	py <<-'EOF'
		fd = open_call("core/echo", os.O_NONBLOCK)
		write_all(fd, b'{"data":[1,2,3]}')
		while outcome(os.read, fd, 1) != b"{":
		    poll(fd, select.POLLIN)
		os.kill(DAEMON, signal.SIGTERM)
		pidfd = os.pidfd_open(DAEMON)
		assert poll(pidfd, select.POLLIN)
		assert outcome(os.read, fd, 10) == "ENOTCONN"
	EOF
	assert_daemon_exits
}

@test "mount: killed while it starts, nothing is left" {
	local i n pid

	# at some point on the way, each time another one
	for i in {1..10}; do
		"$BIN/mount.rkfs" none "$MNT" 3>&- &
		pid=$!
		for ((n = 0; n < i * 30; n++)); do :; done
		kill -INT "$pid" 2>/dev/null || true
		kill -KILL "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
		for pid in $(rk_processes mount.rkfs); do kill -TERM "$pid" 2>/dev/null || true; done
		await_ends
		refute is_mounted
		assert_equal "$(rk_processes 'mount.rkfs|rk-worker')" ""
	done
}

@test "mount: SIGTERM while it starts is said to be one, and nothing is left" {
	local dir=$BATS_TEST_TMPDIR/bin pid daemon status=0

	mkdir "$dir"
	cp "$BIN/mount.rkfs" "$dir/"
	cp "$(command -v yes)" "$dir/rk-worker" # never says hello
	"$dir/mount.rkfs" none "$MNT" 3>&- 2>"$BATS_TEST_TMPDIR/err" &
	pid=$!
	timeout 60 bash -c 'until awk -v d="$1" "\$5 == d { f = 1 } END { exit !f }" /proc/self/mountinfo &&
		grep -qs Starting "$1/state"; do :; done' - "$MNT"
	daemon=$(pgrep -P "$pid" -x mount.rkfs)
	kill -TERM "$daemon"
	wait "$pid" || status=$?
	assert_equal "$status" 32
	assert_equal "$(cat "$BATS_TEST_TMPDIR/err")" \
		"mount.rkfs: ended before the runtime was Running: Terminated"
	await_exit "$daemon"
	refute is_mounted
}
