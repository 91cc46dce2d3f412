"""The runner's hold on pod 0, over connections that break."""

from __future__ import annotations

import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from madrun.agent.standalone.credential import SharedKey
from madrun.backends.kubernetes.link import Link
from madrun.wire.attachment import Frame, FrameKind
from support.programs import PATIENCE

KEY = SharedKey("pod", b"k" * 32)
# A process that is attached, and writes what its stdin says; a line "end" ends it.
POD = """
import os, signal, sys
from madrun.agent.standalone.attachment import Attachment
from madrun.agent.standalone.credential import SharedKey
signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b"usr1\\n"))
attachment = Attachment(int(sys.argv[1]), SharedKey("pod", b"k" * 32), "job", float(sys.argv[2]))
attachment.begin()
os.write(1, b"begun\\n")
for line in open(0):
    if line == "flood\\n":
        for number in range(2000):
            os.write(1, b"%05d" % number + b"x" * 1000 + b"\\n")
    else:
        os.write(2, line.encode())
attachment.end(7)
"""


class Pod:
    """The process, and the link to it through connections that a test can break."""

    def __init__(self, lease: float, folder: Path) -> None:
        self.port = free_port()
        # A container's log takes whatever comes.
        self._out, self._err = folder / "out", folder / "err"
        command = [sys.executable, "-c", POD, str(self.port), str(lease)]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(command, stdout=out, stderr=err)
        self.frames: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self.ups: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._dialled: list[socket.socket] = []
        self.refuses = threading.Event()
        self.link = self.linked(KEY)

    def linked(self, key: SharedKey) -> Link:
        link = Link(self._dial, key, "job", self._take, lambda up, _: self.ups.put(up))
        link.start()
        return link

    def _take(self, frame: Frame) -> None:
        self.frames.put(frame)
        if frame.kind in (FrameKind.OUT, FrameKind.ERR):
            self.link.taken(frame.number)

    def _dial(self) -> socket.socket:
        if self.refuses.is_set():
            raise ConnectionRefusedError
        made = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        self._dialled.append(made)
        return made

    def break_connection(self) -> None:
        self._dialled[-1].shutdown(socket.SHUT_RDWR)

    def until(self, kind: FrameKind, end: bytes) -> bytes:
        """The content of frames of a kind, until it ends so."""
        found = b""
        while not found.endswith(end):
            frame = self.frames.get(timeout=PATIENCE)
            found += frame.content if frame.kind is kind else b""
        return found

    def log(self) -> tuple[bytes, bytes]:
        """What its stdout and stderr had in all, once it has ended."""
        self.process.wait(PATIENCE)
        return self._out.read_bytes(), self._err.read_bytes()

    def end(self) -> None:
        self.link.close()
        self.process.kill()
        self.process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    made = Pod(1000.0, tmp_path)
    yield made
    made.end()


def test_output_input_signals_and_the_end_go_through(pod: Pod) -> None:
    assert pod.until(FrameKind.OUT, b"begun\n") == b"begun\n"
    pod.link.input(b"hello\n")
    assert pod.until(FrameKind.ERR, b"\n") == b"hello\n"
    pod.link.signal(signal.SIGUSR1)
    assert pod.until(FrameKind.OUT, b"\n") == b"usr1\n"
    pod.link.input(b"")
    assert pod.until(FrameKind.OVER, b"7") == b"7"
    pod.link.close()
    assert pod.log() == (b"begun\nusr1\n", b"hello\n"), "the pod's own log has it too"


def test_nothing_is_lost_and_nothing_comes_twice_over_connections_that_break(pod: Pod) -> None:
    pod.until(FrameKind.OUT, b"begun\n")
    pod.link.input(b"flood\n")
    found = b""
    while found.count(b"\n") < 2000:
        frame = pod.frames.get(timeout=PATIENCE)
        found += frame.content if frame.kind is FrameKind.OUT else b""
        if frame.number and frame.number % 7 == 0:
            with suppress(OSError):
                pod.break_connection()
    assert found == b"".join(b"%05d" % number + b"x" * 1000 + b"\n" for number in range(2000))
    pod.link.input(b"still here\n")
    assert pod.until(FrameKind.ERR, b"\n") == b"still here\n"
    pod.link.input(b"")
    assert pod.until(FrameKind.OVER, b"7") == b"7"


def test_a_signal_waits_for_a_connection(pod: Pod) -> None:
    pod.until(FrameKind.OUT, b"begun\n")
    pod.refuses.set()
    pod.break_connection()
    while pod.ups.get(timeout=PATIENCE):
        pass
    pod.link.signal(signal.SIGUSR1)
    pod.refuses.clear()
    assert pod.until(FrameKind.OUT, b"\n") == b"usr1\n"


def test_who_does_not_know_the_key_gets_nothing(pod: Pod) -> None:
    pod.until(FrameKind.OUT, b"begun\n")
    while not pod.ups.get(timeout=PATIENCE):
        pass
    stranger = pod.linked(SharedKey("pod", b"other" * 8))
    assert pod.ups.get(timeout=PATIENCE) is False
    stranger.close()
    pod.link.input(b"still mine\n")
    assert pod.until(FrameKind.ERR, b"still mine\n").endswith(b"still mine\n")


def test_a_runner_that_is_gone_is_a_hang_up(tmp_path: Path) -> None:
    pod = Pod(1.0, tmp_path)
    pod.until(FrameKind.OUT, b"begun\n")
    pod.refuses.set()
    pod.link.close()
    words = b"madagent: the runner was not heard of for 1 s: the job ends\n"
    assert pod.log() == (b"begun\n", words)
    assert pod.process.returncode == -signal.SIGHUP
    pod.end()


def test_a_runner_that_leaves_is_not_waited_for(tmp_path: Path) -> None:
    pod = Pod(1.0, tmp_path)
    pod.until(FrameKind.OUT, b"begun\n")
    pod.link.input(b"left\n")
    pod.until(FrameKind.ERR, b"left\n")
    pod.link.input(b"")
    pod.link.close(leave=True)
    assert pod.process.wait(PATIENCE) == 0
    pod.end()
