"""``--json``: the events of a job as JSON lines on stdout, and the workers' output among them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from madrun.output.console import Console
from madrun.output.line_assembler import LineAssembler
from madrun.output.look import Look
from madrun.record.event import Event
from madrun.record.summary import make_event
from madrun.wire.messages import STDOUT


class JsonConsole(Console):
    """A console whose stdout is read by a program; our own words stay on stderr, for people."""

    def __init__(
        self,
        hosts_of_ranks: Sequence[str],
        on_taken: Callable[[int, int], None],
        roles: Sequence[str] = (),
    ) -> None:
        super().__init__(hosts_of_ranks, Look(prefix=False), on_taken, roles)
        self._hosts = hosts_of_ranks

    def take(self, event: Event) -> None:
        """An event of the job, as one line."""
        self._event(event.name, event.at, event.fields, -1, 0)

    def output(self, rank: int, stream: int, data: bytes, pause: bool = False) -> None:
        """Whole lines only, also where a line pauses: a program waits for no prompt."""
        super().output(rank, stream, data)

    def announce(self, text: str) -> None:
        """Here it is an event, and nothing else."""

    def _lines(self, rank: int, stream: int, lines: list[bytes], size: int) -> None:
        now = time.monotonic()
        for index, line in enumerate(lines):
            fields = {
                "host": self._hosts[rank],
                "rank": rank,
                **({"role": self._roles[rank]} if self._roles else {}),
                "stream": "stdout" if stream == STDOUT else "stderr",
                "text": line.decode(errors="replace"),
            }
            # The last of them stands for all: what was taken is said once.
            last = index == len(lines) - 1
            self._event("output", now, fields, rank, size if last else 0)
        if not lines and size:
            self._put(STDOUT, b"", rank, size)

    def _begin(self, rank: int, stream: int, assembler: LineAssembler) -> None:
        """A program reads whole lines: their beginnings are not shown alone."""

    def _event(self, name: str, at: float, fields: dict[str, Any], rank: int, size: int) -> None:
        text = json.dumps(make_event(name, at, fields))
        self._put(STDOUT, text.encode() + b"\n", rank, size)
