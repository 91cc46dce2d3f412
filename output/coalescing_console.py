"""``--fold``: a console that shows identical lines of several ranks once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from madrun.output.coalescing import CoalescedLine, Coalescer
from madrun.output.console import Console, Loss
from madrun.output.failure_report import ranks_in_words
from madrun.output.line_assembler import LineAssembler
from madrun.output.look import Look
from madrun.system.loop import Loop


class CoalescingConsole(Console):
    """Holds each line for a moment, to see who else writes it."""

    def __init__(
        self,
        hosts_of_ranks: Sequence[str],
        look: Look,
        on_taken: Callable[[int, int], None],
        loop: Loop,
        roles: Sequence[str] = (),
    ) -> None:
        super().__init__(hosts_of_ranks, look, on_taken, roles)
        self._prefix = look.prefix
        self._fold = Coalescer(len(hosts_of_ranks))
        self._loop = loop
        self._timer_is_set = False

    def close(self, limit: float, last_words: str = "") -> list[Loss]:
        """See Console.close."""
        for rank in {rank for rank, _ in self._assemblers}:
            self.end_of(rank)
        self._show(self._fold.rest())
        return super().close(limit, last_words)

    def _lines(self, rank: int, stream: int, lines: list[bytes], size: int) -> None:
        now = time.monotonic()
        for line in lines[:-1]:
            self._fold.add(rank, stream, line, 0, now)
        if lines:  # the last of them stands for all: what was taken is said once
            self._fold.add(rank, stream, lines[-1], size, now)
        elif size:
            self._put(stream, b"", rank, size)
        self._look()

    def _begin(self, rank: int, stream: int, assembler: LineAssembler) -> None:
        self._show(self._fold.rest())  # a prompt stands below what came before it
        super()._begin(rank, stream, assembler)

    def _look(self) -> None:
        self._show(self._fold.due(time.monotonic()))
        at = self._fold.next_due()
        if at is not None and not self._timer_is_set:
            self._timer_is_set = True
            self._loop.call_later(max(0.0, at - time.monotonic()), self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer_is_set = False
        self._look()

    def _show(self, lines: Iterable[CoalescedLine]) -> None:
        for stream, line, ranks, sizes in lines:
            self._put(stream, b"%b%b\n" % (self._label(stream, ranks), line))
            for rank, size in sizes:
                self._put(stream, b"", rank, size)

    def _label(self, stream: int, ranks: tuple[int, ...]) -> bytes:
        if len(ranks) == 1:
            return self._prefixes[stream][ranks[0]]
        if not self._prefix:
            return b""
        if len(ranks) == len(self._prefixes[stream]):
            return f"[×{len(ranks)}] ".encode()  # noqa: RUF001 - "times"
        return f"[{ranks_in_words(ranks, 'process' if self._roles else 'rank')}] ".encode()
