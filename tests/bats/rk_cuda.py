# SPDX-License-Identifier: MIT
"""What rk.py has, and the fake CUDA driver of tests/fake_cuda; its README says what triggers do."""

from rk import *

TRIGGER = pathlib.Path(os.environ["RK_FAKE_CUDA"])
LEDGER = pathlib.Path(os.environ["RK_FAKE_CUDA_LEDGER"])
HANGS = pathlib.Path(os.environ["RK_FAKE_CUDA_HANGS"])


def triggers(*lines):
    """What goes wrong from now on; nothing without lines."""
    new = TRIGGER.with_suffix(".new")
    new.write_text("".join(f"{line}\n" for line in lines))
    new.rename(TRIGGER)


def hang(function):
    """Let calls of it hang; returns what waits until one does."""
    HANGS.write_text("")
    triggers(f"hang {function}")
    return lambda: until(lambda: function in HANGS.read_text().split(), True)


def restart():
    """From Stopped or Failed to Running."""
    put("control", "reset")
    put("control", "start")
    assert get("wait/running") == "Running"


def exited(pid):
    """Wait for the end of a process, whoever reaps it."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    assert poll(fd, select.POLLIN)
    os.close(fd)


def stop_by_drain():
    """To Stopped, where the worker ends by itself. Its driver's counters."""
    pid = worker()
    put("control", "drain 30")
    assert get("wait/stopped") == "Stopped"
    exited(pid)
    [line] = [line for line in LEDGER.read_text().splitlines() if line.startswith(f"exit pid={pid} ")]
    return {k: int(v) for k, v in (pair.split("=") for pair in line.split()[1:])}


def counted(work):
    """What the driver counted for work(), beyond what a worker without messages costs."""
    before = stop_by_drain()
    restart()
    work()
    after = stop_by_drain()
    restart()
    return {k: after[k] - before[k] for k in after}
