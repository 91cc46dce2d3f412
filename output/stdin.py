"""The user's stdin on its way to the workers that read it.

A pipe, a file and a terminal alike; read only while there is room, so that what nobody takes stays
where it is. What is under way shares a connection with the heartbeats: it comes in small pieces,
each of them a sign of life, and there is never much of it.
"""

from __future__ import annotations

import os
import select
import signal
import stat
import sys
from collections.abc import Callable, Collection

from madrun.system.errors import InputError
from madrun.system.loop import Loop, Timer

PIECE = 8 * 1024
WINDOW = 64 * 1024  # bytes under way to the one worker that reads; where all do, a piece each
_SECOND_LOOK = 0.3  # seconds
_DEV_NULL = os.makedev(1, 3)


def input_ranks(stdin: str, count: int, noun: str = "ranks") -> frozenset[int]:
    """The ranks that read the user's stdin, from ``none``, ``all`` or one rank.

    There are ``count`` of them; ``noun`` is what the user calls them.

    >>> sorted(input_ranks("all", 3)), sorted(input_ranks("1", 3)), sorted(input_ranks("none", 3))
    ([0, 1, 2], [1], [])

    Raises InputError for any other text and for a rank that is not there.
    """
    if stdin in ("none", "all"):
        return frozenset(range(count if stdin == "all" else 0))
    if not (stdin.isascii() and stdin.isdecimal()):
        raise InputError(f"--stdin {stdin[:80]!r}: allowed are none, all, or a rank")
    rank = int(stdin[:10])
    if rank >= count:
        raise InputError(f"--stdin {stdin}: the {noun} of this job are 0-{count - 1}")
    return frozenset((rank,))


def stdin_of(stdin: str, count: int, noun: str = "ranks") -> str:
    """What ``--stdin`` comes to: none where we have no stdin ourselves. Raises InputError."""
    ranks = input_ranks(stdin, count, noun)
    return stdin if ranks and _has_stdin() else "none"


def _has_stdin() -> bool:
    """False where this process was started with a closed stdin, or with /dev/null as such."""
    if sys.stdin is None:  # so Python says it; the number may be another's by now
        return False
    try:
        status = os.fstat(0)
    except OSError:
        return False
    return not (stat.S_ISCHR(status.st_mode) and status.st_rdev == _DEV_NULL)


class StdinForwarder:
    """Reads our stdin for some ranks; ``send(rank, data)`` gets each piece, b"" at the end."""

    def __init__(
        self,
        loop: Loop,
        ranks: Collection[int],
        send: Callable[[int, bytes], None],
        fd: int = 0,
    ) -> None:
        self._loop, self._fd, self._send = loop, fd, send
        # Those that still read, and how much each may be sent.
        self._room = dict.fromkeys(ranks, WINDOW if len(ranks) == 1 else PIECE)
        self._started = False
        self._undo: Callable[[], None] | None = None  # while we wait for input: ends that

    def start(self) -> None:
        """The workers run: read. Called again, it does nothing."""
        if self._started or not self._room:
            return
        self._started = True
        if os.isatty(self._fd):
            self._loop.on_signal(signal.SIGCONT, lambda _number: self._listen())
        self._listen()

    def taken(self, rank: int, size: int) -> None:
        """A worker's stdin took so much; 0: it takes no more, ever."""
        if rank not in self._room:
            return
        if size:
            self._room[rank] += size
        else:
            del self._room[rank]
        if not self._room:
            self.stop()
        elif self._started and self._undo is None:
            self._listen()

    def stop(self) -> None:
        """Nobody reads any more: whatever else comes is left where it is."""
        self._room.clear()
        self._rest()

    def _listen(self) -> None:
        """Wait for input, if there is room for it and it is ours to read."""
        self._rest()
        if not self._has_room():
            return
        if self._in_background():
            self._wait_for_foreground()
            return
        try:
            self._loop.watch(self._fd, self._read)
            self._undo = lambda: self._loop.unwatch(self._fd)
        except PermissionError:  # a file: it is always readable, and nobody can wait for it
            self._loop.post(self._read_file)
            self._undo = lambda: None

    def _has_room(self) -> bool:
        return bool(self._room) and min(self._room.values()) >= PIECE

    def _rest(self) -> None:
        undo, self._undo = self._undo, None
        if undo is not None:
            undo()

    def _in_background(self) -> bool:
        """True where the terminal is somebody else's now: reading from it would stop us."""
        try:
            return os.tcgetpgrp(self._fd) != os.getpgrp()
        except OSError:
            return False  # no terminal, or not ours to be stopped by

    def _wait_for_foreground(self) -> None:
        # A shell that brings us back need not say so (SIGCONT is only for what was stopped), and
        # what the user types meanwhile is for others. Edge-triggered, each line typed wakes us
        # once, to look whose terminal it is now.
        typed = select.epoll()
        typed.register(self._fd, select.EPOLLIN | select.EPOLLET)
        typed.poll(0)  # what is there already is no news

        second_look: list[Timer] = []

        def look() -> None:
            typed.poll(0)
            if not self._in_background():
                self._listen()
            elif not second_look:
                # Typed ahead: the shell that brings us back may not have done so quite yet.
                second_look[:] = [self._loop.call_later(_SECOND_LOOK, look_again)]

        def look_again() -> None:
            second_look.clear()
            if not self._in_background():
                self._listen()

        def undo() -> None:
            for timer in second_look:
                timer.cancel()
            self._loop.unwatch(typed.fileno())
            typed.close()

        self._loop.watch(typed.fileno(), look)
        self._undo = undo

    def _read_file(self) -> None:
        if self._has_room():
            self._read()
        if self._undo is not None:
            self._loop.post(self._read_file)

    def _read(self) -> None:
        if self._in_background():
            self._listen()
            return
        try:
            data = os.read(self._fd, PIECE)
        except BlockingIOError:  # somebody else was quicker
            return
        except OSError:  # the terminal has gone; not open for reading
            if self._in_background():  # somebody else's since we looked
                self._listen()
                return
            data = b""
        if not data:
            self._end()
            return
        for rank in self._room:
            self._room[rank] -= len(data)
            self._send(rank, data)
        if not self._has_room():
            self._rest()

    def _end(self) -> None:
        for rank in self._room:
            self._send(rank, b"")
        self.stop()
