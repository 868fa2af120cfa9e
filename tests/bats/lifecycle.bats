#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The state machine as files drive it: drain, resume, stop, reset, and everything that waits.

load common

# A runtime whose start fails: this build has no CUDA backend.
up_to_fail() {
	rk_up preset=high_performance,nostart
}

# --- drain ---

@test "drain: eight running calls complete, nothing new is accepted, the books balance throughout" {
	local i pids=() watcher waiter

	rk_up worker_threads=8,drain_timeout=30s
	for i in {1..8}; do
		call core/delay '{"ms":1200}' >"$BATS_TEST_TMPDIR/answer.$i" 3>&- &
		pids+=($!)
	done
	py >"$BATS_TEST_TMPDIR/watched" 3>&- <<-'EOF' &
		seen = 0
		while get("state") != "Stopped":
		    assert stats()["in_flight"] <= 8
		    seen += 1
		print(seen)
	EOF
	watcher=$!
	until_value stats/messages_in_flight 8
	wait_for stopped >"$BATS_TEST_TMPDIR/stopped" 3>&- &
	waiter=$!

	control drain
	assert_value state Draining
	assert_value drain/remaining 8
	assert_value last_cmd_status ok
	run call core/delay '{"ms":1}'
	assert_failure
	assert_output --partial "Cannot send after transport endpoint shutdown"
	run value drain/deadline_secs
	assert_output --regexp '^(29|30)$'

	for i in {1..8}; do
		wait "${pids[i - 1]}"
		assert_regex "$(cat "$BATS_TEST_TMPDIR/answer.$i")" '^\{"waited_ms":1[2-9][0-9]{2}\}$'
	done
	wait "$waiter"
	assert_equal "$(cat "$BATS_TEST_TMPDIR/stopped")" Stopped
	assert_value state Stopped
	assert_value stats/messages_processed 8
	assert_value stats/messages_accepted 8
	assert_value stats/messages_rejected 1
	assert_value stats/messages_cancelled 0
	assert_books
	wait "$watcher"
	assert [ "$(cat "$BATS_TEST_TMPDIR/watched")" -gt 5 ]
	assert_equal "$(count_events Draining) $(count_events Stopped) $(count_events MessagesCancelled)" "1 1 0"
}

@test "drain: wait/stopped returns with the last answer, neither before nor at the deadline" {
	rk_up worker_threads=4,drain_timeout=60s
	py <<-'EOF'
		tasks = [delay_task(ms) for ms in (200, 400, 600, 800)]
		until_in_flight(4)
		stopped = wait_task("stopped")
		put("control", "drain")
		assert get("state") == "Draining"
		assert stopped.result() == "Stopped"
		assert_stats(processed=4, in_flight=0)          # not before
		assert [t.result() >= ms for t, ms in zip(tasks, (200, 400, 600, 800))] == [True] * 4
		assert abs(stopped.ended - tasks[-1].ended) < 1, (stopped.ended, tasks[-1].ended)
		assert not children(DAEMON, "rk-worker") or outcome(get, "drain/stuck") == "ENODATA"
	EOF
}

@test "drain: what is left at the deadline is named, cancelled and counted" {
	rk_up worker_threads=3
	py <<-'EOF'
		tasks = [delay_task(60000) for _ in range(8)]
		until_in_flight(8)
		begun = time.monotonic()
		put("control", "drain 1\n")
		assert get("drain/remaining") == "8" and get("drain/deadline_secs") == "1"
		stuck = get("drain/stuck").splitlines()
		import re
		for line in stuck:
		    assert re.fullmatch(r"\d+ kernel=core/delay state=(running|queued) age_ms=\d+ uid=0 pid=\d+( worker=0)?", line), line
		assert len(stuck) == 8 and sum("state=running" in line for line in stuck) == 3
		assert get("wait/stopped") == "Stopped"
		assert time.monotonic() - begun >= 1
		assert [t.result() for t in tasks] == ["ECANCELED"] * 8
		assert_stats(accepted=8, cancelled=8, processed=0, in_flight=0)
		assert "drain deadline" in last_error("core/delay")
		[event] = events("MessagesCancelled")
		assert event["count"] == 8
		assert sorted(m["id"] for m in event["messages"]) == sorted(int(s.split()[0]) for s in stuck)
		assert {m["kernel"] for m in event["messages"]} == {"core/delay"}
		[end] = events("Stopped")
		assert end["by"] == "deadline" and end["seq"] > event["seq"]
		for name in "deadline_secs", "remaining", "stuck":
		    assert outcome(get, f"drain/{name}") == "ENODATA"
	EOF
}

@test "drain: with nothing in flight it is Stopped at once; drain/* are ENODATA outside of one" {
	rk_up
	run cat "$MNT/drain/stuck"
	assert_failure
	assert_output --partial "No data available"
	control drain
	assert_value state Stopped
	run cat "$MNT/drain/deadline_secs"
	assert_failure
	control drain
	assert_value last_cmd_status ok
	assert_equal "$(count_events Draining)" 1
}

@test "drain: SECS while draining replaces the deadline, and without SECS it stays" {
	rk_up drain_timeout=60s
	py <<-'EOF'
		task = delay_task(60000)
		until_in_flight(1)
		put("control", "drain 3600")
		assert 3590 < int(get("drain/deadline_secs")) <= 3600
		put("control", "drain")
		assert 3590 < int(get("drain/deadline_secs")) <= 3600
		put("control", "drain 600")
		assert 590 < int(get("drain/deadline_secs")) <= 600
		assert len(events("Draining")) == 1
		put("control", "drain 0")
		assert get("wait/stopped") == "Stopped"
		assert task.result() == "ECANCELED"
	EOF
}

@test "drain: drain_timeout is the deadline where no SECS is given" {
	rk_up drain_timeout=200ms
	py <<-'EOF'
		task = delay_task(60000)
		until_in_flight(1)
		put("control", "drain")
		assert get("wait/drained") == "Stopped"
		assert task.result() == "ECANCELED"
	EOF
}

@test "drain: SECS and drain_timeout each take seconds and a duration" {
	rk_up drain_timeout=90
	assert_value config/drain_timeout 90s
	py <<-'EOF'
		task = delay_task(60000)
		until_in_flight(1)
		for secs, low, high in (("", 80, 90), (" 2h", 7190, 7200), (" 50", 40, 50), (" 5m", 290, 300)):
		    put("control", "drain" + secs)
		    assert low <= int(get("drain/deadline_secs")) <= high
		put("control", "drain 10ms")
		assert get("wait/stopped") == "Stopped"
		assert task.result() == "ECANCELED"
	EOF
}

@test "drain: resume accepts work again and voids the deadline" {
	rk_up worker_threads=4
	py <<-'EOF'
		first = delay_task(1500)
		until_in_flight(1)
		put("control", "drain 1")
		assert outcome(call, "core/echo", {"data": [1]}) == "ESHUTDOWN"
		put("control", "resume")
		assert get("state") == "Running"
		assert outcome(get, "drain/deadline_secs") == "ENODATA"
		assert call("core/echo", {"data": [1]}) == b'{"data":[1]}\n'
		assert first.result() >= 1500                   # beyond the deadline that was
		assert get("state") == "Running"
		assert [e["event"] for e in events() if e["event"] in ("Draining", "Resumed", "Stopped")] == ["Draining", "Resumed"]
		put("control", "drain")
		assert get("wait/stopped") == "Stopped"
		assert_stats(accepted=2, processed=2, rejected=1)
	EOF
}

@test "drain: an answer that is finished can be read after the drain, the stop and the reset" {
	rk_up
	py <<-'EOF'
		fds = []
		for i in range(3):
		    fds.append(open_call("core/echo", os.O_NONBLOCK))
		    write_all(fds[-1], b'{"data":[%d]}' % i)
		    first = outcome(os.read, fds[-1], 1)
		    if first == "EAGAIN":
		        assert poll(fds[-1], select.POLLIN) & select.POLLIN
		        first = os.read(fds[-1], 1)
		    assert first == b"{"
		put("control", "drain")
		get("wait/stopped")
		assert read_all(fds[0]) == b'"data":[0]}\n'
		put("control", "stop")
		assert read_all(fds[1]) == b'"data":[1]}\n'
		put("control", "reset")
		put("control", "start")
		get("wait/running")
		assert read_all(fds[2]) == b'"data":[2]}\n'
		os.set_blocking(fds[0], True)
		assert ask(fds[0], {"data": [7]}) == b'{"data":[7]}\n'
	EOF
}

# --- stop, reset, start ---

@test "stop: ends what runs and what is queued with ECANCELED, from Running and from Draining" {
	rk_up worker_threads=2
	py <<-'EOF'
		for round, state in enumerate(("Running", "Draining")):
		    tasks = [delay_task(60000) for _ in range(5)]
		    until_in_flight(5)
		    if state == "Draining":
		        put("control", "drain")
		    assert get("state") == state
		    put("control", "stop")
		    assert get("state") == "Stopped" and get("wait/stopped") == "Stopped"
		    assert [t.result() for t in tasks] == ["ECANCELED"] * 5
		    assert_stats(accepted=5, cancelled=5, in_flight=0)
		    assert events("MessagesCancelled")[round]["count"] == 5
		    assert events("Stopped")[round]["by"] == "stop"
		    put("control", "reset")
		    put("control", "start")
		    assert get("wait/running") == "Running"
	EOF
}

@test "stop: from Created, Starting, Stopped and Failed" {
	up_to_fail
	py <<-'EOF'
		def stop():
		    put("control", "stop")
		    assert get("state") == "Stopped" and get("last_cmd_status") == "ok"
		stop()                                          # Created
		stop()                                          # Stopped
		put("control", "reset")
		put("control", "start")
		until(lambda: get("state"), "Failed")
		stop()                                          # Failed
		for _ in range(10):                             # Starting, or just beyond
		    put("control", "reset")
		    put("control", "start")
		    stop()
		assert_stats(accepted=0)
	EOF
	py <<-'EOF'
		until(lambda: children(DAEMON, "rk-worker"), [])
	EOF
}

@test "stop: while a start that would succeed is under way" {
	rk_up nostart
	py <<-'EOF'
		for _ in range(20):
		    put("control", "start")
		    put("control", "stop")
		    assert get("state") == "Stopped"
		    assert outcome(call, "core/echo", {"data": [1]}) == "ESHUTDOWN"
		    put("control", "reset")
		put("control", "start")
		assert get("wait/running") == "Running"
		assert call("core/echo", {"data": [1]}) == b'{"data":[1]}\n'
		assert len(children(DAEMON, "rk-worker")) == 1
	EOF
}

@test "reset and start: Running again with counters at zero, without an unmount" {
	rk_up
	py <<-'EOF'
		call("core/echo", {"data": [1]})
		assert outcome(call, "core/echo", "{") == "EINVAL"
		assert last_error("core/echo") != "none"
		put("control", "drain")
		get("wait/stopped")
		old, mounted = events(), os.stat(MNT).st_dev
		put("control", "reset")
		assert get("state") == "Created"
		assert_stats(accepted=0, processed=0, rejected=0, failed=0, cancelled=0, timed_out=0, in_flight=0,
		             uptime_secs=0, kernels_registered=9, kernels_active=0)
		assert get("kernels/core/echo/messages_processed") == "0" and last_error("core/echo") == "none"
		assert get("kernels/core/echo/messages_rejected") == "0"
		assert get("kernels/core/echo/backend") == "none"
		put("control", "start")
		assert get("wait/running") == "Running"
		assert call("core/vector-add", {"a": [1], "b": [2]}) == b'{"c":[3.0]}\n'
		assert_stats(accepted=1, processed=1)
		assert get("kernels/core/echo/backend") == "cpu"
		new = events()
		assert new[:len(old)] == old                    # the sequence goes on
		assert [e["event"] for e in new[len(old):]][:2] == ["Reset", "Starting"]
		assert os.stat(MNT).st_dev == mounted
	EOF
}

@test "every state lists its verbs, refuses the others with EBUSY and a sentence, and stays" {
	rk_up nostart,worker_threads=1
	py <<-'EOF'
		VERBS = "start drain resume stop reset reload".split()
		def check(state, allowed):
		    assert get("state") == state, get("state")
		    assert get("control") == allowed, (state, get("control"))
		    for verb in VERBS:
		        if verb in allowed.split():
		            continue
		        what = outcome(put, "control", verb)
		        assert what == ("EPERM" if verb == "reload" else "EBUSY"), (state, verb, what)
		        why = get("last_cmd_status")
		        assert why.startswith(verb + ": "), why
		        if verb != "reload":
		            assert f"the runtime is {state}: " in why and "write" in why, why
		        assert get("state") == state
		check("Created", "start stop reset")
		put("control", "start"); get("wait/running")
		check("Running", "start drain resume stop")
		put("control", "start"); put("control", "resume")               # hold already
		assert get("state") == "Running"
		task = delay_task(60000)
		until_in_flight(1)
		put("control", "drain")
		check("Draining", "drain resume stop")
		put("control", "stop")
		check("Stopped", "drain stop reset")
		put("control", "drain"); put("control", "stop")
		assert get("state") == "Stopped" and task.result() == "ECANCELED"
		put("control", "reset"); put("control", "reset")
		check("Created", "start stop reset")
	EOF
}

@test "a start that fails: Failed, with the reason where one looks for it" {
	up_to_fail
	py <<-'EOF'
		running, ready, drained = (wait_task(name) for name in ("running", "ready", "drained"))
		fd = os.open(path("wait/stopped"), os.O_RDONLY | os.O_NONBLOCK)
		put("control", "start")
		assert running.result() == "EIO" and ready.result() == "EIO" and drained.result() == "EIO"
		assert get("state") == "Failed"
		assert get("control") == "stop reset", get("control")
		why = get("last_cmd_status")
		assert why.startswith("start: ") and "cuda" in why, why
		assert "cuda" in events("Failed")[0]["reason"]
		assert outcome(get, "wait/running") == "EIO"    # those that come later, too
		assert outcome(os.read, fd, 10) == "EAGAIN"     # stop leads there from Failed
		assert outcome(call, "core/echo", {"data": [1]}) == "ESHUTDOWN"
		for verb in "start", "drain", "resume":
		    assert outcome(put, "control", verb) == "EBUSY"
		    assert "the runtime is Failed: write reset, then start" in get("last_cmd_status")
		assert children(DAEMON, "rk-worker") == []
		put("control", "reset")
		assert get("state") == "Created" and get("last_cmd_status") == "ok"
	EOF
}

# --- waiting ---

@test "wait: blocks until the state is there, then one line and EOF" {
	rk_up nostart
	py <<-'EOF'
		fd = os.open(path("wait/running"), os.O_RDONLY)
		def read():
		    assert os.read(fd, 100) == b"Running\n"
		    return os.read(fd, 100)
		running, ready, stopped = Task(read), wait_task("ready"), wait_task("stopped")
		put("control", "start")
		assert running.result() == b"" and ready.result() == "Running"
		assert stopped.is_alive()
		put("control", "stop")
		assert stopped.result() == "Stopped"
		assert get("wait/drained") == "Stopped"
		assert os.read(fd, 100) == b""                  # over for this descriptor
	EOF
}

@test "wait: O_NONBLOCK gives EAGAIN, poll gives POLLIN when it would return" {
	rk_up nostart
	py <<-'EOF'
		fds = {name: os.open(path(f"wait/{name}"), os.O_RDONLY | os.O_NONBLOCK)
		       for name in ("running", "ready", "drained", "stopped")}
		def ready(): return [name for name, fd in fds.items() if poll(fd, select.POLLIN, 0)]
		assert [outcome(os.read, fd, 100) for fd in fds.values()] == ["EAGAIN"] * 4
		assert ready() == []
		put("control", "start")
		assert poll(fds["running"], select.POLLIN) == select.POLLIN
		assert ready() == ["running", "ready"]
		assert os.read(fds["running"], 100) == b"Running\n"
		poller = Task(poll, fds["stopped"], select.POLLIN)
		put("control", "drain")
		assert poller.result() == select.POLLIN
		assert os.read(fds["stopped"], 100) == b"Stopped\n"
		# ready was not read while it held, and does not hold any more
		assert outcome(os.read, fds["ready"], 100) == "EAGAIN"
	EOF
}

@test "state: POLLPRI on every change, acknowledged by reading it again" {
	rk_up nostart
	py <<-'EOF'
		fd = os.open(path("state"), os.O_RDONLY)
		def state(): return os.pread(fd, 100, 0).decode().strip()
		def next_state():
		    assert poll(fd, select.POLLPRI) & select.POLLPRI
		    return state()
		assert state() == "Created" and poll(fd, select.POLLPRI, 0) == 0
		poller = Task(poll, fd, select.POLLPRI)
		put("control", "start")
		assert poller.result() & select.POLLPRI
		while state() != "Running":
		    assert next_state() in ("Starting", "Running")
		assert poll(fd, select.POLLPRI, 0) == 0
		task = delay_task(60000)
		until_in_flight(1)
		put("control", "drain")
		assert next_state() == "Draining"
		put("control", "resume")
		assert next_state() == "Running"
		put("control", "stop")
		assert next_state() == "Stopped"
		put("control", "reset")
		assert next_state() == "Created" and poll(fd, select.POLLPRI, 0) == 0
		put("control", "reset")                         # changes nothing
		assert poll(fd, select.POLLPRI, 0) == 0
		assert task.result() == "ECANCELED"
	EOF
}

@test "wait: a signal ends a parked reader at once, and nobody else" {
	rk_up
	py <<-'EOF'
		def cat():
		    p = subprocess.Popen(["cat", path("wait/stopped")], stdout=subprocess.PIPE, text=True)
		    until(lambda: parked(p.pid, "wait/stopped"), True)
		    return p
		for number in signal.SIGINT, signal.SIGTERM, signal.SIGKILL:
		    one, other = cat(), cat()
		    one.send_signal(number)
		    assert one.wait(PATIENCE) == -number
		    assert other.poll() is None
		    other.kill()
		    other.communicate()
		last = cat()
		put("control", "stop")
		assert last.communicate()[0] == "Stopped\n" and last.returncode == 0
	EOF
}

@test "wait: a thousand parked readers cost no thread and delay nobody" {
	rk_up
	run py <<-'EOF'
		import resource
		resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
		def threads(): return len(os.listdir(f"/proc/{DAEMON}/task"))
		def asleep(): return sum(state_of(f"/proc/self/task/{t}") == "S" for t in os.listdir("/proc/self/task"))
		before = threads()
		threading.stack_size(64 * 1024)
		fds = [os.open(path("wait/stopped"), os.O_RDONLY) for _ in range(1000)]
		begun = []
		def read(fd):
		    begun.append(fd)
		    return os.read(fd, 100)
		tasks = [Task(read, fd) for fd in fds]
		until(lambda: len(begun), 1000)
		until(asleep, 1000)                           # all but this one, which runs
		assert all(t.is_alive() for t in tasks)
		for i in range(100):
		    assert get("state") == "Running"
		    assert call("core/echo", {"data": [i]}) == b'{"data":[%d]}\n' % i
		pool = max(2, len(os.sched_getaffinity(0)))     # FUSE threads start when first needed
		assert threads() <= before + pool, (before, threads())
		put("control", "stop")
		assert [t.result() for t in tasks] == [b"Stopped\n"] * 1000
	EOF
	assert_success
}

@test "events: numbered, in order, and events_follow gives what was and what comes" {
	rk_up nostart
	py <<-'EOF'
		fd = os.open(path("events_follow"), os.O_RDONLY | os.O_NONBLOCK)
		def lines(): return [json.loads(line)["event"] for line in os.read(fd, 1 << 16).decode().splitlines()]
		assert lines() == ["KernelRegistered"] * 9
		assert outcome(os.read, fd, 100) == "EAGAIN" and poll(fd, select.POLLIN, 0) == 0
		poller = Task(poll, fd, select.POLLIN)
		put("control", "start")
		assert poller.result() == select.POLLIN
		get("wait/running")
		put("control", "stop")
		seen = []
		while not seen or seen[-1] != "Stopped":
		    assert poll(fd, select.POLLIN) == select.POLLIN
		    seen += lines()
		assert [e for e in seen if not e.startswith(("Kernel", "Backend", "Worker", "Health"))] == ["Starting", "Started", "Stopped"]
		assert seen.count("KernelActivated") == 9 and "WorkerStarted" in seen
		assert ["KernelRegistered"] * 9 + seen == [e["event"] for e in events()]
		assert [e["seq"] for e in events()] == list(range(1, len(seen) + 10))
		with open(path("events_follow"), "rb", buffering=0) as f:       # small reads cut lines, not events
		    text = b""
		    while text.count(b"\n") < len(seen) + 9:
		        text += f.read(7)
		assert [json.loads(line) for line in text.splitlines()] == events()
	EOF
}
