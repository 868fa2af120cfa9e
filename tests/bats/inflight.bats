#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# inflight/ID: a file for each message in flight, owned by who asked, and unlink cancels it.

load common

@test "inflight: as many entries as messages in flight; what is in them" {
	rk_up worker_threads=2
	py <<-'EOF'
		assert in_flight() == [] and get("stats/messages_in_flight") == "0"
		fds = [submit("core/delay", {"ms": 60000}) for _ in range(5)]
		fds.append(submit("core/echo", b"x" * 100, "raw"))
		ids = in_flight()
		assert len(ids) == 6 == stats()["in_flight"]
		assert get("stats/messages_in_flight") == "6"
		lines = [dict(line.split(" ", 1) for line in get(f"inflight/{i}").splitlines()) for i in ids]
		for entry, kernel, state in zip(lines, ["core/delay"] * 5 + ["core/echo"], ["running"] * 2 + ["queued"] * 4):
		    assert list(entry) == ["kernel", "state", "age_ms", "uid", "pid"] + ["worker"] * (state == "running"), entry
		    assert entry["kernel"] == kernel and entry["state"] == state, entry
		    assert entry["uid"] == "0" and entry["pid"] == str(os.getpid()) and 0 <= int(entry["age_ms"]) < 30000, entry
		def age(): return int(get(f"inflight/{ids[0]}").splitlines()[2].split()[1])
		first = age()
		until(lambda: age() > first, True)
		st = os.stat(path(f"inflight/{ids[0]}"))
		assert (st.st_uid, st.st_nlink, oct(st.st_mode)) == (0, 1, "0o100444"), st
		assert st.st_size >= len("kernel core/delay\nstate running\nage_ms 0\nuid 0\npid 1\n"), st
		numbers = {os.stat(path(f"inflight/{i}")).st_ino for i in ids}
		assert len(numbers) == 6 and max(numbers) < 2**32, numbers
		assert {entry.inode() for entry in os.scandir(path("inflight"))} == numbers
		put("control", "drain 60")
		stuck = [line.split()[0] for line in get("drain/stuck").splitlines()]
		assert stuck == [str(i) for i in ids], (stuck, ids)
		put("control", "stop")
		assert in_flight() == [] and [outcome(answer_of, fd) for fd in fds] == ["ECANCELED"] * 6
		[event] = events("MessagesCancelled")
		assert [m["id"] for m in event["messages"]] == ids and event["count"] == 6
	EOF
}

@test "inflight: its times are those of its acceptance, so that find(1) cancels by age" {
	rk_up worker_threads=1
	touch "$BATS_TEST_TMPDIR/up"
	delays 2 60000 &
	until_value stats/messages_in_flight 2
	# no sooner than they were asked for, though the mount is older
	assert_equal "$(find "$MNT/inflight" -type f -newer "$BATS_TEST_TMPDIR/up" | wc -l)" 2
	# the same at each look
	assert_equal "$(stat -c '%x %y %z' "$MNT"/inflight/*)" "$(stat -c '%x %y %z' "$MNT"/inflight/*)"
	assert_equal "$(find "$MNT/inflight" -type f -mmin +5 -delete -print)" ""
	find "$MNT/inflight" -type f -newer "$BATS_TEST_TMPDIR/up" -delete
	wait $!
	assert_outcomes 2 ECANCELED
}

@test "inflight: the books agree with the entries at every moment" {
	rk_up worker_threads=2
	py <<-'EOF'
		over = threading.Event()
		def work():
		    while not over.is_set():
		        call("core/delay", {"ms": 1})
		tasks = [Task(work) for _ in range(6)]
		for _ in range(200):
		    assert len(in_flight()) <= 6
		    stats()
		over.set()
		assert [t.result() for t in tasks] == ["ok"] * 6
		assert in_flight() == []
	EOF
}

@test "inflight: unlink cancels: the reader is told at once; one that runs stays until it is through" {
	kernels sleep
	rk_up_kernels worker_threads=1
	py <<-'EOF'
		running, queued = submit("user/sleep", {"ms": 600}), submit("user/sleep", {"ms": 60000})
		blocking = Task(call, "core/echo", {"data": [1]})
		until_in_flight(3)
		ids = in_flight()
		held = os.open(path(f"inflight/{ids[0]}"), os.O_RDONLY)
		begun = time.monotonic()
		os.unlink(path(f"inflight/{ids[1]}"))                   # queued: gone at once
		assert in_flight() == [ids[0], ids[2]]
		assert poll(queued, select.POLLIN, 0) == select.POLLIN and outcome(answer_of, queued) == "ECANCELED"
		os.unlink(path(f"inflight/{ids[2]}"))                   # with a reader parked in it
		assert blocking.result() == "ECANCELED"
		os.unlink(path(f"inflight/{ids[0]}"))                   # running
		assert poll(running, select.POLLIN, 0) == select.POLLIN
		assert outcome(os.read, running, 100) == "ECANCELED" and time.monotonic() - begun < 0.5
		assert in_flight() == [ids[0]] and stats()["in_flight"] == 1
		assert "state cancelling" in get(f"inflight/{ids[0]}")
		os.unlink(path(f"inflight/{ids[0]}"))                   # twice is as once
		assert last_error("user/sleep") == f"user/sleep: message {ids[0]}: cancelled by its caller"
		# the descriptor is free for the next one
		write_all(running, b'{"ms":0}')
		assert outcome(os.read, running, 100) == "EAGAIN" and json.loads(answer_of(running)) == {"slept": 0}
		until_in_flight(0)
		assert outcome(os.unlink, path(f"inflight/{ids[0]}")) == "ENOENT"
		assert outcome(os.pread, held, 100, 0) == "ESRCH"       # as for /proc/PID/stat
		assert_stats(accepted=4, cancelled=3, processed=1, failed=0, in_flight=0)
		assert get("kernels/user/sleep/messages_cancelled") == "2"
		assert len(events("WorkerStarted")) == 1
	EOF
}

@test "inflight: it belongs to the caller of the request, who may cancel it, as root may, and nobody else" {
	rk_up worker_threads=1
	py <<-'EOF'
		def as_user(uid, script):
		    """Opens a call file as root and becomes uid; the mount is its working directory."""
		    return subprocess.Popen([sys.executable, "-c", f"from rk import *\nfd = open_call('core/delay', os.O_NONBLOCK)\n"
		        f"os.chdir(MNT); os.setgroups([]); os.setresgid({uid}, {uid}, {uid}); os.setresuid({uid}, {uid}, {uid})\n" + script],
		        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
		caller = '''
		write_all(fd, b'{"ms":60000}')
		print(outcome(os.read, fd, 100), flush=True)
		for line in sys.stdin:
		    print(outcome(eval, line, globals()), flush=True)
		'''
		import textwrap
		mine = submit("core/delay", {"ms": 600000})
		users = {uid: as_user(uid, textwrap.dedent(caller)) for uid in (65534, 12345)}
		assert [p.stdout.readline() for p in users.values()] == ["EAGAIN\n"] * 2
		def tell(uid, expression):
		    users[uid].stdin.write(expression + "\n")
		    users[uid].stdin.flush()
		    return users[uid].stdout.readline().strip()
		entries = {os.stat(path(f"inflight/{i}")).st_uid: i for i in in_flight()}
		assert set(entries) == {0, 65534, 12345}, entries
		for uid, i in entries.items():
		    text = dict(line.split() for line in get(f"inflight/{i}").splitlines())
		    assert text["uid"] == str(uid), text
		    assert text["pid"] == str(users[uid].pid if uid else os.getpid()), text
		for uid in users:
		    for other in entries.values():
		        if other != entries[uid]:
		            assert tell(uid, f"os.unlink('inflight/{other}')") == "EPERM"
		    assert tell(uid, "os.unlink('inflight/999999')") == "ENOENT"
		    assert tell(uid, f"open('inflight/{entries[0]}').read().split()[1]") == "core/delay"  # all may look
		assert len(in_flight()) == 3 and stats()["cancelled"] == 0
		assert tell(65534, f"os.unlink('inflight/{entries[65534]}')") == "ok"
		assert tell(65534, "os.read(fd, 100)") == "ECANCELED"
		os.unlink(path(f"inflight/{entries[12345]}"))           # root
		assert tell(12345, "os.read(fd, 100)") == "ECANCELED"
		assert in_flight() == [entries[0]]
		for p in users.values():
		    p.stdin.close()
		    assert p.wait(PATIENCE) == 0
		os.close(mine)
	EOF
}

@test "inflight: names that are none" {
	rk_up worker_threads=1
	py <<-'EOF'
		fd = submit("core/delay", {"ms": 60000})
		[i] = in_flight()
		for name in (f"0{i}", f"+{i}", f" {i}", f"{i} ", f"-{i}", f"{i}.0", f"0x{i:x}", "0", "00", str(i + 1), str(i + 2**32), str(i + 2**64),
		             str(2**64 - 1), "9" * 30, "x", "all", "१"):
		    for op in os.unlink, os.stat, os.listdir, os.rmdir:
		        assert outcome(op, path(f"inflight/{name}")) == "ENOENT", (name, op)
		for op, want in [(os.rmdir, "ENOTDIR"), (os.listdir, "ENOTDIR")]:
		    assert outcome(op, path(f"inflight/{i}")) == want, op
		assert outcome(os.mkdir, path("inflight/7")) == "EPERM"
		assert outcome(os.open, path("inflight/7"), os.O_CREAT | os.O_WRONLY) == "EPERM"
		assert outcome(os.open, path(f"inflight/{i}"), os.O_WRONLY) == "EPERM"
		assert outcome(os.truncate, path(f"inflight/{i}"), 0) == "EPERM"
		assert outcome(os.chmod, path(f"inflight/{i}"), 0o777) == "EPERM"
		assert outcome(os.chown, path(f"inflight/{i}"), 1, 1) == "EPERM"
		assert outcome(os.rename, path(f"inflight/{i}"), path("inflight/x")) == "EPERM"
		assert outcome(os.link, path(f"inflight/{i}"), path("inflight/x")) == "EPERM"
		assert outcome(os.rmdir, path("inflight")) == "EPERM"
		assert outcome(os.unlink, path("inflight")) in ("EISDIR", "EPERM")
		assert in_flight() == [i] and stats()["cancelled"] == 0
		assert outcome(os.read, fd, 10) == "EAGAIN"
	EOF
}

@test "inflight: ls, find and rm -rf while calls come and go" {
	rk_up worker_threads=2
	py <<-'EOF'
		over, ends = threading.Event(), []
		def work(ms):
		    def run():
		        fd = open_call("core/delay")
		        while not over.is_set():
		            what = outcome(ask, fd, {"ms": ms})
		            assert what == "ECANCELED" or json.loads(what)["waited_ms"] >= ms, what
		            ends.append(what)
		    return run
		def shell(command):
		    return subprocess.run(["timeout", "20", "bash", "-c", command], cwd=MNT, capture_output=True, text=True)
		tasks = [Task(work(ms)) for ms in (0, 1, 2, 5, 10, 30)]
		with Watch():
		    for round in range(15):
		        for command in "ls -l inflight", "find inflight -type f", "cat inflight/*", "rm -rf inflight/*", "stat inflight/*":
		            done = shell(command)
		            # what has ended meanwhile, as in /proc, and nothing else
		            for line in done.stderr.splitlines():
		                assert line.endswith(("No such file or directory", "No such process")), (command, line)
		            assert done.returncode in (0, 1), (command, done)
		            assert not (command.startswith("rm") and done.returncode), (done.returncode, done.stderr)
		        assert len(in_flight()) <= 8                    # two may be cancelled and run still
		    over.set()
		    assert [t.result() for t in tasks] == ["ok"] * 6
		cancelled = ends.count("ECANCELED")
		until_in_flight(0)
		assert cancelled > 0 and cancelled < len(ends)
		assert_stats(accepted=len(ends), cancelled=cancelled, processed=len(ends) - cancelled, failed=0, rejected=0)
		assert shell("rm -rf inflight").returncode == 1 and os.path.isdir(path("inflight"))
		assert in_flight() == []
	EOF
}

@test "inflight: hundreds of them are listed once each, in order" {
	rk_up worker_threads=1
	py <<-'EOF'
		import resource
		resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
		kernels = [("core/delay", {"ms": 60000}), ("core/echo", {"data": [1]}), ("core/vector-add", {"a": [1], "b": [1]})]
		fds = [submit(*kernels[i % 3]) for i in range(700)]
		names = os.listdir(path("inflight"))
		assert names == [str(i) for i in sorted(map(int, names))] and len(set(names)) == len(names) == 700
		assert subprocess.check_output(["ls", "-U", path("inflight")], text=True).split() == names
		fd = os.open(path("inflight"), os.O_RDONLY)             # a listing that others cut short
		with os.scandir(path("inflight")) as entries:
		    first = [next(entries).name for _ in range(10)]
		    for name in names[5:690]:
		        os.unlink(path(f"inflight/{name}"))
		    rest = [entry.name for entry in entries]
		assert len(set(first + rest)) == len(first + rest) and set(names[690:]) <= set(first + rest)
		assert os.listdir(path("inflight")) == names[:5] + names[690:]
		assert_stats(accepted=700, cancelled=685, in_flight=15)
	EOF
}
