#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# What the fake driver is told to do wrong: for each fault the errno, the sentence, the state, the
# event, the books, and how it goes on.

load cuda

# What the tests of a device that goes wrong share.
RIG='
STICKY = "CUDA_ERROR_ILLEGAL_ADDRESS (an illegal memory access was encountered)"
NAME = "CUDA_ERROR_ILLEGAL_ADDRESS"
def square(x=3): return call("user/square", {"x": [x]})
NINE = b"{\"y\":[9.0]}\n"
def deaths(): return [e["how"] for e in events("WorkerDied")]
def workers(n): until(lambda: len(events("WorkerStarted")), n)
def healthy(): until(lambda: get("health/status"), "healthy")
'

# fails TRIGGER SENTENCE: production falls back with the sentence, without a fallback there is no mount.
fails() {
	triggers "$1"
	cuda_refused "no backend to run on \\(fallback_backend is not set\\): backend cuda: $2"
	triggers "$1"
	cuda_up fallback_backend=cpu
	assert_value state Running
	assert_value health/status degraded
	SENTENCE="backend cuda: $2" py <<-'EOF'
		import re
		[event] = events("BackendFallback")
		assert event["backend"] == "cpu" and re.match(os.environ["SENTENCE"], event["why"]), event
		assert event["why"] in get("health/reason"), get("health/reason")
		assert get("kernels/core/vector-add/backend") == "cpu"
		assert call("core/vector-add", {"a": [1], "b": [2]}) == b'{"c":[3.0]}\n'
		# gone, it is cuda again
		triggers()
		put("control", "stop")
		restart()
		assert get("kernels/core/vector-add/backend") == "cuda" and get("health/status") == "healthy"
	EOF
	cuda_down
}

# --- at the start ---

@test "cuda faults: a driver that lacks a function, or is too old" {
	fails 'symbol_missing cuLaunchKernel' 'libcuda\.so\.1 has no cuLaunchKernel \(CUDA 4\.0\)'
	fails 'driver_version 11030' 'libcuda\.so\.1 is of CUDA 11\.3; 11\.4 or later is needed: update the NVIDIA driver'
	# one from before cuGetProcAddress, and what is no library
	mkdir "$BATS_TEST_TMPDIR/lib"
	fake_driver "$BATS_TEST_TMPDIR/lib"
	cp "$FAKE/old/libcuda.so.1" "$BATS_TEST_TMPDIR/lib/"
	cuda_refused 'libcuda\.so\.1 is of CUDA 10\.2; 11\.4 or later is needed'
	echo rubbish >"$BATS_TEST_TMPDIR/lib/libcuda.so.1"
	cuda_refused 'libcuda\.so\.1: file too short'
}

@test "cuda faults: no device, a driver that does not come up" {
	fails no_device 'cuInit: CUDA_ERROR_NO_DEVICE \(no CUDA-capable device is detected\)'
	fails 'device_count 0' 'the NVIDIA driver has no device'
	fails 'init CUDA_ERROR_SYSTEM_NOT_READY' 'cuInit: CUDA_ERROR_SYSTEM_NOT_READY \('
}

@test "cuda faults: each step of the start tells its name, the CUresult's and what it is about" {
	local call rest

	while IFS='|' read -r call rest; do
		triggers "fail $call"
		cuda_refused "backend cuda: $rest"
	done <<-'EOF'
		cuDevicePrimaryCtxRetain CUDA_ERROR_OUT_OF_MEMORY|Fake GPU 0: cuDevicePrimaryCtxRetain: CUDA_ERROR_OUT_OF_MEMORY \(out of memory\)
		cuDeviceGetAttribute CUDA_ERROR_UNKNOWN|Fake GPU 0: cuDeviceGetAttribute\([0-9]+\): CUDA_ERROR_UNKNOWN
		cuCtxSetCurrent CUDA_ERROR_INVALID_CONTEXT|cuCtxSetCurrent: CUDA_ERROR_INVALID_CONTEXT
		cuStreamCreate CUDA_ERROR_OUT_OF_MEMORY 2|Fake GPU 0: cuStreamCreate: CUDA_ERROR_OUT_OF_MEMORY
		cuEventCreate CUDA_ERROR_OPERATING_SYSTEM 3|Fake GPU 0: cuEventCreate: CUDA_ERROR_OPERATING_SYSTEM
		cuMemPoolCreate CUDA_ERROR_OUT_OF_MEMORY|Fake GPU 0: cuMemPoolCreate: CUDA_ERROR_OUT_OF_MEMORY
		cuMemHostAlloc CUDA_ERROR_OUT_OF_MEMORY|Fake GPU 0: cannot pin [0-9]+ bytes of memory: CUDA_ERROR_OUT_OF_MEMORY
		cuModuleLoadDataEx CUDA_ERROR_NO_BINARY_FOR_GPU|Fake GPU 0: built-in kernels: .* \(compute capability 8\.9\): CUDA_ERROR_NO_BINARY_FOR_GPU
	EOF
}

@test "cuda faults: the first health check finds a device that spoils every context: 32 with its name" {
	triggers 'sticky CUDA_ERROR_ECC_UNCORRECTABLE'
	cuda_refused 'the first health check failed: .*CUDA_ERROR_ECC_UNCORRECTABLE'
	triggers 'fail cuMemGetInfo CUDA_ERROR_INVALID_VALUE'
	cuda_refused 'the first health check failed: the device does not answer: cuMemGetInfo: CUDA_ERROR_INVALID_VALUE'
}

# --- one message ---

@test "cuda faults: a launch that fails is EIO for its message alone; the worker lives" {
	vector_kernels square
	cuda_up worker_threads=1
	py <<-EOF
		$RIG
		old = worker()
		triggers("once launch CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES")
		assert outcome(square) == "EIO"
		why = last_error("user/square")
		assert why.startswith("user/square: message 1: user/square: cuLaunchKernel: CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES ("), why
		[event] = events("MessageFailed")
		assert event["errno"] == "EIO" and event["why"] == why, event
		for line, name in [("once fail cuMemcpyHtoDAsync CUDA_ERROR_INVALID_VALUE", "cuMemcpyHtoDAsync: CUDA_ERROR_INVALID_VALUE"),
		                   ("once fail cuEventRecord CUDA_ERROR_NOT_PERMITTED", "cuEventRecord: CUDA_ERROR_NOT_PERMITTED")]:
		    triggers(line)
		    assert outcome(square) == "EIO" and name in last_error("user/square"), last_error("user/square")
		assert square() == NINE and worker() == old and deaths() == []
		assert_stats(accepted=4, processed=1, failed=3)
		assert get("health/status") == "healthy" and get("kernels/user/square/messages_failed") == "3"
	EOF
}

@test "cuda faults: a write past an output is EIO by the guard bytes, and blamed" {
	vector_kernels square overrun
	cuda_up worker_threads=2
	py <<-EOF
		$RIG
		old = worker()
		for n in 3, 0, 300000:                                  # small, none, in several blocks
		    assert outcome(call, "user/overrun", struct.pack(f"<{n}f", *range(n)) if n else st_pack({"x": ("F32", [0], b"")}),
		                   "raw" if n else "safetensors") == "EIO"
		    why = events("MessageFailed")[-1]["why"]
		    assert "user/overrun wrote past the end of its output 'y'" in why, why
		    until(lambda: events("WorkerDied")[-1:] and events("WorkerDied")[-1]["pid"], old)
		    assert "wrote past the end" in deaths()[-1]
		    assert square() == NINE and (old := worker())
		assert get("kernels/user/overrun/enable") == "0"        # three in a row
		assert [e["id"] for e in events("KernelDisabled")] == ["user/overrun"]
		assert outcome(call, "user/overrun", {"x": [1]}) == "ENODEV"
		assert_stats(accepted=6, failed=3, processed=3, rejected=1)
	EOF
}

# --- sticky errors ---

@test "cuda faults: an illegal address fails what runs with EIO, and another worker runs what is queued" {
	vector_kernels square illegal
	cuda_up worker_threads=2
	py <<-EOF
		$RIG
		old = worker()
		beside = submit("core/delay", {"ms": 60000})
		assert [square() for _ in range(5)] == [NINE] * 5       # by the other thread: both run when it comes
		triggers("hang cuModuleLoadDataEx")                     # no worker before that
		assert outcome(call, "user/illegal", {"x": [1]}) == "EIO"
		queued = [open_call("user/square", os.O_NONBLOCK) for _ in range(3)]
		for fd in queued:
		    write_all(fd, b'{"x":[3]}')
		    assert outcome(os.read, fd, 100) == "EAGAIN"
		assert get("kernels/user/square/queue_depth") == "3" and get("state") == "Running"
		triggers()
		assert [answer_of(fd) for fd in queued] == [NINE] * 3
		assert outcome(answer_of, beside) == "EIO" and worker() != old
		[died] = events("WorkerDied")
		# either may be the first one to be told
		told = [f"ended itself after a CUDA error: {k}: {STICKY}, while 2 messages ran" for k in ("user/illegal", "core/delay")]
		assert died["how"] in told, died
		assert died["running"] == 2 and died["pid"] == old, died
		for kernel in "user/illegal", "core/delay":
		    why = last_error(kernel)
		    assert f"worker {old} ended itself after a CUDA error" in why and NAME in why and "2 messages" in why, why
		assert [e["errno"] for e in events("MessageFailed")] == ["EIO"] * 2
		assert_stats(accepted=10, failed=2, processed=8, in_flight=0)
		healthy()
		assert "in this kernel" not in last_error("user/illegal")       # nobody can tell which of the two
	EOF
}

@test "cuda faults: an illegal address of the only message is blamed on its kernel; three disable it" {
	vector_kernels square illegal
	cuda_up worker_threads=2,restart_limit=100
	py <<-EOF
		$RIG
		for n in range(3):
		    healthy()
		    old = worker()
		    assert outcome(call, "user/illegal", {"x": [1]}) == "EIO"
		    why = last_error("user/illegal")
		    assert n == 2 or why.endswith(f"worker {old} ended itself after a CUDA error: user/illegal: {STICKY} in this kernel"), why
		    assert get("health/status") == "degraded" and NAME in get("health/reason"), get("health/reason")
		    workers(n + 2)
		[event] = events("KernelDisabled")
		assert event["id"] == "user/illegal" and get("kernels/user/illegal/enable") == "0"
		assert outcome(call, "user/illegal", {"x": [1]}) == "ENODEV" and square() == NINE
		assert_stats(failed=3, processed=1, rejected=1)
	EOF
}

@test "cuda faults: a kernel that is only being loaded meanwhile is not to blame, and loaded by the next worker" {
	vector_kernels square illegal overrun
	rm "$KERNELS/overrun.ini"
	cuda_up worker_threads=3,restart_limit=100
	py <<-EOF
		$RIG
		def add_kernel(name):
		    (KERNELS / f"{name}.ini").write_text((KERNELS / "square.ini").read_text().replace("user/square", f"user/{name}"))
		    (KERNELS / f"{name}.ini").write_text((KERNELS / f"{name}.ini").read_text().replace("square.ptx", "overrun.ptx").replace(
		        "entry = square", "entry = overrun"))
		    assert reload() == "ok"
		# of the two that run nobody can tell which it was
		beside = submit("core/delay", {"ms": 60000})
		assert [square() for _ in range(5)] == [NINE] * 5
		triggers("hang cuModuleLoadDataEx")
		add_kernel("late")
		assert outcome(call, "user/illegal", {"x": [1]}) == "EIO" and outcome(answer_of, beside) == "EIO"
		triggers()
		workers(2)
		# the device is lost
		triggers("once fail cuModuleLoadDataEx CUDA_ERROR_DEVICE_UNAVAILABLE")
		add_kernel("later")
		until(lambda: len(deaths()), 2)
		assert "lost its device" in deaths()[1], deaths()
		workers(3)
		assert events("KernelFailed") == [] == events("KernelDisabled")
		assert get("kernels/user/late/enable") == get("kernels/user/later/enable") == "1"
		assert get("stats/kernels_active") == get("stats/kernels_registered") and square() == NINE
	EOF
}

@test "cuda faults: more deaths than restart_limit: Failed with the CUresult's name; reset and start recover" {
	vector_kernels square illegal
	cuda_up worker_threads=1,restart_limit=1
	py <<-EOF
		$RIG
		healthy()
		assert outcome(call, "user/illegal", {"x": [1]}) == "EIO"
		workers(2)
		healthy()
		running = Task(call, "user/illegal", {"x": [1]})
		assert running.result() == "EIO"
		until(lambda: get("state"), "Failed")
		[failed] = events("Failed")
		assert NAME in failed["reason"] and "2 deaths within a minute are more than restart_limit 1" in failed["reason"], failed
		assert get("health/reason") == failed["reason"] and get("health/live") == "0"
		assert outcome(square) == "ESHUTDOWN" and get("stats/gpu_memory_bytes") == "0"
		restart()
		assert square() == NINE and get("health/status") == "healthy"
		assert_stats(accepted=1, processed=1, failed=0)
	EOF
}

# --- what hangs ---

@test "cuda faults: a synchronize that hangs ends at message_timeout, and the worker is replaced" {
	vector_kernels square
	cuda_up worker_threads=2,message_timeout=400ms
	py <<-EOF
		$RIG
		with Watch():
		    for hang in "hang synchronize", "hang kernel":
		        old = worker()
		        triggers(hang, "latency 5000")                  # so the driver has to wait
		        assert outcome(square) == "ETIMEDOUT"
		        assert last_error("user/square").endswith("ran longer than its timeout; the worker was replaced")
		        assert "was replaced: a message ran longer than its timeout" in deaths()[-1], deaths()
		        triggers()
		        assert square() == NINE and worker() != old
		assert [e["errno"] for e in events("MessageFailed")] == ["ETIMEDOUT"] * 2
		assert_stats(accepted=4, timed_out=2, processed=2)
		healthy()
	EOF
}

@test "cuda faults: a message that hangs in the driver: a drain ends by its deadline, and all files answer" {
	vector_kernels square
	cuda_up worker_threads=1
	RK_WITHIN=$(sanitized && echo 20 || echo 2) py <<-EOF
		$RIG
		triggers("hang synchronize", "latency 5000")
		hung, queued = submit("user/square", {"x": [3]}), submit("user/square", {"x": [4]})
		begun = time.monotonic()
		put("control", "drain 1")
		assert get("state") == "Draining" and len(get("drain/stuck").splitlines()) == 2
		for tool in ["cat", path("state")], ["df", MNT], ["ls", "-R", MNT], ["cat", path("stats/all"), path("metrics")]:
		    since = time.monotonic()
		    subprocess.run(tool, check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE)
		    assert time.monotonic() - since < int(os.environ["RK_WITHIN"]), tool
		assert get("wait/stopped") == "Stopped" and 1 <= time.monotonic() - begun
		assert [outcome(answer_of, fd) for fd in (hung, queued)] == ["ECANCELED"] * 2
		[event] = events("MessagesCancelled")
		assert [m["state"] for m in event["messages"]] == ["running", "queued"], event
		assert events("Stopped")[0]["by"] == "deadline" and get("stats/gpu_memory_bytes") == "0"
		assert_stats(accepted=2, cancelled=2)
		until(lambda: children(DAEMON, "rk-worker"), [])
		triggers()
		restart()
		assert square() == NINE
	EOF
}

@test "cuda faults: a cuMemGetInfo that hangs: health says so, and gives the worker up at the threshold" {
	vector_kernels square
	cuda_up worker_threads=2,health_check_timeout=200ms,health_failure_threshold=2
	py <<-EOF
		$RIG
		old = worker()
		triggers("once hang cuMemGetInfo")
		def check(n):
		    put("health/check", "1")
		    until(lambda: len(events("HealthCheckCompleted")), n)
		    return events("HealthCheckCompleted")[-1]
		first = check(2)
		assert first["outcome"] == "failed" and first["status"] == "degraded", first
		assert first["reason"].startswith("the driver hangs: the device's check has not returned for 0."), first
		assert get("health/reason") == first["reason"] and get("health/ready") == "1"
		second = check(3)
		assert second["status"] == "unhealthy" and "the driver hangs" in second["reason"], second
		workers(2)
		[died] = events("WorkerDied")
		assert died["pid"] == old and "was replaced: the driver hangs: the device's check" in died["how"], died
		healthy()
		assert square() == NINE and get("health/ready") == "1" and get("state") == "Running"
		assert get("health/checks_failed") == "2"
	EOF
}

# --- a device that is lost ---

@test "cuda faults: a lost device: what runs is EIO, lost is latched, health tells, the fallback takes over" {
	vector_kernels square
	cuda_up fallback_backend=cpu,worker_threads=2,metrics_interval=100ms
	py <<-EOF
		$RIG
		until(lambda: outcome(get, "devices/0/lost"), "0")
		running = submit("core/delay", {"ms": 60000})
		triggers("nvml_fail nvmlDeviceGetMemoryInfo 15", "no_device")
		assert outcome(answer_of, running) == "EIO"
		workers(2)
		died = events("WorkerDied")[0]
		assert died["how"].startswith("lost its device: device 0 (Fake GPU 0, GPU-a0a1a2a3-a4a5-a6a7-a8a9-aaabacadae00) is lost"), died
		assert died["running"] == 1 and "lost its device" in last_error("core/delay"), died
		[fell] = events("BackendFallback")
		assert fell["backend"] == "cpu" and get("kernels/core/delay/backend") == "cpu", fell
		assert json.loads(call("core/delay", {"ms": 1}))["waited_ms"] >= 1
		assert outcome(square) == "ENODEV" and "only [cuda]" in last_error("user/square"), last_error("user/square")
		until(lambda: get("health/status"), "degraded")
		until(lambda: len(events("DeviceLost")), 1)
		assert events("DeviceLost")[0]["uuid"].endswith("00"), events("DeviceLost")
		assert get("devices/0/lost") == "1" and outcome(get, "devices/0/power_watts") == "ENODATA"
		triggers()                                              # it came back: latched all the same
		put("health/check", "1")
		until(lambda: int(get("health/checks_passed")) >= 2, True)
		assert get("devices/0/lost") == "1" and get("devices/0/name") == "Fake GPU 0"
		put("control", "stop")
		restart()
		assert get("kernels/user/square/backend") == "cuda" and square() == NINE
		until(lambda: get("devices/0/lost"), "0")
		assert get("health/status") == "healthy" and get("health/reason") == "ok"
	EOF
}

@test "cuda faults: a lost device and no fallback: Failed; reset and start recover once it is back" {
	vector_kernels square
	cuda_up worker_threads=2,restart_limit=1,metrics_interval=24h
	py <<-EOF
		$RIG
		until(lambda: outcome(get, "devices/0/lost"), "0")
		triggers("lost")                                        # which CUDA says, not NVML
		assert outcome(square) == "EIO"
		assert "lost its device: " in last_error("user/square") and "CUDA_ERROR_DEVICE_UNAVAILABLE" in last_error("user/square")
		until(lambda: get("state"), "Failed")
		assert "restart_limit 1" in events("Failed")[0]["reason"] and get("health/status") == "unhealthy"
		assert get("devices/0/lost") == "1" and get("devices/0/name") == "Fake GPU 0"
		put("control", "reset")
		put("control", "start")                                 # it is lost still
		assert outcome(get, "wait/running") == "EIO" and get("state") == "Failed"
		assert "backend cuda" in get("last_cmd_status"), get("last_cmd_status")
		triggers()
		restart()
		assert square() == NINE and get("health/status") == "healthy"
		assert_stats(accepted=1, processed=1)
	EOF
}
