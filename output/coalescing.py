"""Identical lines of several ranks, shown once, with a word on who wrote them."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import NamedTuple

HOLD = 0.2  # seconds that a line waits for the same line of other ranks


class CoalescedLine(NamedTuple):
    """A line that these ranks wrote; ``sizes`` has how much of each rank's output it stands for."""

    stream: int
    line: bytes
    ranks: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]


class _Held:
    """A line that waits."""

    __slots__ = ("line", "ranks", "since", "sizes", "stream")

    def __init__(self, stream: int, line: bytes, since: float) -> None:
        self.stream, self.line, self.since = stream, line, since
        self.ranks: list[int] = []
        self.sizes: list[tuple[int, int]] = []


class Coalescer:
    """Holds lines for a moment and gives each text once. Every rank's lines keep their order.

    >>> coalescer = Coalescer(world_size=3)
    >>> for rank in (0, 1, 0, 2, 1):
    ...     coalescer.add(rank, 1, b"epoch", 6, now=0.0)
    >>> [(each.line, each.ranks) for each in coalescer.due(now=0.0)], coalescer.next_due()
    ([(b'epoch', (0, 1, 2))], 0.2)
    >>> [(each.line, each.ranks) for each in coalescer.due(now=0.2)]
    [(b'epoch', (0, 1))]
    """

    def __init__(self, world_size: int, hold: float = HOLD) -> None:
        self._world_size, self._hold = world_size, hold
        self._held: deque[_Held] = deque()
        self._gone = 0  # how many have left: the number of the first that is held
        self._numbers: dict[tuple[int, bytes], list[int]] = {}  # of the held ones, by text
        self._last: dict[int, int] = {}  # by rank, the number of its last line

    def add(self, rank: int, stream: int, line: bytes, size: int, now: float) -> None:
        """A rank wrote a line; ``size`` comes back with it."""
        numbers = self._numbers.setdefault((stream, line), [])
        # Only a line behind this rank's last one: a line never overtakes another of its rank.
        place = bisect_right(numbers, self._last.get(rank, -1))
        if place == len(numbers):
            numbers.append(self._gone + len(self._held))
            self._held.append(_Held(stream, line, now))
        held = self._held[numbers[place] - self._gone]
        held.ranks.append(rank)
        if size:
            held.sizes.append((rank, size))
        self._last[rank] = numbers[place]

    def due(self, now: float) -> list[CoalescedLine]:
        """The lines that every rank has written, or that have waited long enough."""
        shown = []
        while self._held:
            first = self._held[0]
            if len(first.ranks) < self._world_size and now < first.since + self._hold:
                break
            shown.append(self._pop())
        return shown

    def rest(self) -> list[CoalescedLine]:
        """Everything that waits."""
        return [self._pop() for _ in range(len(self._held))]

    def next_due(self) -> float | None:
        """When to ask again; None where nothing waits."""
        return self._held[0].since + self._hold if self._held else None

    def _pop(self) -> CoalescedLine:
        held = self._held.popleft()
        self._gone += 1
        key = (held.stream, held.line)
        numbers = self._numbers[key]
        del numbers[0]
        if not numbers:
            del self._numbers[key]
        return CoalescedLine(held.stream, held.line, tuple(sorted(held.ranks)), tuple(held.sizes))
