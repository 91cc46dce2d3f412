"""The small process above the runner and above each agent, which outlives their SIGKILL.

madrun and madagent fork once at their start. The parent becomes the guard: a child subreaper
that only waits. When the core (the child) is gone for any reason, everything the core had
started falls to the guard, which ends it. When the guard is killed instead, the core sees the
end of a pipe and ends the job itself. So no single SIGKILL leaves anything behind, and it needs
neither root nor cgroups.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from madrun.system.exits import FAILED, exit_words
from madrun.system.kernel import (
    become_subreaper,
    children,
    command_of,
    die_with_parent,
    kill_children,
)
from madrun.system.signals import PASSED_ON, ending_signals

_SI_KERNEL = 0x80  # asm-generic/siginfo.h: the terminal, which reached the core as well
_SWEEP_LIMIT = 5.0  # seconds to wait for killed processes: one may be stuck in the kernel
_STOPPED_LIMIT = 5.0  # seconds a core may stay stopped while its workers run on


def run_guarded(
    core: Callable[[int], int],
    name: str,
    at_end: Callable[[int, int], None] = lambda _raw_status, _status: None,
) -> NoReturn:
    """Run ``core(guard_fd)`` in a child process under a guard, and exit with its status.

    Call it before threads, sockets or large imports exist. ``guard_fd`` becomes readable (at its
    end) in the core when the guard has gone. ``at_end`` is called in the guard once nothing is
    left, with the core's own status (-9: killed) and the one to exit with. Neither process
    returns from here: an interpreter's own farewell would only take time.
    """
    waited = (signal.SIGCHLD, *ending_signals(), *PASSED_ON)
    guard_end, core_end = os.pipe2(os.O_CLOEXEC)
    old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    become_subreaper()
    guard_pid, pid = os.getpid(), os.fork()
    if pid == 0:
        os.close(core_end)
        # A core that is stopped when its guard is killed goes on: nobody else would see to it.
        die_with_parent(guard_pid, signal.SIGCONT)
        signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)
        _run_core(core, guard_end)
    os.close(guard_end)
    guard = _Guard(pid, name)
    status = guard.watch(set(waited))
    at_end(guard.core_status, status)
    _exit(status)


def _run_core(core: Callable[[int], int], guard_fd: int) -> None:
    status, guard = 125, os.getppid()
    try:
        status = core(guard_fd)
    except SystemExit as stop:
        status = _status_of(stop)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        if os.getppid() == guard:
            os.kill(guard, signal.SIGCONT)  # a guard that somebody stopped could not follow us
        _exit(status)


def _status_of(stop: SystemExit) -> int:
    """What Python makes of ``sys.exit(code)``."""
    if stop.code is None or isinstance(stop.code, int):
        return stop.code or 0
    sys.stderr.write(f"{stop.code}\n")
    return 1


def _exit(status: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # whoever read it has gone
            stream.flush()
    os._exit(status)


class _Guard:
    """Waits for the core; ends what it leaves."""

    def __init__(self, core: int, name: str) -> None:
        self._core, self._name = core, name
        self._status: int | None = None
        self._stopped_since: float | None = None

    def watch(self, waited: set[signal.Signals]) -> int:
        """Until the core is gone and nothing is left; returns the exit status."""
        while self._status is None:
            limit = self._patience()
            got = signal.sigtimedwait(waited, limit) if limit else signal.sigwaitinfo(waited)
            if got is None:
                os.kill(self._core, signal.SIGKILL)  # stopped for good: its workers run unwatched
                self._stopped_since = None
            elif got.si_signo == signal.SIGCHLD:
                self._reap()
            elif not (got.si_signo == signal.SIGINT and got.si_code == _SI_KERNEL):
                os.kill(self._core, got.si_signo)
        self._sweep()
        if self._status < 0 or self._status == FAILED:
            from madrun.system.private_folder import parent_folder, remove_left

            remove_left(parent_folder(os.environ), os.getpid(), self._core)
        return self._exit_status(self._status)

    @property
    def core_status(self) -> int:
        """How the core ended, as Popen.returncode has it."""
        return self._status or 0

    def _patience(self) -> float | None:
        if self._stopped_since is None:
            return None
        return max(0.01, self._stopped_since + _STOPPED_LIMIT - time.monotonic())

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid != self._core:
                continue
            if os.WIFSTOPPED(status):
                # Not for the terminal's Ctrl-Z, which the user will take back.
                if os.WSTOPSIG(status) == signal.SIGSTOP:
                    self._stopped_since = time.monotonic()
            elif os.WIFCONTINUED(status):
                self._stopped_since = None
            else:
                self._status = os.waitstatus_to_exitcode(status)

    def _sweep(self) -> None:
        deadline = time.monotonic() + _SWEEP_LIMIT
        while True:
            self._reap()
            left = children()
            if not left:
                return
            kill_children()
            rest = deadline - time.monotonic()
            if rest <= 0:
                names = "; ".join(command_of(pid) for pid in left)
                sys.stderr.write(f"{self._name}: could not be ended: {names}\n")
                return
            signal.sigtimedwait({signal.SIGCHLD}, rest)

    def _exit_status(self, status: int) -> int:
        if status >= 0:
            return status
        if -status in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            return 128 - status  # before the core had its handlers
        sys.stderr.write(
            f"{self._name}: its process {self._core} {exit_words(status)}; "
            "everything it had started on this machine was ended\n"
        )
        return 125
