#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# reload: the four safe fields change, others wait in config/pending, a bad file changes nothing.

load common

# config LINE...: the configuration file, with hot reload.
config() {
	printf '%s\n' '[runtime]' 'hot_reload_enabled = yes' "$@" >"$BATS_TEST_TMPDIR/rkfs.conf"
}

rk_up_config() {
	rk_up "${1-}" "$BATS_TEST_TMPDIR/rkfs.conf"
}

@test "reload: the safe fields change, another edit is pending until a reset" {
	config 'max_queue_depth = 10' 'worker_threads = 2'
	rk_up_config
	assert_value config/max_queue_depth 10
	assert_value config/pending ""
	config 'max_queue_depth = 20' 'log_level = debug' 'metrics_interval = 1m' 'worker_threads = 3' \
		'drain_timeout = 7s' '[health]' 'health_check_interval = 2s'
	assert_value config/max_queue_depth 10
	control reload
	assert_value last_cmd_status ok
	assert_value config/max_queue_depth 20
	assert_value config/log_level debug
	assert_value config/metrics_interval 1m
	assert_value config/health_check_interval 2s
	assert_value config/worker_threads 2
	assert_value config/drain_timeout 30s
	assert_value config/pending $'drain_timeout 7s\nworker_threads 3'
	py <<-'EOF'
		[event] = events("ConfigReloaded")
		assert sorted(event["changed"]) == ["health_check_interval", "log_level", "max_queue_depth", "metrics_interval"]
		assert sorted(event["pending"]) == ["drain_timeout", "worker_threads"]
		assert call("core/echo", {"data": [1]}) == b'{"data":[1]}\n'    # nothing restarted
		assert len(events("WorkerStarted")) == 1
	EOF
	control stop
	control reset
	assert_value config/worker_threads 3
	assert_value config/drain_timeout 7s
	assert_value config/pending ""
	assert_value config/max_queue_depth 20
	control start
	assert_equal "$(wait_for running)" Running
}

@test "reload: what it changes takes effect on what is under way" {
	config 'max_queue_depth = 1' 'worker_threads = 1'
	rk_up_config
	py "$BATS_TEST_TMPDIR/rkfs.conf" <<-'EOF'
		def nonblocking():
		    fd = open_call("core/delay", os.O_NONBLOCK)
		    write_all(fd, b'{"ms":60000}')
		    return fd
		fds = [nonblocking() for _ in range(3)]
		def accepted():
		    for fd in fds:
		        outcome(os.read, fd, 10)
		    return stats()["accepted"]
		assert accepted() == 2
		with open(sys.argv[1]) as f:
		    text = f.read()
		with open(sys.argv[1], "w") as f:
		    f.write(text.replace("max_queue_depth = 1", "max_queue_depth = 2"))
		put("control", "reload")
		assert poll(fds[2], select.POLLOUT) == select.POLLOUT   # told that there is room
		assert accepted() == 3
		put("control", "stop")
	EOF
}

@test "reload: a bad file changes nothing, and the sentence names file, line and key" {
	config 'max_queue_depth = 10' 'log_level = warn'
	rk_up_config
	py "$BATS_TEST_TMPDIR/rkfs.conf" <<-'EOF'
		import re
		conf = sys.argv[1]
		good = "[runtime]\nhot_reload_enabled = yes\nmax_queue_depth = 99\n"
		table = [
		    (good + "log_level = loud\n", r":4: log_level.*error, warn, info, debug, trace"),
		    (good + "drain_timeout = soon\n", r":4: drain_timeout.*from 0 to 24h"),
		    (good + "max_queue_dept = 5\n", r":4: max_queue_dept: there is no such key \(did you mean max_queue_depth\?\)"),
		    (good + "max_queue_depth = 5\n", r":4: max_queue_depth: is set a second time"),
		    (good + "max_batch_size = 5\n", r":4: max_batch_size.*belongs to \[backend\]"),
		    (good + "[nowhere]\nkey = 1\n", r":4: "),
		    (good + "rubbish\n", r":4: "),
		    (good + "  log_level = info\n", r":4: .*indent"),
		    (good + "kernels_dir = relative\n", r"kernels_dir.*absolute"),
		    (good + "; " + "x" * 300 + "\n", r":4: a line of 30\d bytes"),
		    (good + "worker_threads = 257\n", r":4: worker_threads.*256"),
		    (good + "worker_threads = 1\r\n", r":4: "),
		    (good + "worker_threads = 1\0\n", r":4: "),
		    ("max_queue_depth = 99\n" + good, r":1: max_queue_depth.*before any section"),
		    (good + "primary_backend = cpu\nfallback_backend = cpu\n", "primary_backend and fallback_backend"),
		]
		names = [n for n in os.listdir(path("config")) if n != "pending"]
		before = {n: get(f"config/{n}") for n in names}
		def attempt(text, sentence):
		    put("control", "start")
		    with open(conf, "w", newline="") as f:
		        f.write(text)
		    assert outcome(put, "control", "reload") == "EINVAL"
		    status = get("last_cmd_status")
		    assert status.startswith("reload: ") and re.search(sentence, status), status
		    assert sentence[0] != ":" or conf + sentence[:2] in status, status
		    assert {n: get(f"config/{n}") for n in names} == before
		    with open(path("config/pending")) as f:
		        assert f.read() == ""
		errors(table, attempt)
		assert events("ConfigReloaded") == []
		os.unlink(conf)
		assert outcome(put, "control", "reload") == "ENOENT"
		assert conf in get("last_cmd_status")
		os.mkdir(conf)
		assert outcome(put, "control", "reload") == "EISDIR"
		os.rmdir(conf)
		# a reset reads the same file: it is refused, too, and the runtime stays Stopped
		with open(conf, "w") as f:
		    f.write("rubbish\n")
		put("control", "stop")
		assert outcome(put, "control", "reset") == "EINVAL" and get("state") == "Stopped"
		assert get("last_cmd_status").startswith("reset: " + conf + ":1: ")
		with open(conf, "w") as f:
		    f.write(good)
		put("control", "reset")
		assert get("config/max_queue_depth") == "99"
		put("control", "start")
		assert get("wait/running") == "Running"
	EOF
}

@test "reload: EPERM with hot_reload_enabled off, even if the file turns it on" {
	printf '[runtime]\nmax_queue_depth = 10\n' >"$BATS_TEST_TMPDIR/rkfs.conf"
	rk_up_config
	config 'max_queue_depth = 20'
	run bash -c 'echo reload >"$1"' reload "$MNT/control"
	assert_failure
	assert_output --partial "Operation not permitted"
	assert_value config/max_queue_depth 10
	run value last_cmd_status
	assert_output --partial "reload: hot_reload_enabled is no"
	control stop
	control reset
	assert_value config/max_queue_depth 20
	assert_value config/hot_reload_enabled yes
	control reload
}

@test "reload: options and the environment stay above the file; a written value lasts until then" {
	config 'max_queue_depth = 10' 'log_level = warn' 'metrics_interval = 2s'
	RKFS_LOG_LEVEL=error rk_up_config metrics_interval=3s
	assert_value config/max_queue_depth 10
	assert_value config/log_level error
	assert_value config/metrics_interval 3s
	echo 77 >"$MNT/config/max_queue_depth"
	echo trace >"$MNT/config/log_level"
	assert_value config/max_queue_depth 77
	config 'max_queue_depth = 11' 'log_level = info' 'metrics_interval = 4s'
	control reload
	assert_value config/max_queue_depth 11
	assert_value config/log_level error
	assert_value config/metrics_interval 3s
}

@test "reload: SIGHUP does the same" {
	config 'max_queue_depth = 10'
	rk_up_config
	config 'max_queue_depth = 30'
	kill -HUP "$DAEMON"
	follow ConfigReloaded
	assert_value config/max_queue_depth 30
	assert_value last_cmd_status ok
	config 'max_queue_depth = none'
	kill -HUP "$DAEMON"
	py <<-'EOF'
		until(lambda: get("last_cmd_status")[:8], "reload: ")
	EOF
	assert_value config/max_queue_depth 30
	assert_value state Running
}

@test "reload: in every state" {
	config 'max_queue_depth = 10'
	rk_up_config nostart
	config 'max_queue_depth = 11'
	control reload
	assert_value config/max_queue_depth 11
	control stop
	config 'max_queue_depth = 12'
	control reload
	assert_value config/max_queue_depth 12
	assert_value state Stopped
}
