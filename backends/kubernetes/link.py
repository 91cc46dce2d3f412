"""The runner's end of the attachment to pod 0: see madrun.agent.standalone.attachment.

A thread keeps a connection by port-forward, makes it anew when it breaks, and says that it is
alive. Nothing comes twice, and nothing is lost while the pod has it.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from madrun.agent.standalone.credential import SharedKey
from madrun.system.errors import ClusterError, WireError
from madrun.wire.attachment import GREETING, LONGEST_LINE, Frame, FrameKind, FrameReader

_BEAT = 1.0  # seconds between two of our signs of life
_SILENCE = 10.0  # seconds without one of the pod's: the connection is dead
_ANSWER_LIMIT = 10.0  # seconds for the proof
_PAUSE, _LONGEST_PAUSE = 0.2, 2.0  # seconds after a connection that failed
_PIECE = 64 * 1024


class Link:
    """``on_frame`` gets what is new, in order; ``on_state(up, reason)`` is told of each connection
    that is made and of each that fails. Both on the link's thread."""

    def __init__(
        self,
        forward: Callable[[], Any],
        key: SharedKey,
        job: str,
        on_frame: Callable[[Frame], None],
        on_state: Callable[[bool, str], None],
    ) -> None:
        self._forward, self._key, self._job = forward, key, job
        self._on_frame, self._on_state = on_frame, on_state
        self._lock = threading.Lock()
        self._connection: Any = None  # proven; else None
        self._received = 0
        self._untaken: deque[int] = deque()
        self._input: deque[Frame] = deque()  # pieces of stdin that the pod may not have
        self._given = 0
        self._signals: deque[Frame] = deque()  # that the pod has not said to have
        self._signalled = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)

    def start(self) -> None:
        """Connect; returns at once."""
        self._thread.start()

    def signal(self, number: int) -> None:
        """Send a signal to the job's coordinator; it waits for a connection where there is none."""
        with self._lock:
            self._signalled += 1
            frame = Frame(FrameKind.SIGNAL, str(number).encode(), self._signalled)
            self._signals.append(frame)
        self._send(frame)

    def input(self, data: bytes) -> None:
        """Send a piece of stdin; empty: its end."""
        with self._lock:
            frame = Frame(FrameKind.INPUT, data, self._given)
            self._given += max(1, len(data))
            self._input.append(frame)
        self._send(frame)

    def taken(self, number: int) -> None:
        """What came in this frame is written: the pod may send as much again."""
        with self._lock, contextlib.suppress(ValueError):
            self._untaken.remove(number)

    def close(self, leave: bool = False) -> None:
        """Hang up; with ``leave`` the job goes on without us."""
        if leave:
            self._send(Frame(FrameKind.LEAVE))
        else:
            self._send(self._have())
        self._closed.set()
        self._drop()

    # ---- on the thread

    def _run(self) -> None:
        pause = _PAUSE
        while not self._closed.is_set():
            try:
                connection = self._connect()
            except (OSError, ClusterError, WireError, ValueError, KeyError) as error:
                self._tell(False, str(error) or type(error).__name__)
                self._closed.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            pause = _PAUSE
            self._tell(True, "")
            try:
                self._follow(connection)
            except (OSError, WireError) as error:
                self._tell(False, str(error))
            finally:
                self._drop()

    def _tell(self, up: bool, reason: str) -> None:
        if not self._closed.is_set():
            self._on_state(up, reason)

    def _connect(self) -> Any:
        connection = self._forward()
        try:
            connection.settimeout(_ANSWER_LIMIT)
            rest = self._prove(connection)
        except BaseException:
            connection.close()
            raise
        self._reader = FrameReader()
        self._first = self._reader.put(rest)
        with self._lock:
            self._connection = connection
            again = [*self._signals, *self._input]
        for frame in again:
            self._send(frame)
        return connection

    def _prove(self, connection: Any) -> bytes:
        """We and the pod show each other that we know the job's key."""
        line, rest = _line(connection, b"")
        greeting = GREETING.fullmatch(line)
        if greeting is None:
            raise WireError("somebody else listens there")
        own = os.urandom(32).hex()
        said = {"nonce": greeting[1].decode(), "own": own, "job": self._job, "has": self._received}
        connection.sendall(self._key.seal(json.dumps(said).encode()) + b"\n")
        line, rest = _line(connection, rest)
        answer = json.loads(self._key.open(line.rstrip(b"\n")))
        if answer["nonce"] != own or answer["job"] != self._job:
            raise WireError("it is another job's")
        return rest

    def _follow(self, connection: Any) -> None:
        """Take what comes until the connection ends or is silent."""
        for frame in self._first:
            self._take(frame)
        connection.settimeout(_BEAT)
        heard = next_beat = time.monotonic()
        while not self._closed.is_set():
            now = time.monotonic()
            if now >= next_beat:
                next_beat = now + _BEAT
                connection.sendall(self._have().encode())
            if now - heard > _SILENCE:
                raise WireError("no word from the pod")
            try:
                data = connection.recv(_PIECE)
            except TimeoutError:
                continue
            if not data:
                raise WireError("the connection has ended")
            heard = time.monotonic()
            for frame in self._reader.put(data):
                self._take(frame)

    def _take(self, frame: Frame) -> None:
        if frame.kind is FrameKind.BEAT:
            self._gone_in(frame.number, int(frame.content or b"0"))
        elif frame.number <= self._received:
            return  # it came before
        else:
            self._received = frame.number
            if frame.kind in (FrameKind.OUT, FrameKind.ERR):
                with self._lock:
                    self._untaken.append(frame.number)
        self._on_frame(frame)

    def _gone_in(self, taken: int, signalled: int) -> None:
        """The pod has so many bytes of stdin, and the signals up to this one."""
        with self._lock:
            while self._signals and self._signals[0].number <= signalled:
                self._signals.popleft()
            while self._input and self._input[0].number + len(self._input[0].content) <= taken:
                if not self._input[0].content:
                    break  # the end, which counts for nothing until the pod is gone
                self._input.popleft()

    def _have(self) -> Frame:
        with self._lock:
            number = self._untaken[0] - 1 if self._untaken else self._received
        return Frame(FrameKind.HAVE, number=number)

    def _send(self, frame: Frame) -> None:
        with self._lock:
            connection = self._connection
        if connection is not None:
            with contextlib.suppress(OSError):  # the thread sees it too
                connection.sendall(frame.encode())

    def _drop(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()


def _line(connection: Any, begun: bytes) -> tuple[bytes, bytes]:
    """The next line, and what came after it."""
    while b"\n" not in begun:
        data = connection.recv(_PIECE)
        if not data:
            raise WireError("the pod does not listen yet")
        begun += data
        if len(begun) > LONGEST_LINE + _PIECE:
            raise WireError("a line that is too long")
    line, end, rest = begun.partition(b"\n")
    return line + end, rest
