"""One descriptor of ours, written to by a thread of its own, with an account of what was lost.

A terminal or a pipe may stop taking bytes at any time, a disk may be full, a reader may leave.
Nobody waits for any of them but ``close``, and each line is either written or counted.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import threading
from collections import deque
from collections.abc import Callable

NO_READER = "its reader has left"
_FOR_GOOD = {  # what is written later cannot be read either
    errno.EPIPE: NO_READER,
    errno.ECONNRESET: NO_READER,
    errno.EIO: "the terminal is gone",
    errno.EBADF: "it is closed",
}
_PIECE = 64 * 1024  # bytes written at once
_LAST_WRITE = 0.1  # seconds for a write that had begun when time was up

Done = Callable[[], None]


class Writer:
    """``on_broken(reason)`` is called on the writer's thread, once, with the first line lost."""

    def __init__(self, fd: int, on_broken: Callable[[str], None]) -> None:
        self._fd, self._on_broken = _own_end(fd), on_broken
        self._is_own = self._fd != fd
        self.problem = ""  # why lines were lost, where it was not for want of time
        self._gone = False
        self._lost = 0  # lines
        self._changed = threading.Condition()
        self._queue: deque[tuple[bytes, Done | None]] = deque()
        self._left = memoryview(b"")  # of what is being written
        self._line_end = b""  # to be written first, where a part of a line was lost
        self._writing = self._closing = self._given_up = self._held = False
        self._thread = threading.Thread(target=self._run, name=f"console-{fd}", daemon=True)
        self._thread.start()

    def put(self, data: bytes, done: Done | None = None) -> None:
        """Write this; ``done()`` follows on the writer's thread, once it is written or lost."""
        with self._changed:
            self._queue.append((data, done))
            self._changed.notify()

    def hold(self, held: bool) -> None:
        """Write nothing for a while (the terminal is somebody else's), or go on."""
        with self._changed:
            self._held = held
            self._changed.notify_all()

    def close(self, limit: float) -> int:
        """Write what was put, for at most ``limit`` seconds; how many lines were lost in all.

        What is not written by then never will be.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(limit)
        with self._changed:
            self._given_up = True
            self._changed.wait_for(lambda: not self._writing, _LAST_WRITE)
            self._lose()
            self._lost += sum(data.count(b"\n") for data, _ in self._queue)
            self._queue.clear()
            return self._lost

    def _run(self) -> None:
        while (item := self._next()) is not None:
            data, done = item
            while self._begin():
                try:
                    self._end(os.write(self._fd, self._line_end + self._left[:_PIECE]))
                except BlockingIOError:
                    self._end(0)
                    select.select([], [self._fd], [])
                except OSError as error:
                    self._fail(error, is_torn=len(self._left) < len(data))
            if done is not None and not self._given_up:
                done()
        if self._is_own:  # nobody else uses it, and a runner may live on after its job
            os.close(self._fd)

    def _next(self) -> tuple[bytes, Done | None] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            if not self._queue:
                return None
            item = self._queue.popleft()
            self._left = memoryview(item[0])
            if self._gone:
                self._lose()
            return item

    def _begin(self) -> bool:
        """Whether there is more to write, and time for it."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or not self._held)
            self._writing = bool(self._left) and not self._given_up
            return self._writing

    def _end(self, written: int) -> None:
        with self._changed:
            if written:
                self._left = self._left[written - len(self._line_end) :]
                self._line_end = b""
            self._writing = False
            self._changed.notify_all()

    def _fail(self, error: OSError, is_torn: bool) -> None:
        is_first = not self.problem
        number = error.errno or 0
        with self._changed:
            self.problem = _FOR_GOOD.get(number) or os.strerror(number)
            self._gone = number in _FOR_GOOD
            if is_torn:  # what follows, where there is room again, begins a line
                self._line_end = b"\n"
            self._lose()
            self._writing = False
            self._changed.notify_all()
        if is_first:
            self._on_broken(self.problem)

    def _lose(self) -> None:
        self._lost += bytes(self._left).count(b"\n")
        self._left = memoryview(b"")


def _own_end(fd: int) -> int:
    """A pipe's end that does not block us, without making the others' end so.

    A write that blocks does not tell how much of it was read when time is up.
    """
    try:
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # closed, or another user's pipe
        return fd
    return fd
