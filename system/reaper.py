"""The process between a guard and its core: it ends what is left where both are killed at once.

What a dead core has started falls to the nearest subreaper above it. That is this process, so that
of the three any one or two may be killed: the last one ends the rest. It only waits. The guard
cannot wait for a grandchild, so it is told here what the kernel says of the core.
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct
from collections.abc import Callable, Iterator
from typing import NoReturn

from madrun.system.kernel import become_subreaper, children, die_with_parent, kill_children

_WORD = struct.Struct("=ii")  # a process id, and a status as waitpid(2) gives it
_BORN = -1  # no status: the core exists


class Reaper:
    """The guard's end: the core's process id, and what became of the core."""

    def __init__(self, pid: int, news: int) -> None:
        self.pid, self._news = pid, news
        os.set_blocking(news, True)
        word = os.read(news, _WORD.size)
        os.set_blocking(news, False)
        self.core = _WORD.unpack(word)[0] if word else 0  # 0: both were killed already

    def statuses(self) -> Iterator[int]:
        """What waitpid(2) has said of the core since the last look."""
        with contextlib.suppress(BlockingIOError):
            while len(word := os.read(self._news, _WORD.size)) == _WORD.size:
                yield _WORD.unpack(word)[1]


def start_reaper(
    become_core: Callable[[], NoReturn], core_end: int, orphaned: Callable[[int], None]
) -> Reaper:
    """Fork a reaper, and below it the core, which ``become_core`` turns into what it will be.

    All signals are blocked, and the caller is a subreaper; of a pipe that tells of its end,
    ``core_end`` is what only the caller may hold. ``orphaned`` is called with the core's
    status in a reaper whose guard has gone, once nothing is left.
    """
    news, tell = os.pipe2(os.O_CLOEXEC)
    guard, pid = os.getpid(), os.fork()
    if pid:
        os.close(tell)
        return Reaper(pid, news)
    os.close(news)
    become_subreaper()
    die_with_parent(guard, signal.SIGCONT)  # so it hears that the guard has gone
    core = os.fork()
    if core == 0:
        os.close(tell)
        become_core()
    os.close(core_end)
    os.setpgid(0, 0)  # tools, shells and schedulers kill by groups
    _watch(core, guard, tell, orphaned)


def _watch(core: int, guard: int, tell: int, orphaned: Callable[[int], None]) -> NoReturn:
    _tell(tell, guard, core, _BORN)
    status: int | None = None
    while status is None:
        signal.sigwait({signal.SIGCHLD, signal.SIGCONT})
        if os.getppid() != guard:
            # A core that is stopped when its guard is killed goes on: nobody else would see to it.
            os.kill(core, signal.SIGCONT)
        for found in _changes(core):
            _tell(tell, guard, core, found)
            if os.WIFEXITED(found) or os.WIFSIGNALED(found):
                status = found
    while others := [pid for pid in children() if pid != core]:
        kill_children(spare=core)
        signal.sigtimedwait({signal.SIGCHLD}, 1.0)
        for pid in others:
            os.waitpid(pid, os.WNOHANG)
    if os.getppid() != guard:
        orphaned(os.waitstatus_to_exitcode(status))
    os._exit(0)


def _changes(core: int) -> Iterator[int]:
    """What is new of the core, as waitpid(2) gives it.

    A dead core is not reaped here. As long as this process lives, the guard may signal the core,
    and its process id can mean no other process.
    """
    for states in (os.WSTOPPED | os.WCONTINUED, os.WEXITED | os.WNOWAIT):
        with contextlib.suppress(ChildProcessError):  # a dead one neither stops nor goes on
            found = os.waitid(os.P_PID, core, states | os.WNOHANG)
            if found is not None:
                yield _as_waitpid(found)


def _as_waitpid(found: os.waitid_result) -> int:
    """The status of waitpid(2) for what waitid(2) says: see <sys/wait.h>."""
    return {
        os.CLD_EXITED: found.si_status << 8,
        os.CLD_KILLED: found.si_status,
        os.CLD_DUMPED: found.si_status | 0x80,
        os.CLD_STOPPED: found.si_status << 8 | 0x7F,
        os.CLD_CONTINUED: 0xFFFF,
    }[found.si_code]


def _tell(tell: int, guard: int, core: int, status: int) -> None:
    with contextlib.suppress(OSError):  # the guard has gone
        os.write(tell, _WORD.pack(core, status))
        if os.getppid() == guard:
            os.kill(guard, signal.SIGCHLD)
