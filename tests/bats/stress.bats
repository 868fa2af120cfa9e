#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Many clients at once, with every way out: the books balance all the while, and nothing is left.

load common

@test "stress: 32 clients, 1000 calls each, three kernels and encodings, with cancels and closes" {
	kernels axpby
	rk_up_kernels worker_threads=2,max_queue_depth=8
	py <<-'EOF'
		import random
		CLIENTS, CALLS = 32, 1000
		def held(pid):
		    """Descriptors, threads, mappings' names and KiB of shared memory of a process."""
		    fds, shared = 0, 0
		    for fd in os.listdir(f"/proc/{pid}/fd"):
		        try:
		            target = os.readlink(f"/proc/{pid}/fd/{fd}")
		            if target.startswith("/memfd:rkfs-payload"):
		                shared += os.stat(f"/proc/{pid}/fd/{fd}").st_blocks // 2
		            fds += 1
		        except FileNotFoundError:
		            pass
		    return {"fds": fds, "threads": len(os.listdir(f"/proc/{pid}/task")), "shared": shared}
		def f32(*v): return struct.pack(f"<{len(v)}f", *v)
		def requests(rng):
		    """Encoding, kernel, request, and what checks the answer."""
		    n = rng.choice((1, 3, 16, 200)) if rng.random() < 0.98 else 20000
		    x, y = [float(rng.randrange(1000)) for _ in range(2 * n)][:n], [float(n)] * n
		    z = f32(*(a + b for a, b in zip(x, y)))
		    encoding, kernel = rng.choice(("json", "safetensors", "raw")), rng.choice(("core/echo", "core/vector-add", "user/axpby"))
		    if kernel == "core/echo":
		        data = bytes(n)
		        request = {"json": lambda: to_bytes({"data": [0] * n}), "raw": lambda: data,
		                   "safetensors": lambda: st_pack({"data": ("U8", [n], data)})}[encoding]()
		        name, dtype, want = "data", "U8", data
		    elif kernel == "core/vector-add":
		        request = {"json": lambda: to_bytes({"a": x, "b": y}), "raw": lambda: f32(*x, *y),
		                   "safetensors": lambda: st_pack({"a": ("F32", [n], f32(*x)), "b": ("F32", [n], f32(*y))})}[encoding]()
		        name, dtype, want = "c", "F32", z
		    else:
		        request = {"json": lambda: to_bytes({"a": 1, "x": x, "b": 1, "y": y}), "raw": lambda: f32(1, *x, 1, *y),
		                   "safetensors": lambda: st_pack({"b": ("F32", [], f32(1)), "a": ("F32", [], f32(1)), "x": ("F32", [n], f32(*x)),
		                                                   "y": ("F32", [n], f32(*y))})}[encoding]()
		        name, dtype, want = "z", "F32", z
		    def check(answer):
		        if encoding == "raw":
		            assert answer == want
		        elif encoding == "safetensors":
		            assert st_unpack(answer) == {name: (dtype, [n], want)}
		        else:
		            values = json.loads(answer)[name]
		            assert (bytes(values) if dtype == "U8" else f32(*values)) == want
		    return encoding, kernel, request, check
		def client(seed):
		    rng, fds, ends = random.Random(seed), {}, dict.fromkeys(("answered", "cancelled", "left"), 0)
		    prepared = [requests(rng) for _ in range(60)]
		    for i in range(CALLS):
		        encoding, kernel, request, check = rng.choice(prepared)
		        fd = fds.pop((encoding, kernel), None) or open_call(kernel, 0, encoding)
		        way = rng.random()
		        if way < 0.04:                                  # half a request
		            write_all(fd, request[:len(request) // 2 + 1])
		            os.close(fd)
		            ends["left"] += 1
		        elif way < 0.10:                                # submitted, not waited for
		            os.set_blocking(fd, False)
		            write_all(fd, request)
		            outcome(os.read, fd, 10)
		            os.close(fd)
		            ends["left"] += 1
		        else:
		            write_all(fd, request)
		            what = outcome(read_all, fd)
		            if what == "ECANCELED":
		                ends["cancelled"] += 1
		            else:
		                assert isinstance(what, bytes), (encoding, kernel, len(request), what, last_error(kernel))
		                check(what)
		                ends["answered"] += 1
		            if way < 0.9:
		                fds[encoding, kernel] = fd
		            else:
		                os.close(fd)
		        if way > 0.97:                                  # somebody's, by unlink
		            for name in os.listdir(path("inflight"))[:2]:
		                assert outcome(os.unlink, path(f"inflight/{name}")) in ("ok", "ENOENT")
		    return ends
		call("core/echo", b"x", "raw")                          # FUSE threads start when first needed
		before = held(DAEMON), held(worker())
		begun = time.monotonic()
		children, pipes = [], []
		for seed in range(CLIENTS):
		    r, w = os.pipe()
		    child = os.fork()
		    if not child:
		        status = 1
		        try:
		            os.write(w, json.dumps(client(seed)).encode())
		            status = 0
		        except Exception as e:
		            print(f"client {seed}: {e!r}", file=sys.stderr)
		        finally:
		            sys.stderr.flush()
		            os._exit(status)
		    os.close(w)
		    children.append(child)
		    pipes.append(r)
		import atexit
		atexit.register(lambda: [os.kill(child, signal.SIGKILL) for child in children if not os.waitpid(child, os.WNOHANG)[0]])
		snapshots = 0
		while not all(poll(fd, select.POLLIN, 0) for fd in pipes):
		    stats()                                             # its books balance
		    listed = os.listdir(path("inflight"))
		    assert len(listed) <= CLIENTS + 2 + 2, (len(listed), listed)
		    snapshots += 1
		    poll(pipes[0], select.POLLIN, 20)
		assert [os.waitpid(children.pop(), 0)[1] for _ in range(CLIENTS)] == [0] * CLIENTS
		took = time.monotonic() - begun
		ends = [json.loads(os.read(fd, 1000)) for fd in pipes]
		answered, cancelled, left = (sum(e[key] for e in ends) for key in ("answered", "cancelled", "left"))
		assert answered + cancelled + left == CLIENTS * CALLS and cancelled > 0 and left > 1000, (answered, cancelled, left)
		until_in_flight(0)
		n = stats()
		assert n["failed"] == n["timed_out"] == n["rejected"] == 0, n
		assert answered + cancelled <= n["accepted"] - 1 <= CLIENTS * CALLS, (n, answered, cancelled, left)
		assert cancelled <= n["cancelled"] <= cancelled + left and answered < n["processed"], (n, answered, cancelled, left)
		for kernel in "core/echo", "core/vector-add", "user/axpby":
		    assert get(f"kernels/{kernel}/messages_in_flight") == get(f"kernels/{kernel}/queue_depth") == "0"
		assert sum(int(get(f"kernels/{k}/messages_accepted")) for k in ("core/echo", "core/vector-add", "user/axpby")) == n["accepted"]
		assert in_flight() == [] and len(events("WorkerStarted")) == 1 and snapshots > 10
		def now(): return held(DAEMON), held(worker())
		pool = max(2, len(os.sched_getaffinity(0)))
		# a FUSE thread comes with the first load, and stays with a descriptor of its own; a thread of the worker that
		# looks for devices, and finds none, may have been there before
		fuse = max(4, len(os.sched_getaffinity(0)))
		def all_back(now): return now[0]["fds"] <= before[0]["fds"] + fuse and all(now[1][k] <= before[1][k] for k in ("fds", "threads"))
		# small blocks are kept for the next call, 16 MiB of them at the most
		until(lambda: all_back(now()) or (before, now()), True)
		assert now()[0]["threads"] <= before[0]["threads"] + fuse + pool, (before, now())
		assert now()[0]["shared"] < 17 << 10, now()
		assert took < 40 or "asan" in os.environ["BIN"], took
	EOF
}

@test "stress: reloads, enables and crashes under clients: every call ends, and nothing is left" {
	kernels crash_null version_1 version_2
	cp "$KERNELS_SRC/version.ini" "$KERNELS/"
	rk_up_kernels worker_threads=2,restart_limit=1000
	py <<-'EOF'
		over, ends = threading.Event(), []
		def client(kernel, request, encoding, allowed):
		    def run():
		        fd = open_call(kernel, 0, encoding)
		        while not over.is_set():
		            what = outcome(ask, fd, request)
		            if isinstance(what, str):
		                assert what in allowed, (kernel, what)
		                outcome(os.read, fd, 10)                # where the write had it already
		            ends.append(what)
		    return run
		text = (KERNELS / "version.ini").read_text()
		def reloads():
		    n = 0
		    while not over.is_set():
		        n += 1
		        if n % 5 == 0:
		            (KERNELS / "version.ini").unlink()
		            assert reload() == "ok"
		        (KERNELS / "version.ini").write_text(text.replace("version_1.so", f"version_{n % 2 + 1}.so"))
		        assert reload() == "ok"
		def enables():
		    while not over.is_set():
		        for kernel in "core/echo", "user/crash-null":
		            for value in "0", "1":
		                put(f"kernels/{kernel}/enable", value)
		broken = ("EIO", "ENODEV")
		tasks = [Task(f) for f in (
		    client("user/version", {"ms": 1}, "json", broken), client("user/version", struct.pack("<I", 0), "raw", broken),
		    client("core/echo", {"data": [1]}, "json", broken), client("core/echo", b"123", "raw", broken),
		    client("core/vector-add", {"a": [1], "b": [2]}, "json", ("EIO",)), reloads, enables)]
		with Watch():
		    for _ in range(4):
		        seen = len(ends)
		        until(lambda: len(ends) > seen + 50 or not all(t.is_alive() for t in tasks), True)
		        crash = Task(call, "user/crash-null", {"crash": 1})
		        assert crash.result() in broken
		        until(lambda: isinstance(outcome(call, "core/vector-add", {"a": [1], "b": [2]}), bytes), True)
		    over.set()
		    results = [t.result() for t in tasks]
		assert results == ["ok"] * len(tasks), results
		until_in_flight(0)
		n = stats()
		assert n["processed"] > 100 and n["cancelled"] == 0, n
		for kernel in "core/echo", "user/crash-null":
		    put(f"kernels/{kernel}/enable", "1")
		assert reload() == "ok"
		assert json.loads(call("user/version", {"ms": 0}))["first"] in (1, 2) and call("core/echo", {"data": [1]})
		assert json.loads(call("user/crash-null", {"crash": 0})) == {"survived": 1}
		until(lambda: get("stats/kernels_active"), "11")
		assert get("stats/kernels_registered") == "11"
	EOF
}
