#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Kernels that crash, hang or write where they must not: each is contained, counted and named.

load common

# A broken kernel among others, with two worker threads: "gate" keeps one of them busy until all is
# accepted, "beside" runs when the worker ends, what is queued comes after the broken one.
RIG='
def rig(kernel, request, gate_ms=300):
    """How the broken one and the one beside it end."""
    beside = submit("core/delay", {"ms": 60000})
    gate = submit("core/delay", {"ms": gate_ms})
    broken = submit(kernel, request)
    queued = [submit("user/version", {"ms": 0}), submit("core/vector-add", {"a": [1], "b": [2]}),
              submit("user/version", {"ms": 1})]
    assert stats()["in_flight"] == 6
    old = worker()
    assert b"waited_ms" in answer_of(gate)
    ends = [outcome(answer_of, fd) for fd in (broken, beside)]
    version = json.dumps({"first": 1, "second": 1}, separators=(",", ":")).encode() + b"\n"
    got = [outcome(answer_of, fd) for fd in queued]
    assert got == [version, b"{\"c\":[3.0]}\n", version], got
    assert worker() != old
    return ends

def check_named(kernel, old, name):
    why = last_error(kernel)
    assert why.startswith(kernel + ": message ") and f"worker {old} {name}" in why, why
    assert why.endswith("in this kernel"), why
    [event] = [e for e in events("MessageFailed") if e["kernel"] == kernel]
    assert event["why"] == why and event["errno"] == "EIO", event
    beside = last_error("core/delay")
    assert f"worker {old} {name}" in beside and beside.endswith(f"in {kernel} beside it"), beside
    died = events("WorkerDied")[-1]
    assert died["pid"] == old and died["running"] == 2 and name in died["how"], died
'

# crashes SCRIPT: the rounds of a test, each "round(KERNEL, INPUT, DEADLY, HARMLESS, HOW)"
crashes() {
	kernels "$@" version_1
	cp "$KERNELS_SRC/version.ini" "$KERNELS/"
	rk_up_kernels worker_threads=2,restart_limit=100
	py <<-EOF
		$RIG
		n = 0
		def round(kernel, name, deadly, harmless, how):
		    global n
		    n += 1
		    old = worker()
		    assert json.loads(call(kernel, {name: harmless})) == {"survived": 1}
		    assert rig(kernel, {name: deadly}) == ["EIO", "EIO"]
		    check_named(kernel, old, how)
		    assert get(f"kernels/{kernel}/messages_failed") == "1"
		    assert get("kernels/core/delay/messages_failed") == str(n)
		    assert json.loads(call(kernel, {name: harmless})) == {"survived": 1}
		    assert_stats(accepted=8 * n, failed=2 * n, processed=6 * n, in_flight=0)
		with Watch():
		$(sed 's/^/    /')
		assert events("KernelDisabled") == []
		assert len(events("WorkerStarted")) == n + 1 and get("stats/kernels_active") == get("stats/kernels_registered")
	EOF
}

@test "contain: a NULL pointer, a stack that overflows: EIO with the signal, what is queued runs on" {
	crashes crash_null crash_stack <<-'EOF'
		round("user/crash-null", "crash", 1, 0, "was killed by SIGSEGV")
		round("user/crash-stack", "crash", 1, 0, "was killed by SIGSEGV")
	EOF
}

@test "contain: abort, exit and a signal of its own choice" {
	crashes crash_abort crash_exit crash_signal <<-'EOF'
		round("user/crash-abort", "crash", 1, 0, "was killed by SIGABRT")
		round("user/crash-exit", "status", 3, -1, "exited with status 3")
		round("user/crash-signal", "signal", int(signal.SIGFPE), 0, "was killed by SIGFPE")
	EOF
}

@test "contain: SIGKILL is nobody's doing: no kernel is blamed" {
	kernels crash_signal
	rk_up_kernels worker_threads=2
	py <<-'EOF'
		old = worker()
		beside = submit("core/delay", {"ms": 60000})
		assert outcome(call, "user/crash-signal", {"signal": int(signal.SIGKILL)}) == "EIO"
		assert outcome(answer_of, beside) == "EIO"
		for kernel in "user/crash-signal", "core/delay":
		    assert last_error(kernel).endswith(f"worker {old} was killed by SIGKILL"), last_error(kernel)
		assert_stats(failed=2)
	EOF
}

@test "contain: a kernel that loops for ever ends at its timeout; what is queued survives and runs" {
	kernels spin version_1
	cp "$KERNELS_SRC/version.ini" "$KERNELS/"
	sed -i 's/^id .*/&\ntimeout = 500ms/' "$KERNELS/spin.ini"
	rk_up_kernels worker_threads=2
	py <<-EOF
		$RIG
		old, begun = worker(), time.monotonic()
		assert json.loads(call("user/spin", {"spin": 0})) == {"ended": 1}
		with Watch():
		    assert rig("user/spin", {"spin": 1}, gate_ms=100) == ["ETIMEDOUT", "EIO"]
		assert 0.5 <= time.monotonic() - begun < 20
		assert last_error("user/spin").endswith("ran longer than its timeout; the worker was replaced")
		beside = last_error("core/delay")
		assert f"worker {old} was replaced" in beside and "timeout" in beside, beside
		assert get("kernels/user/spin/messages_timed_out") == "1" and get("kernels/user/spin/messages_failed") == "0"
		assert_stats(accepted=7, timed_out=1, failed=1, processed=5, in_flight=0)
		assert json.loads(call("user/spin", {"spin": 0})) == {"ended": 1}
		assert not os.path.exists(f"/proc/{old}") or state_of(f"/proc/{old}") == "Z"
		failed = {e["kernel"]: e["errno"] for e in events("MessageFailed")}
		assert failed == {"user/spin": "ETIMEDOUT", "core/delay": "EIO"}, failed
	EOF
}

@test "contain: a cancelled kernel that does not end costs its worker after cancel_grace, and it is blamed" {
	kernels spin
	rk_up_kernels worker_threads=2,cancel_grace=200ms,restart_limit=0
	py <<-'EOF'
		def until_running(n): until(lambda: sum("state running" in get(f"inflight/{i}") for i in in_flight()), n)
		for kills in range(1, 4):
		    old = worker()
		    spin = submit("user/spin", {"spin": 1})
		    beside = submit("core/delay", {"ms": 60000})
		    until_running(2)
		    os.close(spin)
		    assert outcome(answer_of, beside) == "EIO"
		    sentence = last_error("core/delay")
		    assert f"worker {old} was replaced: a cancelled message did not end within cancel_grace" in sentence, sentence
		    assert get("kernels/user/spin/messages_cancelled") == str(kills)
		    assert get("wait/running") == "Running"
		until(lambda: get("kernels/user/spin/enable"), "0")
		assert get("state") == "Running"
	EOF
}

@test "contain: delays of weeks that nobody waits for any more leave the threads free" {
	rk_up worker_threads=2
	py <<-'EOF'
		def until_running(n): until(lambda: sum("state running" in get(f"inflight/{i}") for i in in_flight()), n)
		begun = worker()
		for _ in range(2):
		    fds = [submit("core/delay", {"ms": 4294967295}) for _ in range(8)]
		    until_running(2)
		    for fd in fds: os.close(fd)
		    until_in_flight(0)
		assert b"waited_ms" in call("core/delay", {"ms": 0})
		assert worker() == begun
	EOF
}

@test "contain: a kernel that loops for ever while the runtime drains: the drain ends" {
	kernels spin
	rk_up_kernels worker_threads=2
	py <<-'EOF'
		spin, delay = submit("user/spin", {"spin": 1}), submit("core/delay", {"ms": 300})
		put("control", "drain 1")
		assert b"waited_ms" in answer_of(delay)
		[stuck] = get("drain/stuck").splitlines()
		assert "kernel=user/spin state=running" in stuck, stuck
		assert get("wait/stopped") == "Stopped" and outcome(answer_of, spin) == "ECANCELED"
		[event] = events("MessagesCancelled")
		assert [m["kernel"] for m in event["messages"]] == ["user/spin"], event
		until(lambda: children(DAEMON, "rk-worker"), [])
		assert_stats(processed=1, cancelled=1)
	EOF
}

@test "contain: a kernel that writes past its output: the guard tells, the worker is replaced" {
	kernels overrun version_1
	cp "$KERNELS_SRC/version.ini" "$KERNELS/"
	rk_up_kernels worker_threads=2
	py <<-EOF
		$RIG
		old, x = worker(), [1, 2, 3]
		assert json.loads(call("user/overrun", {"extra": 0, "x": x})) == {"y": x}
		with Watch():
		    assert rig("user/overrun", {"extra": 1, "x": x}) == ["EIO", "EIO"]
		why = last_error("user/overrun")
		assert "output 'y'" in why and "past" in why, why
		beside = last_error("core/delay")
		assert f"worker {old} was replaced" in beside and "past" in beside, beside
		[died] = events("WorkerDied")
		assert died["pid"] == old and "past" in died["how"], died
		assert_stats(accepted=7, failed=2, processed=5, in_flight=0)
		assert get("kernels/user/overrun/messages_failed") == "1"
		assert json.loads(call("user/overrun", {"extra": 0, "x": x})) == {"y": x}
		# in every encoding, and with nothing but the guard
		assert outcome(call, "user/overrun", st_pack({"extra": ("U32", [], b"\x40\0\0\0"), "x": ("F32", [0], b"")}), "safetensors") == "EIO"
		assert outcome(call, "user/overrun", b"\x01\0\0\0", "raw") == "EIO"
	EOF
}

@test "contain: three within a minute disable a kernel; 1 into its enable tries again" {
	kernels crash_null
	rk_up_kernels worker_threads=1
	py <<-'EOF'
		kernel, enable = "user/crash-null", "kernels/user/crash-null/enable"
		with Watch():
		    gate = submit("core/delay", {"ms": 200})
		    deadly = [submit(kernel, {"crash": 1}) for _ in range(6)]
		    other = submit("core/vector-add", {"a": [1], "b": [2]})
		    assert answer_of(gate) and answer_of(other) == b'{"c":[3.0]}\n'
		    assert [outcome(answer_of, fd) for fd in deadly] == ["EIO"] * 6
		until(lambda: len(events("WorkerDied")), 3)             # what was queued did not kill three more
		[event] = events("KernelDisabled")
		assert event["id"] == kernel
		assert "killed its worker 3 times within a minute: write 1 to its enable to try again" in event["why"], event
		assert get(enable) == "0"
		assert get("stats/kernels_active") == "9" and get("stats/kernels_registered") == "10"
		assert outcome(call, kernel, {"crash": 0}) == "ENODEV"
		assert_stats(failed=6, processed=2, rejected=1)
		put(enable, "1")
		assert json.loads(call(kernel, {"crash": 0})) == {"survived": 1}
		assert get(enable) == "1" and get("stats/kernels_active") == "10"
		assert outcome(call, kernel, {"crash": 1}) == "EIO"     # counted anew
		assert json.loads(call(kernel, {"crash": 0})) == {"survived": 1}
		assert len(events("KernelDisabled")) == 1
	EOF
}

@test "contain: what works between them is no excuse; hanging and writing past an output count, too" {
	kernels overrun spin
	sed -i 's/^id .*/&\ntimeout = 100ms/' "$KERNELS/spin.ini"
	rk_up_kernels restart_limit=0,worker_threads=2 # these deaths are the kernels'
	py <<-'EOF'
		def overrun(extra): return outcome(call, "user/overrun", {"extra": extra, "x": [1]})
		def state(): return len(events("KernelDisabled")), get("kernels/user/overrun/enable")
		for _ in range(2):
		    assert overrun(1) == "EIO" and state() == (0, "1")
		    assert overrun(0) == b'{"y":[1.0]}\n'
		assert overrun(1) == "EIO"
		assert state() == (1, "0") and overrun(0) == "ENODEV"
	EOF
	control stop # the back-off begins anew
	control reset
	control start
	wait_for running
	py <<-'EOF'
		for _ in range(3):
		    assert call("core/echo", {"data": [1]})             # a worker is there again
		    assert outcome(call, "user/spin", {"spin": 1}) == "ETIMEDOUT"
		assert [e["id"] for e in events("KernelDisabled")] == ["user/overrun", "user/spin"]
		assert outcome(call, "user/spin", {"spin": 0}) == "ENODEV"
		# a changed description goes on counting, and stays as it was enabled or not
		file = KERNELS / "spin.ini"
		file.write_text(file.read_text().replace("[inputs]", "version = 2\n[inputs]"))
		assert reload() == "ok" and get("kernels/user/spin/enable") == "0"
		assert outcome(call, "user/spin", {"spin": 0}) == "ENODEV"
		assert call("core/echo", {"data": [1]})
		put("kernels/user/spin/enable", "1")
		assert json.loads(call("user/spin", {"spin": 0})) == {"ended": 1}
	EOF
}

@test "contain: a library whose constructor hangs at reload: its kernel is blamed at the deadline, the rest goes on" {
	rk_up_kernels primary_backend=cpu,worker_threads=2,kernel_load_timeout=1s,health_check_interval=100ms,health_check_timeout=300ms
	kernels hang_load
	py <<-'EOF'
		old = worker()
		assert reload() == "ok" and get("kernels/user/hang-load/enable") == "1"
		waiting = submit("user/hang-load", {"x": 1})
		beside = submit("core/delay", {"ms": 60000})
		assert json.loads(call("core/echo", {"data": [1]})) == {"data": [1]}   # calls run meanwhile
		while not events("WorkerDied"):                         # to load is no fault of health
		    assert get("health/ready") == "1" and get("health/status") in ("healthy", "degraded"), get("health/reason")
		why = "disabled, loading its library took longer than kernel_load_timeout (1 s)"
		assert [outcome(answer_of, fd) for fd in (waiting, beside)] == ["EIO", "EIO"]
		assert why in last_error("user/hang-load") and "write 1 to its enable" in last_error("user/hang-load")
		assert "was replaced: loading user/hang-load" in last_error("core/delay")
		[failed] = events("KernelFailed")
		assert failed["id"] == "user/hang-load" and why in failed["why"], failed
		assert get("kernels/user/hang-load/enable") == "0"
		assert outcome(call, "user/hang-load", {"x": 1}) == "ENODEV"
		assert json.loads(call("core/echo", {"data": [2]})) == {"data": [2]}
		until(lambda: get("health/status"), "healthy")
		assert len(events("WorkerDied")) == 1 and worker() != old
		put("kernels/user/hang-load/enable", "1")               # it hangs again, and is disabled again
		until(lambda: len(events("KernelFailed")), 2)
		assert get("kernels/user/hang-load/enable") == "0" and get("state") == "Running"
	EOF
}

@test "contain: a SIGKILL from outside while a library is loaded says nothing of it: it is loaded again" {
	rk_up_kernels primary_backend=cpu,kernel_load_timeout=1h
	kernels hang_load
	py <<-'EOF'
		import signal
		def in_constructor():
		    return "hang_load.so" in open(f"/proc/{worker()}/maps").read()
		assert reload() == "ok"
		until(lambda: outcome(in_constructor), True)
		os.kill(old := worker(), signal.SIGKILL)
		until(lambda: len(events("WorkerDied")), 1)
		until(lambda: outcome(in_constructor), True)
		assert events("KernelFailed") == [] and get("kernels/user/hang-load/enable") == "1"
		[died] = events("WorkerDied")
		assert died["pid"] == old and died["how"] == "was killed by SIGKILL", died
	EOF
}

@test "contain: a library whose constructor hangs at the start: Running without it" {
	kernels hang_load version_1
	cp "$KERNELS_SRC/version.ini" "$KERNELS/"
	rk_up_kernels kernel_load_timeout=500ms,restart_limit=0
	assert_value state Running
	assert_value kernels/user/hang-load/enable 0
	run value kernels/user/hang-load/last_error
	assert_output --partial "disabled, loading its library took longer than kernel_load_timeout (0.5 s)"
	run call user/version '{"ms": 0}'
	assert_output --partial '"first"'
}

@test "contain: a library whose destructor hangs: the worker is replaced at the deadline, and the kernel named" {
	kernels hang_load
	"${CC-cc}" -O2 -shared -fPIC -DHANG_UNLOAD -o "$KERNELS/hang_load.so" "$KERNELS_SRC/hang_load.c"
	rk_up_kernels kernel_load_timeout=500ms
	py <<-'EOF'
		assert json.loads(call("user/hang-load", {"x": 5})) == {"y": 5}
		old = worker()
		put("kernels/user/hang-load/enable", "0")
		until(lambda: len(events("WorkerDied")), 1)
		assert "unloading user/hang-load took longer" in events("WorkerDied")[0]["how"]
		until(lambda: len(events("WorkerStarted")), 2)
		assert worker() != old and "unloading its library" in last_error("user/hang-load")
		assert get("kernels/user/hang-load/enable") == "0"
		assert json.loads(call("core/echo", {"data": [2]})) == {"data": [2]}
		put("kernels/user/hang-load/enable", "1")
		until(lambda: outcome(call, "user/hang-load", {"x": 6}), b'{"y":6}\n')
	EOF
}
