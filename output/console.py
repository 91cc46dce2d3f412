"""Workers' output on the terminal: whole lines, each with its host and rank, on its own stream.

A thread of its own writes, because a terminal, a pipe or a screen lock may stop taking bytes at
any time and nothing else may wait for that. What was written is acknowledged, and only so much
is ever under way; the agents keep or drop the rest.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from madrun.wire.messages import STDERR, STDOUT

_LONGEST_LINE = 1024 * 1024  # bytes; a longer one is broken
_NOT_SHOWN = "were not shown: the console was too slow"
_BAR_INTERVAL = 1.0  # seconds between two states of a progress bar


class LineAssembler:
    r"""Cuts one stream of one rank into lines to show.

    A carriage return redraws a line on a terminal. Between the lines of many ranks that cannot
    work, so each state of a progress bar becomes a line of its own, at most one a second; the
    last state is always shown.

    >>> lines = LineAssembler()
    >>> lines.feed(b"one\ntw", now=0.0), lines.feed(b"o\r\n", now=0.0), lines.end()
    ([b'one'], [b'two'], [])
    >>> lines.feed(b"1%\r2%\r", now=0.0), lines.feed(b"3%\r", now=0.5), lines.feed(b"\n", now=0.6)
    ([b'2%'], [], [b'3%'])
    """

    def __init__(self) -> None:
        self._rest = b""
        self._begun = False  # the beginning of this line was shown, and is no part of the rest
        self.continues = False  # the first line that ``feed`` or ``end`` gave is such a rest
        self._shown: bytes | None = None  # the state of the unfinished line that was shown last
        self._shown_at = float("-inf")

    def feed(self, data: bytes, now: float) -> list[bytes]:
        """The lines that this data completes, without their ends."""
        *complete, self._rest = (self._rest + data).split(b"\n")
        lines: list[bytes] = []
        self.continues = False
        for line in complete:
            lines += self._finish(line)
        if len(self._rest) > _LONGEST_LINE:
            lines += self._finish(self._rest)
            self._rest = b""
        elif b"\r" in self._rest:
            lines += self._redrawn(now)
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
        rest, self._rest = self._rest, b""
        self._begun = self._begun or bool(rest)
        return rest

    def _finish(self, line: bytes) -> list[bytes]:
        state = _last_state(line)
        if self._begun:
            self._begun = False
            self.continues = b"\r" not in line.rstrip(b"\r")  # else it was drawn anew
            return [state]
        shown, self._shown = self._shown, None
        return [] if state == shown else [state]

    def _redrawn(self, now: float) -> list[bytes]:
        drawn, _, unfinished = self._rest.rpartition(b"\r")
        state = _last_state(drawn)
        self._rest = state + b"\r" + unfinished
        if not state or now - self._shown_at < _BAR_INTERVAL:
            return []
        self._begun = False
        self._shown, self._shown_at = state, now
        return [state]


def _last_state(line: bytes) -> bytes:
    """What a terminal shows of a line that was drawn several times over."""
    return next((state for state in reversed(line.split(b"\r")) if state), b"")


class _Writer:
    """Writes to one descriptor on a thread of its own; nobody waits for it but ``close``."""

    def __init__(self, fd: int, on_taken: Callable[[int, int], None]) -> None:
        self._fd, self._on_taken = fd, on_taken
        self._queue: SimpleQueue[tuple[bytes, int, int] | None] = SimpleQueue()
        self._reader_gone = False
        self._unwritten = b""
        self._thread = threading.Thread(target=self._run, name=f"console-{fd}", daemon=True)
        self._thread.start()

    def put(self, data: bytes, rank: int = -1, size: int = 0) -> None:
        """Write this; ``on_taken(rank, size)`` follows where there is a size."""
        self._queue.put((data, rank, size))

    def close(self, limit: float) -> int:
        """Write what is queued, for at most ``limit`` seconds; how many lines were left over."""
        self._queue.put(None)
        self._thread.join(limit)
        # Of what is being written, the part that a full pipe holds will be read all the same.
        lines = self._unwritten.count(b"\n")
        with contextlib.suppress(Empty):
            while self._thread.is_alive():
                item = self._queue.get_nowait()
                lines += item[0].count(b"\n") if item else 0
        return lines

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            self._unwritten, rank, size = item
            while self._unwritten and not self._reader_gone:
                try:
                    written = os.write(self._fd, self._unwritten)
                    self._unwritten = self._unwritten[written:]
                except BlockingIOError:  # somebody else made it non-blocking
                    select.select([], [self._fd], [])
                except OSError:  # whoever read it has gone (| head): the job goes on without
                    self._reader_gone = True
            self._unwritten = b""
            if size:
                self._on_taken(rank, size)


class Console:
    """Shows lines of the workers, and our own words, on stdout and stderr."""

    def __init__(
        self,
        hosts_of_ranks: Sequence[str],
        prefix: bool = True,
        on_taken: Callable[[int, int], None] = lambda rank, size: None,
        roles: Sequence[str] = (),
    ) -> None:
        """``roles`` are what processes are called that have no rank, by their numbers."""
        self._roles = roles
        self._prefixes = [
            f"[{host}:{roles[rank] if roles else rank}] ".encode() if prefix else b""
            for rank, host in enumerate(hosts_of_ranks)
        ]
        self._assemblers: dict[tuple[int, int], LineAssembler] = {}
        # One thread each: a stdout that nobody reads must not hold up our own words on stderr.
        self._writers = {fd: _Writer(fd, on_taken) for fd in (STDOUT, STDERR)}
        # Where a line was begun and not ended, and whose; on one terminal both streams are one.
        self._open: dict[int, tuple[int, int]] = {}
        self._screens = {STDOUT: STDOUT, STDERR: STDOUT if _are_one() else STDERR}
        self.dropped_lines = 0

    def output(self, rank: int, stream: int, data: bytes, pause: bool = False) -> None:
        """Show what a worker wrote; ``on_taken(rank, size)`` follows once it is written.

        With ``pause``, an unfinished line is shown as far as it goes: it may be a prompt.
        """
        assembler = self._assemblers.setdefault((rank, stream), LineAssembler())
        lines = assembler.feed(data, time.monotonic())
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
        self.dropped_lines += lines
        name = f"{self._roles[rank]} ({rank})" if self._roles else f"rank {rank}"
        self.say(f"madrun: {lines} lines of {name} {_NOT_SHOWN}")

    def say(self, text: str) -> None:
        """Words of our own, on stderr, in order with what the workers wrote there."""
        self._put(STDERR, text.encode(errors="surrogateescape") + b"\n")

    def announce(self, text: str) -> None:
        """A line of our own on stdout, which scripts wait for."""
        self._put(STDOUT, text.encode() + b"\n")

    def close(self, limit: float, last_words: str = "") -> None:
        """Show what is queued and then the last words, waiting ``limit`` seconds a stream."""
        for rank in {rank for rank, _ in self._assemblers}:
            self.end_of(rank)
        lines = self._writers[STDOUT].close(limit)
        if lines:
            self.dropped_lines += lines
            self.say(f"madrun: {lines} more lines {_NOT_SHOWN}")
        if last_words:
            self.say(last_words)
        self.dropped_lines += self._writers[STDERR].close(limit)

    def _lines(self, rank: int, stream: int, lines: list[bytes], size: int) -> None:
        prefix = self._prefixes[rank]
        text = b"".join(b"%b%b\n" % (prefix, line) for line in lines)
        self._put(stream, text, rank, size)

    def _begin(self, rank: int, stream: int, assembler: LineAssembler) -> None:
        """Show the beginning of a line, or more of it, and leave the cursor behind it."""
        text = assembler.begin()
        screen = self._screens[stream]
        if text and self._open.get(screen) == (rank, stream):
            self._writers[stream].put(text)
        elif text:
            self._put(stream, self._prefixes[rank] + text)
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
        self._writers[stream].put(text, rank, size)


def _are_one() -> bool:
    """True where stdout and stderr are one terminal, file or pipe."""
    try:
        return os.path.sameopenfile(STDOUT, STDERR)
    except OSError:
        return False
