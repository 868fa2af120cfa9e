# SPDX-License-Identifier: MIT
"""What the bats tests need and a shell cannot tell: exact errnos, threads, poll, signals."""

import errno
import json
import os
import select
import pathlib
import signal
import struct
import subprocess
import sys
import threading
import time

MNT = os.environ["MNT"]
DAEMON = int(os.environ.get("DAEMON") or 0)
KERNELS = pathlib.Path(os.environ.get("KERNELS") or "/nonexistent")  # a kernels_dir
PATIENCE = 60  # seconds until a wait is a failure


def path(name):
    return f"{MNT}/{name}"


def call_path(kernel, encoding="json"):
    return path(f"kernels/{kernel}/call.{encoding}")


def get(name):
    """The value of a file, without its newline."""
    with open(path(name)) as f:
        text = f.read()
    assert text.endswith("\n"), (name, text)
    return text[:-1]


def put(name, data, flags=os.O_WRONLY):
    """One write(2)."""
    fd = os.open(path(name), flags)
    try:
        data = data.encode() if isinstance(data, str) else data
        n = os.write(fd, data)
        assert n == len(data), (name, n)
    finally:
        os.close(fd)


def outcome(fn, *args):
    """What fn returns (ok where that is None), or the name of the errno that it raises."""
    try:
        result = fn(*args)
        return "ok" if result is None else result
    except OSError as e:
        return errno.errorcode[e.errno]


def to_bytes(request):
    if isinstance(request, bytes):
        return request
    return (request if isinstance(request, str) else json.dumps(request)).encode()


def write_all(fd, data):
    while data:
        data = data[os.write(fd, data):]


def read_all(fd, size=1 << 20):
    pieces = []
    while piece := os.read(fd, size):
        pieces.append(piece)
    return b"".join(pieces)


def ask(fd, request):
    write_all(fd, to_bytes(request))
    return read_all(fd)


def open_call(kernel, flags=0, encoding="json"):
    return os.open(call_path(kernel, encoding), os.O_RDWR | flags)


def call(kernel, request, encoding="json"):
    """The answer as bytes; errors are OSErrors."""
    fd = open_call(kernel, encoding=encoding)
    try:
        return ask(fd, request)
    finally:
        os.close(fd)


def submit(kernel, request, encoding="json"):
    """A non-blocking descriptor whose request, one that takes its time, is accepted."""
    fd = open_call(kernel, os.O_NONBLOCK, encoding)
    write_all(fd, to_bytes(request))
    what = outcome(os.read, fd, 100)
    assert what == "EAGAIN", what
    return fd


def answer_of(fd):
    """What comes in the end on such a descriptor; closes it."""
    try:
        assert poll(fd, select.POLLIN)
        return read_all(fd)
    finally:
        os.close(fd)


def st_pack(tensors, metadata=None):
    """A safetensors file of {name: (dtype, shape, bytes)}."""
    header, data = {} if metadata is None else {"__metadata__": metadata}, b""
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    return st_frame(json.dumps(header), data)


def st_frame(header, data=b""):
    header = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(header)) + header + data


def st_unpack(raw):
    """The reverse of st_pack; what it reads must be well-formed."""
    size, = struct.unpack_from("<Q", raw)
    header, data = json.loads(raw[8:8 + size]), raw[8 + size:]
    tensors, end = {}, 0
    for name, t in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, stop = t["data_offsets"]
        assert begin == end, (header, end)
        tensors[name], end = (t["dtype"], t["shape"], data[begin:stop]), stop
    assert end == len(data) and size % 8 == 0, (header, len(data))
    return tensors


def reload():
    """Write reload; the errno's name or ok."""
    return outcome(put, "control", "reload")


def in_flight():
    """The ids in inflight/."""
    return sorted(int(name) for name in os.listdir(path("inflight")))


class Watch:
    """Reads the mount all the while: it must be Running, answer and keep its books."""

    def __init__(self, within=2):
        self.over, self.looks, self.slowest, self.within = threading.Event(), 0, 0, within
        self.task = Task(self.look)

    def look(self):
        while not self.over.is_set():
            begun = time.monotonic()
            assert get("state") == "Running"
            stats()
            os.listdir(path("inflight"))
            self.slowest = max(self.slowest, time.monotonic() - begun)
            self.looks += 1

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.over.set()
        assert self.task.result() == "ok"
        if kind is None:
            assert self.looks > 3 and self.slowest < self.within, (self.looks, self.slowest)


def stats():
    """stats/all as a dict; its books must balance."""
    n = {k: int(v) for k, v in (line.split() for line in get("stats/all").splitlines())}
    n = {k.removeprefix("messages_"): v for k, v in n.items()}
    ends = n["processed"] + n["failed"] + n["cancelled"] + n["timed_out"]
    assert n["accepted"] == ends + n["in_flight"], n
    return n


def assert_stats(**want):
    now = stats()
    assert {k: now[k] for k in want} == want, (want, now)


def events(name=None):
    with open(path("events")) as f:
        found = [json.loads(line) for line in f]
    seqs = [e["seq"] for e in found]
    assert seqs == sorted(set(seqs)), seqs
    return [e for e in found if name in (None, e["event"])]


def last_error(kernel):
    return get(f"kernels/{kernel}/last_error")


def public(sentence):
    """What everybody reads of a sentence that may tell of a request: its kernel, and its length."""
    kernel, rest = sentence.split(": ", 1)
    return f"{kernel}: " + "*" * len(rest)


def until(what, want):
    """Poll until what() is want. For what no file waits for."""
    end = time.monotonic() + PATIENCE
    while (now := what()) != want:
        assert time.monotonic() < end, f"{now} instead of {want}, for {PATIENCE} s"
        time.sleep(0.001)                       # what it waits for needs the CPU


def until_in_flight(n):
    until(lambda: stats()["in_flight"], n)


def poll(fd, events, ms=PATIENCE * 1000):
    """The events of fd as poll(2) has them, 0 after ms milliseconds without."""
    p = select.poll()
    p.register(fd, events)
    ready = p.poll(ms)
    return ready[0][1] if ready else 0


class Task(threading.Thread):
    """A function in a thread; result() is what outcome() makes of it."""

    def __init__(self, fn, *args):
        super().__init__(daemon=True)
        self.fn, self.args, self.value = fn, args, None
        self.start()

    def run(self):
        self.value = outcome(self.fn, *self.args)
        self.ended = time.monotonic()

    def result(self):
        self.join(PATIENCE)
        assert not self.is_alive(), "does not end"
        return self.value


def in_threads(functions):
    return [task.result() for task in [Task(fn) for fn in functions]]


def delay_task(ms):
    return Task(lambda: json.loads(call("core/delay", {"ms": ms}))["waited_ms"])


def wait_task(name):
    """Reads wait/NAME."""
    return Task(get, f"wait/{name}")


def state_of(task):
    """S, R, Z ...: of /proc/PID or /proc/PID/task/TID."""
    with open(f"{task}/stat") as f:
        return f.read().rsplit(")", 1)[1].split()[0]


def freeze(pid):
    """Stop a process, and wait until each of its threads has: they stop one by one."""
    os.kill(pid, signal.SIGSTOP)
    while {state_of(f"/proc/{pid}/task/{t}") for t in os.listdir(f"/proc/{pid}/task")} != {"T"}:
        pass


def parked(pid, name):
    """Whether the process sleeps with a file called name open: it has nothing else to wait for."""
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            if os.readlink(f"/proc/{pid}/fd/{fd}").endswith(name):
                return state_of(f"/proc/{pid}") == "S"
        except FileNotFoundError:
            pass
    return False


def children(pid, comm):
    """Pids of the children of that name, without zombies."""
    found = subprocess.run(["pgrep", "-P", str(pid), "-x", comm, "--runstates", "RSDTtI"],
                           stdout=subprocess.PIPE, text=True)
    return [int(child) for child in found.stdout.split()]


def worker():
    """The pid of the daemon's worker, when one before it is dead."""
    alive = []

    def count():
        alive[:] = children(DAEMON, "rk-worker")
        return len(alive)

    until(count, 1)
    return alive[0]


def errors(table, attempt):
    """Run attempt(*row) for every row, and show all that raise an AssertionError."""
    wrong = 0
    for row in table:
        try:
            attempt(*row)
        except AssertionError as e:
            wrong += 1
            print(f"{str(row)[:200]}: {e}", file=sys.stderr)
    assert not wrong, f"{wrong} of {len(table)} are wrong"
