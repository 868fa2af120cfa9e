#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# A file system that does not answer any more, as that of a dead server: the log, the configuration,
# kernels_dir or the text file lie on it. The runtime runs on, control is at hand, it ends when it is
# told to, and what waits goes on where the file system answers again.

# scripts for other programs are in single quotes
# shellcheck disable=SC2016

load common

HANGFS=$HERE/../../build/hangfs

eval "common_$(declare -f setup)"
eval "common_$(declare -f teardown)"

# $NFS, which shows $FROM and hangs at will.
setup() {
	local says

	common_setup
	NFS=$(realpath "$BATS_TEST_TMPDIR")/nfs
	FROM=$(realpath "$BATS_TEST_TMPDIR")/from
	mkdir "$NFS" "$FROM" "$FROM/kernels"
	exec {says}< <(exec "$HANGFS" "$FROM" "$NFS" 2>&1 3>&-)
	HANGER=$!
	SAYS=$says
	await_word mounted
	printf '[runtime]\nhot_reload_enabled = yes\nprimary_backend = cpu\n' >"$FROM/rkfs.conf"
}

# The daemon first, as it may have something to write there.
teardown() {
	local pid

	mark
	kill -USR2 "$HANGER"
	take_down
	[[ -z $DAEMON ]] || await_exit "$DAEMON" || true
	umount -l "$NFS"
	await_exit "$HANGER"
	for pid in $(rk_processes rk-helper); do await_exit "$pid"; done
	common_teardown
}

# await_word REGEX: until hangfs says so
await_word() {
	local line

	until [[ ${line-} =~ ^($1)$ ]]; do
		read -t 60 -r -u "$SAYS" line || fail "hangfs does not say $1"
	done
}

hang() {
	kill -USR1 "$HANGER"
	await_word hangs
}

answer() {
	kill -USR2 "$HANGER"
	await_word answers
}

# up [OPTIONS]: with the configuration on $NFS.
up() {
	rk_up "${1-}" "$NFS/rkfs.conf"
}

# reload_in_background FILE: a reload that has come as far as that file and is not answered.
reload_in_background() {
	timeout -s KILL 100 bash -c 'echo reload >"$1"' reload "$MNT/control" 3>&- &
	RELOAD=$!
	await_word "holds $1"
}

assert_control_works() {
	timeout 20 bash -eo pipefail -c '
		echo drain >"$1/control"
		grep -qx Stopped "$1/wait/stopped"
		cat "$1/stats/all" "$1/events" "$1/metrics" "$1/health/reason" >/dev/null
		ls -l "$1" "$1/kernels/core" >/dev/null
	' works "$MNT"
}

# logged TEXT FILE: until it is there
logged() {
	timeout 60 bash -c 'until grep -qs "$1" "$2"; do :; done' - "$@"
}

# assert_ends SIGNAL: that signal, and the daemon is gone within ten seconds, with its mount
assert_ends() {
	kill -"$1" "$DAEMON"
	timeout 10 tail --pid="$DAEMON" -f /dev/null || fail "it does not end"
	assert_daemon_exits
	run is_mounted
	assert_failure
}

@test "hang: SIGTERM ends the daemon while everything of its hangs: log, configuration, kernels, text file" {
	up "log_file=$NFS/log,kernels_dir=$NFS/kernels,metrics_textfile=$NFS/rkfs.prom,metrics_interval=1s"
	hang
	kill -HUP "$DAEMON"
	await_word 'holds /rkfs.conf'
	assert_ends TERM
}

@test "hang: a second SIGTERM does not even wait for the calls" {
	up "log_file=$NFS/log,kernels_dir=$NFS/kernels,metrics_textfile=$NFS/rkfs.prom,metrics_interval=1s"
	delays 1 60000 &
	calls=$!
	until_value stats/messages_in_flight 1
	hang
	reload_in_background /rkfs.conf
	kill -TERM "$DAEMON"
	until_value state Draining
	assert_ends TERM
	wait "$calls"
	assert_outcomes 1 'ECANCELED|ENOTCONN|EIO'
}

@test "hang: umount ends it" {
	up "log_file=$NFS/log,kernels_dir=$NFS/kernels,metrics_textfile=$NFS/rkfs.prom"
	hang
	kill -HUP "$DAEMON"
	await_word 'holds /rkfs.conf'
	timeout 20 umount "$MNT"
	timeout 10 tail --pid="$DAEMON" -f /dev/null || fail "it does not end"
	assert_daemon_exits
}

@test "hang: on one CPU: a reload of a configuration that hangs holds nobody up, and another one is EBUSY" {
	taskset -pc "$(taskset -pc $$ | sed 's/.*[:,-] *//')" $$ >/dev/null
	up
	[[ $(ls "/proc/$DAEMON/task" | wc -l) -ge 4 ]]
	hang
	reload_in_background /rkfs.conf
	run timeout 20 bash -c 'echo reload >"$1"' reload "$MNT/control"
	assert_failure
	assert_output --partial 'busy'
	assert_value last_cmd_status "reload: another reload is still reading $NFS/rkfs.conf: try again later"
	assert_control_works
	answer
	wait "$RELOAD"
	assert_equal "$(count_events ConfigReloaded)" 1
	control reload
	assert_equal "$(count_events ConfigReloaded)" 2
}

@test "hang: kernels_dir: all verbs work, and its kernel is there once it answers" {
	cp "$KERNELS_SRC/axpby.ini" "$FROM/kernels/"
	library axpby "$FROM/kernels/axpby.so"
	rk_up "kernels_dir=$NFS/kernels,hot_reload_enabled=yes,primary_backend=cpu"
	domain=$(sed -n 's|^id *= *\(.*\)|\1|p' "$FROM/kernels/axpby.ini")
	assert_exist "$MNT/kernels/$domain"
	rm "$FROM/kernels/axpby.ini"
	hang
	reload_in_background '/(kernels)?' # what is asked first depends on how the path is walked
	for verb in start drain stop reset start resume; do
		timeout 20 bash -c 'echo "$2" >"$1"' - "$MNT/control" "$verb" || fail "$verb"
		[[ $verb != start ]] || wait_for running
	done
	assert_exist "$MNT/kernels/$domain"
	answer
	wait "$RELOAD"
	assert_not_exist "$MNT/kernels/$domain"
}

@test "hang: whoever waits for a reload can be killed, and the reload goes on" {
	up
	hang
	reload_in_background /rkfs.conf
	pkill -INT -P "$RELOAD"
	run wait "$RELOAD"
	timeout 10 tail --pid="$RELOAD" -f /dev/null || fail "it does not die"
	assert_control_works
	run timeout 20 bash -c 'echo reload >"$1"' reload "$MNT/control"
	assert_failure
	answer
	follow ConfigReloaded
	control reload
	assert_value last_cmd_status ok
}

@test "hang: reset away from a log that hangs, and to one that does" {
	local conf=$BATS_TEST_TMPDIR/rkfs.conf

	printf '[runtime]\nprimary_backend = cpu\nlog_file = %s\n' "$NFS/log" >"$conf"
	rk_up "" "$conf"
	hang
	sed -i "s|^log_file.*|log_file = $BATS_TEST_TMPDIR/here.log|" "$conf"
	control stop
	timeout 20 bash -c 'echo reset >"$1"' - "$MNT/control"
	control start
	wait_for running
	logged 'state Running' "$BATS_TEST_TMPDIR/here.log"
	sed -i "s|^log_file.*|log_file = $NFS/log|" "$conf"
	control stop
	timeout 20 bash -c 'echo reset >"$1"' - "$MNT/control"
	control start
	wait_for running
	answer
	# until the file is open, lines go where they went before
	until grep -qs 'start from' "$FROM/log"; do control start; done
	control stop
	logged 'stop from' "$FROM/log"
	umount "$MNT"
	assert_daemon_exits
}

@test "hang: a log file that is full from the first line on: degraded, with its name" {
	rk_up "log_file=/dev/full,primary_backend=cpu"
	until_value health/status degraded
	assert_value health/reason "log_file /dev/full: lines are lost: No space left on device"
}

@test "hang: a log that takes no lines, and a text file that cannot be written: degraded, ready, and over" {
	rk_up "log_file=$NFS/log,metrics_textfile=$NFS/rkfs.prom,metrics_interval=1s,primary_backend=cpu"
	until_value health/status healthy
	hang
	control reload || true # something to log
	until_value health/status degraded
	assert_value health/ready 1
	timeout 60 bash -c 'until grep -q "^log_file .*/nfs/log takes no lines" "$1"; do :; done' - "$MNT/health/reason"
	answer
	until_value health/status healthy
	hang
	until_value health/status degraded
	timeout 60 bash -c 'until grep -q "^metrics_textfile: cannot write .*rkfs.prom" "$1"; do :; done' - "$MNT/health/reason"
	answer
	until_value health/status healthy
}
