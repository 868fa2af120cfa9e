#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# What is written to control and config/: the good, the odd and the bad, each with its errno
# and with a sentence in last_cmd_status, and with nothing changed by what was refused.

load common

@test "control: no newline, blanks around, append, a numbered descriptor, any offset" {
	rk_up
	py <<-'EOF'
		def good(data, state, how=put):
		    assert outcome(how, "control", data) == "ok", data
		    assert get("last_cmd_status") == "ok"
		    if state == "Running":
		        get("wait/running")
		    assert get("state") == state, (data, get("state"))
		def appended(name, data):
		    put(name, data, os.O_WRONLY | os.O_APPEND)
		def created(name, data):
		    put(name, data, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
		def read_write(name, data):
		    put(name, data, os.O_RDWR)
		def elsewhere(name, data):
		    fd = os.open(path(name), os.O_WRONLY)
		    assert os.pwrite(fd, data, 4000) == len(data)
		    os.close(fd)
		good(b"start", "Running")
		good(b" \t drain \t \n", "Stopped")
		good(b"reset\n", "Created", appended)
		good(b"start", "Running", created)
		task = delay_task(60000)
		until_in_flight(1)
		good(b"drain\t 86400", "Draining", elsewhere)
		good(b"drain 0086399\n", "Draining", read_write)
		good(b"resume" + b" " * 4090, "Running")                # 4096 bytes
		good(b"stop", "Stopped")
		assert task.result() == "ECANCELED"
		fd = os.open(path("control"), os.O_RDWR)                # one write is one command
		for verb, state in (b"reset", "Created"), (b"start\n", "Running"), (b"stop", "Stopped"):
		    os.write(fd, verb)
		    if state == "Running":
		        get("wait/running")
		    assert get("state") == state
		assert os.pread(fd, 100, 0) == b"drain stop reset\n"
	EOF
}

@test "control: from the shell: >, >>, printf, tee, and nothing at all" {
	rk_up
	echo drain >>"$MNT/control"
	assert_value state Stopped
	printf reset >"$MNT/control"
	assert_value state Created
	printf '  start  \n' | tee "$MNT/control"
	assert_equal "$(wait_for running)" Running
	: >"$MNT/control"
	assert_value state Running
	assert_value last_cmd_status ok
	run bash -c 'echo strat >"$1"' control "$MNT/control"
	assert_failure
	assert_output --partial "Invalid argument"
	assert_value last_cmd_status "control: no verb is called 'strat' (did you mean start?); the verbs are start, drain [SECS], resume, stop, reset, reload"
	echo start >"$MNT/control"
	assert_value last_cmd_status ok
}

@test "control: bad input is refused with a sentence, and nothing happens" {
	rk_up worker_threads=1
	py <<-'EOF'
		import re
		task = delay_task(60000)
		until_in_flight(1)
		table = [
		    (b"\n", "EINVAL", "nothing but blanks"),
		    (b" ", "EINVAL", "nothing but blanks"),
		    (b" \t \n", "EINVAL", "nothing but blanks"),
		    (b"stop\r\n", "EINVAL", "carriage return"),
		    (b"stop\r", "EINVAL", "carriage return"),
		    (b"stop\0", "EINVAL", "byte 0x00"),
		    (b"\0", "EINVAL", "byte 0x00"),
		    (b"sto\0p\n", "EINVAL", "byte 0x00"),
		    (b"stop\nreset\n", "EINVAL", "one write is one line"),
		    (b"stop\nstop", "EINVAL", "one write is one line"),
		    (b"stop\n\n", "EINVAL", "one write is one line"),
		    (b"\nstop\n", "EINVAL", "one write is one line"),
		    (b"stop;stop", "EINVAL", "no verb is called 'stop;stop'"),
		    (b"stop stop", "EINVAL", "stop takes no argument"),
		    (b"stop 1", "EINVAL", "stop takes no argument"),
		    (b"resume 1", "EINVAL", "resume takes no argument"),
		    (b"reload now", "EINVAL", "reload takes no argument"),
		    (b"halt\n", "EINVAL", "no verb is called 'halt'.*the verbs are start, drain"),
		    (b"STOP", "EINVAL", r"no verb is called 'STOP' \(did you mean stop\?\)"),
		    (b"sto", "EINVAL", "no verb is called 'sto'"),
		    (b"stopp", "EINVAL", r"no verb is called 'stopp' \(did you mean stop\?\)"),
		    (b"'stop'", "EINVAL", "no verb"),
		    (b"%s%n", "EINVAL", "no verb is called '%s%n'"),
		    (b"drain -1", "EINVAL", "SECS is a whole number from 0 to 86400"),
		    (b"drain +1", "EINVAL", "SECS is a whole number"),
		    (b"drain 1.5", "EINVAL", "SECS is a whole number"),
		    (b"drain 1d", "EINVAL", "SECS is a whole number from 0 to 86400, or a duration such as 500ms, 5s, 1m or 2h"),
		    (b"drain 25h", "EINVAL", "SECS is a whole number"),
		    (b"drain 0x10", "EINVAL", "SECS is a whole number"),
		    (b"drain ten", "EINVAL", "SECS is a whole number"),
		    (b"drain 1 2", "EINVAL", "SECS is a whole number"),
		    (b"drain 86401", "EINVAL", "SECS is a whole number"),
		    (b"drain 4294967296", "EINVAL", "SECS is a whole number"),
		    (b"drain 18446744073709551616", "EINVAL", "SECS is a whole number"),
		    (b"drain " + b"9" * 4000, "EINVAL", "SECS is a whole number"),
		    (b"st\xc3\xb6p", "EINVAL", "byte 0xc3"),
		    (b"\xef\xbb\xbfstop", "EINVAL", "byte 0xef"),
		    (b"stop\xa0", "EINVAL", "byte 0xa0"),
		    (b"stop\x7f", "EINVAL", "byte 0x7f"),
		    (b"\x1b[0m", "EINVAL", "byte 0x1b"),
		    (b"x" * 4096, "EINVAL", "no verb is called 'x*'"),
		    (b"stop" + b" " * 4093, "EMSGSIZE", "4097 bytes are too long"),
		    (b"stop" + b"\n" * 4093, "EMSGSIZE", "4097 bytes are too long"),
		    (b"x" * 100000, "EMSGSIZE", "100000 bytes are too long: 4096 at the most"),
		    (b"start", "ok", "ok"),
		    (b"reset", "EBUSY", "reset: the runtime is Running: write drain or stop first"),
		    (b"reload", "EPERM", "reload: hot_reload_enabled is no"),
		]
		before = [get("stats/all").splitlines(), len(events())]
		before[0] = [line for line in before[0] if "uptime" not in line]
		def attempt(data, errno_name, sentence):
		    put("control", "start")                             # a status to be replaced
		    assert outcome(put, "control", data) == errno_name
		    status = get("last_cmd_status")
		    assert re.search(sentence, status) and status.isprintable() and len(status) < 500, status
		    assert get("state") == "Running"
		errors(table, attempt)
		now = [get("stats/all").splitlines(), len(events())]
		now[0] = [line for line in now[0] if "uptime" not in line]
		assert now == before and task.is_alive()
		put("control", "stop")
		assert task.result() == "ECANCELED"
	EOF
}

@test "control: a write of no bytes is nothing" {
	rk_up
	py <<-'EOF'
		put("control", "start")
		fd = os.open(path("control"), os.O_WRONLY)
		assert os.write(fd, b"") == 0
		assert get("state") == "Running" and get("last_cmd_status") == "ok"
	EOF
}

@test "control: commands from many at once: one after another, and the state is always one of the six" {
	rk_up drain_timeout=100ms
	py <<-'EOF'
		import random
		STATES = {"Created", "Starting", "Running", "Draining", "Stopped", "Failed"}
		def drive(seed):
		    def run():
		        rng = random.Random(seed)
		        for _ in range(60):
		            what = outcome(put, "control", rng.choice("start drain stop reset resume".split()))
		            assert what in ("ok", "EBUSY"), what
		    return run
		def use():
		    for _ in range(60):
		        what = outcome(call, "core/echo", {"data": [1]})
		        assert what in (b'{"data":[1]}\n', "ESHUTDOWN", "ECANCELED", "ENODEV"), what
		def look():
		    for _ in range(100):
		        assert get("state") in STATES
		        stats()
		tasks = [Task(f) for f in (drive(1), drive(2), use, use, look)]
		assert [t.result() for t in tasks] == ["ok"] * 5
		put("control", "stop")
		put("control", "reset")
		put("control", "start")
		assert get("wait/running") == "Running"
		assert call("core/echo", {"data": [1]}) == b'{"data":[1]}\n'
	EOF
}

@test "config: hot fields take a value as the file does, and print it as it is written" {
	rk_up hot_reload_enabled=yes
	py <<-'EOF'
		for field, written, read in [
		        ("max_queue_depth", b"17\n", "17"), ("max_queue_depth", b"1000000", "1000000"),
		        ("max_queue_depth", b" \t 5 \n", "5"),
		        ("metrics_interval", b"100ms", "100ms"), ("metrics_interval", b"60s", "1m"),
		        ("metrics_interval", b"1500ms\n", "1500ms"), ("metrics_interval", b"24h", "24h"),
		        ("health_check_interval", b"2s", "2s"), ("log_level", b"trace\n", "trace")]:
		    put(f"config/{field}", written)
		    assert get(f"config/{field}") == read, (field, written, get(f"config/{field}"))
		    assert get("last_cmd_status") == "ok"
		assert [(e["field"], e["value"]) for e in events("ConfigChanged")][:2] == [("max_queue_depth", "17"), ("max_queue_depth", "1000000")]
		put("config/log_level", b"info", os.O_WRONLY | os.O_APPEND)
		assert get("config/log_level") == "info"
	EOF
	echo debug >"$MNT/config/log_level"
	assert_value config/log_level debug
}

@test "config: bad values and fields that are not hot: an errno, a sentence, and the old value" {
	rk_up hot_reload_enabled=yes
	py <<-'EOF'
		import re
		FIELDS = sorted(set(os.listdir(path("config"))) - {"pending"})
		depth, level, metrics = "max_queue_depth", "log_level", "metrics_interval"
		table = [
		    (depth, b"0", "EINVAL", 'max_queue_depth.*"0" is not allowed.*from 1 to 1000000'),
		    (depth, b"1000001", "EINVAL", "from 1 to 1000000"),
		    (depth, b"-1", "EINVAL", "from 1"),
		    (depth, b"+1", "EINVAL", "from 1"),
		    (depth, b"18446744073709551616", "EINVAL", "from 1"),
		    (depth, b"99999999999999999999999", "EINVAL", "from 1"),
		    (depth, b"1.5", "EINVAL", "from 1"),
		    (depth, b"0x10", "EINVAL", "from 1"),
		    (depth, b"many", "EINVAL", "from 1"),
		    (depth, b"1 2", "EINVAL", "from 1"),
		    (depth, b"10K", "EINVAL", "from 1"),
		    (depth, b"\n", "EINVAL", "max_queue_depth: nothing but blanks"),
		    (depth, b"1\r\n", "EINVAL", "carriage return"),
		    (depth, b"1\0", "EINVAL", "byte 0x00"),
		    (depth, b"1\n2\n", "EINVAL", "one write is one line"),
		    (depth, b"\xd9\xa1", "EINVAL", "byte 0xd9"),
		    (depth, b"1" + b" " * 4096, "EMSGSIZE", "max_queue_depth: 4097 bytes are too long"),
		    (depth, b"9" * 4096, "EINVAL", "from 1"),
		    (level, b"verbose", "EINVAL", "log_level.*error, warn, info, debug, trace"),
		    (level, b"INFO", "EINVAL", "error, warn, info"),
		    (level, b"info debug", "EINVAL", "error, warn, info"),
		    (metrics, b"10d", "EINVAL", "metrics_interval.*from 100ms to 24h"),
		    (metrics, b"99ms", "EINVAL", "from 100ms to 24h"),
		    (metrics, b"25h", "EINVAL", "from 100ms to 24h"),
		    (metrics, b"1 s", "EINVAL", "from 100ms to 24h"),
		    (metrics, b"-1s", "EINVAL", "from 100ms to 24h"),
		    (metrics, b"99999999999999999999h", "EINVAL", "from 100ms to 24h"),
		]
		hot = {depth, level, metrics, "health_check_interval"}
		table += [(f, b"1", "EPERM", f"{f} cannot change while running") for f in FIELDS if f not in hot]
		assert len(table) > 40
		before = {f: get(f"config/{f}") for f in FIELDS}
		seen = len(events())
		def attempt(field, data, errno_name, sentence):
		    put("control", "start")
		    assert outcome(put, f"config/{field}", data) == errno_name, outcome(put, f"config/{field}", data)
		    status = get("last_cmd_status")
		    assert re.search(sentence, status) and status.isprintable() and len(status) < 500, status
		    assert status.startswith(field), status
		errors(table, attempt)
		assert {f: get(f"config/{f}") for f in FIELDS} == before
		assert len(events()) == seen
	EOF
}

@test "config: with hot_reload_enabled off every write is EPERM, for root too" {
	rk_up
	py <<-'EOF'
		for field in "max_queue_depth", "hot_reload_enabled", "preset":
		    assert outcome(put, f"config/{field}", "1") == "EPERM", field
		    assert get("last_cmd_status").startswith(field)
		assert outcome(put, "config/log_level", "debug") == "EPERM"
		assert "hot_reload_enabled is no" in get("last_cmd_status")
		assert get("config/log_level") == "info"
	EOF
}
