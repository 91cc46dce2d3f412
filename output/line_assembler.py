"""A stream of one rank, cut into lines to show."""

from __future__ import annotations

import re
from collections.abc import Callable

_LONGEST_LINE = 1024 * 1024  # bytes; a longer one is broken
BAR_INTERVAL = 1.0  # seconds between two states of a progress bar

_BEGUN_ESCAPE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*|[ -/]*)\Z|\xc2\Z")


class LineAssembler:
    r"""Cuts one stream of one rank into lines to show.

    A carriage return redraws a line on a terminal. Between the lines of many ranks that cannot
    work, so each state of a progress bar becomes a line of its own, not more often than ``pace``
    says; the last state is always shown.

    >>> lines = LineAssembler()
    >>> lines.feed(b"one\ntw", now=0.0), lines.feed(b"o\r\n", now=0.0), lines.end()
    ([b'one'], [b'two'], [])
    >>> lines.feed(b"1%\r2%\r", now=0.0), lines.feed(b"3%\r", now=0.5), lines.feed(b"\n", now=0.6)
    ([b'2%'], [], [b'3%'])
    """

    def __init__(self, passed_on: Callable[[bytes], bytes] = bytes) -> None:
        """``passed_on`` makes what is shown of a line."""
        self._passed_on = passed_on
        self._rest = b""
        self._begun = False  # the beginning of this line was shown, and is no part of the rest
        self.continues = False  # the first line that ``feed`` or ``end`` gave is such a rest
        self._shown: bytes | None = None  # the state of the unfinished line that was shown last
        self._shown_at = float("-inf")

    def feed(self, data: bytes, now: float, pace: float = BAR_INTERVAL) -> list[bytes]:
        """The lines that this data completes, without their ends.

        Between two states of a progress bar ``pace`` seconds pass.
        """
        *complete, self._rest = (self._rest + data).split(b"\n")
        lines: list[bytes] = []
        self.continues = False
        for line in complete:
            lines += self._finish(line)
        if len(self._rest) > _LONGEST_LINE:
            lines += self._finish(self._rest)
            self._rest = b""
        elif b"\r" in self._rest:
            lines += self._redrawn(now, pace)
        return lines

    def end(self) -> list[bytes]:
        """What is left when the stream is over."""
        rest, self._rest = self._rest, b""
        self.continues = False
        return self._finish(rest) if rest or self._begun else []

    def begin(self) -> bytes:
        r"""What there is of an unfinished line, to be shown at once; ``feed`` gives the rest.

        >>> lines = LineAssembler()
        >>> lines.feed(b"name? ", now=0.0), lines.begin()
        ([], b'name? ')
        >>> lines.feed(b"me\nnext\n", now=0.0), lines.continues
        ([b'me', b'next'], True)
        """
        if b"\r" in self._rest:  # a bar: it has its own pace
            return b""
        cut = _BEGUN_ESCAPE.search(self._rest)
        whole = cut.start() if cut else len(self._rest)
        rest, self._rest = self._rest[:whole], self._rest[whole:]
        self._begun = self._begun or bool(rest)
        return self._passed_on(rest)

    def _finish(self, line: bytes) -> list[bytes]:
        state = self._last_state(line)
        if self._begun:
            self._begun = False
            self.continues = b"\r" not in line.rstrip(b"\r")  # else it was drawn anew
            return [state]
        shown, self._shown = self._shown, None
        return [] if state == shown else [state]

    def _redrawn(self, now: float, pace: float) -> list[bytes]:
        drawn, _, unfinished = self._rest.rpartition(b"\r")
        state = self._last_state(drawn)
        self._rest = state + b"\r" + unfinished
        if not state or now - self._shown_at < pace:
            return []
        self._begun = False
        self._shown, self._shown_at = state, now
        return [state]

    def _last_state(self, line: bytes) -> bytes:
        """What a terminal shows of a line that was drawn several times over."""
        states = map(self._passed_on, reversed(line.split(b"\r")))
        return next((state for state in states if state), b"")
