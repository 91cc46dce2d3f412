"""One line on the terminal while hosts connect; nothing where nobody looks."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TextIO

NAME_AFTER = 1.0  # seconds: then the missing hosts are named
_SHOWN_HOSTS = 4


class Progress:
    """``12/16 hosts are ready; missing: node07, node12``, redrawn in place on a terminal.

    A host that cannot run the job is told at once, above that line.
    """

    def __init__(self, hosts: int, stream: TextIO | None = None, quiet: bool = False) -> None:
        self._hosts = hosts
        self._stream = stream or sys.stderr
        self._started = time.monotonic()
        self._shown = False
        self._told = 0
        self._on = hosts > 1 and not quiet and self._stream.isatty()

    def show(self, missing: Sequence[str], refused: Sequence[tuple[str, str]] = ()) -> None:
        """Draw the line anew; ``refused`` are the hosts that cannot run the job, and why.

        The order of ``refused`` is that in which they said so.
        """
        if not self._on:
            return
        for host, reason in refused[self._told :]:
            self._draw(f"madrun: {host}: {reason}\n")
        self._told = len(refused)
        late = time.monotonic() - self._started >= NAME_AFTER
        line = progress_line(self._hosts, missing, len(refused), late)
        import shutil  # only where somebody looks: it loads every kind of compression

        self._draw(line[: shutil.get_terminal_size().columns - 1])
        self._shown = True

    def clear(self) -> None:
        """Take the line away; what follows starts in the first column."""
        if self._shown:
            self._draw("")
            self._shown = False

    def _draw(self, text: str) -> None:
        try:
            self._stream.write(f"\r\x1b[K{text}")
            self._stream.flush()
        except OSError:
            self._on = False


def progress_line(hosts: int, missing: Sequence[str], refused: int, name_them: bool) -> str:
    """The text of the line.

    >>> progress_line(16, ["node07", "node12"], 0, True)
    'madrun: 14/16 hosts are ready; missing: node07, node12'
    >>> progress_line(3, ["node02"], 2, True)
    'madrun: 0/3 hosts are ready, 2 cannot run the job; missing: node02'
    """
    text = f"madrun: {hosts - len(missing) - refused}/{hosts} hosts are ready"
    if refused:
        text += f", {refused} cannot run the job"
    if not name_them or not missing:
        return text
    more = f" and {len(missing) - _SHOWN_HOSTS} more" if len(missing) > _SHOWN_HOSTS else ""
    return f"{text}; missing: {', '.join(missing[:_SHOWN_HOSTS])}{more}"
