"""The small process above the runner and above each agent, which outlives their SIGKILL.

madrun and madagent fork once at their start. The parent becomes the guard: a child subreaper
that only waits. When the core (the child) is gone for any reason, everything the core had
started falls to the guard, which ends it. When the guard is killed instead, the core sees the
end of a pipe and ends the job itself. So no single SIGKILL leaves anything behind, and it needs
neither root nor cgroups.

The guard blocks every signal there is and takes them one by one, so that none ends it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from madrun.system.exits import FAILED, exit_words
from madrun.system.guard_notes import GRACE_NOTE, open_notes, read_notes
from madrun.system.kernel import (
    become_subreaper,
    children,
    command_of,
    kill_children,
)
from madrun.system.reaper import Reaper, start_reaper
from madrun.system.signals import (
    ENDING,
    HOLD_OUTPUT,
    PASSED_ON,
    RELEASE_OUTPUT,
    die_early,
    ending_signals,
    hold_signals,
    passed,
    sent_as,
)

_SI_KERNEL = 0x80  # asm-generic/siginfo.h: the terminal, which reached the core as well
_REAPER_LIMIT = 2.0  # seconds for the reaper to end what is left; then we do
_SWEEP_LIMIT = 5.0  # seconds to wait for killed processes: one may be stuck in the kernel
_STOPPED_LIMIT = 5.0  # seconds a core may stay stopped while its workers run on
_COLLECT_AFTER = 50_000  # new objects: a start makes some 20,000, and keeps them
_END_LIMIT = 25.0  # seconds beyond the grace that a core may need: agents, console, record

Notes = list[tuple[str, str]]

_guard = 0  # the process id of ours


def run_guarded(
    core: Callable[[int], int],
    name: str,
    at_end: Callable[[Notes, int, int], None] = lambda _notes, _raw_status, _status: None,
    stops: bool = False,
) -> NoReturn:
    """Run ``core(guard_fd)`` in a child process under a guard, and exit with its status.

    Call it before threads, sockets or large imports exist. ``guard_fd`` becomes readable (at its
    end) in the core when the guard has gone. ``at_end`` is called in the guard once nothing is
    left, with the notes that the core has left, its own status (-9: killed) and the one to exit
    with. With ``stops``, Ctrl-Z stops the guard, which is what a shell sees of us, and never the
    core. Neither process returns from here: an interpreter's own farewell would only take time.
    """
    hold_signals()
    gc.set_threshold(_COLLECT_AFTER)
    _open_standard_streams()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would hide how the core ended
    open_notes()
    guard_end, core_end = os.pipe2(os.O_CLOEXEC)
    become_subreaper()
    global _guard
    _guard = os.getpid()

    def become_core() -> NoReturn:
        os.close(core_end)
        die_early()
        _run_core(core, guard_end)

    def orphaned(raw_status: int) -> None:
        notes = read_notes()
        _remove_folders(notes)
        at_end(notes, raw_status, FAILED)

    reaper = start_reaper(become_core, core_end, orphaned)
    os.close(guard_end)
    guard = _Guard(reaper, name, stops)
    status = guard.watch()
    at_end(guard.notes, guard.core_status, status)
    _exit(status)


def _open_standard_streams() -> None:
    """One that was closed (``>&-``) is silent: its number must not go to a pipe of ours."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def guard_pid() -> int:
    """The process that the user, or a login, knows of us: our guard, or our parent without one."""
    return _guard or os.getppid()


def _run_core(core: Callable[[int], int], guard_fd: int) -> NoReturn:
    status, reaper = FAILED, os.getppid()
    try:
        status = core(guard_fd)
    except SystemExit as stop:
        status = _status_of(stop)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        # One that somebody stopped could not follow us.
        if os.getppid() == reaper:
            os.kill(reaper, signal.SIGCONT)
        if not select.select([guard_fd], [], [], 0)[0]:
            os.kill(guard_pid(), signal.SIGCONT)
        _exit(status)


def _status_of(stop: SystemExit) -> int:
    """What Python makes of ``sys.exit(code)``."""
    if stop.code is None or isinstance(stop.code, int):
        return stop.code or 0
    _say(str(stop.code))
    return 1


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # whoever read it has gone
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def _exit(status: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _remove_folders(notes: Notes) -> None:
    """The private folders of which a core has left a note."""
    folders = [value for name, value in notes if name == "private_folder"]
    if folders:
        from madrun.system.private_folder import remove_folder

        for folder in folders:
            remove_folder(folder)


class _Guard:
    """Waits for the core; ends what it leaves."""

    def __init__(self, reaper: Reaper, name: str, stops: bool) -> None:
        self._reaper, self._core = reaper, reaper.core
        self._name, self._stops = name, stops
        self._status = None if reaper.core else -signal.SIGKILL
        self._stopped_since: float | None = None
        self._ended_by = 0  # the first signal that told the core to end
        self._end_until: float | None = None
        self._overdue = False
        self._without_reaper = False
        self.notes: Notes = []

    def watch(self) -> int:
        """Until the core is gone and nothing is left; returns the exit status."""
        everything = signal.valid_signals()
        while self._status is None:
            limit = self._patience()
            if limit is None:
                self._take(signal.sigwaitinfo(everything))
            elif got := signal.sigtimedwait(everything, limit):
                self._take(got)
            else:
                self._kill_core()
        self._sweep()
        self.notes += read_notes()
        _remove_folders(self.notes)
        return self._exit_status(self._status)

    @property
    def core_status(self) -> int:
        """How the core ended, as Popen.returncode has it."""
        return self._status or 0

    def _take(self, got: signal.struct_siginfo) -> None:
        number = got.si_signo
        if number == signal.SIGCHLD:
            self._reap()
        elif number in ending_signals():
            self._begin_end(number)
            if not (number == signal.SIGINT and got.si_code == _SI_KERNEL):
                self._signal(passed(number, by_parent=got.si_pid == os.getppid()))
        elif number in PASSED_ON:
            self._signal(number)
        elif number == signal.SIGTSTP and self._stops:
            self._stop()

    def _signal(self, number: int) -> None:
        """To the core, which may have ended a moment ago: the reaper's word is under way."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._core, number)

    def _begin_end(self, number: int) -> None:
        """The core is told to end: one that hangs (a dead file server) is killed in the end."""
        now = time.monotonic()
        if self._end_until is None:
            self.notes += read_notes()
            grace = float(dict(self.notes).get(GRACE_NOTE, 0.0))
            self._ended_by, self._end_until = number, now + grace + _END_LIMIT
        else:
            self._end_until = min(self._end_until, now + _END_LIMIT)

    def _stop(self) -> None:
        """Ctrl-Z: what the shell knows of us stops; the core keeps the leases, and is silent."""
        self._signal(HOLD_OUTPUT)
        os.kill(os.getpid(), signal.SIGTSTP)  # the kernel knows whether a shell could wake us
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTSTP,))
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTSTP,))
        self._signal(RELEASE_OUTPUT)

    def _patience(self) -> float | None:
        """Seconds until the core is killed, as far as anybody waits for it to do something."""
        until = [] if self._end_until is None else [self._end_until]
        if self._stopped_since is not None:
            until.append(self._stopped_since + _STOPPED_LIMIT)
        return max(0.01, min(until) - time.monotonic()) if until else None

    def _kill_core(self) -> None:
        """It is stopped for good, and its workers run unwatched; or it does not end."""
        now = time.monotonic()
        self._overdue = self._end_until is not None and now >= self._end_until
        self._signal(signal.SIGKILL)
        self._stopped_since = None
        self._end_until = None

    def _reap(self) -> None:
        for status in self._reaper.statuses():
            self._note(status)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            except ChildProcessError:
                pid, status = 0, 0
            if pid == 0:
                break
            if pid == self._core:  # the reaper was killed, and we have adopted the core
                self._note(status)
            elif pid == self._reaper.pid:
                self._note_of_reaper(status)
        if self._without_reaper and self._status is None and self._core not in children():
            self._status = -signal.SIGKILL  # the two were killed together

    def _note(self, status: int) -> None:
        """What waitpid(2) says of the core."""
        if os.WIFSTOPPED(status):
            self._stopped_since = time.monotonic()
        elif os.WIFCONTINUED(status):
            self._stopped_since = None
        else:
            self._status = os.waitstatus_to_exitcode(status)

    def _note_of_reaper(self, status: int) -> None:
        if os.WIFSTOPPED(status):
            os.kill(self._reaper.pid, signal.SIGCONT)
        elif not os.WIFCONTINUED(status):
            self._without_reaper = True
            for told in self._reaper.statuses():  # its last words
                self._note(told)

    def _sweep(self) -> None:
        """The reaper ends what is left below it: killed first, it could not go on where a tool
        kills us before we are done."""
        begun = time.monotonic()
        while True:
            self._reap()
            left = children()
            if not left:
                return
            spent = time.monotonic() - begun
            is_patient = spent < _REAPER_LIMIT
            kill_children(spare=self._reaper.pid if is_patient else 0)
            rest = (_REAPER_LIMIT if is_patient else _SWEEP_LIMIT) - spent
            if rest <= 0:
                names = "; ".join(command_of(pid) for pid in left)
                _say(f"{self._name}: could not be ended: {names}")
                return
            signal.sigtimedwait({signal.SIGCHLD}, rest)

    def _exit_status(self, status: int) -> int:
        if status >= 0:
            return status
        if sent_as(-status) in ENDING:  # before the core had its handlers
            number = self._ended_by or sent_as(-status)  # of several the core takes any first
            _say(f"{self._name}: stopped by {signal.Signals(number).name}")
            return 128 + number
        words = exit_words(status)
        if self._overdue:
            ended_by = signal.Signals(self._ended_by).name
            words = f"did not end after {ended_by} and was killed"
        _say(
            f"{self._name}: its process {self._core} {words}; "
            "everything it had started on this machine was ended"
        )
        return 128 + self._ended_by if self._overdue else FAILED
