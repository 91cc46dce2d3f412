"""Which signals mean what, and how a repeated one is understood.

A guard passes an ending signal on to its core under another number. So the core can tell it from
the same signal that was sent to the whole process group and reached both: that is one wish.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from madrun.system.loop import Loop

# Seconds. The same signal again: a shell or a scheduler that sends it twice. The same by the
# other way: the guard has to be scheduled first, on a machine that may be busy.
_SAME, _SAME_BY_THE_OTHER_WAY = 0.1, 0.5

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
PASSED_ON = (signal.SIGUSR1, signal.SIGUSR2)
_FIRST_PASSED = signal.SIGRTMIN + 8  # the C library and Python use none of these
_FIRST_OF_PARENT = _FIRST_PASSED + len(ENDING)
HOLD_OUTPUT = _FIRST_OF_PARENT + len(ENDING)
RELEASE_OUTPUT = HOLD_OUTPUT + 1
# A process that raised one of these has a fault; blocked or handled, they would hide it.
_FAULTS = {
    signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP,
    signal.SIGSYS,
}  # fmt: skip
_HARMLESS = {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH}
_OF_THE_TERMINAL = (signal.SIGTTIN, signal.SIGTTOU)


def ending_signals() -> tuple[signal.Signals, ...]:
    """The signals that end a job; HUP is none where nohup has made us ignore it."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return tuple(each for each in ENDING if not (ignored and each is signal.SIGHUP))


def passed(number: int, by_parent: bool = False) -> int:
    """The number under which a guard passes an ending signal on to its core.

    ``by_parent``: the process that started the guard has sent it.
    """
    first = _FIRST_OF_PARENT if by_parent else _FIRST_PASSED
    return first + ENDING.index(signal.Signals(number))


def was_sent_by_parent(number: int) -> bool:
    """Whether a number that a core got says that the guard's parent has sent the signal.

    >>> was_sent_by_parent(passed(signal.SIGTERM, True)), was_sent_by_parent(signal.SIGTERM)
    (True, False)
    """
    return _FIRST_OF_PARENT <= number < HOLD_OUTPUT


def sent_as(number: int) -> int:
    """The signal behind a number that a core got: see ``passed``.

    >>> sent_as(passed(signal.SIGINT)) == sent_as(signal.SIGINT) == signal.SIGINT
    True
    """
    known = _FIRST_PASSED <= number < HOLD_OUTPUT
    return ENDING[(number - _FIRST_PASSED) % len(ENDING)] if known else number


def hold_signals() -> None:
    """Keep every signal for the guard. The first thing that our commands do."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def die_early() -> None:
    """In a new core: ending signals end it at once, whatever it waits for; no others do.

    Until ``follow_signals`` nothing is there that would have to end in order, and a name look-up
    or an import would keep a handler waiting. What has a handler here is reset by exec, so that
    the programs we start are not deaf.
    """
    for number in signal.valid_signals() - _FAULTS - _HARMLESS - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) is signal.SIG_IGN:
            continue
        # SIGQUIT alone would leave a core dump: there the guard's number ends us.
        ends = sent_as(number) in ENDING and number != signal.SIGQUIT
        signal.signal(number, signal.SIG_DFL if ends else _drop)
    for number in _OF_THE_TERMINAL:  # a background read fails, a background write does not
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def reset_signals() -> None:
    """In a new worker: every signal does what it does by default, and none is blocked."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def follow_signals(
    loop: Loop,
    on_end: Callable[[int], None],
    on_passed: Callable[[int], None],
    on_parents_end: Callable[[int], None] | None = None,
) -> None:
    """From now on, a loop gets our signals: ``on_end`` once for each wish to end the job.

    So a second call means: at once. ``on_passed`` gets those that go on to the workers,
    ``on_parents_end`` instead of ``on_end`` the wishes of the process that started our guard.
    """
    wishes = Wishes()

    def arrived(number: int) -> None:
        if wishes.is_new(number, time.monotonic()):
            tell = on_parents_end if was_sent_by_parent(number) else None
            (tell or on_end)(sent_as(number))

    for number in ending_signals():
        loop.on_signal(number, arrived)
        loop.on_signal(passed(number), arrived)
        loop.on_signal(passed(number, by_parent=True), arrived)
    for number in PASSED_ON:
        loop.on_signal(number, on_passed)


class Wishes:
    """Tells wishes from their echoes: a signal to a whole process group reaches us twice.

    >>> wishes = Wishes()
    >>> wishes.is_new(signal.SIGTERM, 1.0), wishes.is_new(passed(signal.SIGTERM), 1.3)
    (True, False)
    >>> wishes.is_new(signal.SIGTERM, 1.7), wishes.is_new(signal.SIGINT, 1.7)
    (True, True)
    """

    def __init__(self) -> None:
        self._last: dict[int, tuple[int, float]] = {}  # by signal: as what it came, and when

    def is_new(self, number: int, at: float) -> bool:
        """True where this arrival is a wish of its own."""
        before = self._last.get(sent_as(number))
        if before is not None:
            same = _SAME if before[0] == number else _SAME_BY_THE_OTHER_WAY
            if at - before[1] <= same:
                return False
        self._last[sent_as(number)] = (number, at)
        return True


def _drop(_number: int, _frame: object) -> None:
    """For signals that would end us and mean nothing to us."""
