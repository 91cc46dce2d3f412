"""A node's output on its way to the console.

What the runner cannot take within the window is kept up to a bound, and beyond it whole lines are
dropped and counted.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable

from madrun.wire.messages import OUTPUT_WINDOW, STDERR, STDOUT, Dropped, Message, Output

_LONGEST_LINE = 256 * 1024  # bytes shown of a line
_TOO_LONG = b" [... the rest of this line is not shown: it is longer than 256 KiB]"
_TORN = b" [... the rest of this line was not shown: the console was too slow]\n"
_LINE_END = re.compile(rb"[\r\n]")
_LONGEST_PROMPT = 4096  # bytes; a longer beginning of a line is none
_BACKLOG = 1024 * 1024  # bytes kept per rank for a console that is slow


class Outflow:
    """The node's output on its way to the console: fair among ranks, bounded in memory."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send
        self._room = OUTPUT_WINDOW
        self._waiting: dict[int, deque[Output]] = {}
        self._size: dict[int, int] = {}
        self._dropped: dict[int, int] = {}
        self._length: dict[tuple[int, int], int] = {}  # of the unfinished line of a stream
        # Of a rank's stream: its line was begun; has lost its end; has lost its beginning.
        self._begun: set[tuple[int, int]] = set()
        self._sent_begun: set[tuple[int, int]] = set()  # of what was sent; the rest waits
        self._torn: set[tuple[int, int]] = set()
        self._headless: set[tuple[int, int]] = set()

    def put(self, rank: int, stream: int, data: bytes, pause: bool = False) -> None:
        """Queue whole lines (or the unfinished end of one) of a rank."""
        key = (rank, stream)
        data = self._shortened(key, data)
        if not data:
            return
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
            data = _TORN + data
        (self._begun.discard if _is_whole(data) else self._begun.add)(key)
        self._waiting.setdefault(rank, deque()).append(
            Output(rank, stream, data, pause and self._length[key] <= _LONGEST_PROMPT)
        )
        self._size[rank] = size + len(data)
        self._flow()

    def _shortened(self, key: tuple[int, int], data: bytes) -> bytes:
        """Cut a line that is too long: what follows it must not be lost for its sake."""
        ends = [match.start() for match in _LINE_END.finditer(data)]
        length, first = self._length.get(key, 0), ends[0] if ends else len(data)
        self._length[key] = len(data) - 1 - ends[-1] if ends else length + first
        room = _LONGEST_LINE - length
        if first <= room:
            return data
        return data[: max(0, room)] + (_TOO_LONG if room >= 0 else b"") + data[first:]

    def _drop(self, key: tuple[int, int], data: bytes) -> None:
        """Lines are dropped whole, and each is counted once, however many pieces it came in.

        One of which a part was sent counts as shown; there it says that it is cut.
        """
        if not _is_whole(data):
            self._headless.add(key)
        lines = _line_count(data)
        if key in self._begun:
            self._begun.discard(key)
            self._torn.add(key)
            lines -= 1
        self._dropped[key[0]] = self._dropped.get(key[0], 0) + lines

    def taken(self, size: int) -> None:
        """The console took ``size`` bytes."""
        self._room += size
        self._flow()

    def abandon(self) -> None:
        """The console is too slow and the job is over: say what it will not get to see."""
        for rank in {*self._waiting, *self._dropped}:
            lines = self._dropped.pop(rank, 0)
            waiting = self._waiting.pop(rank, ())
            for stream in (STDOUT, STDERR):
                data = b"".join(each.data for each in waiting if each.stream == stream)
                if data:
                    lines += _line_count(data) - ((rank, stream) in self._sent_begun)
            if lines:
                self._send(Dropped(rank, lines))

    @property
    def empty(self) -> bool:
        """True once everything was sent and taken."""
        return not self._waiting and self._room >= OUTPUT_WINDOW

    def _flow(self) -> None:
        while self._waiting and self._room > 0:
            # The rank that has waited longest; served, it goes to the end of the line.
            self._send_one(next(iter(self._waiting)))

    def _send_one(self, rank: int) -> None:
        queue = self._waiting.pop(rank)
        output = queue.popleft()
        self._room -= len(output.data)
        self._size[rank] -= len(output.data)
        key = (rank, output.stream)
        (self._sent_begun.discard if _is_whole(output.data) else self._sent_begun.add)(key)
        self._send(output)
        if queue:
            self._waiting[rank] = queue
        else:
            lines = self._dropped.pop(rank, 0)
            if lines:
                self._send(Dropped(rank, lines))


def _is_whole(data: bytes) -> bool:
    return data.endswith((b"\n", b"\r"))


def _line_count(data: bytes) -> int:
    return data.count(b"\n") + (not data.endswith(b"\n"))
