"""A rank's log file, written by a thread of its own: a file system that hangs holds up nobody.

Where the file is slower than the worker writes, the worker waits as it would for its own file, a
second at a time. What a file does not take for that long is left out, counted and said. So is the
middle of one that grows beyond its limit.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections import deque

from madrun.agent.limited_file import LimitedFile

_BOUND = 1024 * 1024  # bytes that wait for the file
_PATIENCE = 1.0  # seconds without room
_OPEN_LIMIT = 5.0  # seconds


class LogFile:
    """A new file, for its owner only; ``path`` may also be a pipe that somebody reads.

    Of a file that grows beyond ``limit`` bytes (0: no limit), beginning and end are kept.

    Raises OSError where it cannot be opened, and TimeoutError where that takes too long.
    """

    def __init__(self, path: str, limit: int = 0) -> None:
        self._path, self._limit = path, limit
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._size = self._lost = 0  # bytes that wait; that were left out
        self._patience = _PATIENCE
        self._error: OSError | None = None
        self._file: LimitedFile | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()
        with self._changed:
            opened = self._changed.wait_for(lambda: self._file or self._error, _OPEN_LIMIT)
        if self._error is not None:
            raise self._error
        if not opened:
            raise TimeoutError(0, f"it could not be opened within {_OPEN_LIMIT:g} s")

    def put(self, data: bytes) -> None:
        """Write this, soon; waits for room for a second at most, and then not again in vain."""
        with self._changed:
            if self._error is not None:
                return
            if not self._wait_for(_BOUND - 1):
                self._lost += len(data)
                return
            self._patience = _PATIENCE
            self._waiting.append(data)
            self._size += len(data)
            self._changed.notify_all()

    @property
    def problem(self) -> str:
        """Why the file is not complete; empty where it is. What is under way is waited for."""
        with self._changed:
            self._wait_for(0)
            missing = self._lost + self._size
            if self._error is not None:
                return f"{self._path} is incomplete: {self._error.strerror}"
            left_out = self._file.missing if self._file else 0
        if missing:
            return f"{self._path} is incomplete: {missing} bytes were not taken"
        if left_out:
            return f"{self._path}: {left_out} bytes in its middle are left out (--log-limit)"
        return ""

    def close(self) -> None:
        """Write what is left, as far as the file takes it in time."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(self._patience)

    def _wait_for(self, size: int) -> bool:
        """Wait until no more than so many bytes wait; once in vain, no longer until then."""
        done = self._changed.wait_for(lambda: self._error or self._size <= size, self._patience)
        self._patience = self._patience if done else 0.0
        return bool(done)

    def _run(self) -> None:
        # Not to wait for a pipe's reader: a pipe that nobody reads is no log file.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            fd = os.open(self._path, flags, 0o600)
            os.set_blocking(fd, True)
            grows = stat.S_ISREG(os.fstat(fd).st_mode)
            file = LimitedFile(fd, self._path, self._limit if grows else 0)
        except OSError as error:
            self._failed(error)
            return
        try:
            self._write_all(file)
            if self._error is None:
                with contextlib.suppress(OSError):  # the end stays in files of its own
                    file.join()
        finally:
            file.close()

    def _write_all(self, file: LimitedFile) -> None:
        with self._changed:
            self._file = file
            self._changed.notify_all()
        while (data := self._next()) is not None:
            try:
                file.write(data)
            except OSError as error:  # a full disk must not stop the training
                self._failed(error)
            with self._changed:
                self._size -= len(data)
                self._changed.notify_all()

    def _next(self) -> bytes | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            return self._waiting.popleft() if self._waiting else None

    def _failed(self, error: OSError) -> None:
        with self._changed:
            self._error = error
            self._changed.notify_all()
