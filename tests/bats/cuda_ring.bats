#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Kernels of mode ring: state that stays between messages, on both backends; and on the fake driver
# what a resident kernel must not get in the way of.

load cuda

RING='
def number(kernel="core/running-stats", **request): return json.loads(call(kernel, request))
def count(*x): return number(x=list(x))["count"]
def total(*x): return number("user/ring-sum", x=list(x))["total"]
def active(): return get("stats/kernels_active")
'

# both SCRIPT: a Python script on the cpu backend, then on cuda.
both() {
	local script backend

	script=$(cat)
	for backend in cpu cuda; do
		cuda_up "primary_backend=$backend${1:+,$1}"
		BACKEND=$backend py <<<"$RING$script"
		cuda_down
	done
}

@test "cuda ring: the state stays from message to message, in their order, one at a time, on both backends" {
	both worker_threads=4 <<-'EOF'
		for kernel in "core/ring-echo", "core/running-stats":
		    assert get(f"kernels/{kernel}/mode") == "ring" and get(f"kernels/{kernel}/backend") == os.environ["BACKEND"]
		assert get("kernels/core/echo/mode") == "batch"
		assert number(x=[]) == {"count": 0, "mean": "NaN", "variance": "NaN"}
		assert number(x=[1, 2, 3]) == {"count": 3, "mean": 2, "variance": 2 / 3}
		assert number(x=[]) == {"count": 3, "mean": 2, "variance": 2 / 3}
		assert number(x=[2]) == {"count": 4, "mean": 2, "variance": 0.5}
		# those that wait are run in the order in which they came
		pid = worker()
		freeze(pid)
		fds = [submit("core/running-stats", {"x": [i]}) for i in range(50)]
		until_in_flight(50)
		os.kill(pid, signal.SIGCONT)
		assert [json.loads(answer_of(fd))["count"] for fd in fds] == list(range(5, 55))
		# many callers at once, and batch kernels beside them
		def work(i):
		    counts = []
		    for n in range(20):
		        counts.append(count(1))
		        assert call("core/vector-add", {"a": [n], "b": [i]}) == b'{"c":[%d.0]}\n' % (n + i)
		        assert call("core/ring-echo", {"data": [n, i]}) == b'{"data":[%d,%d]}\n' % (n, i)
		    return counts
		tasks = [Task(work, i) for i in range(6)]
		counts = [t.result() for t in tasks]
		assert all(c == sorted(c) for c in counts) and sorted(sum(counts, [])) == list(range(55, 175)), counts
		assert_stats(failed=0, rejected=0, processed=4 + 50 + 360)
		assert get("health/status") == "healthy"
	EOF
}

@test "cuda ring: the state is zero at each activation: enable, another worker, a start" {
	both worker_threads=2,restart_limit=100 <<-'EOF'
		enable = "kernels/core/running-stats/enable"
		def deactivations(): return len(events("KernelDeactivated"))
		assert count(1, 2) == 2
		put(enable, "0")
		until(deactivations, 1)
		assert outcome(call, "core/running-stats", {"x": [1]}) == "ENODEV"
		put(enable, "1")
		assert count(5) == 1 and count(5) == 2
		os.kill(worker(), signal.SIGKILL)
		until(lambda: len(events("WorkerStarted")), 2)
		assert count(5, 6) == 2
		put("control", "drain")
		get("wait/stopped")
		restart()
		assert count(7) == 1
		# a reload of something else leaves it alone
		assert reload() == "ok" and count(7) == 2
	EOF
}

@test "cuda ring: large and growing messages, empty ones, all encodings, on both backends" {
	both worker_threads=2 <<-'EOF'
		for size in 0, 1, 5, 1000, 70000, 3000000, 10:
		    data = os.urandom(size)
		    st = call("core/ring-echo", st_pack({"data": ("U8", [size], data)}), "safetensors")
		    assert st_unpack(st)["data"] == ("U8", [size], data), size
		    assert size == 0 or call("core/ring-echo", data, "raw") == data
		assert count(*range(100)) == 100
		assert outcome(call, "core/running-stats", {"x": "no"}) == "EINVAL" and count(1) == 101
	EOF
}

# --- a user's own ---

@test "cuda ring: a ring kernel of a user's own, from .cu and by name, and one on the CPU" {
	kernels ring_counter
	compile ring_sum "$KERNELS/ring_sum.fatbin" -fatbin -arch=sm_75
	cp "$KERNELS_SRC/ring_sum.ini" "$KERNELS/"
	printf '%s\n' '[kernel]' 'id = user/counter' 'mode = ring' '[inputs]' 'ms = u32' '[outputs]' 'count = u64' '[state]' \
		'bytes = 16' '[cpu]' 'library = ring_counter.so' 'entry = ring_counter' 'args = ms, state, count' >"$KERNELS/counter.ini"
	cuda_up worker_threads=4
	py <<-EOF
		$RING
		assert get("kernels/user/ring-sum/mode") == "ring" and get("kernels/user/ring-sum/backend") == "cuda"
		assert total(1, 2.5) == 3.5 and total() == 3.5 and total(-3) == 0.5
		file = KERNELS / "ring_sum.ini"
		file.write_text(file.read_text().replace("[inputs]", "version = 2\n[inputs]"))
		assert reload() == "ok" and total(4) == 4               # another kernel
		# never two at once
		assert get("kernels/user/counter/backend") == "cpu"
		counts = in_threads([lambda: number("user/counter", ms=1)["count"]] * 8)
		assert sorted(counts) == list(range(1, 9)), counts
	EOF
}

@test "cuda ring: a resident kernel with an illegal address: EIO and blamed; the others begin anew" {
	mkdir "$KERNELS"
	ptx ring_illegal ring_forever square >"$KERNELS/ring.ptx"
	for name in illegal forever; do
		printf '%s\n' '[kernel]' "id = user/ring-$name" 'mode = ring' '[inputs]' 'x = f32[n]' '[outputs]' \
			'y = f32[n]' '[cuda]' 'module = ring.ptx' "entry = ring_$name" 'args = x, y, n' >"$KERNELS/$name.ini"
	done
	sed -i 's/^mode.*/&\ntimeout = 500ms/' "$KERNELS/forever.ini"
	cuda_up worker_threads=2,restart_limit=100
	py <<-EOF
		$RING
		assert count(1) == 1
		until(lambda: get("health/status"), "healthy")
		old = worker()
		assert outcome(call, "user/ring-illegal", {"x": [1]}) == "EIO"
		why = last_error("user/ring-illegal")
		assert f"worker {old} ended itself after a CUDA error: kernel " in why and "CUDA_ERROR_ILLEGAL_ADDRESS" in why, why
		assert why.endswith("in this kernel"), why
		assert count(1) == 1 and worker() != old
		# one that never answers ends with its worker
		with Watch():
		    old = worker()
		    assert outcome(call, "user/ring-forever", {"x": [1]}) == "ETIMEDOUT"
		    assert "ran longer than its timeout; the worker was replaced" in last_error("user/ring-forever")
		    assert count(1) == 1 and worker() != old
		    # also while something waits for it to leave: a module is loaded
		    stuck = submit("user/ring-forever", {"x": [1]})
		    (KERNELS / "square.ini").write_text("[kernel]\nid = user/square\n[inputs]\nx = f32[n]\n[outputs]\ny = f32[n]\n[cuda]\n"
		                                        "module = ring.ptx\nentry = square\nargs = x, y, n\ngrid = n\n")
		    assert reload() == "ok"
		    assert outcome(answer_of, stuck) == "ETIMEDOUT"
		    assert call("user/square", {"x": [3]}) == b'{"y":[9.0]}\n'
		assert_stats(failed=1, timed_out=2, processed=4)
		assert [e["id"] for e in events("KernelDisabled")] == [] and get("health/live") == "1"
		# and while the runtime drains
		stuck = submit("user/ring-forever", {"x": [1]})
		put("control", "drain 0")
		assert get("wait/stopped") == "Stopped" and outcome(answer_of, stuck) == "ECANCELED"
		until(lambda: children(DAEMON, "rk-worker"), [])
		restart()
		assert count(1) == 1
	EOF
}

@test "cuda ring: a function that is no ring kernel is found out when it is loaded" {
	vector_kernels square
	sed -e '/^grid/d' -e 's/^id.*/id = user\/no-ring\nmode = ring/' "$KERNELS/square.ini" >"$KERNELS/no_ring.ini"
	cuda_up worker_threads=2
	py <<-EOF
		$RING
		[failed] = events("KernelFailed")
		assert failed["id"] == "user/no-ring", failed
		assert outcome(call, "user/no-ring", {"x": [3]}) == "ENODEV"
		assert call("user/square", {"x": [3]}) == b'{"y":[9.0]}\n' and count(1) == 1
	EOF
}

# --- what the driver sees ---

@test "cuda ring: one launch for many messages; after ring_idle it leaves, and comes back with its state" {
	cuda_up worker_threads=2,ring_idle=0
	py <<-EOF
		$RING
		def work():
		    for n in range(1, 101):
		        assert count(1) == n
		n = counted(work)
		assert n["ring_messages"] == 100 and n["ring_launches"] == 1 and n["launches"] == 1, n
		assert n["copies"] == 0 and n["synchronising"] == 0 and n["allocations"] == 0, n
	EOF
	cuda_down
	cuda_up worker_threads=2,ring_idle=1ms
	py <<-EOF
		$RING
		def work():
		    for n in range(1, 6):
		        assert count(1) == n
		        call("core/delay", {"ms": 60})                  # long enough for it to have left
		n = counted(work)
		assert n["ring_messages"] == 5 and 3 <= n["ring_launches"] <= 5, n
	EOF
}

@test "cuda ring: what waits for the whole context makes the resident kernel leave, and its state stays" {
	local memory

	vector_kernels square
	for memory in memory_pooling=no,async_memory=no cuda_unified_memory=yes,memory_pooling=no memory_pooling=yes; do
		cuda_up "worker_threads=4,ring_idle=0,$memory"
		NO_POOL=${memory#memory_pooling=yes} py <<-EOF
			$RING
			no_pool = bool(os.environ["NO_POOL"])
			over, last = threading.Event(), [0]
			def traffic():
			    while not over.is_set():
			        assert count(1) == last[0] + 1
			        last[0] += 1
			def passes():
			    """Some more messages of the resident kernel."""
			    seen = last[0]
			    until(lambda: last[0] > seen + 5 or not task.is_alive(), True)
			    assert task.is_alive()
			def work():
			    global task
			    over.clear()
			    last[0] = 0
			    task = Task(traffic)
			    passes()
			    for n in range(3):
			        # each takes and frees memory, or not
			        for _ in range(5):
			            assert call("core/vector-add", {"a": [1], "b": [n]}) == b'{"c":[%d.0]}\n' % (n + 1)
			        # a module is loaded, and one unloaded
			        file = KERNELS / "square.ptx"
			        new = KERNELS / "new.ptx"
			        new.write_text(file.read_text() + f"// {n}\n")
			        new.rename(file)
			        assert reload() == "ok"
			        assert call("user/square", {"x": [3]}) == b'{"y":[9.0]}\n'
			        # another ring comes and goes
			        put("kernels/core/ring-echo/enable", "0")
			        until(lambda: outcome(call, "core/ring-echo", {"data": [n]}), "ENODEV")
			        put("kernels/core/ring-echo/enable", "1")
			        assert call("core/ring-echo", {"data": [n]}) == b'{"data":[%d]}\n' % n
			        passes()
			    over.set()
			    assert task.result() == "ok" and last[0] > 20
			n = counted(work)
			assert n["ring_messages"] == last[0] + 3, (n, last)
			# it was driven off, and came back
			assert n["synchronising"] >= (30 if no_pool else 6) and n["ring_launches"] > 6, n
			assert n["beside_resident"] == 0 and n["module_loads"] == 3, n
			assert events("WorkerDied") == [] and events("MessageFailed") == []
		EOF
		cuda_down
	done
}
