"""Which signals mean what, and how a repeated one is understood."""

from __future__ import annotations

import signal

# What reaches us twice within this time (seconds) was sent to our whole process group, guard and
# core alike: it is one wish, not an impatient second one.
_SAME = 0.1


ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
PASSED_ON = (signal.SIGUSR1, signal.SIGUSR2)


def ending_signals() -> tuple[signal.Signals, ...]:
    """The signals that end a job: TERM, INT, and HUP unless nohup has made us ignore it."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return tuple(each for each in ENDING if not (ignored and each is signal.SIGHUP))


def is_second_wish(number: int, since_first: float) -> bool:
    """True for a second SIGINT: end at once. ``since_first``: seconds since the first signal.

    >>> is_second_wish(signal.SIGINT, 1.0), is_second_wish(signal.SIGINT, 0.01)
    (True, False)
    """
    return number == signal.SIGINT and since_first > _SAME
