"""Ending everything the job runs on this node, and nothing else.

As a child subreaper the agent adopts every orphan below it, so the processes of the job are
exactly the descendants of the agent: setsid, double forks, cleared environments and dead
parents hide nothing, and no process is ever looked for by name or pattern.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from madrun.system.kernel import children, command_of, kill_children
from madrun.system.loop import Loop, Timer

_SHARE_OF_INT = 1 / 3  # of the grace
_KILL_LIMIT = 5.0  # seconds to wait for killed processes; one stuck in the kernel is named


def signal_descendants(number: int, pid: int | None = None) -> set[int]:
    """Send a signal to every process of the job: grandchildren too must be able to save.

    With a ``pid``, only to that worker and all below it; it must not have been reaped.
    psutil compares creation times, so that a reused process id is never hit.
    Returns the process ids of those that were there.
    """
    import psutil

    try:
        top = psutil.Process(pid)
        found = [*([top] if pid else []), *top.children(recursive=True)]
    except psutil.Error:
        return set()
    for process in found:
        try:
            process.send_signal(number)
        except psutil.Error:
            continue  # gone meanwhile, or a setuid program that is not ours to signal
    return {process.pid for process in found}


def load_psutil() -> None:
    """Have psutil at hand when the end comes; its import takes 20 ms."""
    import psutil  # noqa: F401


class Ending:
    """TERM to all at once, one grace for all together, KILL, and then a look whether any lives.

    After a Ctrl-C SIGINT comes first, and TERM after a third of the grace: Python cleans up on
    SIGINT, and shows where it was.

    ``on_done(left)`` is called once, with the names of the processes that could not be ended.
    Call ``check()`` after every reaped child.
    """

    def __init__(self, loop: Loop, on_done: Callable[[tuple[str, ...]], None]) -> None:
        self._loop, self._on_done = loop, on_done
        self._timer: Timer | None = None
        self._killing = self._all_told = False
        self._last_told = 0  # the signal
        self._told: set[int] = set()
        self.over = False  # true once nothing is left, or only what cannot be ended

    def begin(self, grace: float, first: int = signal.SIGTERM) -> None:
        """Start; called again, only a shorter grace changes anything."""
        if self.over or self._killing:
            return
        if grace <= 0 or not has_children():
            self._kill()
            return
        if not self._all_told:
            self._all_told = True
            self._tell(first, None, grace)
        self._kill_after(grace)
        self.check()

    def begin_with(self, pids: Sequence[int], grace: float, first: int = signal.SIGTERM) -> None:
        """Start with the trees of these workers; the grace is for all that follow as well."""
        if self.over or self._killing:
            return
        for pid in pids:
            self._tell(first, pid, grace)
        self._kill_after(grace)
        self.check()

    def _tell(self, number: int, pid: int | None, grace: float) -> None:
        if self._killing or self.over or (pid is not None and not is_child(pid)):
            return
        self._last_told = number
        self._told |= signal_descendants(number, pid)
        signal_descendants(signal.SIGCONT, pid)  # a stopped process could not obey
        if number == signal.SIGINT:
            later = partial(self._tell, signal.SIGTERM, pid, grace)
            self._loop.call_later(grace * _SHARE_OF_INT, later)

    @property
    def rest(self) -> float:
        """Seconds until the KILL."""
        return max(0.0, self._timer.when - time.monotonic()) if self._timer else 0.0

    def check(self) -> None:
        """Look whether anything is left; while killing, kill what has appeared."""
        if self.over:
            return
        if not has_children():
            self._finish(())
        elif self._killing:
            kill_children()
        elif self._all_told:
            self._tell_newcomers()

    def _tell_newcomers(self) -> None:
        """What was forked just then and has lost its parent since, whom nobody else will tell.

        No look at all processes for each of them: some fork faster than that takes.
        """
        for pid in set(children()) - self._told:
            self._told.add(pid)
            for number in (self._last_told, signal.SIGCONT):
                with contextlib.suppress(PermissionError):  # a setuid program of another user
                    os.kill(pid, number)

    def _kill_after(self, grace: float) -> None:
        """A grace that has begun only becomes shorter."""
        if self._timer is not None:
            if time.monotonic() + grace >= self._timer.when:
                return
            self._timer.cancel()
        self._timer = self._loop.call_later(grace, self._kill)

    def _kill(self) -> None:
        self._killing = True
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(_KILL_LIMIT, self._give_up)
        self.check()

    def _give_up(self) -> None:
        kill_children()
        self._finish(tuple(command_of(pid) for pid in children()))

    def _finish(self, left: tuple[str, ...]) -> None:
        self.over = True
        if self._timer is not None:
            self._timer.cancel()
        self._on_done(left)


def is_child(pid: int) -> bool:
    """True while this is a child of ours that nobody has reaped."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def has_children() -> bool:
    """True while this process has any child, even one that nobody has reaped yet."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def reaped() -> Iterator[tuple[int, int]]:
    """Every child that has ended and that nobody has waited for: its id and returncode."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, os.waitstatus_to_exitcode(status)
