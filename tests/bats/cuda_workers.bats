#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Several devices behind one mount: each worker has its own, and what goes wrong on one stays there.

load cuda

UUID=GPU-a0a1a2a3-a4a5-a6a7-a8a9-aaabacadae

four_up() {
	triggers 'device_count 4' "$@"
	cuda_up "cuda_device=0:1:2:3,worker_threads=2,${FOUR_OPTIONS-fallback_backend=none}"
}

# Python that the tests below share.
workers_py() {
	{
		cat <<-'EOF'
			def worker(n, name): return get(f"workers/{n}/{name}")
			def visible(n):
			    """The devices that the driver shows to the process of worker n."""
			    environ = open(f"/proc/{worker(n, 'pid')}/environ").read().split("\0")
			    return dict(v.split("=", 1) for v in environ if v).get("CUDA_VISIBLE_DEVICES")
			def states(): return [worker(n, "state") for n in sorted(os.listdir(path("workers")))]
			def trigger(*lines):
			    name = os.environ["RK_FAKE_CUDA"]
			    with open(name + ".py", "w") as f:
			        f.write("\n".join(("device_count 4", *lines)) + "\n")
			    os.rename(name + ".py", name)
			class Load:
			    """Calls without end, of which only those on a worker that is at fault may fail."""
			    def __init__(self):
			        self.over, self.done, self.failed = threading.Event(), 0, []
			        self.tasks = [Task(self.run) for _ in range(6)]
			    def run(self):
			        while not self.over.is_set():
			            if (what := outcome(call, "core/echo", b"x" * 100, "raw")) not in ("ok", b"x" * 100):
			                self.failed.append(what)
			            self.done += 1
			    def end(self):
			        self.over.set()
			        assert [t.result() for t in self.tasks] == ["ok"] * 6 and self.done > 50
			        return self.failed
			def others(n): return [m for m in range(4) if m != n]
			def fails_alone(n):
			    """Nothing has failed on another worker than n, and none was replaced."""
			    assert [worker(m, "messages_failed") for m in others(n)] == ["0"] * 3
			    assert [worker(m, "restarts") for m in others(n)] == ["0"] * 3
			    assert {e["worker"] for e in events("WorkerDied")} <= {n}, events("WorkerDied")
			    assert get("state") == "Running"
		EOF
		cat
	} | py
}

@test "cuda workers: each has a device of its own, by index or UUID, and all serve" {
	four_up
	UUID=$UUID workers_py <<-'EOF'
		assert states() == ["running"] * 4 and get("health/status") == "healthy"
		assert [worker(n, "device") for n in range(4)] == [f"{n} {os.environ['UUID']}0{n}" for n in range(4)]
		assert [visible(n) for n in range(4)] == [f"{os.environ['UUID']}0{n}" for n in range(4)]
		assert [worker(n, "backend") for n in range(4)] == ["cuda"] * 4
		fds = [submit("core/delay", {"ms": 1000}) for _ in range(8)]
		until(lambda: [worker(n, "messages_in_flight") for n in range(4)], ["2"] * 4)
		assert [json.loads(answer_of(fd))["waited_ms"] >= 1000 for fd in fds] == [True] * 8
		assert sum(int(worker(n, "gpu_memory_bytes")) for n in range(4)) == int(get("stats/gpu_memory_bytes"))
	EOF
	cuda_down
	triggers 'device_count 4'
	cuda_up "cuda_device=${UUID}03 : 1,workers=2"
	assert_value config/cuda_device "${UUID}03,1"
	assert_equal "$(cat "$MNT"/workers/{0,1,2,3}/device)" "3 ${UUID}03"$'\n'"3 ${UUID}03"$'\n'"1 ${UUID}01"$'\n'"1 ${UUID}01"
	cuda_down
	run timeout 60 "$BIN/mount.rkfs" -o "$CUDA_OPTIONS,cuda_device=0:1,workers=17" none "$MNT"
	assert_failure
	assert_output --partial "workers: 17 for each of 2 devices of cuda_device are more than 32"
}

@test "cuda workers: cuda_device = all has whatever devices there are" {
	triggers 'device_count 4'
	cuda_up "cuda_device=all,fallback_backend=none"
	assert_value config/cuda_device all
	UUID=$UUID workers_py <<-'EOF'
		assert states() == ["running"] * 4 and get("health/status") == "healthy"
		assert [worker(n, "device") for n in range(4)] == [f"{n} {os.environ['UUID']}0{n}" for n in range(4)]
		assert [visible(n) for n in range(4)] == [f"{os.environ['UUID']}0{n}" for n in range(4)]
	EOF
	cuda_down
	CUDA_VISIBLE_DEVICES=3,$UUID,7,0 cuda_up "cuda_device=all,workers=2,fallback_backend=none"
	assert_equal "$(cat "$MNT"/workers/*/device)" "0 ${UUID}03"$'\n'"0 ${UUID}03"$'\n'"1 ${UUID}00"$'\n'"1 ${UUID}00"
	cuda_down
	triggers 'device_count 2' 'mig'
	cuda_up "cuda_device=all,fallback_backend=none"
	assert_equal "$(cat "$MNT"/workers/*/device)" "0 MIG-11${UUID#GPU-a0}00"$'\n'"1 MIG-11${UUID#GPU-a0}01"
	assert_value health/status healthy
	cuda_down
	triggers 'device_count 16'
	cuda_up "cuda_device=all,workers=3,worker_threads=1,fallback_backend=none"
	assert_equal "$(ls "$MNT/workers" | wc -l)" 30
	run cat "$LOG"
	assert_output --partial "of 16 devices the first 10 are used: there are 32 workers at most"
	cuda_down
	triggers 'device_count 4' 'nvml_fail nvmlInit_v2 9'
	cuda_up "cuda_device=all,fallback_backend=none"
	assert_equal "$(cat "$MNT"/workers/*/device)" "0 ${UUID}00"
	run cat "$LOG"
	assert_output --partial "the devices cannot be listed: nvmlInit: "
}

@test "cuda workers: a list that hangs in the driver does not keep a stop waiting" {
	triggers 'device_count 4' 'hang nvmlInit_v2'
	cuda_up "cuda_device=all,nostart"
	workers_py <<-'EOF'
		for _ in range(2):
		    put("control", "start")
		    assert get("state") == "Starting" and states() == ["starting"]
		    put("control", "stop")
		    assert get("state") == "Stopped"
		    put("control", "reset")
		put("control", "start")
		trigger()
		until(lambda: get("state"), "Running")
		until(states, ["running"] * 4)
	EOF
}

@test "cuda workers: each keeps its card whatever becomes of the numbers, and takes a new one in its place" {
	four_up
	UUID=$UUID workers_py <<-'EOF'
		uuid = os.environ["UUID"]
		def again(n, *lines):
		    put(f"workers/{n}/enable", "0")
		    until(lambda: worker(n, "state"), "stopped")
		    trigger(*lines)
		    put(f"workers/{n}/enable", "1")
		    until(lambda: worker(n, "state") in ("running", "out"), True)
		    return worker(n, "state"), worker(n, "device")
		assert again(2, "serial 2 0x77") == ("running", f"2 {uuid}77")         # it was swapped
		# card 0 is gone: the numbers of those behind it are others
		three = "serial 0 1", "serial 1 0x77", "serial 2 3", "device_count 3"
		assert again(3, *three) == ("running", f"2 {uuid}03")
		assert again(0, *three) == ("out", f"0 {uuid}00")                      # what is there has others
		assert "there is no cuda_device" in worker(0, "reason"), worker(0, "reason")
		assert get("state") == "Running" and get("health/status") == "degraded"
		# another one came, in another slot: nobody has it
		four = "serial 0 1", "serial 1 0x77", "serial 2 3", "serial 3 0x99"
		assert again(0, *four) == ("running", f"3 {uuid}99")
		until(lambda: get("health/status"), "healthy")
		assert [worker(n, "device").split()[1] for n in range(4)] == [uuid + n for n in ("99", "01", "77", "03")]
	EOF
}

@test "cuda workers: a device that is lost, hangs or has a sticky error takes no other along" {
	export FOUR_OPTIONS=fallback_backend=none,health_check_interval=100ms,health_check_timeout=500ms,health_failure_threshold=2,health_stall_timeout=1s,restart_limit=100
	four_up
	workers_py <<-'EOF'
		for n, line in (1, "@1 once sticky CUDA_ERROR_ILLEGAL_ADDRESS"), (2, "@2 lost"), (3, "@3 hang synchronize"):
		    load = Load()
		    trigger(line)
		    until(lambda: worker(n, "restarts") == "0", False)
		    assert get("health/ready") == "1"
		    done = load.done
		    until(lambda: load.done > done + 50, True)
		    trigger()
		    until(lambda: worker(n, "state"), "running")
		    until(lambda: get("health/status"), "healthy")
		    failed = load.end()
		    assert set(failed) <= {"EIO"}, failed
		    assert worker(0, "messages_failed") == "0" and worker(0, "restarts") == "0"
		    assert [worker(m, "restarts") for m in range(n + 1, 4)] == ["0"] * (3 - n)
		assert stats()["timed_out"] == 0 and get("state") == "Running"
	EOF
}

@test "cuda workers: out of memory on one is a message's failure there, and nothing else" {
	four_up
	workers_py <<-'EOF'
		load = Load()
		trigger("@2 fail cuMemAlloc CUDA_ERROR_OUT_OF_MEMORY", "@2 fail cuMemAllocAsync CUDA_ERROR_OUT_OF_MEMORY", "@2 fail cuMemAllocFromPoolAsync CUDA_ERROR_OUT_OF_MEMORY")
		done = load.done
		until(lambda: load.done > done + 200, True)
		trigger()
		failed = load.end()
		assert set(failed) <= {"ENOMEM"}, failed
		fails_alone(2)
		assert states() == ["running"] * 4 and events("WorkerDied") == []
		assert call("core/echo", b"y", "raw") == b"y"
	EOF
}

@test "cuda workers: one that cannot start is out, by name; all of them: Failed, or the fallback" {
	export FOUR_OPTIONS=fallback_backend=cpu
	four_up '@2 fail cuDevicePrimaryCtxRetain CUDA_ERROR_ECC_UNCORRECTABLE'
	workers_py <<-'EOF'
		assert states() == ["running", "running", "out", "running"], states()
		assert get("state") == "Running" and get("health/status") == "degraded" and get("health/ready") == "1"
		assert get("health/reason").startswith("worker 2: ") and "ECC" in get("health/reason"), get("health/reason")
		assert [worker(n, "backend") for n in range(4)] == ["cuda", "cuda", "none", "cuda"]
		[out] = events("WorkerOut")
		assert out["worker"] == 2 and events("BackendFallback") == []
		for _ in range(10):
		    assert call("core/echo", b"y", "raw") == b"y"
		trigger()                                               # it was repaired
		put("workers/2/enable", "1")
		until(lambda: get("health/status"), "healthy")
		assert worker(2, "backend") == "cuda"
	EOF
	cuda_down
	four_up 'fail cuDevicePrimaryCtxRetain CUDA_ERROR_ECC_UNCORRECTABLE'
	workers_py <<-'EOF'
		assert get("state") == "Running" and get("health/status") == "degraded"
		assert "fallback" in get("health/reason"), get("health/reason")
		until(states, ["running"] * 4)
		assert [worker(n, "backend") for n in range(4)] == ["cpu"] * 4
		assert call("core/echo", b"y", "raw") == b"y"
	EOF
	cuda_down
	triggers 'device_count 4' 'fail cuDevicePrimaryCtxRetain CUDA_ERROR_ECC_UNCORRECTABLE'
	cuda_refused "CUDA_ERROR_ECC_UNCORRECTABLE" "cuda_device=0:1:2:3,fallback_backend=none"
}

@test "cuda workers: one device is taken out and back while the rest serve; its context is gone meanwhile" {
	four_up
	workers_py <<-'EOF'
		load = Load()
		for n in range(4):
		    put(f"workers/{n}/enable", "0")
		    until(lambda: worker(n, "state"), "stopped")
		    put(f"workers/{n}/enable", "1")
		    until(lambda: worker(n, "health"), "healthy")
		assert load.end() == []
		assert events("WorkerDied") == [], events("WorkerDied")
		assert states() == ["running"] * 4
	EOF
	assert_equal "$(grep -c '^release ' "$RK_FAKE_CUDA_LEDGER")" 4
}

@test "cuda workers: one of them watches the devices, and none while one is taken out" {
	export FOUR_OPTIONS=metrics_interval=100ms
	four_up
	workers_py <<-'EOF'
		import signal
		def watchers():
		    """The workers that have NVML open, by the thread that looks."""
		    found = []
		    for n in range(4):
		        pid = outcome(worker, n, "pid")
		        try:
		            if any(open(f"/proc/{pid}/task/{t}/comm").read() == "rk-devices\n" for t in os.listdir(f"/proc/{pid}/task")):
		                found.append(n)
		        except FileNotFoundError:
		            pass                                        # it has just ended
		    return found
		until(watchers, [0])
		until(lambda: sorted(os.listdir(path("devices"))), list("0123"))
		assert get("devices/3/name") == "Fake GPU 3"
		put("workers/2/enable", "0")
		until(watchers, [])
		assert get("devices/3/name") == "Fake GPU 3"            # as it was seen last
		until(lambda: worker(2, "state"), "stopped")
		assert watchers() == []
		put("workers/2/enable", "1")
		until(watchers, [0])
		os.kill(int(worker(0, "pid")), signal.SIGKILL)          # another one goes on
		until(lambda: watchers()[:1] not in ([], [0]) or worker(0, "restarts") == "1" and len(watchers()) == 1, True)
		until(lambda: worker(0, "state"), "running")
		trigger("temperature 77")
		until(lambda: get("devices/1/temperature_celsius"), "77")
		assert len(watchers()) == 1
	EOF
}

@test "cuda workers: a kernel that loads on two of four devices runs there, and only there" {
	vector_kernels square
	mv "$KERNELS/square.ini" "$BATS_TEST_TMPDIR"
	four_up
	SPARE=$BATS_TEST_TMPDIR workers_py <<-'EOF'
		import shutil
		def done(): return [int(worker(n, "messages_processed")) for n in range(4)]
		trigger(*(f"@{n} fail cuModuleLoadDataEx CUDA_ERROR_NO_BINARY_FOR_GPU" for n in (1, 3)))
		shutil.copy(os.environ["SPARE"] + "/square.ini", KERNELS)
		assert reload() == "ok"
		before = done()
		for _ in range(20):
		    assert json.loads(call("user/square", {"x": [3.0]})) == {"y": [9.0]}
		ran = [now - was for now, was in zip(done(), before)]
		assert ran[0] + ran[2] == 20 and ran[1] == ran[3] == 0, ran
		assert get("kernels/user/square/backend") == "cuda" and events("KernelFailed") == []
		put("workers/0/enable", "0")
		until(lambda: worker(0, "state"), "stopped")
		assert json.loads(call("user/square", {"x": [2.0]})) == {"y": [4.0]}
		put("workers/2/enable", "0")                            # the last that has it
		until(lambda: worker(2, "state"), "stopped")
		call("core/echo", b"x", "raw")
		waits = submit("user/square", {"x": [5.0]})             # for one that may have it
		until_in_flight(1)
		put("workers/2/enable", "1")
		assert json.loads(answer_of(waits)) == {"y": [25.0]}
		put("workers/0/enable", "1")
		until(states, ["running"] * 4)
	EOF
}
