#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Kernels of a user's own on the fake driver: modules, backends, launches, and messages of one kernel
# that go as one.

load cuda

rkcall() {
	timeout 60 "$BIN/rkcall" -m "$MNT" "$@"
}

# --- modules ---

@test "cuda kernels: saxpy from .cu to rkcall: fatbin, cubin and PTX of nvcc" {
	local kind

	mkdir "$KERNELS"
	cp "$KERNELS_SRC/saxpy.ini" "$KERNELS/"
	compile saxpy "$KERNELS/saxpy.fatbin" -fatbin -arch=sm_75
	compile saxpy "$KERNELS/saxpy.cubin" -cubin -arch=sm_80
	compile saxpy "$KERNELS/saxpy.ptx" -ptx -arch=compute_75
	cuda_up
	for kind in fatbin cubin ptx; do
		sed -i "s/^module.*/module = saxpy.$kind/" "$KERNELS/saxpy.ini"
		control reload
		assert_value last_cmd_status ok
		assert_value kernels/user/saxpy/backend cuda
		run rkcall user/saxpy '{"a":2, "x":[1,2,3], "y":[10,20,30]}'
		assert_success
		assert_output '{"z":[12.0,24.0,36.0]}'
	done
	assert_value kernels/user/saxpy/inputs $'a = f32\nx = f32[n]\ny = f32[n]'
	py <<-'EOF'
		def show(values): return struct.pack(f"<{len(values)}f", *values)
		# the fake does as many elements as there are threads: all blocks are there
		for n in 1, 255, 256, 257, 100000:
		    x = [float(i % 1000) for i in range(n)]
		    got = call("user/saxpy", show([3.0]) + show(x) + show(x), "raw")
		    assert got == show([4 * v for v in x]), n
		assert outcome(call, "user/saxpy", {"a": 1, "x": [1], "y": [1, 2]}) == "EINVAL"
		assert_stats(processed=8, failed=0, rejected=1)
		assert events("KernelFailed") == [] and len(events("KernelChanged")) == 2
	EOF
}

@test "cuda kernels: a module that cannot be loaded: the event and last_error say why, with the JIT log" {
	vector_kernels square
	printf '.version 8.0\nthis is no ptx\n' >"$KERNELS/broken.ptx"
	sed s/square/broken/ "$KERNELS/square.ini" >"$KERNELS/broken.ini"
	echo "some text" >"$KERNELS/text.ptx"
	sed s/square/text/ "$KERNELS/square.ini" >"$KERNELS/text.ini"
	printf '\x7fELF\x02' >"$KERNELS/cut.ptx"
	sed s/square/cut/ "$KERNELS/square.ini" >"$KERNELS/cut.ini"
	sed -e 's/^id.*/id = user\/entry/' -e 's/^entry.*/entry = cube/' "$KERNELS/square.ini" >"$KERNELS/entry.ini"
	sed -i 's/^entry.*/entry = square/' "$KERNELS"/{broken,text,cut}.ini
	sed -e 's/^id.*/id = user\/shared/' -e '$ashared = 200K' "$KERNELS/square.ini" >"$KERNELS/shared.ini"
	cuda_up
	py <<-'EOF'
		import re
		for name, sentence in [
		        ("broken", r"broken\.ptx: cannot be loaded on Fake GPU 0 \(compute capability 8\.9, driver of CUDA [\d.]+\): it is PTX 8\.0: CUDA_ERROR_INVALID_PTX: "
		                   r"ptxas application ptx input, line 3; fatal : Parsing error near 'is': syntax error"),
		        ("text", r"text\.ptx: is no CUDA module: neither fatbin nor cubin nor PTX"),
		        ("cut", r"cut\.ptx: "),
		        ("entry", r"square\.ptx: has no kernel 'cube'; cuobjdump -symbols lists those it has"),
		        ("shared", r"shared asks for 204800 bytes beside the function's own 0; a block can have \d+")]:
		    [event] = [e for e in events("KernelFailed") if e["id"] == f"user/{name}"]
		    assert re.search(sentence, event["why"]), event
		    assert outcome(call, f"user/{name}", {"x": [1]}) == "ENODEV"
		    assert re.search(sentence, last_error(f"user/{name}")), last_error(f"user/{name}")
		    assert get(f"kernels/user/{name}/backend") in ("none", "cuda")
		assert call("user/square", {"x": [3]}) == b'{"y":[9.0]}\n'
		assert_stats(processed=1, rejected=5)
		assert events("WorkerDied") == [] and get("health/status") == "healthy"
		# mended, it runs
		(KERNELS / "broken.new").write_text((KERNELS / "square.ptx").read_text())
		(KERNELS / "broken.new").rename(KERNELS / "broken.ptx")
		assert reload() == "ok"
		until(lambda: outcome(call, "user/broken", {"x": [4]}), b'{"y":[16.0]}\n')
	EOF
}

@test "cuda kernels: a module must be there and trusted; limits that no device has are refused with the line" {
	vector_kernels square
	cuda_up
	py <<-'EOF'
		file, module = KERNELS / "square.ini", KERNELS / "square.ptx"
		good = file.read_text()
		def attempt(change, want, sentence):
		    file.write_text(change)
		    assert (what := reload()) == want, what
		    assert sentence in get("last_cmd_status"), get("last_cmd_status")
		    assert call("user/square", {"x": [3]}) == b'{"y":[9.0]}\n'      # as before
		lines = len(good.splitlines())
		errors([
		    (good.replace("square.ptx", "nothing.ptx"), "ENOENT", f"{file}: module: {KERNELS}/nothing.ptx: No such file"),
		    (good + "block = 2048\n", "EINVAL", f"{file}:{lines + 1}: block: "),
		    (good + "block = 0\n", "EINVAL", f"{file}:{lines + 1}: block: "),
		    (good + "shared = 1M\n", "EINVAL", f"{file}:{lines + 1}: shared: "),
		    (good.replace("grid = n", "grid = q"), "EINVAL", f"{file}:{lines}: grid: "),
		    (good.replace("grid = n\n", ""), "EINVAL", "grid is missing in [cuda]"),
		    (good.replace("user/square", "user/square\nbatchable = m"), "EINVAL", f"{file}:3: batchable: 'm' is no dim of an input"),
		    (good.replace("user/square", "user/square\nmode = ring"), "EINVAL", f"{file}:{lines + 1}: grid: a kernel with mode = ring is one block"),
		], attempt)
		file.write_text(good.replace("[inputs]", "version = 2\n[inputs]"))
		module.chmod(0o777)
		assert reload() == "EACCES"
		assert f"{module} is writable by everybody: chmod o-w" in get("last_cmd_status"), get("last_cmd_status")
		module.chmod(0o644)
		assert reload() == "ok" and call("user/square", {"x": [3]}) == b'{"y":[9.0]}\n'
	EOF
}

@test "cuda kernels: a changed module is loaded by reload, while calls run" {
	vector_kernels square
	cuda_up worker_threads=2
	py <<-'EOF'
		over, calls = threading.Event(), [0, 0]
		def work(i):
		    while not over.is_set():
		        assert call("user/square", {"x": [i, 3]}) == b'{"y":[%d.0,9.0]}\n' % (i * i)
		        calls[i] += 1
		def change(round):
		    new = KERNELS / "new.ptx"
		    new.write_text((KERNELS / "square.ptx").read_text() + f"// {round}\n")
		    new.rename(KERNELS / "square.ptx")
		def reloads():
		    tasks = [Task(work, i) for i in range(2)]
		    for round in range(5):
		        change(round)
		        assert reload() == "ok"
		        seen = calls[:]
		        until(lambda: calls[0] > seen[0] and calls[1] > seen[1], True)
		    over.set()
		    assert [t.result() for t in tasks] == ["ok"] * 2
		    # what it was changed from is unloaded
		    until(lambda: get("stats/kernels_active"), get("stats/kernels_registered"))
		n = counted(reloads)
		assert n["module_loads"] == 5, n
		assert len(events("KernelChanged")) == 5 and events("WorkerDied") == [] and events("KernelFailed") == []
		assert events("MessageFailed") == []
	EOF
}

# --- which backend ---

@test "cuda kernels: only [cuda] on the cpu backend is ENODEV with the reason; only [cpu] runs beside cuda" {
	kernels axpby overrun crash_exit
	vector_kernels square
	printf '%s\n' '[kernel]' 'id = user/both' '[inputs]' 'x = f32[n]' '[outputs]' 'sum = f64' '[scratch]' 'partial = f64[512]' \
		'done = u64' '[cpu]' 'library = builtin' 'entry = reduce_sum' 'args = x, sum, n' '[cuda]' 'module = builtin' \
		'entry = reduce_sum' 'args = x, sum, n, partial, done' 'grid = n' >"$KERNELS/both.ini"
	cuda_up worker_threads=1
	py <<-'EOF'
		backends = {k: get(f"kernels/user/{k}/backend") for k in ("axpby", "square", "both", "overrun")}
		assert backends == {"axpby": "cpu", "square": "cuda", "both": "cuda", "overrun": "cpu"}, backends
		axpby = {"a": 1, "x": [1], "b": 2, "y": [2]}
		def work():
		    for _ in range(4):
		        assert call("user/axpby", axpby) == b'{"z":[5.0]}\n'
		    assert call("user/square", {"x": [3]}) == b'{"y":[9.0]}\n'
		    assert call("user/both", {"x": [3, 4]}) == b'{"sum":7.0}\n'
		n = counted(work)
		assert n["launches"] == 2, n
		# contained as on the cpu backend, and cuda comes back with the next worker
		old = worker()
		assert outcome(call, "user/overrun", {"extra": 1, "x": [1]}) == "EIO"
		assert "output 'y'" in last_error("user/overrun")
		assert outcome(call, "user/crash-exit", {"status": 3}) == "EIO"
		assert "exited with status 3" in last_error("user/crash-exit"), last_error("user/crash-exit")
		assert call("user/square", {"x": [3]}) == b'{"y":[9.0]}\n' and worker() != old
	EOF
	: >"$RK_FAKE_CUDA_LEDGER" # of the one that exited with all it had
	cuda_down
	cuda_up primary_backend=cpu
	py <<-'EOF'
		assert get("kernels/user/both/backend") == get("kernels/user/axpby/backend") == "cpu"
		assert get("kernels/user/square/backend") == "none"
		[event] = events("KernelFailed")
		assert event["id"] == "user/square" and event["why"] == "user/square: it has only [cuda], and the backend is cpu", event
		assert outcome(call, "user/square", {"x": [3]}) == "ENODEV"
		assert "it has only [cuda], and the backend is cpu" in last_error("user/square")
		assert call("user/both", {"x": [3, 4]}) == b'{"sum":7.0}\n'
		assert get("health/status") == "healthy" and get("state") == "Running"
	EOF
}

# --- launches ---

@test "cuda kernels: grid, block, shared and cooperative are as the description says" {
	mkdir "$KERNELS"
	ptx grid >"$KERNELS/grid.ptx"
	py <<-'EOF'
		for name, more in [("a", "grid = 100, 7\nblock = 16, 4\n"), ("b", "grid = 1000\n"), ("c", "grid = 5, 6, 7\n"),
		                   ("d", "grid = 65\nblock = 64, 2, 2\nshared = 90K\n"), ("e", "grid = 100000\nblock = 512\ncooperative = yes\n")]:
		    (KERNELS / f"{name}.ini").write_text(f"[kernel]\nid = user/grid-{name}\n[outputs]\nout = u32[8]\n"
		        f"[cuda]\nmodule = grid.ptx\nentry = grid\nargs = out\n{more}")
	EOF
	cuda_up
	py <<-'EOF'
		def grid(name): return json.loads(call(f"user/grid-{name}", {}))["out"]
		assert grid("a") == [7, 2, 1, 16, 4, 1, 0, 0], grid("a")
		assert grid("b") == [4, 1, 1, 256, 1, 1, 0, 0], grid("b")
		assert grid("c") == [1, 1, 2, 8, 8, 4, 0, 0], grid("c")
		assert grid("d") == [2, 1, 1, 64, 2, 2, 90 << 10, 0], grid("d")
		# cut down to what is on the device at once
		blocks, *rest = grid("e")
		assert 1 <= blocks < 196 and rest == [1, 1, 512, 1, 1, 0, 1], (blocks, rest)
	EOF
	settle
	triggers 'cooperative no' 'max_threads 128'
	control reset
	control start
	wait_for running
	py <<-'EOF'
		[big] = [e["why"] for e in events("KernelFailed") if e["id"] == "user/grid-b"]
		assert big == "kernel user/grid-b: block has 256 threads, the function can have 128 on this device", big
		why = {e["id"]: e["why"] for e in events("KernelFailed")}
		assert "user/grid-d" in why and "user/grid-a" not in why, why
		triggers("cooperative no")
		put("control", "stop")
		seen = len(events())
		restart()
		why = {e["id"]: e["why"] for e in events("KernelFailed") if e["seq"] > events()[0]["seq"] + seen}
		assert sorted(why) == ["graph/pagerank", "risk/monte-carlo-var", "user/grid-e"], why
		assert all("cannot launch all blocks of a kernel together (cooperative)" in w for w in why.values()), why
	EOF
}

# --- several messages as one launch ---

FUSING='
def add(n, base=0): return {"a": list(range(base, base + n)), "b": [1] * n}
def added(n, base=0): return {"c": [float(base + i + 1) for i in range(n)]}
GATE = "user/axpby", {"a": 1, "x": [1], "b": 1, "y": [1]}           # on the CPU: no launch
def wait_together(requests, checks=None):
    """Submit all while the worker is stopped, and its only thread has something else; their answers."""
    pid = worker()
    freeze(pid)
    gate = submit(*GATE)
    fds = []
    for request in requests:
        fds.append(submit(*request))
        until_in_flight(len(fds) + 1)                           # a large one is on its way a little
    if checks:
        checks(fds)
    os.kill(pid, signal.SIGCONT)
    assert answer_of(gate) == b"{\"z\":[2.0]}\n"
    return fds
def answers(requests, checks=None):
    return [outcome(answer_of, fd) for fd in wait_together(requests, checks)]
'

@test "cuda kernels: messages that wait together go as one launch, up to max_batch_size, with their own answers" {
	local fusion size launches

	kernels axpby
	while read -r fusion size launches; do
		cuda_up "worker_threads=1,kernel_fusion=$fusion,max_batch_size=$size"
		py $launches <<-EOF
			$FUSING
			sizes = [(7 * i) % 5 * 100 // (1 + i % 3) for i in range(100)]          # 0 to 400 elements
			def work():
			    got = answers([("core/vector-add", add(n, i)) for i, n in enumerate(sizes)])
			    assert [json.loads(a) for a in got] == [added(n, i) for i, n in enumerate(sizes)]
			n = counted(work)
			assert n["launches"] == int(sys.argv[1]), n
			# there and back once for each launch
			assert n["copies"] == 2 * n["launches"], n
		EOF
		cuda_down
	done <<-'EOF'
		yes 4096 1
		yes 16 7
		yes 1 100
		no 4096 100
	EOF
}

@test "cuda kernels: only messages with the same scalars, and small ones, go together; each of a launch that fails is EIO" {
	kernels axpby
	ptx saxpy >"$KERNELS/saxpy.ptx"
	sed s/fatbin/ptx/ "$KERNELS_SRC/saxpy.ini" >"$KERNELS/saxpy.ini"
	vector_kernels square
	cuda_up worker_threads=1,kernel_fusion=yes
	py <<-EOF
		$FUSING
		def saxpy(a, n): return "user/saxpy", {"a": a, "x": list(range(n)), "y": [1] * n}
		factors = [2, 2, 2, 3, 3, 2, 2.5]
		def work():
		    got = answers([saxpy(a, 5 + i) for i, a in enumerate(factors)])
		    want = [{"z": [a * x + 1 for x in range(5 + i)]} for i, a in enumerate(factors)]
		    assert [json.loads(answer) for answer in got] == want
		n = counted(work)
		assert n["launches"] == 4, n
		# a large one goes alone: what comes before and behind it goes together
		large = struct.pack("<40000f", *range(40000)), struct.pack("<40000f", *[1] * 40000)
		def mixed():
		    small = [("core/vector-add", add(10, i)) for i in range(6)]
		    got = answers(small[:3] + [("core/vector-add", large[0] + large[1], "raw")] + small[3:])
		    assert got.pop(3) == struct.pack("<40000f", *range(1, 40001))
		    assert [json.loads(a) for a in got] == [added(10, i) for i in range(6)]
		n = counted(mixed)
		assert n["launches"] == 3, n
		# without batchable each is by itself
		n = counted(lambda: answers([("user/square", {"x": [3]})] * 5))
		assert n["launches"] == 5, n
		# one launch, one error, for all in it
		fault = "once launch CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"
		assert answers([("core/vector-add", add(3))] * 5, lambda _: triggers(fault)) == ["EIO"] * 5
		assert [e["errno"] for e in events("MessageFailed")] == ["EIO"] * 5
		assert json.loads(call("core/vector-add", add(3))) == added(3)
		assert_stats(accepted=7, failed=5, processed=2)
	EOF
}

@test "cuda kernels: what goes as one is in inflight/ one by one, can be cancelled, and counts one by one" {
	kernels axpby
	cuda_up worker_threads=1,kernel_fusion=yes
	py <<-EOF
		$FUSING
		ids = []
		def cancel_one(fds):
		    ids.extend(in_flight()[1:])
		    assert len(ids) == 8 and get("kernels/core/vector-add/queue_depth") == "8"
		    os.unlink(path(f"inflight/{ids[2]}"))               # queued: it is never launched
		    assert outcome(answer_of, fds[2]) == "ECANCELED"
		    triggers("hang kernel")
		fds = wait_together([("core/vector-add", add(3, i)) for i in range(8)], cancel_one)
		running = [i for i in ids if i != ids[2]]
		def states(): return [get(f"inflight/{i}").splitlines()[1] for i in running]
		until(states, ["state running"] * 7)
		assert in_flight() == running and get("kernels/core/vector-add/queue_depth") == "0"
		os.unlink(path(f"inflight/{ids[0]}"))                   # its caller is told; the others go on
		assert outcome(answer_of, fds[0]) == "ECANCELED"
		assert "state cancelling" in get(f"inflight/{ids[0]}") and in_flight() == running
		triggers()
		rest = [i for i in range(8) if i not in (0, 2)]
		assert [json.loads(answer_of(fds[i])) for i in rest] == [added(3, i) for i in rest]
		until_in_flight(0)
		assert_stats(accepted=9, processed=7, cancelled=2, failed=0)
		assert get("kernels/core/vector-add/messages_processed") == "6"
		assert get("kernels/core/vector-add/messages_cancelled") == "2"
	EOF
}
