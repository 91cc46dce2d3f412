"""madrun on a terminal of its own: what a person would see."""

from __future__ import annotations

import os
import pty
import select
import subprocess
from collections.abc import Mapping, Sequence

from support.here import MADRUN, Words, environment
from support.programs import PATIENCE


class Conversation:
    """A program whose output is read as it comes, by someone who answers."""

    def __init__(self, out: int, into: int) -> None:
        self._out, self._into = out, into
        self.seen = ""

    def until(self, text: str) -> None:
        """Read until this was seen; what stands before its end is forgotten."""
        while text not in self.seen:
            data = readable(self._out) and os.read(self._out, 4096)
            assert data, f"{text!r} was not seen: {self.seen!r}"
            self.seen += data.decode().replace("\r\n", "\n")
        self.seen = self.seen.partition(text)[2]

    def type(self, text: str) -> None:
        """Answer."""
        os.write(self._into, text.encode())


def readable(fd: int) -> bool:
    """Whether there is something to read, or the end, before our patience is over."""
    return bool(select.select([fd], [], [], PATIENCE)[0])


def read_all(fd: int) -> bytes:
    """Everything until nobody holds the terminal any more."""
    seen = b""
    while True:
        assert readable(fd), f"no end after {seen!r}"
        try:
            data = os.read(fd, 65536)
        except OSError:  # EIO: how Linux says so
            return seen
        if not data:
            return seen
        seen += data


def on_a_terminal(*words: Words, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run madrun to its end; its exit status and what the terminal got, with plain line ends."""
    return seen_of([MADRUN, *words], environment(**{"TERM": "xterm", **(env or {})}))


def seen_of(command: Sequence[Words], env: Mapping[str, str]) -> tuple[int, str]:
    """The same of any command."""
    ours, terminal = pty.openpty()
    try:
        with subprocess.Popen(
            ["setsid", "-c", "-w", *command], stdin=terminal, stdout=terminal, stderr=terminal,
            env=dict(env),
        ) as job:  # fmt: skip
            os.close(terminal)
            seen = read_all(ours)
            return job.wait(PATIENCE), seen.decode(errors="replace").replace("\r\n", "\n")
    finally:
        os.close(ours)
