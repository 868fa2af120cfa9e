#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# health/: what probes and operators go by. Nothing here waits for a worker.

load common

# Probes come when they are asked for, and are over soon.
up_for_checks() {
	rk_up "primary_backend=cpu,health_check_interval=24h,health_check_timeout=1s,$1"
}

@test "health: ready from the mount on; what each file reads while all is well" {
	rk_up primary_backend=cpu
	assert_value health/ready 1
	assert_value health/live 1
	assert_value health/status healthy
	assert_value health/reason ok
	assert_value health/checks_passed 1
	assert_value health/checks_failed 0
	assert_value health/checks_overdue 0
	run value health/last_check_age_secs
	assert_output --regexp '^[0-9]+$'
	assert_equal "$(wait_for ready)" Running
	py <<-'EOF'
		check, started = events("HealthCheckCompleted")[0], events("Started")[0]
		assert check["seq"] < started["seq"]                    # Running comes with the first that passed
		assert check["outcome"] == "passed" and check["status"] == "healthy" and check["reason"] == "ok"
		assert check["took_ms"] >= 0
	EOF
}

@test "health: before the start and after the stop nothing is known, and nothing is ready" {
	rk_up nostart
	assert_value health/live 1
	assert_value health/ready 0
	assert_value health/status unknown
	assert_value health/reason "the runtime is Created"
	run value health/last_check_age_secs
	assert_failure
	assert_output --partial "No data available"
	control start
	assert_equal "$(wait_for ready)" Running
	assert_value health/ready 1
	control stop
	assert_value health/ready 0
	assert_value health/live 1
	assert_value health/status unknown
	assert_value health/reason "the runtime is Stopped"
	run value health/last_check_age_secs
	assert_success
	control reset
	assert_value health/checks_passed 0
	run value health/last_check_age_secs
	assert_failure
}

@test "health: not ready from the first instant of Draining, and again after resume" {
	rk_up primary_backend=cpu,worker_threads=2,drain_timeout=60s
	py <<-'EOF'
		task = delay_task(60000)
		until_in_flight(1)
		for _ in range(20):
		    put("control", "drain")
		    assert get("health/ready") == "0" and get("health/live") == "1"
		    assert get("health/status") == "healthy" and get("state") == "Draining"
		    waits = wait_task("ready")
		    put("control", "resume")
		    assert get("health/ready") == "1"
		    assert waits.result() == "Running"
		put("control", "stop")
		assert task.result() == "ECANCELED"
	EOF
}

@test "health: Failed is neither alive nor ready, and says why" {
	rk_up preset=high_performance,nostart
	py <<-'EOF'
		ready = wait_task("ready")
		put("control", "start")
		assert ready.result() == "EIO"
		assert get("health/live") == "0" and get("health/ready") == "0"
		assert get("health/status") == "unhealthy"
		assert "cuda" in get("health/reason") and get("health/reason") in get("last_cmd_status")
		put("control", "reset")
		assert get("health/live") == "1" and get("health/status") == "unknown"
	EOF
}

@test "health: on the fallback backend it is degraded, and ready" {
	rk_up primary_backend=cuda,fallback_backend=cpu,cuda_device=1023
	assert_value health/status degraded
	assert_value health/ready 1
	run value health/reason
	assert_output --partial "on the fallback backend: "
	assert_output --partial cuda
	py <<-'EOF'
		[check] = events("HealthCheckCompleted")
		assert check["status"] == "degraded" and check["outcome"] == "passed" and check["reason"] == get("health/reason")
	EOF
}

@test "health: a worker that is stopped is degraded, then unhealthy; the files answer, and it recovers" {
	up_for_checks health_failure_threshold=3,worker_threads=2
	RK_WITHIN=$(sanitized && echo 20 || echo 1) py <<-'EOF'
		def check(n):
		    put("health/check", "1\n")
		    until(lambda: len(events("HealthCheckCompleted")), n)
		    return events("HealthCheckCompleted")[-1]
		pid = worker()
		freeze(pid)
		for n, status in enumerate(("degraded", "degraded", "unhealthy"), 2):
		    end = check(n)
		    assert end["outcome"] == "failed" and end["status"] == status, end
		    assert end["reason"] == "the worker does not answer" and end["took_ms"] >= 1000, end
		    assert get("health/ready") == ("0" if status == "unhealthy" else "1")
		assert get("health/status") == "unhealthy" and get("health/reason") == "the worker does not answer"
		assert get("health/checks_failed") == "3" and get("health/live") == "1"
		assert get("state") == "Running"                        # it is what it is; who wants, restarts
		begun = time.monotonic()
		for name in os.listdir(path("health")):
		    if name != "check":
		        get(f"health/{name}")
		assert time.monotonic() - begun < int(os.environ["RK_WITHIN"])
		waits = wait_task("ready")
		os.kill(pid, signal.SIGCONT)
		n = 5
		while (end := check(n))["outcome"] != "passed":
		    n += 1
		assert end["status"] == "healthy", end
		assert waits.result() == "Running"                      # nobody has written a thing to control
		assert get("health/ready") == "1" and get("health/checks_passed") == "2"
		assert worker() == pid
	EOF
	assert_books
}

@test "health: busy is healthy: probes have a lane that calls cannot fill" {
	up_for_checks worker_threads=1,health_failure_threshold=1,max_queue_depth=2
	py <<-'EOF'
		tasks = [delay_task(60000) for _ in range(3)]             # one runs, and the queue is full
		until_in_flight(3)
		for n in range(2, 6):
		    put("health/check", "1")
		    until(lambda: get("health/checks_passed"), str(n))
		    assert get("health/status") == "healthy" and get("health/ready") == "1"
		    assert get("health/reason") == "ok"
		assert get("health/checks_failed") == "0" and get("health/checks_overdue") == "0"
		assert_stats(accepted=3, in_flight=3)
		assert in_flight() == [1, 2, 3]
		put("control", "stop")
		assert [task.result() for task in tasks] == ["ECANCELED"] * 3
	EOF
}

@test "health: requests that take all of max_buffered_bytes are no reason to be taken out of service" {
	up_for_checks max_buffered_bytes=1M,max_message_bytes=1M,max_json_bytes=512K,health_failure_threshold=1
	py <<-'EOF'
		held = []
		try:                                                    # requests that are never finished
		    while True:
		        held.append(os.open(path("kernels/core/echo/call.raw"), os.O_RDWR))
		        os.write(held[-1], b"x" * 4096)
		except OSError as e:
		    assert e.errno == errno.ENOMEM, e
		put("health/check", "1")
		until(lambda: int(get("health/checks_overdue")) + int(get("health/checks_passed")), 2)
		assert get("health/status") == "healthy" and get("health/ready") == "1", get("health/reason")
		for fd in held:
		    os.close(fd)
		put("health/check", "1")
		until(lambda: int(get("health/checks_overdue")) + int(get("health/checks_passed")), 3)
		assert get("health/checks_failed") == "0"
	EOF
}

@test "health: a worker that dies is degraded until the next one has passed a check" {
	rk_up primary_backend=cpu,worker_threads=1,health_check_interval=24h
	py <<-'EOF'
		os.kill(worker(), signal.SIGKILL)
		until(lambda: get("health/checks_passed"), "2")         # at once, without being asked
		until(lambda: get("health/status"), "healthy")
		kinds = [e["event"] for e in events() if e["event"] in ("WorkerDied", "WorkerStarted", "HealthCheckCompleted")]
		assert kinds == ["WorkerStarted", "HealthCheckCompleted", "WorkerDied", "WorkerStarted", "HealthCheckCompleted"], kinds
		assert get("state") == "Running"
	EOF
	run cat "$LOG"
	assert_output --regexp 'health: degraded: the worker was killed by SIGKILL'
	assert_output --regexp 'health: healthy'
}

@test "health: probes come by themselves, and are in no statistics, no list and no drain" {
	rk_up health_check_interval=100ms,worker_threads=2
	py <<-'EOF'
		until(lambda: int(get("health/checks_passed")) >= 5, True)
		assert_stats(accepted=0, processed=0, in_flight=0, rejected=0, failed=0)
		assert get("kernels/core/echo/messages_accepted") == "0"
		assert get("kernels/core/echo/messages_processed") == "0"
		assert outcome(get, "kernels/core/echo/latency_p50_usecs") == "ENODATA"
		assert get("kernels/core/echo/queue_depth") == "0"
		task = delay_task(300)
		until_in_flight(1)
		assert in_flight() == [1]                               # ids are for messages
		put("control", "drain")
		assert get("wait/stopped") == "Stopped" and task.result() >= 300
		assert_stats(accepted=1, processed=1)
		[end] = events("Stopped")
		assert end["by"] == "drain"
		count = get("health/checks_passed")
		assert len(events("HealthCheckCompleted")) == int(count)
	EOF
}

@test "health/check: 1 probes now, all else is refused with a sentence; it reads as nothing" {
	local file

	up_for_checks hot_reload_enabled=yes
	assert_equal "$(stat -c %a "$MNT/health/check")" 200
	assert_equal "$(value health/check)" ""
	echo 1 >"$MNT/health/check"
	until_value health/checks_passed 2
	assert_value last_cmd_status ok
	py <<-'EOF'
		for text in "0", "2", "11", "1 1", "yes", "\n", "1\n1", b"1\0", "-1", "1x":
		    assert outcome(put, "health/check", text) == "EINVAL", text
		    assert get("last_cmd_status").startswith("check: "), (text, get("last_cmd_status"))
		assert outcome(put, "health/check", b"1" * 5000) == "EMSGSIZE"
		put("health/check", " 1 \n")
		until(lambda: get("health/checks_passed"), "3")
		put("control", "stop")
		assert outcome(put, "health/check", "1") == "EBUSY"
		assert get("last_cmd_status") == "check: the runtime is Stopped: write reset, then start"
		assert get("health/checks_passed") == "3"
	EOF
	run as_nobody bash -c 'echo 1 >health/check'
	assert_failure
	assert_output --partial "Permission denied"
	for file in live ready status reason; do
		as_nobody cat "health/$file" >/dev/null
	done
	run bash -c 'echo 1 >"$1"' x "$MNT/health/ready"
	assert_failure
	assert_output --partial "Operation not permitted"
}

@test "health: with core/echo disabled a check is that of the worker alone" {
	up_for_checks health_failure_threshold=2
	py <<-'EOF'
		put("kernels/core/echo/enable", "0")
		until(lambda: len(events("KernelDeactivated")), 1)
		put("health/check", "1")
		until(lambda: get("health/checks_passed"), "2")
		freeze(worker())
		put("health/check", "1")
		until(lambda: get("health/checks_failed"), "1")
		assert get("health/reason") == "the worker does not answer"
		os.kill(worker(), signal.SIGCONT)
	EOF
}

@test "devices: there, and empty where no GPU is watched; its names are numbers" {
	local name

	rk_up gpu_enabled=no
	assert [ -d "$MNT/devices" ]
	assert_equal "$(ls -A "$MNT/devices")" ""
	for name in 0 00 1 -1 0x0 4294967296 x; do
		run ls "$MNT/devices/$name"
		assert_failure
		assert_output --partial "No such file or directory"
	done
	assert_value stats/gpu_memory_bytes 0
	assert_value stats/gpu_memory_peak_bytes 0
}
