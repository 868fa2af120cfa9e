#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The CUDA backend as users see it: with no driver, and on the fake one. What it answers, where it
# runs, what it holds on the device, and what devices/ shows.

load cuda

# --- no driver ---

@test "cuda: without a driver production falls back to cpu: the event, the log and health name libcuda.so.1" {
	unset LD_LIBRARY_PATH
	rk_up preset=production,health_check_interval=24h
	assert_value state Running
	assert_value health/ready 1
	assert_value health/status degraded
	run value health/reason
	assert_output --regexp '^on the fallback backend: .*libcuda\.so\.1'
	assert_equal "$(cat "$MNT"/kernels/*/*/backend | uniq)" cpu
	assert_equal "$(ls -A "$MNT/devices")" ""
	run call core/vector-add '{"a":[1,2],"b":[3,4]}'
	assert_output '{"c":[4.0,6.0]}'
	py <<-'EOF'
		[event] = events("BackendFallback")
		assert event["backend"] == "cpu", event
		assert event["why"].startswith("backend cuda: cannot load the NVIDIA driver's library: libcuda.so.1: "), event
		started, = events("WorkerStarted")
		assert started["backend"] == "cpu" and events("Started")[0]["backend"] == "cpu", started
		log = [json.loads(line) for line in open(os.environ["LOG"])]
		[line] = [e for e in log if e["msg"].startswith("fell back to the cpu backend: ")]
		assert "libcuda.so.1" in line["msg"] and line["level"] == "warn", line
	EOF
	assert_value stats/gpu_memory_bytes 0
	assert_value stats/gpu_memory_peak_bytes 0
}

@test "cuda: without a driver high_performance does not mount: 32, and what to do on stderr" {
	unset LD_LIBRARY_PATH
	cuda_refused 'libcuda\.so\.1' preset=high_performance
	assert_output --partial "fallback_backend"
	# and in the background, which is how users mount
	run timeout 60 "$BIN/mount.rkfs" -o preset=high_performance none "$MNT"
	assert_failure 32
	assert_output --partial "libcuda.so.1"
}

@test "cuda: no program is linked against a CUDA library" {
	local program

	for program in mount.rkfs rk-worker rkcall rktop; do
		run ldd "$BIN/$program"
		assert_success
		assert_output --partial libc.so.6
		refute_output --regexp 'cuda|nvidia|nvml|cudart'
	done
}

# --- on the fake driver ---

ANSWERS='
import random
rng = random.Random(4)
def f32(n): return struct.pack(f"<{n}f", *(rng.uniform(-9, 9) for _ in range(n)))
def f64(n): return struct.pack(f"<{n}d", *(rng.uniform(-9, 9) for _ in range(n)))
nan = {"a": ["NaN", "Infinity", 1e30], "b": [1, "-Infinity", 1e38]}
graph = {"offsets": [0, 2, 3, 3, 5], "targets": [1, 2, 0, 0, 2]}
book = {"weights": [3, 1.5], "mean": [0.01, -0.02], "covariance": [[0.04, 0.01], [0.01, 0.09]], "seed": 7}
# of 0 elements, of few, of more than one block of staging memory
large = 700001
REQUESTS = [
    ("core/echo", "json", {"data": []}), ("core/echo", "json", {"data": list(range(200))}),
    ("core/echo", "raw", rng.randbytes(2500000)), ("core/echo", "safetensors", st_pack({"data": ("U8", [0], b"")})),
    ("core/vector-add", "json", nan), ("core/vector-add", "json", {"a": [], "b": []}),
    ("core/vector-add", "safetensors",
     st_pack({"a": ("F32", [large], f32(large)), "b": ("F32", [large], f32(large))})),
    ("core/matmul", "json", {"a": [[1, 2, 3], [4, 5, 6]], "b": [[1, 0], [0, 1], [2, 2]]}),
    ("core/matmul", "safetensors",
     st_pack({"a": ("F32", [70, 33], f32(70 * 33)), "b": ("F32", [33, 129], f32(33 * 129))})),
    ("core/reduce-sum", "json", {"x": []}), ("core/reduce-sum", "raw", f32(100003)),
    ("core/delay", "json", {"ms": 1}),
    ("graph/pagerank", "json", graph), ("graph/pagerank", "json", graph | {"offsets": [0, 2, 1, 3, 5]}),
    ("risk/monte-carlo-var", "json", book | {"paths": 20000}), ("risk/monte-carlo-var", "json", book | {"paths": 0}),
    ("core/ring-echo", "json", {"data": [1, 2, 3]}), ("core/ring-echo", "raw", rng.randbytes(300000)),
    ("core/running-stats", "json", {"x": []}), ("core/running-stats", "raw", f64(40000)),
    ("core/running-stats", "json", {"x": [1.5, 2.5]}),
]
'

@test "cuda: every shipped kernel runs on cuda and answers as the cpu backend does, to the bit" {
	local backend

	for backend in cpu cuda; do
		cuda_up "primary_backend=$backend"
		assert_equal "$(cat "$MNT"/kernels/*/*/backend | uniq)" $backend
		BACKEND=$backend py <<-EOF >"$BATS_TEST_TMPDIR/$backend"
			$ANSWERS
			for kernel, encoding, request in REQUESTS:
			    answer = call(kernel, request, encoding)
			    if kernel == "core/delay":                          # it may take longer
			        answer = b"%d" % (json.loads(answer)["waited_ms"] >= request["ms"])
			    print(kernel, encoding, len(answer), answer.hex())
			assert sorted({kernel for kernel, *_ in REQUESTS}) == sorted(
			    f"{domain}/{name}" for domain in os.listdir(path("kernels")) for name in os.listdir(path(f"kernels/{domain}")))
			assert_stats(processed=len(REQUESTS), failed=0, rejected=0)
			started, = events("WorkerStarted")
			assert started["backend"] == os.environ["BACKEND"] and events("BackendFallback") == []
			assert get("health/status") == "healthy" and get("health/reason") == "ok"
		EOF
		[[ $backend == cuda ]] || cuda_down
	done
	assert [ "$(wc -l <"$BATS_TEST_TMPDIR/cpu")" -ge 20 ]
	cmp "$BATS_TEST_TMPDIR/cpu" "$BATS_TEST_TMPDIR/cuda"
}

@test "cuda: gpu_memory_bytes is what is held now, the peak what was; 0 from Stopped on" {
	cuda_up memory_pooling=no,async_memory=no
	py <<-'EOF'
		def memory(): return int(get("stats/gpu_memory_bytes")), int(get("stats/gpu_memory_peak_bytes"))
		idle, _ = memory()
		assert idle == 24                                       # the state of core/running-stats
		running = submit("core/delay", {"ms": 300})
		until(lambda: memory()[0] > idle, True)                 # its output and the guard
		assert memory()[0] < 4096 and memory()[1] >= memory()[0]
		assert json.loads(answer_of(running))["waited_ms"] >= 300
		until(lambda: memory()[0], idle)
		call("core/echo", bytes(1000000), "raw")                # there and back
		now, peak = memory()
		assert now == idle and 2000000 < peak < 2100000, (now, peak)
		assert f"rkfs_gpu_memory_peak_bytes{{mount=\"{MNT}\"}} {peak}" in get("metrics") and f"gpu_memory_bytes {now}" in get("stats/all")
		put("control", "drain 5")
		get("wait/stopped")
		assert memory() == (0, peak)
		restart()
		assert memory()[0] == idle and memory()[1] < peak
	EOF
}

@test "cuda: devices/0 is what NVML says, refreshed; what it does not tell is ENODATA" {
	triggers 'temperature 55' 'nvml_memory_used 1000000' 'power 1005'
	cuda_up metrics_interval=100ms
	until_value devices/0/name "Fake GPU 0"
	assert_value devices/0/uuid GPU-a0a1a2a3-a4a5-a6a7-a8a9-aaabacadae00
	assert_value devices/0/memory_total_bytes 1073741824
	assert_value devices/0/memory_used_bytes 1000000
	assert_value devices/0/utilisation_percent 17
	assert_value devices/0/temperature_celsius 55
	assert_value devices/0/power_watts 1.005
	assert_value devices/0/lost 0
	triggers 'temperature 56' 'utilisation 99' 'nvml_memory_used 2000000'
	until_value devices/0/temperature_celsius 56
	assert_value devices/0/utilisation_percent 99
	assert_value devices/0/memory_used_bytes 2000000
	assert_value devices/0/power_watts 61.500
	triggers 'nvml_fail nvmlDeviceGetPowerUsage 3' 'nvml_fail nvmlDeviceGetTemperature 4' 'utilisation 3'
	until_value devices/0/utilisation_percent 3
	py <<-'EOF'
		assert outcome(get, "devices/0/power_watts") == outcome(get, "devices/0/temperature_celsius") == "ENODATA"
		assert get("devices/0/memory_total_bytes") == "1073741824" and get("devices/0/lost") == "0"
		assert os.listdir(path("devices")) == ["0"]
		triggers("power 7000")
		until(lambda: outcome(get, "devices/0/power_watts"), "7.000")
		# NVML hangs: what was known stays, and nothing else waits
		triggers("hang nvmlDeviceGetMemoryInfo")
		for name in os.listdir(path("devices/0")):
		    get(f"devices/0/{name}")
		assert call("core/echo", {"data": [1]}) == b'{"data":[1]}\n' and get("state") == "Running"
		triggers("temperature 9")
		until(lambda: get("devices/0/temperature_celsius"), "9")
	EOF
	assert_value health/status healthy
}

@test "cuda: several devices are watched, and without a libnvidia-ml none" {
	triggers 'device_count 3'
	cuda_up cuda_device=2
	until_value devices/2/name "Fake GPU 2"
	assert_equal "$(ls "$MNT/devices" | paste -sd' ')" "0 1 2"
	assert_value devices/1/uuid GPU-a0a1a2a3-a4a5-a6a7-a8a9-aaabacadae01
	cuda_down
	mkdir "$BATS_TEST_TMPDIR/lib"
	cp "$FAKE/libcuda.so.1" "$BATS_TEST_TMPDIR/lib/"
	fake_driver "$BATS_TEST_TMPDIR/lib"
	cuda_up cuda_device=1
	assert_value state Running
	assert_equal "$(ls -A "$MNT/devices")" ""
	assert_equal "$(cat "$MNT/kernels/core/echo/backend")" cuda
}

@test "cuda: cuda_device is an index or a UUID; where there is no such one, which there are" {
	local uuid=GPU-a0a1a2a3-a4a5-a6a7-a8a9-aaabacadae there

	triggers 'device_count 2'
	there="there are: 0 \\(Fake GPU 0, ${uuid}00\\), 1 \\(Fake GPU 1, ${uuid}01\\)"
	cuda_refused "there is no cuda_device 2; $there" cuda_device=2
	cuda_refused "there is no cuda_device ${uuid}77; $there" "cuda_device=${uuid}77"
	for wanted in 1 "${uuid}01" "GPU-A0A1A2A3-A4A5-A6A7-A8A9-AAABACADAE01"; do
		cuda_up "cuda_device=$wanted"
		assert_value config/cuda_device "${wanted/#GPU*/${uuid}01}"
		until_logged "CUDA device 1: Fake GPU 1, ${uuid}01, compute capability 8.9, driver of CUDA 13.0"
		run call core/echo '{"data":[1]}'
		assert_output '{"data":[1]}'
		cuda_down
	done
	cuda_up "fallback_backend=cpu,cuda_device=${uuid}77"
	assert_value kernels/core/echo/backend cpu
	run value health/reason
	assert_output --regexp "$there"
}

# --- memory settings ---

@test "cuda: each combination of the memory settings allocates as it says, and answers right" {
	local unified async pooling

	for unified in no yes; do
		for async in no yes; do
			for pooling in no yes; do
				cuda_up "cuda_unified_memory=$unified,async_memory=$async,memory_pooling=$pooling,worker_threads=1"
				py $unified $async $pooling <<-'EOF'
					unified, async_, pooling = (word == "yes" for word in sys.argv[1:])
					data = bytes(range(250)) * 100
					def work():
					    for _ in range(20):
					        assert call("core/echo", data, "raw") == data
					    idle = 2 << 20 if pooling else 2 << 20 if async_ and not unified else 24
					    assert int(get("stats/gpu_memory_bytes")) == idle, (get("stats/gpu_memory_bytes"), idle)
					n = counted(work)
					# a pool of ours asks the driver for nothing
					allocations = 0 if pooling and (unified or not async_) else 20
					assert n["allocations"] == allocations, n
					assert n["async_allocations"] == (20 if async_ and not unified else 0), n
					# cuMemAlloc and cuMemFree wait for the device each time
					assert n["synchronising"] == (2 * allocations if unified or not async_ else 0), n
					assert n["launches"] == 20 and n["copies"] == 40 and n["host_allocations"] == 0, n
				EOF
				cuda_down
			done
		done
	done
}

@test "cuda: a pool of ours grows by its factor, and up to memory_limit_bytes" {
	cuda_up async_memory=no,pool_initial_bytes=1M,pool_growth_factor=3,memory_limit_bytes=12M,worker_threads=1
	py <<-'EOF'
		M = 1 << 20
		def held(): return int(get("stats/gpu_memory_bytes"))
		assert held() == M
		def echo(size): return call("core/echo", bytes(size), "raw") == bytes(size)
		assert echo(400000) and held() == M
		assert echo(700000) and held() == M + 3 * M
		assert echo(2 * M) and 8 * M < held() <= 12 * M         # 4 MiB and guards, but 9 would be too much
		assert int(get("stats/gpu_memory_peak_bytes")) <= 12 * M
		at = held()
		assert echo(700000) and held() == at
		assert echo(5 * M) and 10 * M < held() <= 12 * M        # what is free goes where it has to
		assert outcome(call, "core/echo", bytes(6 * M), "raw") == "ENOMEM"
		assert echo(400000) and held() <= 12 * M
	EOF
}

@test "cuda: over memory_limit_bytes a message is ENOMEM with the numbers; the next one runs" {
	local settings

	for settings in async_memory=yes,memory_pooling={yes,no} async_memory=no,memory_pooling={yes,no} cuda_unified_memory=yes; do
		cuda_up "$settings,memory_limit_bytes=4M,pool_initial_bytes=4K,worker_threads=2"
		py "$settings" <<-'EOF'
			import re
			def held(): return int(get("stats/gpu_memory_bytes"))
			def check(kernel, id, need):
			    why = last_error(kernel)
			    assert why.startswith(f"{kernel}: message {id}: {kernel} needs ") and "memory_limit_bytes 4194304" in why, why
			    assert need <= int(re.search(r"needs (\d+) bytes", why)[1]) < need + 1000, why
			    event = events("MessageFailed")[-1]
			    assert event["errno"] == "ENOMEM" and event["why"] == why and event["kernel"] == kernel, event
			assert outcome(call, "core/echo", bytes(3000000), "raw") == "ENOMEM"
			check("core/echo", 1, 6000000)
			data = os.urandom(1500000)
			assert call("core/echo", data, "raw") == data and held() <= 4 << 20
			# one fits, two do not: the second is told of the first
			await_hang = hang("cuMemcpyHtoDAsync")
			first = submit("core/echo", data, "raw")
			await_hang()
			floats = 200000
			request = st_pack({name: ("F32", [floats], bytes(4 * floats)) for name in "ab"})
			assert outcome(call, "core/vector-add", request, "safetensors") == "ENOMEM"
			check("core/vector-add", 4, 12 * floats)
			assert re.search(r"where [23]\d{6} (of|are in use)", last_error("core/vector-add")), last_error("core/vector-add")
			triggers()
			assert answer_of(first) == data
			assert len(call("core/vector-add", request, "safetensors")) > 4 * floats
			assert int(get("stats/gpu_memory_peak_bytes")) <= 4 << 20
			assert_stats(accepted=5, processed=3, failed=2)
			assert len(events("WorkerStarted")) == 1 and events("WorkerDied") == []
		EOF
		cuda_down
	done
}

@test "cuda: out of memory at the n-th allocation is ENOMEM of that message alone" {
	cuda_up async_memory=no,memory_pooling=no,worker_threads=1
	py <<-'EOF'
		def echo(data): return call("core/echo", {"data": data})
		triggers("once oom_at 3")
		assert [outcome(echo, [n]) for n in range(1, 6)] == [b'{"data":[1]}\n', b'{"data":[2]}\n', "ENOMEM",
		                                                     b'{"data":[4]}\n', b'{"data":[5]}\n']
		why = last_error("core/echo")
		assert why.startswith("core/echo: message 3: core/echo needs ") and why.endswith("CUDA_ERROR_OUT_OF_MEMORY (out of memory)"), why
		[event] = events("MessageFailed")
		assert event["errno"] == "ENOMEM" and event["why"] == why, event
		assert_stats(accepted=5, processed=4, failed=1)
		assert get("stats/gpu_memory_bytes") == "24" and get("health/status") == "healthy"
		assert events("WorkerDied") == []
	EOF
}

@test "cuda: a driver's pool that is full gives back what is free, and tries again" {
	cuda_up worker_threads=1
	py <<-'EOF'
		triggers("once oom_at 1")
		assert call("core/echo", {"data": [1]}) == b'{"data":[1]}\n'
		triggers("fail cuMemAllocFromPoolAsync CUDA_ERROR_OUT_OF_MEMORY")
		assert outcome(call, "core/echo", {"data": [2]}) == "ENOMEM"
		assert "CUDA_ERROR_OUT_OF_MEMORY" in last_error("core/echo")
		triggers()
		assert call("core/echo", {"data": [3]}) == b'{"data":[3]}\n'
		assert_stats(processed=2, failed=1)
	EOF
}

@test "cuda: memory that the device has not: no pools is a warning, too little or no managed memory is refused" {
	triggers no_async_memory
	cuda_up
	until_logged "async_memory has no effect"
	run call core/echo '{"data":[1]}'
	assert_output '{"data":[1]}'
	cuda_down
	triggers 'memory_total 1000000'
	for async in yes no; do
		cuda_refused 'Fake GPU 0: cannot reserve pool_initial_bytes 2097152: CUDA_ERROR_OUT_OF_MEMORY' async_memory=$async
	done
	triggers 'managed no'
	cuda_refused 'cuda_unified_memory: Fake GPU 0 has no managed memory; set it to no' cuda_unified_memory=yes
	cuda_up cuda_unified_memory=yes,fallback_backend=cpu
	run value health/reason
	assert_output --partial "has no managed memory"
	assert_value kernels/core/echo/backend cpu
}
