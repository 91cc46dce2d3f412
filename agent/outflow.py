"""A node's output on its way to the console.

What the runner cannot take within the window is kept up to a bound, and beyond it whole lines are
dropped and counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from madrun.wire.messages import Dropped, Message, Output

_WINDOW = 256 * 1024  # bytes sent and not yet taken by the console
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


def _is_whole(data: bytes) -> bool:
    return data.endswith((b"\n", b"\r"))
