"""What the workers of this node read from their stdin: pipes that are filled as they are emptied.

Nothing waits here: a worker that does not read keeps the runner from sending more, and one that
has closed its stdin, or has gone, ends the flow.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from madrun.system.loop import Loop
from madrun.wire.messages import InputCredit, Message


class _Pipe:
    """Our end of one worker's stdin, and what it has not taken yet."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.waiting = bytearray()
        self.at_end = False
        self.watched = False


class Inputs:
    """The stdin of each worker of this node that has one; ``send`` takes our messages."""

    def __init__(self, loop: Loop, send: Callable[[Message], None]) -> None:
        self._loop, self._send = loop, send
        self._pipes: dict[int, _Pipe] = {}

    def open(self, rank: int, fd: int) -> None:
        """A worker reads what is written to this descriptor, which does not block."""
        self._pipes[rank] = _Pipe(fd)

    def put(self, rank: int, data: bytes) -> None:
        """Write this to a worker's stdin as soon as it takes it; nothing: close it after that."""
        pipe = self._pipes.get(rank)
        if pipe is None:
            return  # it closed its stdin meanwhile: the runner will hear of it
        pipe.waiting += data
        pipe.at_end = not data
        self._write(rank)

    def close(self, rank: int) -> None:
        """The worker takes no more: it has gone, or it has closed its stdin."""
        pipe = self._pipes.pop(rank, None)
        if pipe is None:
            return
        if pipe.watched:
            self._loop.unwatch(pipe.fd)
        os.close(pipe.fd)
        self._send(InputCredit(rank, 0))

    def _write(self, rank: int) -> None:
        pipe = self._pipes[rank]
        try:
            written = os.write(pipe.fd, pipe.waiting) if pipe.waiting else 0
        except BlockingIOError:
            written = 0
        except OSError:  # EPIPE: nobody reads it any more
            self.close(rank)
            return
        del pipe.waiting[:written]
        if written:
            self._send(InputCredit(rank, written))
        if pipe.at_end and not pipe.waiting:
            self.close(rank)
            return
        if bool(pipe.waiting) != pipe.watched:
            pipe.watched = not pipe.watched
            if pipe.watched:
                self._loop.watch_writable(pipe.fd, lambda: self._write(rank))
            else:
                self._loop.unwatch(pipe.fd)
