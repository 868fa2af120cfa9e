#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Who may read, call, control and cancel: real users, by number, each trying everything, under the
# options uid=, gid=, control_mode=, call_gid= and call_mode=.

# scripts for other shells and programs are in single quotes
# shellcheck disable=SC2016

load common

# Python for `users`: who there is, and what each of them may do.
USERS='
OWNER, OPS, GPU = 12001, 12002, 12003                          # uid=, gid= and call_gid= of the mounts
WHO = {"root": (0, []), "owner": (OWNER, []), "ops": (12011, [OPS]), "gpu": (12012, [GPU]),
       "both": (12013, [OPS, GPU]), "nobody": (65534, [])}

ATTEMPTS = r"""
import errno, os, sys
def outcome(fn):
    try:
        fn()
        return "ok"
    except OSError as e:
        return errno.errorcode[e.errno]
def read(name):
    fd = os.open(name, os.O_RDONLY)
    assert len(os.read(fd, 100000)) > 0 or name.endswith("call.json")
def write(name, text):
    os.write(os.open(name, os.O_WRONLY), text)
def call(name, request=b"{\"data\":[1]}"):
    fd = os.open(name, os.O_RDWR)
    os.write(fd, request)
    assert os.read(fd, 100) == b"{\"data\":[1]}\n"
def own():
    fd = os.open("kernels/core/delay/call.json", os.O_RDWR | os.O_NONBLOCK)
    os.write(fd, b"{\"ms\":600000}")
    assert outcome(lambda: os.read(fd, 100)) == "EAGAIN"
    [mine] = [i for i in os.listdir("inflight") if f"pid {os.getpid()}\n" in open(f"inflight/{i}").read()]
    os.unlink(f"inflight/{mine}")
    assert outcome(lambda: os.read(fd, 100)) == "ECANCELED"
ALL = {
    "stats": lambda: read("stats/all"),
    "state": lambda: read("state"),
    "setting": lambda: read("config/preset"),
    "verbs": lambda: read("control"),
    "command": lambda: write("control", b"start"),
    "reload": lambda: write("control", b"reload"),
    "check": lambda: write("health/check", b"1"),
    "set": lambda: write("config/max_queue_depth", b"7"),
    "enable": lambda: write("kernels/core/echo/enable", b"1"),
    "call": lambda: call("kernels/core/echo/call.json"),
    "look": lambda: read("kernels/core/echo/call.json"),
    "own": own,
    "other": lambda: os.unlink("inflight/" + sys.argv[2]),
}
print(*(outcome(ALL[name]) for name in sys.argv[1].split()))
"""

def tries(who, what, *args):
    """{attempt: outcome} of a user; the mount is his working directory, as others are not let through above it."""
    uid, groups = WHO[who]
    groups = "--groups=" + ",".join(map(str, groups)) if groups else "--clear-groups"
    user = ["setpriv", f"--reuid={uid}", f"--regid={uid}", groups, "--no-new-privs"]
    done = subprocess.run(user + ["timeout", "60", "/usr/bin/python3", "-c", ATTEMPTS, what, *map(str, args)],
                          cwd=MNT, stdout=subprocess.PIPE, text=True, check=True)
    return dict(zip(what.split(), done.stdout.split(), strict=True))

def check(what, expected, *args):
    """expected: a line for each user, his name and the outcomes in the order of what."""
    for line in expected.strip().splitlines():
        who, *outcomes = line.split()
        got = tries(who, what, *args)
        assert got == dict(zip(what.split(), outcomes, strict=True)), (who, got)
'

# users <SCRIPT: Python with all of these at hand.
users() {
	{
		echo "$USERS"
		cat
	} | py
}

@test "permissions: without options all is the mount's owner's; others see statistics and states" {
	rk_up hot_reload_enabled=yes
	users <<-'EOF'
		WHO["wheel"] = (12014, [0])             # of the mounting process's group
		check("stats state setting verbs command reload check set enable call look", """
		    root    ok ok ok     ok     ok     ok     ok     ok     ok     ok     ok
		    wheel   ok ok ok     EACCES EACCES EACCES EACCES EACCES EACCES EACCES EACCES
		    owner   ok ok EACCES EACCES EACCES EACCES EACCES EACCES EACCES EACCES EACCES
		    nobody  ok ok EACCES EACCES EACCES EACCES EACCES EACCES EACCES EACCES EACCES""")
	EOF
}

@test "permissions: one group may call, another one may control, and neither does what the other may" {
	rk_up hot_reload_enabled=yes,uid=12001,gid=12002,control_mode=0660,call_gid=12003
	users <<-'EOF'
		before = int(get("stats/messages_processed"))
		check("stats state setting verbs command reload check set enable call look", """
		    root    ok ok ok     ok     ok     ok     ok     ok     ok     ok     ok
		    owner   ok ok ok     ok     ok     ok     ok     ok     ok     ok     ok
		    ops     ok ok ok     ok     ok     ok     ok     ok     ok     EACCES EACCES
		    gpu     ok ok EACCES EACCES EACCES EACCES EACCES EACCES EACCES ok     ok
		    both    ok ok ok     ok     ok     ok     ok     ok     ok     ok     ok
		    nobody  ok ok EACCES EACCES EACCES EACCES EACCES EACCES EACCES EACCES EACCES""")
		assert int(get("stats/messages_processed")) == before + 4
		for name, uid, gid, mode in [
		    ("", OWNER, OPS, 0o40555), ("state", OWNER, OPS, 0o100444), ("control", OWNER, OPS, 0o100660),
		    ("inflight", OWNER, OPS, 0o41777), ("health/check", OWNER, OPS, 0o100220),
		    ("config/preset", OWNER, OPS, 0o100440), ("config/log_level", OWNER, OPS, 0o100660),
		    ("wait/running", OWNER, OPS, 0o100444), ("kernels/core", OWNER, OPS, 0o40555),
		    ("kernels/core/echo/enable", OWNER, OPS, 0o100664), ("kernels/core/echo/mode", OWNER, OPS, 0o100444),
		    ("kernels/core/echo/call.json", OWNER, GPU, 0o100660), ("kernels/core/echo/call.raw", OWNER, GPU, 0o100660)]:
		    st = os.stat(path(name))
		    assert (st.st_uid, st.st_gid, st.st_mode) == (uid, gid, mode), (name, st)
	EOF
	# who it was is in the log, and who was not let in is not
	assert_file_contains "$LOG" 'reload from uid 12011 pid [1-9]'
	assert_file_contains "$LOG" 'check from uid 12001 pid [1-9]'
	refute grep -E 'uid (12012|65534)' "$LOG"
}

@test "permissions: a caller cancels his own messages; all of them the owner and root, nobody else" {
	rk_up worker_threads=1,uid=12001,gid=12002,control_mode=0660,call_gid=12003
	users <<-'EOF'
		blocking = submit("core/delay", {"ms": 600000})
		others, last = [], max(in_flight())
		for line in """
		    gpu     ok     EPERM
		    both    ok     EPERM
		    ops     EACCES EPERM
		    nobody  EACCES EPERM
		    owner   ok     ok
		    root    ok     ok""".strip().splitlines():
		    other = submit("core/delay", {"ms": 600000})
		    new = max(in_flight())
		    assert new > last
		    check("own other", line, new)
		    left = [last] + [i for i, _ in others] + ([new] if line.split()[2] != "ok" else [])
		    assert in_flight() == sorted(left), (line, left, in_flight())
		    if line.split()[2] == "ok":
		        assert outcome(os.read, other, 100) == "ECANCELED", line
		    else:
		        others.append((new, other))
		# what was not cancelled is as it was
		for i, fd in others:
		    assert "state queued" in get(f"inflight/{i}") and outcome(os.read, fd, 100) == "EAGAIN"
		put("control", "stop")
	EOF
}

@test "permissions: what a group, and others, may be given" {
	local options

	for options in call_gid=12003 call_gid=12003,call_mode=0660 gid=12003,call_mode=0660; do
		rk_up "$options"
		users <<-'EOF'
			check("stats command call", """
			    gpu     ok EACCES ok
			    nobody  ok EACCES EACCES""")
		EOF
		umount "$MNT"
		assert_daemon_exits
	done
	# to command without seeing the verbs; to see them; a call_gid that may not call after all
	rk_up gid=12002,control_mode=0620,call_gid=12003,call_mode=0600,hot_reload_enabled=yes
	users <<-'EOF'
		check("verbs command check set enable call", """
		    ops     EACCES ok     ok     ok     ok     EACCES
		    gpu     EACCES EACCES EACCES EACCES EACCES EACCES
		    nobody  EACCES EACCES EACCES EACCES EACCES EACCES""")
	EOF
	umount "$MNT"
	assert_daemon_exits
	rk_up gid=12002,control_mode=0642,call_mode=0606,hot_reload_enabled=yes
	users <<-'EOF'
		check("setting verbs command check set enable call", """
		    ops     ok     ok     EACCES EACCES EACCES EACCES EACCES
		    nobody  EACCES EACCES ok     ok     ok     ok     ok""")
	EOF
	umount "$MNT"
	assert_daemon_exits
	rk_up uid=12001
	users <<-'EOF'
		check("setting verbs command check call", """
		    owner   ok     ok     ok     ok     ok
		    ops     EACCES EACCES EACCES EACCES EACCES""")
	EOF
}

@test "permissions: rkcall tells who may call" {
	local program

	rk_up call_gid=12003
	exec {program}<"$BIN/rkcall" # others may not pass the directories above it
	run bash -c 'cd "$MNT" && exec setpriv --reuid=12012 --regid=12012 --groups=12003 \
		"/proc/self/fd/$1" -m . core/echo "{\"data\":[1]}" 3>&-' call "$program"
	assert_output '{"data":[1]}'
	run as_nobody "/proc/self/fd/$program" -m . core/echo '{"data":[1]}'
	assert_failure
	assert_output --regexp 'permission denied: only root( and the group .*)? may call kernels'
	exec {program}<&-
}

@test "permissions: a user who mounts shares with his groups, if the mount is for others at all" {
	private '
		mount -t tmpfs -o mode=755 tmpfs /mnt
		mknod -m 666 /mnt/fuse c 10 229
		mount --bind /mnt/fuse /dev/fuse
		echo user_allow_other >/mnt/fuse.conf
		mkdir /mnt/bin /mnt/dir
		cp "$BIN/mount.rkfs" "$BIN/rk-worker" /mnt/bin
		chown 1:1 /mnt/dir
		export HOME=/ ASAN_OPTIONS= UBSAN_OPTIONS= TSAN_OPTIONS=
		cd /
		# fusermount3 wants to know his name; nothing is done but by number
		user() { setpriv --reuid="$1" --regid="$1" --groups="$2" "${@:3}"; }
		refused() {
			status=0
			user 1 12002 /mnt/bin/mount.rkfs -o "$1" none /mnt/dir 2>/mnt/why || status=$?
			[ "$status" = 1 ]
			[ "$(cat /mnt/why)" = "mount.rkfs: -o $2" ]
		}
		refused uid=0 "uid=0: only root may give the files to another user; leave it out: they belong to user 1"
		refused uid=65534,gid=12002 "uid=65534: only root may give the files to another user; leave it out: they belong to user 1"
		refused gid=0 "gid=0: only root may name a group that he is not in; leave it out, or name one of your own"
		refused call_gid=12003 "call_gid=12003: only root may name a group that he is not in; leave it out, or name one of your own"
		user 1 12002 /mnt/bin/mount.rkfs -o uid=1,gid=12002,control_mode=0660 none /mnt/dir
		[ "$(user 1 12002 stat -c "%u %g %a" /mnt/dir/control)" = "1 12002 660" ]
		user 1 12002 bash -c "echo start >/mnt/dir/control"
		# not without allow_other, whatever the modes say
		user 12011 12002 bash -c "echo start >/mnt/dir/control" 2>/mnt/why && exit 1
		grep -q "Permission denied" /mnt/why
		user 1 12002 fusermount3 -u /mnt/dir
		mount --bind /mnt/fuse.conf /etc/fuse.conf
		user 1 12002 /mnt/bin/mount.rkfs -o allow_other,gid=12002,control_mode=0660 none /mnt/dir
		user 12011 12002 bash -c "echo start >/mnt/dir/control"
		user 12011 12003 cat /mnt/dir/state | grep -qx Running
		user 12011 12003 bash -c "echo start >/mnt/dir/control" 2>/mnt/why && exit 1
		grep -q "Permission denied" /mnt/why
		user 1 12002 fusermount3 -u /mnt/dir
	'
}

@test "permissions: whoever may only read cannot make the daemon hold text without end" {
	rk_up primary_backend=cpu
	py <<-'EOF'
		import resource
		resource.setrlimit(resource.RLIMIT_NOFILE, (5000, 5000))
		os.chdir(MNT)                                           # others may not pass the directories above it
		size = len(open("metrics", "rb").read())
		os.seteuid(12001)
		state = os.open("state", os.O_RDONLY)
		fds = [os.open("metrics", os.O_RDONLY) for _ in range((64 << 20) // size)]
		first = [outcome(os.read, fd, 1) for fd in fds]
		assert set(first) == {b"#", "ENOMEM"}, set(first)
		assert first.count(b"#") * size < 16 << 20
		assert outcome(os.read, fds[-1], 1) == "ENOMEM"
		assert os.read(state, 100) == b"Running\n"              # what is small holds no memory of its own
		for fd in fds:                                          # what was read to its end is held no more
		    text = os.pread(fd, 1 << 20, 0)
		    assert len(text) >= size and os.pread(fd, 1, len(text)) == b""
		    assert os.pread(fd, 1, len(text)) == b""
		assert os.pread(fds[0], 1, 1) == text[1:2]              # rendered again
		os.seteuid(0)
		os.seteuid(12002)
		assert len(open("metrics", "rb").read()) >= size
		os.seteuid(0)
		assert [os.read(os.open("metrics", os.O_RDONLY), 1) for _ in range(10)] == [b"#"] * 10
	EOF
}

@test "permissions: equal texts that many hold open are in memory once" {
	rk_up primary_backend=cpu
	py <<-'EOF'
		def anonymous():
		    with open(f"/proc/{DAEMON}/status") as f:
		        return next(int(line.split()[1]) for line in f if line.startswith("RssAnon")) << 10
		def held():                                             # read, but not to its end
		    fd = os.open(f"{MNT}/events", os.O_RDONLY)
		    assert os.read(fd, 1) == b"{"
		    return fd
		while os.path.getsize(f"{MNT}/events") < 1 << 15:
		    put("kernels/core/echo/enable", "0"), put("kernels/core/echo/enable", "1")
		until(lambda: events()[-1]["event"], "KernelActivated")
		size = os.path.getsize(f"{MNT}/events")
		fds = [held()]
		before = anonymous()
		fds += [held() for _ in range(99)]
		assert anonymous() - before < 30 * size or "asan" in os.environ["BIN"], (size, before, anonymous())
		texts = {os.pread(fd, size, 0) for fd in fds[:50]}      # each renders its own again
		assert len(texts) == 1 and len(texts.pop()) == size
		put("kernels/core/echo/enable", "0")                    # what comes now is for who looks for it
		until(lambda: events()[-1]["event"], "KernelDeactivated")
		assert os.pread(fds[60], 1 << 20, 1) + b"" and os.path.getsize(f"{MNT}/events") > size
		rest = os.pread(fds[60], 1 << 20, size)
		assert rest.count(b"\n") == 1 and b"KernelDeactivated" in rest, rest
		assert os.pread(fds[61], size, 1) == os.pread(fds[62], size, 1) and len(os.pread(fds[62], size, 1)) == size - 1
	EOF
}

@test "permissions: open files and waiting reads of a user are bounded" {
	rk_up primary_backend=cpu,call_gid=12003
	py <<-'EOF'
		import resource
		resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
		os.chdir(MNT)                                           # others may not pass the directories above it
		call_file = "kernels/core/echo/call.json"
		os.setegid(12003)
		os.seteuid(12001)
		fds = []
		while (what := outcome(os.open, call_file, os.O_RDWR)) != "ENOMEM":
		    fds.append(what)
		    assert len(fds) < 10000
		assert len(fds) > 4000 and outcome(os.open, "state", os.O_RDONLY) == "ENOMEM"
		os.seteuid(0)
		why = open("kernels/core/echo/last_error").read()
		assert "core/echo: user 12001 holds as much memory by open files and waiting reads as one user may" in why, why
		assert os.open(call_file, os.O_RDWR)                    # root's
		os.seteuid(12002)
		assert os.open(call_file, os.O_RDWR) and open("state").read() == "Running\n"
		os.seteuid(0)
		os.seteuid(12001)
		os.close(fds.pop())
		def open_waiting():
		    fds.append(os.open("wait/stopped", os.O_RDONLY))
		until(lambda: outcome(open_waiting), "ok")              # the kernel releases a file some time after its close
		waiting = fds.pop()                                     # what is left is less than another one takes
		readers = [Task(os.read, waiting, 100) for _ in range(16)]
		until(lambda: any(r.value == "ENOMEM" for r in readers), True)
		for fd in fds:
		    os.close(fd)
		until(lambda: outcome(os.open, call_file, os.O_RDWR) != "ENOMEM", True)
		os.seteuid(0)
		os.setegid(0)
		put("control", "stop")
		assert {r.result() for r in readers} <= {"ENOMEM", b"Stopped\n", b""}
	EOF
}

@test "permissions: what a request held is told to its caller, the owner and root, and to nobody else" {
	rk_up primary_backend=cpu,uid=12001,call_gid=12003
	py <<-'EOF'
		os.chdir(MNT)                                           # others may not pass the directories above it
		sys.modules["rk"].MNT = "."
		def by(uid, fn, gid=12003):
		    os.setegid(gid)
		    os.seteuid(uid)
		    try:
		        return fn()
		    finally:
		        os.seteuid(0)
		        os.setegid(0)
		def refused(request):
		    """The sentence, from the call file itself: once, then nothing; and the next request is as any."""
		    fd = open_call("core/vector-add")
		    write_all(fd, request)
		    assert outcome(os.read, fd, 100) == "EINVAL"
		    sentence = os.read(fd, 1000).decode()
		    assert os.read(fd, 1000) == b"" and sentence.endswith("\n")
		    write_all(fd, b'{"a":[1],"b":[2]}')
		    assert json.loads(os.read(fd, 1000)) == {"c": [3.0]}
		    return sentence.rstrip("\n")
		for secret in "my-secret", "31415926":
		    sentence = by(12011, lambda: refused(f'{{"{secret}":[1]}}'.encode()))
		    assert secret in sentence, sentence
		    for uid in 0, 12001, 12011:
		        assert by(uid, lambda: last_error("core/vector-add")) == sentence, uid
		    for uid in 12012, 65534:
		        assert by(uid, lambda: last_error("core/vector-add"), 65534) == public(sentence), uid
		    size = by(65534, lambda: os.stat("kernels/core/vector-add/last_error").st_size)
		    assert size == len(sentence) + 1
		    assert secret not in get("events") and get("events").count(public(sentence)) >= 1
		# half a sentence for who asks for no more, and none after the next request
		fd = open_call("core/vector-add")
		write_all(fd, b'{"secret":1}')
		assert outcome(os.read, fd, 100) == "EINVAL" and os.read(fd, 6) == b"core/\n" and os.read(fd, 6) == b""
		write_all(fd, b'{"secret":1}')
		assert outcome(os.read, fd, 100) == "EINVAL"
		write_all(fd, b'{"a":[1],"b":[2]}')
		assert json.loads(os.read(fd, 1000)) == {"c": [3.0]}
	EOF
}

@test "permissions: of a file that not everybody may read, others are told where it is wrong, and not what it says" {
	kernels axpby
	rk_up_kernels "log_file=$BATS_TEST_TMPDIR/log"
	echo 'my-secret = 1' >>"$KERNELS/axpby.ini"
	py <<-'EOF'
		os.chdir(MNT)
		def seen(uid):
		    os.seteuid(uid)
		    try:
		        with open("last_cmd_status") as f: return f.read()
		    finally:
		        os.seteuid(0)
		for mode, hidden in (0o640, True), (0o644, False):
		    os.chmod(KERNELS / "axpby.ini", mode)
		    assert outcome(put, "control", "reload") == "EINVAL"
		    assert "my-secret" in seen(0)
		    assert ("my-secret" not in seen(65534)) == hidden, seen(65534)
		    assert "axpby.ini:" in seen(65534)
		    assert ("my-secret" not in get("events")) == hidden
	EOF
	run grep -c my-secret "$BATS_TEST_TMPDIR/log"
	assert_output 2 # what everybody may read: of the kernel, and of the command
}
