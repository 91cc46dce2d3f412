"""Workers' output on the terminal: whole lines, each with its host and rank, on its own stream.

What was written is acknowledged, and only so much is ever under way; the agents keep or drop the
rest. What is not shown is counted, and said.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from madrun.output.line_assembler import BAR_INTERVAL, LineAssembler
from madrun.output.look import Look, is_terminal, passed_on, prefixes, without_controls
from madrun.output.writer import NO_READER, Writer
from madrun.system.words import counted
from madrun.wire.messages import STDERR, STDOUT

_TOO_SLOW = "the console was too slow"
_NAMES = {STDOUT: "stdout", STDERR: "stderr"}
_SCREEN = 40  # lines that a person still sees, or nearly
_BARS_A_SECOND = 10  # states of progress bars, of all ranks together
_PLAIN = Look()


class Loss(NamedTuple):
    """Lines that a stream of ours did not take, and why."""

    stream: str
    lines: int
    reason: str


class Console:
    """Shows lines of the workers, and our own words, on stdout and stderr."""

    def __init__(
        self,
        hosts_of_ranks: Sequence[str],
        look: Look = _PLAIN,
        on_taken: Callable[[int, int], None] = lambda rank, size: None,
        roles: Sequence[str] = (),
    ) -> None:
        """``roles`` are what processes are called that have no rank, by their numbers."""
        self._roles = roles
        names = roles or range(len(hosts_of_ranks))
        self._prefixes = {fd: prefixes(look, fd, hosts_of_ranks, names) for fd in (STDOUT, STDERR)}
        self._passed_on = passed_on(look)
        self._assemblers: dict[tuple[int, int], LineAssembler] = {}
        # One thread each: a stdout that nobody reads must not hold up our own words on stderr.
        self._writers = {fd: Writer(fd, partial(self._broken, fd)) for fd in (STDOUT, STDERR)}
        self._on_taken = on_taken
        # Where a line was begun and not ended, and whose; on one terminal both streams are one.
        self._open: dict[int, tuple[int, int]] = {}
        self._screens = {STDOUT: STDOUT, STDERR: STDOUT if _are_one() else STDERR}
        self._closing = ""
        self._recent: deque[tuple[int, bytes]] = deque(maxlen=_SCREEN)
        self._dropped: deque[tuple[int, int]] = deque()  # ranks and lines, not yet told

    def output(self, rank: int, stream: int, data: bytes, pause: bool = False) -> None:
        """Show what a worker wrote; ``on_taken(rank, size)`` follows once it is written.

        With ``pause``, an unfinished line is shown as far as it goes: it may be a prompt.
        """
        assembler = self._assemblers.setdefault((rank, stream), LineAssembler(self._passed_on))
        pace = max(BAR_INTERVAL, len(self._assemblers) / _BARS_A_SECOND)
        lines = assembler.feed(data, time.monotonic(), pace)
        if assembler.continues:
            lines = self._continue(rank, stream, lines)
        self._lines(rank, stream, lines, len(data))
        if pause:
            self._begin(rank, stream, assembler)

    def end_of(self, rank: int) -> None:
        """The worker is gone: show its last words, line end or not."""
        for stream in (STDOUT, STDERR):
            assembler = self._assemblers.pop((rank, stream), None)
            if assembler is not None:
                lines = assembler.end()
                if assembler.continues:
                    lines = self._continue(rank, stream, lines)
                self._lines(rank, stream, lines, 0)

    def dropped(self, rank: int, lines: int) -> None:
        """Say how much of a rank's output the console was too slow for."""
        self._dropped.append((rank, lines))
        # Behind what was sent before it: then it is known whether there is still a reader.
        self._writers[STDOUT].put(b"", self._tell_dropped)

    def has_just_shown(self, rank: int | None, lines: Sequence[str]) -> bool:
        """Whether a person has these lines of a rank on the terminal, where our words come too."""
        if not lines or not is_terminal(STDERR) or self._screens[STDERR] != STDOUT:
            return False
        shown = [
            without_controls(line).decode(errors="replace")
            for of, line in self._recent
            if of == rank
        ]
        return shown[-len(lines) :] == [*lines]

    def say(self, text: str) -> None:
        """Words of our own, on stderr, in order with what the workers wrote there."""
        self._put(STDERR, text.encode(errors="surrogateescape") + b"\n")

    def say_last(self, text: str) -> None:
        """Words of our own, when all else is shown but the last words."""
        self._closing = text

    def announce(self, text: str) -> None:
        """A line of our own on stdout, which scripts wait for."""
        self._put(STDOUT, text.encode() + b"\n")

    def hold(self, held: bool) -> None:
        """Show nothing for a while, as a console does that takes nothing; or go on."""
        for writer in self._writers.values():
            writer.hold(held)

    def close(self, limit: float, last_words: str = "") -> list[Loss]:
        """Show what is queued and then the last words, waiting ``limit`` seconds a stream.

        Returns what our streams did not take; it is said as far as stderr takes it.
        """
        for rank in {rank for rank, _ in self._assemblers}:
            self.end_of(rank)
        losses = self._close(STDOUT, limit)
        self._tell_dropped()
        for _, lines, reason in losses:
            if reason != NO_READER:
                self.say(not_shown(lines, _NAMES[STDOUT], reason))
        for words in filter(None, (self._closing, last_words)):
            self.say(words)
        return losses + self._close(STDERR, limit)

    def _close(self, stream: int, limit: float) -> list[Loss]:
        writer = self._writers[stream]
        lines = writer.close(limit)
        return [Loss(_NAMES[stream], lines, writer.problem or _TOO_SLOW)] if lines else []

    def _broken(self, stream: int, reason: str) -> None:
        """A stream takes no more; called on its thread."""
        words = f"madrun: {_NAMES[stream]}: {reason}; the job goes on, what it writes there is lost"
        if stream != STDERR:
            self._writers[STDERR].put(words.encode() + b"\n")

    def _tell_dropped(self) -> None:
        """Called on a writer's thread as well."""
        while self._dropped:
            rank, lines = self._dropped.popleft()
            name = f"{self._roles[rank]} ({rank})" if self._roles else f"rank {rank}"
            if self._writers[STDOUT].problem != NO_READER:
                self.say(not_shown(lines, name, _TOO_SLOW))

    def _lines(self, rank: int, stream: int, lines: list[bytes], size: int) -> None:
        self._recent += ((rank, line) for line in lines[-_SCREEN:])
        prefix = self._prefixes[stream][rank]
        text = b"".join(b"%b%b\n" % (prefix, line) for line in lines)
        self._put(stream, text, rank, size)

    def _begin(self, rank: int, stream: int, assembler: LineAssembler) -> None:
        """Show the beginning of a line, or more of it, and leave the cursor behind it."""
        text = assembler.begin()
        screen = self._screens[stream]
        if text and self._open.get(screen) == (rank, stream):
            self._writers[stream].put(text)
        elif text:
            self._put(stream, self._prefixes[stream][rank] + text)
            self._open[screen] = (rank, stream)

    def _continue(self, rank: int, stream: int, lines: list[bytes]) -> list[bytes]:
        """Show the rest of a line whose beginning was shown; returns the other lines.

        Where something else was shown in between, the rest is a line of its own.
        """
        if self._open.get(self._screens[stream]) == (rank, stream):
            del self._open[self._screens[stream]]
            self._writers[stream].put(lines[0] + b"\n")
            return lines[1:]
        return lines if lines[0] else lines[1:]

    def _put(self, stream: int, text: bytes, rank: int = -1, size: int = 0) -> None:
        if text and self._open.pop(self._screens[stream], None) is not None:
            text = b"\n" + text
        taken = partial(self._on_taken, rank, size) if size else None
        self._writers[stream].put(text, taken)


def not_shown(lines: int, of: str, reason: str) -> str:
    """What is said of lines that were lost.

    >>> not_shown(1, "rank 3", "the console was too slow")
    'madrun: 1 line of rank 3 was not shown: the console was too slow'
    """
    were = "was" if lines == 1 else "were"
    return f"madrun: {counted(lines, 'line')} of {of} {were} not shown: {reason}"


def _are_one() -> bool:
    """True where stdout and stderr are one terminal, file or pipe."""
    try:
        return os.path.sameopenfile(STDOUT, STDERR)
    except OSError:
        return False
