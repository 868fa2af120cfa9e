#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# rktop in a real terminal: tmux's, on a server of its own.

load ../bats/common

# also where a test fails half-way: a terminal that is left runs on
eval "common_$(declare -f teardown)"
teardown() {
	rktop_down
	common_teardown
}

# Screens are looked at until they say what is wanted: a terminal tells nobody when it is drawn.
until_screen() {
	local end=$((SECONDS + 60))

	until screen | grep -qE -- "$1"; do
		((SECONDS < end)) || fail "no '$1' on the screen: $(screen)"
	done
}

screen() {
	tmux -L "$SERVER" capture-pane -p
}

rktop_up() {
	SERVER=rkfs-$BATS_TEST_NUMBER-$$
	export SERVER
	tmux -L "$SERVER" -f /dev/null new-session -d -x "${1-120}" -y "${2-30}" \
		"LANG=C.UTF-8 exec '$BIN/rktop' -d 0.1 -m '$MNT'" 3>&-
}

rktop_down() {
	[[ -z ${SERVER-} ]] || tmux -L "$SERVER" kill-server 2>/dev/null || true
}

@test "state, health, counters, kernels and messages in flight" {
	rk_up primary_backend=cpu,worker_threads=2
	rktop_up
	until_screen 'Running, healthy'
	call core/vector-add '{"a":[1],"b":[2]}' >/dev/null
	until_screen '^processed +1 '
	until_screen '^core/vector-add +cpu .* 1 '
	delays 4 2000 &
	until_screen '^in flight +4 '
	# the busiest first
	until_screen '^core/delay +cpu +4 +2 '
	assert_equal "$(screen | grep -A 1 '^KERNEL' | tail -n 1 | cut -d ' ' -f 1)" core/delay
	until_screen '^[0-9]+ +core/delay +running '
	until_screen '^[0-9]+ +core/delay +queued '
	wait $!
	until_screen '^in flight +0 '
}

@test "rates as a sparkline, with blocks in UTF-8 and letters without" {
	rk_up primary_backend=cpu
	rktop_up
	until_screen 'Running, healthy'
	for _ in $(seq 200); do call core/vector-add '{"a":[1],"b":[2]}' >/dev/null; done
	until_screen '^processed +[0-9]+ +[0-9.]+/s .*[▁▂▃▄▅▆▇█]'
	rktop_down
	run env LC_ALL=C "$BIN/rktop" --once -d 0.1 -m "$MNT"
	assert_success
	refute_output --regexp '[▁▂▃▄▅▆▇█]'
}

@test "a drain has a progress bar" {
	rk_up primary_backend=cpu,worker_threads=1
	rktop_up
	delays 4 700 &
	until_screen '^in flight +4 '
	control drain 60
	until_screen '^draining +\[-+\] +4 left'
	until_screen '^draining +\[#+-+\] +[123] left, cancelled in [0-9]+ s'
	until_screen '^Stopped'
	wait $!
	run screen_has "^draining"
	assert_failure
	rktop_down
}

screen_has() {
	screen | grep -qE -- "$1"
}

@test "resized, smaller than a line and larger again: no line wraps, none is missing" {
	rk_up primary_backend=cpu
	rktop_up 120 30
	until_screen '^risk/monte-carlo-var'
	tmux -L "$SERVER" resize-window -x 40 -y 10
	until_screen '^core/delay'
	assert_equal "$(screen | grep -c .)" 9
	assert_equal "$(screen | sed -n 2p)" 'Running, healthy'
	tmux -L "$SERVER" resize-window -x 5 -y 2
	until_screen '^Runni$'
	tmux -L "$SERVER" resize-window -x 120 -y 30
	until_screen '^risk/monte-carlo-var'
}

@test "a mount that stops answering, goes away and comes back" {
	rk_up primary_backend=cpu
	rktop_up
	until_screen 'Running, healthy'
	freeze "$DAEMON"
	until_screen 'has not answered for [0-9]+ s'
	kill -CONT "$DAEMON"
	until_screen '^Running'
	control stop
	# it looks at the mount all the time
	until umount -q "$MNT"; do :; done
	assert_daemon_exits
	until_screen "$MNT (is not an rkfs|: )"
	rk_up primary_backend=cpu
	until_screen 'Running, healthy'
}

@test "q ends it, also while the mount does not answer" {
	local pid

	rk_up primary_backend=cpu
	rktop_up
	until_screen 'Running, healthy'
	freeze "$DAEMON"
	until_screen 'has not answered for [0-9]+ s'
	pid=$(tmux -L "$SERVER" list-panes -F '#{pane_pid}')
	tmux -L "$SERVER" send-keys q
	await_exit "$pid"
	kill -CONT "$DAEMON"
}

@test "--once prints for a pipe; no mount and no terminal are errors with a sentence" {
	rk_up primary_backend=cpu
	run "$BIN/rktop" --once -d 0.1 -m "$MNT"
	assert_success
	assert_line --regexp '^Running, healthy'
	assert_line --regexp '^core/echo '
	run "$BIN/rktop" --once -m "$BATS_TEST_TMPDIR"
	assert_failure 3
	assert_output --partial "rktop: $BATS_TEST_TMPDIR is not an rkfs"
	run "$BIN/rktop" -m "$MNT" </dev/null
	assert_failure 2
	assert_output --partial 'is not a terminal'
	run "$BIN/rktop" -d 0
	assert_failure 2
	run "$BIN/rktop" nonsense
	assert_failure 2
}
