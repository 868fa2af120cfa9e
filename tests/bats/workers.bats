#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Several workers behind one mount: what each runs, what each can lose, and how one is taken out.

load common

# Python that the tests below share.
workers_py() {
	{
		cat <<-'EOF'
			def worker(n, name): return get(f"workers/{n}/{name}")
			def states(): return [worker(n, "state") for n in sorted(os.listdir(path("workers")))]
			def message(i): return dict(line.split(" ", 1) for line in get(f"inflight/{i}").splitlines())
			def by_worker():
			    """The running messages' ids, by worker."""
			    found = {}
			    for i in in_flight():
			        m = message(i)
			        found.setdefault(int(m["worker"]), []).append(i)
			    return found
			def sums(name): return sum(int(worker(n, name)) for n in os.listdir(path("workers")))
		EOF
		cat
	} | py
}

@test "workers: as many processes as workers says, each with a directory; calls go to all" {
	rk_up primary_backend=cpu,workers=4,worker_threads=2
	workers_py <<-'EOF'
		assert sorted(os.listdir(path("workers"))) == list("0123") and states() == ["running"] * 4
		pids = {worker(n, "pid") for n in range(4)}
		assert len(pids) == 4 and all(open(f"/proc/{p}/comm").read() == "rk-worker\n" for p in pids)
		assert [worker(n, "backend") for n in range(4)] == ["cpu"] * 4
		assert [worker(n, "health") for n in range(4)] == ["healthy"] * 4 and get("health/status") == "healthy"
		assert worker(0, "device") == "none"
		fds = [submit("core/delay", {"ms": 60000}) for _ in range(8)]
		until(lambda: sorted(len(ids) for ids in by_worker().values()), [2, 2, 2, 2])
		assert [worker(n, "messages_in_flight") for n in range(4)] == ["2"] * 4
		for i in in_flight():
		    os.unlink(path(f"inflight/{i}"))
		assert [outcome(answer_of, fd) for fd in fds] == ["ECANCELED"] * 8
		until(lambda: sums("messages_in_flight"), 0)
		for _ in range(40):
		    assert call("core/echo", b"x", "raw") == b"x"
		assert sums("messages_processed") == 40 == stats()["processed"]
		for name in "workers/4", "workers/04", "workers/-1", "workers/x", "workers/4294967296", "workers/4/state":
		    assert outcome(os.stat, path(name)) == "ENOENT", name
		assert outcome(put, "workers/1/enable", "2") == "EINVAL" and outcome(put, "workers/1/enable", " ") == "EINVAL"
		assert outcome(put, "workers/1/enable", "no") == "EINVAL"
		assert get("last_cmd_status") == "enable of worker 1: write 1 to enable, 0 to disable"
		assert oct(os.stat(path("workers/1/enable")).st_mode) == "0o100644"
		put("control", "stop")
		until(states, ["stopped"] * 4)
		assert outcome(worker, 2, "pid") == "ENODATA"
		put("control", "reset"), put("control", "start")
		until(lambda: get("state"), "Running")
		assert states() == ["running"] * 4 and pids.isdisjoint({worker(n, "pid") for n in range(4)})
		assert sums("messages_processed") == 0 and sums("restarts") == 0
	EOF
}

@test "workers: the death of one ends what it ran, and nothing else; the runtime stays ready" {
	rk_up primary_backend=cpu,workers=4,worker_threads=2
	workers_py <<-'EOF'
		import signal
		fds = {}
		for _ in range(8):
		    fd = submit("core/delay", {"ms": 3000})
		    fds[max(in_flight())] = fd
		running = by_worker()
		assert sorted(len(ids) for ids in running.values()) == [2, 2, 2, 2], running
		victim, pid = 2, int(worker(2, "pid"))
		seen, over = set(), threading.Event()
		def watch():
		    while not over.is_set():
		        seen.add((get("health/status"), get("health/ready")))
		task = Task(watch)
		begun = time.monotonic()
		os.kill(pid, signal.SIGKILL)
		for i in running[victim]:
		    assert outcome(answer_of, fds.pop(i)) == "EIO"
		until(lambda: worker(victim, "state"), "running")
		assert time.monotonic() - begun < 1 and int(worker(victim, "pid")) != pid
		until(lambda: get("health/status"), "healthy")
		over.set()
		assert task.result() == "ok"
		assert ("degraded", "1") in seen and {ready for _, ready in seen} == {"1"}, seen
		assert [json.loads(answer_of(fd))["waited_ms"] >= 3000 for fd in fds.values()] == [True] * 6
		assert time.monotonic() - begun < 6
		assert [worker(n, "restarts") for n in range(4)] == ["0", "0", "1", "0"]
		assert worker(victim, "messages_failed") == "2" and sums("messages_failed") == 2
		[died] = events("WorkerDied")
		assert died["worker"] == victim and died["pid"] == pid and died["running"] == 2, died
		assert_stats(processed=6, failed=2)
	EOF
}

@test "workers: one that dies too often is out, its seat alone; 1 into its enable brings it back" {
	rk_up primary_backend=cpu,workers=3,restart_limit=1
	workers_py <<-'EOF'
		import signal
		def kill(n):
		    restarts, pid = worker(n, "restarts"), int(worker(n, "pid"))
		    os.kill(pid, signal.SIGKILL)
		    until(lambda: worker(n, "state") == "out" or worker(n, "state") == "running" and worker(n, "restarts") != restarts, True)
		def until_out(n):
		    kill(n)
		    kill(n)
		    assert worker(n, "state") == "out"
		until(lambda: get("health/status"), "healthy")          # no other has a reason
		until_out(1)
		assert get("state") == "Running" and get("health/ready") == "1" and get("health/status") == "degraded"
		assert get("health/reason").startswith("worker 1: ") and "more than restart_limit 1" in get("health/reason")
		assert worker(1, "health") == "unhealthy" and "restart_limit" in worker(1, "reason")
		[out] = events("WorkerOut")
		assert out["worker"] == 1 and "restart_limit" in out["why"], out
		for _ in range(10):
		    assert call("core/echo", b"x", "raw") == b"x"
		put("workers/1/enable", "1")
		until(lambda: worker(1, "state"), "running")
		until(lambda: get("health/status"), "healthy")
		kill(1)                                                 # a budget of its own again
		until(lambda: worker(1, "state"), "running")
		kill(1)
		until_out(0)
		assert get("state") == "Running"
		until_out(2)
		until(lambda: get("state"), "Failed")
		assert "restart_limit" in get("health/reason")
		assert len(events("WorkerOut")) == 3                    # the last one's is the runtime's failure
		put("control", "reset"), put("control", "start")
		until(lambda: get("state"), "Running")
		until(states, ["running"] * 3)
	EOF
}

@test "workers: enable 0 and 1 on each in turn under load loses nothing" {
	rk_up primary_backend=cpu,workers=4,worker_threads=2
	workers_py <<-'EOF'
		over = threading.Event()
		def load(kernel, request, encoding):
		    n = 0
		    while not over.is_set():
		        call(kernel, request, encoding)
		        n += 1
		    assert n > 10
		loads = [Task(load, "core/echo", b"y" * 64, "raw") for _ in range(4)]
		loads += [Task(load, "core/delay", {"ms": 5}, "json") for _ in range(4)]
		with Watch():
		    for n in range(4):
		        pid = worker(n, "pid")
		        put(f"workers/{n}/enable", "0")
		        until(lambda: worker(n, "state"), "stopped")
		        assert worker(n, "enable") == "0" and not os.path.exists(f"/proc/{pid}")
		        assert worker(n, "health") == "unhealthy" and get("health/ready") == "1"
		        assert get("health/reason") == f"worker {n}: it is disabled: write 1 to its enable"
		        put(f"workers/{n}/enable", "1")
		        until(lambda: worker(n, "health"), "healthy")
		        assert worker(n, "pid") != pid and worker(n, "enable") == "1"
		over.set()
		assert [t.result() for t in loads] == ["ok"] * 8
		assert_stats(failed=0, rejected=0, cancelled=0, timed_out=0)
		assert [e["worker"] for e in events("WorkerDisabled")] == [0, 1, 2, 3] and events("WorkerDied") == []
	EOF
}

@test "workers: what runs on a disabled one has drain_timeout, then is cancelled; all disabled: calls wait" {
	rk_up primary_backend=cpu,workers=2,worker_threads=1,drain_timeout=300ms
	workers_py <<-'EOF'
		fds = [submit("core/delay", {"ms": 60000}), submit("core/delay", {"ms": 60000})]
		[first] = by_worker()[0]
		put("workers/0/enable", "0")
		assert worker(0, "state") == "draining"
		until(lambda: worker(0, "state"), "stopped")
		done = [fd for fd in fds if poll(fd, select.POLLIN, 0)]
		assert len(done) == 1 and outcome(answer_of, done[0]) == "ECANCELED"
		assert "its worker was disabled" in last_error("core/delay")
		assert_stats(cancelled=1, failed=0, in_flight=1)
		# taken back before its time is over: nothing is cancelled
		put("config/drain_timeout", "60s") if get("config/hot_reload_enabled") == "yes" else None
		put("workers/1/enable", "0")
		put("workers/1/enable", "1")
		assert worker(1, "state") == "running"
		put("workers/1/enable", "0")
		until(lambda: worker(1, "state"), "stopped")
		assert get("state") == "Running" and get("health/status") == "unhealthy" and get("health/ready") == "0"
		waiting = [submit("core/echo", b"z", "raw") for _ in range(3)]
		assert_stats(in_flight=3)
		put("workers/0/enable", "1")
		assert [answer_of(fd) for fd in waiting] == [b"z"] * 3
		until(lambda: get("health/ready"), "1")
		assert states() == ["running", "stopped"]
		# what was written holds for the next start; unless nobody would be left
		put("control", "stop"), put("control", "reset"), put("control", "start")
		until(lambda: get("state"), "Running")
		assert states() == ["running", "stopped"] and worker(1, "enable") == "0"
		put("control", "stop")
		put("workers/0/enable", "0")
		put("control", "reset"), put("control", "start")
		until(lambda: get("state"), "Running")
		assert [worker(n, "enable") for n in range(2)] == ["1", "1"]
	EOF
}

@test "workers: state can be polled" {
	rk_up primary_backend=cpu,workers=2
	workers_py <<-'EOF'
		fd = os.open(path("workers/1/state"), os.O_RDONLY)
		assert os.read(fd, 100) == b"running\n" and not poll(fd, select.POLLPRI, 0)
		state = os.open(path("state"), os.O_RDONLY)
		assert os.read(state, 100) == b"Running\n"
		put("workers/1/enable", "0")
		while os.pread(fd, 100, 0) != b"stopped\n":
		    assert poll(fd, select.POLLPRI)
		put("workers/1/enable", "1")
		while os.pread(fd, 100, 0) != b"running\n":
		    assert poll(fd, select.POLLPRI)
		assert not poll(state, select.POLLPRI, 0)               # the runtime's is the same
	EOF
}

@test "workers: a resident kernel is on one of them; when that goes it begins anew elsewhere" {
	rk_up primary_backend=cpu,workers=4
	workers_py <<-'EOF'
		import signal
		kernel = "core/running-stats"
		def count(x): return json.loads(call(kernel, {"x": x}))
		for i in range(1, 21):
		    answer = count([1.0])
		assert 20 in answer.values() or [20] in answer.values(), answer
		def owner():
		    """The worker that runs it: the one whose count moves."""
		    before = [int(worker(n, "messages_processed")) for n in range(4)]
		    count([1.0])
		    after = [int(worker(n, "messages_processed")) for n in range(4)]
		    [n] = [i for i in range(4) if after[i] != before[i]]
		    return n
		first = owner()
		assert {owner() for _ in range(10)} == {first}
		os.kill(int(worker(first, "pid")), signal.SIGKILL)
		until(lambda: len([e for e in events("KernelMoved") if e["id"] == kernel]), 1)
		[moved] = [e for e in events("KernelMoved") if e["id"] == kernel]
		assert moved["worker"] != first, (moved, first)
		answer = count([1.0])
		assert 1 in answer.values() or [1] in answer.values(), answer
		assert owner() == moved["worker"]
		put(f"workers/{moved['worker']}/enable", "0")
		until(lambda: len([e for e in events("KernelMoved") if e["id"] == kernel]), 2)
		answer = count([1.0])
		assert 1 in answer.values() or [1] in answer.values(), answer
	EOF
}

@test "workers: a kernel that kills three of them is disabled, and what others run goes on" {
	kernels crash_null
	rk_up_kernels primary_backend=cpu,workers=4,worker_threads=1
	workers_py <<-'EOF'
		beside = submit("core/delay", {"ms": 3000})
		with Watch():
		    for _ in range(3):
		        assert outcome(call, "user/crash-null", {"crash": 1}) == "EIO"
		    until(lambda: get("kernels/user/crash-null/enable"), "0")
		    assert outcome(call, "user/crash-null", {"crash": 0}) == "ENODEV"
		    until(states, ["running"] * 4)
		put("kernels/user/crash-null/enable", "1")
		for _ in range(20):
		    assert json.loads(call("user/crash-null", {"crash": 0})) == {"survived": 1}
		assert len(events("KernelDisabled")) == 1 and get("state") == "Running"
		assert sums("restarts") == 3
		outcome(answer_of, beside)                              # it may have been the crash's neighbour
	EOF
}

@test "workers: max_kernel_instances counts a kernel once, and the same ones after a death" {
	rk_up primary_backend=cpu,workers=3,max_kernel_instances=5
	workers_py <<-'EOF'
		assert get("stats/kernels_active") == "5", get("stats/kernels_active")
		until(states, ["running"] * 3)
		import signal
		before = sorted(k for d in os.listdir(path("kernels")) for k in os.listdir(path(f"kernels/{d}")) if get(f"kernels/{d}/{k}/backend") != "none")
		for n in range(3):
		    pid = worker(n, "pid")
		    os.kill(int(pid), signal.SIGKILL)
		    until(lambda: worker(n, "state") == "running" and worker(n, "restarts") == "1", True)
		after = sorted(k for d in os.listdir(path("kernels")) for k in os.listdir(path(f"kernels/{d}")) if get(f"kernels/{d}/{k}/backend") != "none")
		assert before == after and get("stats/kernels_active") == "5", (before, after)
	EOF
}

@test "workers: promtool finds nothing to object to, and each worker is a label" {
	rk_up primary_backend=cpu,workers=3
	run promtool check metrics <"$MNT/metrics"
	assert_success
	assert_output ''
	call core/echo '{"data":[1]}'
	run cat "$MNT/metrics"
	assert_line --regexp '^rkfs_worker_info\{mount=".*",worker="2",backend="cpu",device="",state="running"\} 1$'
	assert_line --regexp '^rkfs_worker_enabled\{mount=".*",worker="1"\} 1$'
	assert_line --regexp '^rkfs_worker_healthy\{mount=".*",worker="1"\} 1$'
	assert_equal "$(grep '^rkfs_worker_messages_processed_total' <<<"$output" | awk '{ n += $NF } END { print NR, n }')" "3 1"
}

@test "workers: the books balance while workers are killed at random, and nothing is left" {
	rk_up "primary_backend=cpu,workers=4,worker_threads=2,restart_limit=1000,kernels_dir="
	KILL_SECS=${KILL_SECS-5} workers_py <<-'EOF'
		import random, signal
		over, rng = threading.Event(), random.Random(1)
		def client(seed):
		    rng, done = random.Random(seed), 0
		    while not over.is_set():
		        kernel, request, encoding = rng.choice((("core/echo", b"x" * rng.randrange(1, 100000), "raw"),
		            ("core/delay", {"ms": rng.randrange(20)}, "json"), ("core/running-stats", {"x": [1.0]}, "json")))
		        what = outcome(call, kernel, request, encoding)
		        assert what in ("ok", "EIO") or isinstance(what, bytes), what
		        done += 1
		    assert done > 10
		clients = [Task(client, i) for i in range(8)]
		end = time.monotonic() + float(os.environ["KILL_SECS"])
		kills = 0
		while time.monotonic() < end:
		    n = rng.randrange(4)
		    pid = outcome(worker, n, "pid")
		    if isinstance(pid, str) and pid.isdigit():
		        try:
		            os.kill(int(pid), signal.SIGKILL)
		            kills += 1
		        except ProcessLookupError:
		            pass
		    again = time.monotonic() + 0.2
		    while time.monotonic() < again:
		        stats()
		        assert get("state") == "Running"
		over.set()
		assert [c.result() for c in clients] == ["ok"] * 8 and kills > 5
		until(states, ["running"] * 4)
		until(lambda: stats()["in_flight"], 0)
		assert [worker(n, "messages_in_flight") for n in range(4)] == ["0"] * 4
	EOF
}

@test "workers: rktop has a line for each, within 80 columns; none where one is alone" {
	rk_up primary_backend=cpu,workers=3
	call core/echo '{"data":[1]}'
	echo 0 >"$MNT/workers/1/enable"
	until_value workers/1/state stopped
	run "$BIN/rktop" --once --delay 0.1 -m "$MNT"
	assert_success
	assert_line --regexp '^worker 0  running  healthy   cpu  runs 0   done [01] +failed 0    again 0$'
	assert_line --regexp '^worker 1  stopped  unhealthy none runs 0 '
	assert_equal "$(grep -c '^worker ' <<<"$output")" 3
	assert_equal "$(grep '^worker ' <<<"$output" | awk 'length > 80')" ""
	umount "$MNT"
	await_exit "$DAEMON"
	rk_up primary_backend=cpu
	run "$BIN/rktop" --once --delay 0.1 -m "$MNT"
	refute_line --regexp '^worker '
}

@test "workers: a library that hangs one of them while it is loaded: that one is replaced, the kernel blamed" {
	mkdir "$KERNELS"
	cat >"$BATS_TEST_TMPDIR/hangs.c" <<-'EOF'
		#include <fcntl.h>
		#include <unistd.h>
		/* the first process that loads it, and no other */
		__attribute__((constructor)) static void hang(void)
		{
			if (open(FIRST, O_CREAT | O_EXCL | O_WRONLY, 0600) >= 0)
				for (;;)
					pause();
		}
		void half(float x, float *y) { *y = x / 2; }
	EOF
	mkdir -m 1777 "$BATS_TEST_TMPDIR/first"
	cc -shared -fPIC -DFIRST="\"$BATS_TEST_TMPDIR/first/here\"" -o "$KERNELS/hangs.so" "$BATS_TEST_TMPDIR/hangs.c"
	rk_up "primary_backend=cpu,workers=4,worker_threads=1,kernel_load_timeout=1s,hot_reload_enabled=yes,worker_user=root,kernels_dir=$KERNELS"
	printf '[kernel]\nid = user/half\n[inputs]\nx = f32\n[outputs]\ny = f32\n[cpu]\nlibrary = hangs.so\nentry = half\nargs = x, y\n' >"$KERNELS/half.ini"
	workers_py <<-'EOF'
		beside = [submit("core/delay", {"ms": 2000}) for _ in range(4)]
		put("control", "reload")
		until(lambda: get("kernels/user/half/enable"), "0")
		assert "took longer than kernel_load_timeout" in last_error("user/half"), last_error("user/half")
		until(states, ["running"] * 4)
		assert sums("restarts") == 1 and get("state") == "Running"
		ends = sorted(str(outcome(answer_of, fd)) for fd in beside)
		assert ends.count("EIO") == 1, ends                     # what ran beside it in that process
		put("kernels/user/half/enable", "1")                    # nothing hangs any more
		assert json.loads(call("user/half", {"x": 4})) == {"y": 2.0}
		for _ in range(20):
		    assert json.loads(call("user/half", {"x": 8})) == {"y": 4.0}
		# enable 0 during a load: it ends all the same, and is back with the kernel
		put("workers/0/enable", "0"), put("workers/0/enable", "1"), put("workers/0/enable", "0")
		until(lambda: worker(0, "state"), "stopped")
		put("control", "reload")                                # while one is out
		put("workers/0/enable", "1")
		until(states, ["running"] * 4)
		for _ in range(20):
		    assert json.loads(call("user/half", {"x": 2})) == {"y": 1.0}
	EOF
}
