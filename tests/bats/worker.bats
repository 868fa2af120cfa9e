#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Workers and daemons that are killed or stopped, and what the rest does meanwhile.

load common

@test "worker: kill -9 with four calls running and four queued" {
	rk_up worker_threads=4
	RK_WITHIN=$(sanitized && echo 20 || echo 1) py <<-'EOF'
		from datetime import datetime
		old = worker()
		looks, slowest, over = 0, 0, threading.Event()
		def look():                                     # the mount never stops answering
		    global looks, slowest
		    while not over.is_set():
		        begun = time.monotonic()
		        assert get("state") == "Running"
		        stats()
		        slowest = max(slowest, time.monotonic() - begun)
		        looks += 1
		watcher = Task(look)
		running = [delay_task(60000) for _ in range(4)]
		until_in_flight(4)
		queued = [delay_task(100) for _ in range(4)]
		until_in_flight(8)
		assert get("kernels/core/delay/queue_depth") == "4"
		os.kill(old, signal.SIGKILL)
		assert [t.result() for t in running] == ["EIO"] * 4
		assert [t.result() >= 100 for t in queued] == [True] * 4
		assert call("core/vector-add", {"a": [1], "b": [2]}) == b'{"c":[3.0]}\n'
		over.set()
		assert watcher.result() == "ok" and looks > 10 and slowest < 1, (looks, slowest)
		assert worker() != old
		[died] = events("WorkerDied")
		assert died["pid"] == old and died["running"] == 4 and "SIGKILL" in died["how"], died
		first, second = events("WorkerStarted")
		assert second["pid"] == worker()
		took = datetime.fromisoformat(second["time"]) - datetime.fromisoformat(died["time"])
		assert 0 < took.total_seconds() < int(os.environ["RK_WITHIN"]), took
		failed = events("MessageFailed")
		assert [e["errno"] for e in failed] == ["EIO"] * 4 and all(str(old) in e["why"] for e in failed), failed
		assert f"worker {old} was killed by SIGKILL" in last_error("core/delay")
		assert_stats(accepted=9, failed=4, processed=5, in_flight=0, cancelled=0, rejected=0)
		assert get("kernels/core/delay/messages_failed") == "4"
	EOF
}

@test "worker: a SIGSEGV is named; with nothing running nothing fails" {
	rk_up
	py <<-'EOF'
		old = worker()
		os.kill(old, signal.SIGSEGV)
		until(lambda: len(events("WorkerStarted")), 2)
		assert call("core/echo", {"data": [1]}) == b'{"data":[1]}\n'
		[died] = events("WorkerDied")
		assert died["running"] == 0, died
		assert_stats(accepted=1, processed=1, failed=0)
	EOF
	# a sanitizer's worker says so itself, of the signal that it was sent
	rm -f "$BATS_TEST_TMPDIR"/sanitizer*
}

@test "worker: killed during a drain: what was queued still runs, and the drain ends" {
	rk_up worker_threads=1,drain_timeout=60s
	py <<-'EOF'
		tasks = [delay_task(60000)]
		until_in_flight(1)
		tasks += [delay_task(50) for _ in range(3)]
		until_in_flight(4)
		put("control", "drain")
		os.kill(worker(), signal.SIGKILL)
		assert tasks[0].result() == "EIO"
		assert [t.result() >= 50 for t in tasks[1:]] == [True] * 3
		assert get("wait/stopped") == "Stopped"
		assert_stats(accepted=4, failed=1, processed=3)
		assert events("Stopped")[0]["by"] == "drain"
	EOF
}

@test "worker: more deaths than restart_limit: Failed with the reason; reset and start recover" {
	rk_up restart_limit=2,worker_threads=1
	py <<-'EOF'
		for n in 1, 2:
		    os.kill(worker(), signal.SIGKILL)
		    until(lambda: len(events("WorkerStarted")), n + 1)
		running = delay_task(60000)
		until_in_flight(1)
		queued = delay_task(60000)
		until_in_flight(2)
		waits = wait_task("drained")
		os.kill(worker(), signal.SIGKILL)
		assert running.result() == "EIO" and queued.result() == "EIO" and waits.result() == "EIO"
		assert get("state") == "Failed"
		assert "restart_limit 2" in events("Failed")[0]["reason"]
		assert_stats(accepted=2, failed=2, in_flight=0)
		assert outcome(call, "core/echo", {"data": [1]}) == "ESHUTDOWN"
		assert children(DAEMON, "rk-worker") == []
		put("control", "reset")
		put("control", "start")
		assert get("wait/running") == "Running"
		assert call("core/echo", {"data": [1]}) == b'{"data":[1]}\n'
		os.kill(worker(), signal.SIGKILL)               # the budget is new, too
		until(lambda: len(events("WorkerStarted")), 5)
		assert get("state") == "Running"
	EOF
}

@test "worker: stopped by SIGSTOP: the mount answers, and a drain ends by its deadline" {
	rk_up worker_threads=2
	py <<-'EOF'
		old = worker()
		tasks = [delay_task(10) for _ in range(2)]
		[t.result() for t in tasks]
		freeze(old)
		tasks = [delay_task(10) for _ in range(5)]
		until_in_flight(5)
		assert get("state") == "Running" and get("stats/messages_in_flight") == "5"
		assert len(get("events").splitlines()) > 5
		put("control", "drain 1")
		assert get("state") == "Draining" and len(get("drain/stuck").splitlines()) == 5
		assert get("wait/stopped") == "Stopped"
		assert [t.result() for t in tasks] == ["ECANCELED"] * 5
		assert_stats(accepted=7, processed=2, cancelled=5)
		until(lambda: children(DAEMON, "rk-worker"), [])        # SIGKILL ends one that is stopped
		put("control", "reset")
		put("control", "start")
		assert get("wait/running") == "Running"
		assert call("core/echo", {"data": [1]}) == b'{"data":[1]}\n'
	EOF
}

@test "worker: stopped by SIGSTOP: stop ends it at once, umount too" {
	rk_up
	py <<-'EOF'
		freeze(worker())
		task = delay_task(10)
		until_in_flight(1)
		put("control", "stop")
		assert get("state") == "Stopped" and task.result() == "ECANCELED"
		put("control", "reset")
		put("control", "start")
		get("wait/running")
		freeze(worker())
	EOF
	umount "$MNT"
	assert_daemon_exits
}

@test "daemon: kill -9 leaves no worker, no memory and no socket; mounting again works" {
	rk_up worker_threads=2
	call core/delay '{"ms":60000}' 3>&- &
	until_value stats/messages_in_flight 1
	py <<-'EOF'
		def held(pids):
		    """The memfds and sockets among the descriptors of processes."""
		    found = set()
		    for fd in (f"/proc/{pid}/fd/{n}" for pid in pids for n in os.listdir(f"/proc/{pid}/fd")):
		        if os.readlink(fd).startswith(("/memfd:", "socket:")):
		            at = os.stat(fd)
		            found.add((at.st_dev, at.st_ino))
		    return found
		def others():
		    found = set()
		    for pid in filter(str.isdigit, os.listdir("/proc")):
		        try:
		            found |= held([pid])
		        except OSError:
		            pass                                        # it has ended
		    return found
		both = [DAEMON, worker()]
		ours, pidfds = held(both), [os.pidfd_open(pid) for pid in both]
		assert len(ours) >= 6 and ours <= others(), ours        # payload, shared page, 2 pairs
		os.kill(DAEMON, signal.SIGKILL)
		assert all(poll(fd, select.POLLIN) for fd in pidfds)
		assert not ours & others()
		with open("/proc/net/unix") as f:
		    left = {int(line.split()[6]) for line in f.readlines()[1:]}
		assert not left & {ino for dev, ino in ours}
	EOF
	assert_daemon_exits 137
	assert_equal "$(rk_processes 'mount.rkfs|rk-worker')" ""
	assert is_mounted
	run cat "$MNT/state"
	assert_failure
	assert_output --partial "Transport endpoint is not connected"

	rk_up
	assert_value state Running
	run call core/echo '{"data":[1]}'
	assert_output '{"data":[1]}'
	assert_value stats/messages_accepted 1
}

@test "daemon: kill -9 ends the worker even if it is stopped" {
	local worker

	rk_up
	worker=$(rk_worker)
	freeze "$worker"
	kill -KILL "$DAEMON"
	await_exit "$DAEMON" "$worker"
	assert_daemon_exits 137
}

@test "worker: unread requests, answers and restarts leave no memory behind" {
	rk_up worker_threads=2,restart_limit=100,max_buffered_bytes=4M,max_json_bytes=1M,max_message_bytes=1M
	py <<-'EOF'
		request = b'{"data":[' + b"7," * 99999 + b"7]}"
		for round in range(3):
		    busy = delay_task(60000)
		    until_in_flight(1)
		    os.kill(worker(), signal.SIGKILL)
		    assert busy.result() == "EIO"
		    fds = [open_call("core/echo", os.O_NONBLOCK) for _ in range(3)]
		    for fd in fds:
		        write_all(fd, request)
		        outcome(os.read, fd, 1)
		    for fd in fds[:2]:
		        os.close(fd)                            # cancelled wherever it is by now
		    assert poll(fds[2], select.POLLIN)
		    os.close(fds[2])
		    until_in_flight(0)
		# closed in whatever state: what was held is free soon, or these would not go on fitting
		def close_early():
		    fd = open_call("core/echo", os.O_NONBLOCK)
		    what = outcome(write_all, fd, request)
		    outcome(os.read, fd, 1)
		    os.close(fd)
		    return what
		for _ in range(40):                                     # 16 MiB in all
		    until(close_early, "ok")
		def four_fit():
		    fds = [open_call("core/echo") for _ in range(4)]
		    what = {outcome(write_all, fd, request) for fd in fds}
		    what.add(outcome(ask, fds[0], b"") == request + b"\n")
		    for fd in fds:
		        os.close(fd)
		    return what
		until(four_fit, {"ok", True})
		until_in_flight(0)
		assert stats()["failed"] == 3
	EOF
}
