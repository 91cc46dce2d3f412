"""What workers write: read at once, kept in files, cut into lines for the console.

A worker never waits for the console: its pipes are always read.
"""

from __future__ import annotations

import os
import time

from madrun.agent.log_file import LogFile
from madrun.agent.outflow import Outflow
from madrun.system.errors import ClusterError
from madrun.system.loop import Loop
from madrun.wire.messages import STDERR

READ_SIZE = 64 * 1024
TAIL_SIZE = 8 * 1024
_LONGEST_PIECE = 64 * 1024  # a longer line travels in pieces
_PAUSE = 0.2  # seconds without a word: an unfinished line may be a prompt


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
        *,
        log_limit: int = 0,
    ) -> None:
        self.fd, self.rank, self.number = fd, rank, number
        self.log_path = log_path
        self._no_log = ""
        self._outflow = outflow
        self._log = self._open_log(must_log, log_limit) if log_path else None
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
    def log_problem(self) -> str:
        """Why there is no log file, or why it is not complete; empty where all is well."""
        return self._log.problem if self._log is not None else self._no_log

    @property
    def tail(self) -> bytes:
        """The last bytes written, at most TAIL_SIZE."""
        return bytes(self._tail[-TAIL_SIZE:])

    def close(self) -> None:
        """Flush and let go of the pipe and the file."""
        self.flush()
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1
        if self._log is not None:
            self._log.close()

    def _open_log(self, must_log: bool, limit: int) -> LogFile | None:
        try:
            return LogFile(self.log_path, limit)
        except OSError as error:
            if must_log:
                raise ClusterError(f"log file {self.log_path}: {error.strerror}") from None
            self._no_log = f"no log file {self.log_path}: {error.strerror}"
            self.log_path = ""
            return None

    def _keep(self, data: bytes) -> None:
        self._tail += data
        if len(self._tail) > 4 * TAIL_SIZE:
            del self._tail[:-TAIL_SIZE]
        if self._log is not None:
            self._log.put(data)

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
