"""What workers write: read at once, kept in files, cut into lines, sent as far as it is taken.

A worker never waits for the console: its pipes are always read. What the runner cannot take
within the window is kept up to a bound, and beyond it whole lines are dropped and counted.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable

from madrun.system.errors import ClusterError
from madrun.system.loop import Loop
from madrun.wire.messages import STDERR, Dropped, Message, Output

READ_SIZE = 64 * 1024
TAIL_SIZE = 8 * 1024
_LONGEST_PIECE = 64 * 1024  # a longer line travels in pieces
_WINDOW = 256 * 1024  # bytes sent and not yet taken by the console
_PAUSE = 0.2  # seconds without a word: an unfinished line may be a prompt
_BACKLOG = 1024 * 1024  # bytes kept per rank for a console that is slow


class Outflow:
    """The node's output on its way to the console: fair among ranks, bounded in memory."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send
        self._room = _WINDOW
        self._waiting: dict[int, deque[Output]] = {}
        self._size: dict[int, int] = {}
        self._dropped: dict[int, int] = {}
        # Of a rank's stream: its line was begun; has lost its end; has lost its beginning.
        self._begun: set[tuple[int, int]] = set()
        self._torn: set[tuple[int, int]] = set()
        self._headless: set[tuple[int, int]] = set()

    def put(self, rank: int, stream: int, data: bytes, pause: bool = False) -> None:
        """Queue whole lines (or the unfinished end of one) of a rank."""
        key = (rank, stream)
        if key in self._headless:  # what is left of a dropped line is dropped as well
            end = data.find(b"\n") + 1
            if not end:
                return
            self._headless.discard(key)
            data = data[end:]
            if not data:
                return
        size = self._size.get(rank, 0)
        if size + len(data) > _BACKLOG:
            self._drop(key, data)
            return
        if key in self._torn:
            self._torn.discard(key)
            data = b"\n" + data
        (self._begun.discard if _is_whole(data) else self._begun.add)(key)
        self._waiting.setdefault(rank, deque()).append(Output(rank, stream, data, pause))
        self._size[rank] = size + len(data)
        self._flow()

    def _drop(self, key: tuple[int, int], data: bytes) -> None:
        """Lines are dropped whole, and each is counted once, however many pieces it came in."""
        if not _is_whole(data):
            self._headless.add(key)
        if key in self._begun:
            self._begun.discard(key)
            self._torn.add(key)
        lines = data.count(b"\n") + (not data.endswith(b"\n"))
        self._dropped[key[0]] = self._dropped.get(key[0], 0) + lines

    def taken(self, size: int) -> None:
        """The console took ``size`` bytes."""
        self._room += size
        self._flow()

    def abandon(self) -> None:
        """The console is too slow and the job is over: say what it will not get to see."""
        for rank in {*self._waiting, *self._dropped}:
            lines = self._dropped.pop(rank, 0)
            lines += sum(max(1, each.data.count(b"\n")) for each in self._waiting.pop(rank, ()))
            self._send(Dropped(rank, lines))

    @property
    def empty(self) -> bool:
        """True once everything was sent and taken."""
        return not self._waiting and self._room >= _WINDOW

    def _flow(self) -> None:
        while self._waiting and self._room > 0:
            # The rank that has waited longest; served, it goes to the end of the line.
            self._send_one(next(iter(self._waiting)))

    def _send_one(self, rank: int) -> None:
        queue = self._waiting.pop(rank)
        output = queue.popleft()
        self._room -= len(output.data)
        self._size[rank] -= len(output.data)
        self._send(output)
        if queue:
            self._waiting[rank] = queue
        else:
            lines = self._dropped.pop(rank, 0)
            if lines:
                self._send(Dropped(rank, lines))


class Stream:
    """One stream of one worker: the read end of its pipe, its log file, its last bytes.

    Raises ClusterError for a log file that it must have and cannot open.
    """

    def __init__(
        self,
        fd: int,
        rank: int,
        number: int,
        outflow: Outflow | None,
        log_path: str,
        must_log: bool = True,
    ) -> None:
        self.fd, self.rank, self.number = fd, rank, number
        self.log_path = log_path
        self.log_problem = ""
        self._outflow = outflow
        self._log = -1
        if log_path:
            self._open_log(must_log)
        self._tail = bytearray()
        self._partial = bytearray()

    def read(self) -> bool:
        """Take what is there; False at the end of the stream, or once it is closed."""
        if self.fd < 0:
            return False
        try:
            data = os.read(self.fd, READ_SIZE)
        except BlockingIOError:
            return True
        if not data:
            return False
        self._keep(data)
        if self._outflow is not None:
            self._forward(data)
        return True

    def drain(self) -> None:
        """Take what is there now; the pipe may stay open in a daemon that the worker left."""
        if self.fd < 0:
            return
        try:
            while True:
                data = os.read(self.fd, READ_SIZE)
                if not data:
                    return
                self._keep(data)
                if self._outflow is not None:
                    self._forward(data)
        except BlockingIOError:
            return

    def flush(self, pause: bool = False) -> None:
        """Send an unfinished line as it is: a prompt, or the last words of a worker."""
        if self._partial and self._outflow is not None:
            self._outflow.put(self.rank, self.number, bytes(self._partial), pause)
        self._partial.clear()

    @property
    def unfinished(self) -> bool:
        """True while the beginning of a line waits for its end."""
        return bool(self._partial)

    @property
    def tail(self) -> bytes:
        """The last bytes written, at most TAIL_SIZE."""
        return bytes(self._tail[-TAIL_SIZE:])

    def close(self) -> None:
        """Flush and let go of the pipe and the file."""
        self.flush()
        for fd in (self.fd, self._log):
            if fd >= 0:
                os.close(fd)
        self.fd = self._log = -1

    def _open_log(self, must_log: bool) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        try:
            self._log = os.open(self.log_path, flags, 0o600)
        except OSError as error:
            if must_log:
                raise ClusterError(f"log file {self.log_path}: {error.strerror}") from None
            self.log_problem = f"no log file {self.log_path}: {error.strerror}"
            self.log_path = ""

    def _keep(self, data: bytes) -> None:
        self._tail += data
        if len(self._tail) > 4 * TAIL_SIZE:
            del self._tail[:-TAIL_SIZE]
        if self._log >= 0 and not self.log_problem:
            try:
                _write_all(self._log, data)
            except OSError as error:  # a full disk must not stop the training
                self.log_problem = f"{self.log_path} is incomplete: {error.strerror}"

    def _forward(self, data: bytes) -> None:
        assert self._outflow is not None
        # A carriage return ends a piece as well: progress bars write nothing else.
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if end:
            self._outflow.put(self.rank, self.number, bytes(self._partial) + data[:end])
            self._partial.clear()
        self._partial += data[end:]
        if len(self._partial) > _LONGEST_PIECE:
            self.flush()


class Pauses:
    """Sends the beginning of a line whose end does not come: somebody may have to answer it."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._heard: dict[Stream, float] = {}  # when a stream with an unfinished line last wrote

    def heard(self, stream: Stream) -> None:
        """A stream has written the beginning of a line, or more of it."""
        if stream not in self._heard:
            self._loop.call_later(_PAUSE, lambda: self._look(stream))
        self._heard[stream] = time.monotonic()

    def _look(self, stream: Stream) -> None:
        # One timer for all that is written meanwhile: a flood must not set one for each read.
        rest = self._heard[stream] + _PAUSE - time.monotonic()
        if stream.unfinished and rest > 0:
            self._loop.call_later(rest, lambda: self._look(stream))
            return
        del self._heard[stream]
        stream.flush(pause=True)


def _is_whole(data: bytes) -> bool:
    return data.endswith((b"\n", b"\r"))


def open_pipe() -> tuple[int, int]:
    """A pipe whose read end (ours) does not block and whose write end (the worker's) does."""
    read, write = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(read, False)
    return read, write


def log_name(rank: int, stream: int) -> str:
    """The name of a rank's log file.

    >>> log_name(3, 1), log_name(3, STDERR)
    ('rank0003.out', 'rank0003.err')
    """
    return f"rank{rank:04d}.{'err' if stream == STDERR else 'out'}"


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
