#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# metrics and metrics_textfile, read by Prometheus' own tools.

load common

# free_ports N: N TCP ports of loopback that nobody listens on.
free_ports() {
	python3 - "$1" <<-'EOF'
		import socket, sys
		held = [socket.socket() for _ in range(int(sys.argv[1]))]
		for s in held:
		    s.bind(("127.0.0.1", 0))
		print(*(s.getsockname()[1] for s in held))
	EOF
}

# metric NAME: the value of a line of metrics, labels but the mount's included in NAME.
metric() {
	local name=${1%%\{*} labels=

	[[ $1 != *{* ]] || labels=",${1#*\{}"
	awk -v name="$name{mount=\"$MNT\"${labels:-\}}" '$1 == name { print $2 }' "$MNT/metrics"
}

# node_exporter DIR PORT: begin to serve the text files of DIR. Its pid is then $!.
node_exporter() {
	prometheus-node-exporter --collector.disable-defaults --collector.textfile \
		--collector.textfile.directory="$1" \
		--web.listen-address="127.0.0.1:$2" >"$BATS_TEST_TMPDIR/node.log" 2>&1 3>&- &
}

# scrape PORT: what is served there, once it is.
scrape() {
	curl -s --retry 60 --retry-connrefused --retry-delay 1 "http://127.0.0.1:$1/metrics"
}

@test "promtool finds nothing to object to" {
	rk_up
	call core/vector-add '{"a":[1],"b":[2]}'
	run promtool check metrics <"$MNT/metrics"
	assert_success
	assert_output ''
}

@test "every number of stats/ is there, with its value" {
	local name value

	rk_up
	call core/vector-add '{"a":[1],"b":[2]}' >/dev/null
	run call core/vector-add '{"a":[1]}'
	assert_failure
	while read -r name value; do
		[[ $name != uptime_secs ]] || continue
		# a gauge or a counter
		assert_equal "$name $(metric "rkfs_$name")$(metric "rkfs_${name}_total")" "$name $value"
	done <"$MNT/stats/all"
	assert_equal "$(metric 'rkfs_state{state="Running"}')" 1
	assert_equal "$(metric 'rkfs_state{state="Draining"}')" 0
	assert_equal "$(metric rkfs_ready)" 1
	assert_equal "$(metric 'rkfs_kernel_messages_processed_total{kernel="core/vector-add"}')" 1
	assert_equal "$(metric 'rkfs_kernel_messages_rejected_total{kernel="core/vector-add"}')" 1
}

@test "the latency histogram counts what was processed, in rising buckets" {
	rk_up
	for _ in 1 2 3; do call core/delay '{"ms":30}' >/dev/null; done
	run awk -F'[ "]' '
		/^rkfs_kernel_latency_seconds_bucket\{.*,kernel="core\/delay"/ {
			if ($NF < last) exit 1
			last = $NF
			if ($6 != "+Inf" && $6 + 0 < 0.03 && $NF) exit 2
			if ($6 == "1.048576") long = $NF
		}
		/^rkfs_kernel_latency_seconds_count\{.*,kernel="core\/delay"/ { count = $NF }
		/^rkfs_kernel_latency_seconds_sum\{.*,kernel="core\/delay"/ { sum = $NF }
		END { print last, long, count, (sum >= 0.09) }' "$MNT/metrics"
	assert_success
	assert_output "3 3 3 1"
}

@test "the text file is whole at any time, follows the interval, and is written once more at the end" {
	local dir=$BATS_TEST_TMPDIR/textfile

	mkdir "$dir"
	rk_up "metrics_textfile=$dir/rkfs.prom,metrics_interval=100ms,hot_reload_enabled=yes"
	# read it as fast as can be while it is replaced all the time
	run py "$dir/rkfs.prom" <<-'EOF'
		import os
		seen = set()
		while not os.path.exists(sys.argv[1]):
		    pass
		while len(seen) < 5:
		    with open(sys.argv[1]) as f:
		        text = f.read()
		        seen.add(os.fstat(f.fileno()).st_ino)
		    assert text.startswith("# HELP rkfs_build_info"), text[:80]
		    assert text.endswith("\n") and "rkfs_device_lost gauge" in text
		print(len(seen))
	EOF
	assert_output 5
	assert_equal "$(stat -c %a "$dir/rkfs.prom")" 644
	promtool check metrics <"$dir/rkfs.prom"
	control drain
	wait_for drained
	umount "$MNT"
	assert_daemon_exits
	assert_file_contains "$dir/rkfs.prom" '^rkfs_state{.*state="Stopped"} 1$'
	assert_equal "$(ls "$dir")" rkfs.prom
}

@test "what somebody put in the way of the text file is neither written nor waited for" {
	local dir=$BATS_TEST_TMPDIR/textfile way pid seen

	mkdir -m 777 "$dir"
	echo precious >"$BATS_TEST_TMPDIR/precious"
	rk_up "primary_backend=cpu,metrics_textfile=$dir/rkfs.prom,metrics_interval=100ms"
	until [[ -e $dir/rkfs.prom ]]; do :; done
	for way in "mkfifo" "ln $BATS_TEST_TMPDIR/precious" "ln -s $BATS_TEST_TMPDIR/precious"; do
		for pid in $(rk_processes rk-helper); do
			# it may be in use this very moment
			until $way "$dir/rkfs.prom.$pid" 2>/dev/null; do :; done
		done
		seen=$(stat -c %i "$dir/rkfs.prom")
		timeout 60 bash -c 'until [[ $(stat -c %i "$1") != "$2" ]]; do :; done' - "$dir/rkfs.prom" "$seen"
	done
	assert_equal "$(cat "$BATS_TEST_TMPDIR/precious")" precious
	assert_value health/status healthy
}

@test "a directory that is not there is one line in the log, not a failure" {
	rk_up "metrics_textfile=$BATS_TEST_TMPDIR/none/rkfs.prom,metrics_interval=100ms"
	timeout 60 grep -m 1 'metrics_textfile: cannot write' <(tail -n +1 -f "$LOG")
	mkdir "$BATS_TEST_TMPDIR/none"
	timeout 60 grep -m 1 'is written again' <(tail -n +1 -f "$LOG")
	assert_equal "$(grep -c 'cannot write' "$LOG")" 1
}

@test "a text file that node_exporter would not read: a warning, at the mount and in the log" {
	run "$BIN/mount.rkfs" -o "metrics_textfile=$BATS_TEST_TMPDIR/rkfs.txt,log_file=$LOG" none "$MNT"
	assert_success
	assert_output "mount.rkfs: warning: metrics_textfile: $BATS_TEST_TMPDIR/rkfs.txt does not end in .prom: node_exporter does not read it"
	rk_find_daemon
	umount "$MNT"
	await_exit "$DAEMON"
	DAEMON=
	grep -q 'rkfs.txt does not end in .prom' "$LOG"
}

@test "Prometheus scrapes node_exporter, and sees messages in flight rise and fall" {
	local dir=$BATS_TEST_TMPDIR/prometheus node prom pids ports

	mkdir -p "$dir/textfile" "$dir/data"
	ports=$(free_ports 2)
	node=${ports% *} prom=${ports#* }
	rk_up "worker_threads=4,metrics_textfile=$dir/textfile/rkfs.prom,metrics_interval=100ms"
	node_exporter "$dir/textfile" "$node"
	pids=$!
	cat >"$dir/prometheus.yml" <<-EOF
		global: { scrape_interval: 200ms, scrape_timeout: 200ms }
		scrape_configs:
		  - job_name: node
		    static_configs: [{ targets: ["127.0.0.1:$node"] }]
	EOF
	promtool check config "$dir/prometheus.yml"
	prometheus --config.file="$dir/prometheus.yml" --storage.tsdb.path="$dir/data" \
		--web.listen-address="127.0.0.1:$prom" >"$dir/prom.log" 2>&1 3>&- &
	pids+=" $!"
	query() {
		curl -s --get "http://127.0.0.1:$prom/api/v1/query" --data-urlencode "query=$1" |
			jq -r '.data.result[0].value[1] // empty' 2>/dev/null || true
	}
	until_query() {
		local is end=$((SECONDS + 60))

		until is=$(query "$1") && [[ $is == "$2" ]]; do
			((SECONDS < end)) || fail "$1 is '$is', not $2: $(tail -n 3 "$BATS_TEST_TMPDIR"/node.log "$dir"/*.log)"
		done
	}
	until_query rkfs_messages_in_flight 0
	delays 4 3000 &
	until_query rkfs_messages_in_flight 4
	wait $!
	until_query rkfs_messages_in_flight 0
	until_query 'max_over_time(rkfs_messages_in_flight[1m])' 4
	until_query "rkfs_ready{mount=\"$MNT\"}" 1
	until_query 'rkfs_kernel_messages_processed_total{kernel="core/delay"}' 4
	until_query 'histogram_quantile(0.5, rkfs_kernel_latency_seconds_bucket{kernel="core/delay"}) > bool 2' 1
	until_query node_textfile_scrape_error 0
	# ready for ever, but for the time of it
	until_query 'timestamp(rkfs_timestamp_seconds) - rkfs_timestamp_seconds < bool 1' 1
	kill -KILL "$DAEMON"
	assert_daemon_exits 137
	until_query 'timestamp(rkfs_timestamp_seconds) - rkfs_timestamp_seconds > bool 2' 1
	until_query rkfs_ready 1
	assert_file_contains "$dir/textfile/rkfs.prom" '^rkfs_metrics_interval_seconds{.*} 0.100$'
	# shellcheck disable=SC2086
	kill $pids
	# shellcheck disable=SC2086
	await_exit $pids
}

@test "two runtimes beside each other: node_exporter shows both" {
	local dir=$BATS_TEST_TMPDIR/textfile port first=$MNT second=$MNT.b one

	mkdir "$dir" "$second"
	rk_up "metrics_textfile=$dir/a.prom,metrics_interval=100ms"
	one=$DAEMON
	MNT=$second rk_up "metrics_textfile=$dir/b.prom,metrics_interval=100ms"
	MNT=$second call core/vector-add '{"a":[1],"b":[2]}'
	until grep -q '^rkfs_messages_processed_total{.*} 1$' "$dir/b.prom"; do :; done
	port=$(free_ports 1)
	node_exporter "$dir" "$port"
	scrape "$port" >"$BATS_TEST_TMPDIR/scrape"
	kill $!
	await_exit $!
	run grep -E '^(rkfs_live|rkfs_messages_processed_total|node_textfile_scrape_error)' "$BATS_TEST_TMPDIR/scrape"
	umount "$second"
	await_exit "$DAEMON"
	DAEMON=$one
	assert_line "rkfs_live{mount=\"$first\"} 1"
	assert_line "rkfs_live{mount=\"$second\"} 1"
	assert_line "rkfs_messages_processed_total{mount=\"$first\"} 0"
	assert_line "rkfs_messages_processed_total{mount=\"$second\"} 1"
	assert_line 'node_textfile_scrape_error 0'
}

@test "a mount point of any name is a label that can be read" {
	local dir=$BATS_TEST_TMPDIR/textfile port

	mkdir "$dir"
	MNT+=$'/a "quote", a \\, a\nline, \xc3\xa4, and \xff\xc0\xaf\xed\xa0\x80'
	mkdir "$MNT"
	rk_up "metrics_textfile=$dir/rkfs.prom"
	run promtool check metrics <"$MNT/metrics"
	assert_success
	assert_output ''
	until [[ -e $dir/rkfs.prom ]]; do :; done
	port=$(free_ports 1)
	node_exporter "$dir" "$port"
	scrape "$port" >"$BATS_TEST_TMPDIR/scrape"
	kill $!
	await_exit $!
	umount "$MNT"
	await_exit "$DAEMON"
	run grep -E '^(rkfs_live|node_textfile_scrape_error)' "$BATS_TEST_TMPDIR/scrape"
	assert_line --partial '/a \"quote\", a \\, a\nline, ä, and \\xFF\\xC0\\xAF\\xED\\xA0\\x80"} 1'
	assert_line 'node_textfile_scrape_error 0'
}

@test "the alerts that ship say what they should" {
	run promtool check rules "$HERE/../../etc/prometheus/rkfs.rules.yml"
	assert_success
	run promtool test rules "$HERE/rkfs_rules_test.yml"
	assert_success
}
