"""One worker: its streams, its end, and what is told of it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from madrun.agent.worker import Worker
from madrun.launchers.plan import ProcessPlan
from madrun.system.errors import ProgramNotFound
from madrun.wire.messages import Exited

Start = Callable[..., Worker]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Start a worker that runs a piece of Python, with logs."""

    def make(script: str, log_dir: str = str(tmp_path), program: str = sys.executable) -> Worker:
        argv = (program, "-u", "-c", script)
        plan = ProcessPlan("worker", 7, 1, argv, {}, str(tmp_path), device="GPU-1")
        return Worker(plan, {"PATH": os.environ["PATH"]}, None, log_dir, ())

    return make


def end(worker: Worker, ended: bool = False) -> Exited:
    status = os.waitstatus_to_exitcode(os.waitpid(worker.pid, 0)[1])
    message = worker.exited(status, 12.5, ended)
    for stream in worker.streams:
        stream.close()
    return message


def test_a_good_end(start: Start, tmp_path: Path) -> None:
    worker = start("print('done')")
    assert repr(worker) == "<Worker rank 7: running>"
    assert end(worker) == Exited(
        7, worker.pid, 0, 12.5, False, "GPU-1", b"done\n", str(tmp_path / "rank0007.out"), ""
    )
    assert repr(worker) == "<Worker rank 7: exited with status 0>"


def test_a_failure_shows_stderr(start: Start, tmp_path: Path) -> None:
    message = end(start("print('out'); raise SystemExit('what went wrong')"), ended=True)
    assert (message.status, message.ended) == (1, True)
    assert message.tail == b"what went wrong\n"
    assert message.log == str(tmp_path / "rank0007.err")
    assert (tmp_path / "rank0007.out").read_text() == "out\n"


def test_where_stderr_is_blank_stdout_is_shown(start: Start, tmp_path: Path) -> None:
    message = end(start("import sys; print('out'); print(file=sys.stderr); sys.exit(3)"))
    assert (message.tail, message.log) == (b"out\n", str(tmp_path / "rank0007.out"))


def test_without_log_folder(start: Start) -> None:
    message = end(start("import os; os.write(2, b'half a line'); os.abort()", log_dir=""))
    assert (message.status, message.tail, message.log) == (-6, b"half a line", "")


def test_a_signal_and_its_end(start: Start) -> None:
    worker = start("""
import signal, sys
signal.signal(signal.SIGUSR2, lambda *_: sys.exit(5))
print("up")
signal.pause()
""")
    os.set_blocking(worker.streams[0].fd, True)
    assert worker.streams[0].read()
    worker.signal(signal.SIGUSR1)  # it would end by it
    worker.signal(signal.SIGUSR2)
    assert end(worker).status == 5
    assert repr(worker) == "<Worker rank 7: exited with status 5>"
    worker.signal(signal.SIGKILL)  # its id may be another's by now: nothing is sent


def test_a_daemon_that_keeps_the_pipe_does_not_hold_up_its_end(start: Start) -> None:
    worker = start("""
import os, signal
print("words", flush=True)
if os.fork() == 0:
    print("daemon", os.getpid(), flush=True)
    signal.pause()
os._exit(5)
""")
    status = os.waitstatus_to_exitcode(os.waitpid(worker.pid, 0)[1])
    message = worker.exited(status, 0.0, False)
    assert message.status == 5
    assert message.tail.startswith(b"words\n")
    os.set_blocking(worker.streams[0].fd, True)
    while b"daemon" not in worker.streams[0].tail or not worker.streams[0].tail.endswith(b"\n"):
        assert worker.streams[0].read()
    os.kill(int(worker.streams[0].tail.split()[-1]), signal.SIGKILL)
    for stream in worker.streams:
        stream.close()


def test_a_program_that_is_not_there(start: Start) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(ProgramNotFound):
        start("", program="no-such-program")
    assert os.listdir("/proc/self/fd") == before


def test_one_that_cannot_be_executed_leaves_nothing_open(start: Start, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_text("no program")
    data.chmod(0o755)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="Exec format error"):
        start("", program=str(data))
    assert os.listdir("/proc/self/fd") == before
