"""One line on the terminal while hosts connect; nothing where nobody looks."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TextIO

NAME_AFTER = 1.0  # seconds: then the missing hosts are named
_SHOWN_HOSTS = 4


class Progress:
    """``12/16 hosts are ready; missing: node07, node12``, redrawn in place on a terminal."""

    def __init__(self, hosts: int, stream: TextIO | None = None) -> None:
        self._hosts = hosts
        self._stream = stream or sys.stderr
        self._started = time.monotonic()
        self._shown = False
        self._on = hosts > 1 and self._stream.isatty()

    def show(self, missing: Sequence[str]) -> None:
        """Draw the line anew."""
        if not self._on:
            return
        late = time.monotonic() - self._started >= NAME_AFTER
        self._draw(progress_line(self._hosts, missing, late))
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


def progress_line(hosts: int, missing: Sequence[str], name_them: bool) -> str:
    """The text of the line.

    >>> progress_line(16, ["node07", "node12"], True)
    'madrun: 14/16 hosts are ready; missing: node07, node12'
    """
    text = f"madrun: {hosts - len(missing)}/{hosts} hosts are ready"
    if not name_them or not missing:
        return text
    more = f" and {len(missing) - _SHOWN_HOSTS} more" if len(missing) > _SHOWN_HOSTS else ""
    return f"{text}; missing: {', '.join(missing[:_SHOWN_HOSTS])}{more}"
