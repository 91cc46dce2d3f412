"""A job in two lines, for a person who watches: what was decided, and how it ended."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from madrun.hosts.hostlist import fold
from madrun.record.event import Event
from madrun.system.words import counted
from madrun.wire.messages import STDERR


class JobLines:
    """Listens to the events; ``say`` gets the first line, ``say_last`` the other.

    ``logs`` is the folder of the log files; empty where there are none.
    """

    def __init__(
        self,
        launcher: str,
        logs: str,
        say: Callable[[str], None],
        say_last: Callable[[str], None],
    ) -> None:
        self._launcher, self._logs = launcher, logs
        self._say, self._say_last = say, say_last
        self._began = 0.0
        self._started = False

    def take(self, event: Event) -> None:
        """Say a line where the event is one of the two."""
        if event.name == "begin":
            self._began = event.at
            self._say(start_line(event.fields, self._launcher, self._logs))
        elif event.name == "started":
            self._started = True
        elif event.name == "end":
            logs = self._logs if self._started else ""
            self._say_last(end_line(event.fields, event.at - self._began, logs))


def are_wanted(verbose: bool, quiet: bool) -> bool:
    """Whether somebody watches: on a terminal, or as asked."""
    try:
        return not quiet and (verbose or os.isatty(STDERR))
    except OSError:
        return False


def start_line(begin: dict[str, Any], launcher: str, logs: str) -> str:
    """What was decided.

    >>> start_line({"job_id": "j", "workers": 16, "hosts": ["n1", "n2"], "backend": "ssh"},
    ...            "native", "/logs")
    'madrun: job j: 16 processes on 2 hosts (n[1-2]), launcher native, backend ssh, logs in /logs'
    """
    hosts = begin["hosts"]
    where = f"{counted(len(hosts), 'host')} ({fold(hosts)})" if len(hosts) > 1 else hosts[0]
    return (
        f"madrun: job {begin['job_id']}: {_processes(begin['workers'])} on {where}, "
        f"launcher {launcher}, backend {begin['backend']}, {_logs(logs)}"
    )


def end_line(end: dict[str, Any], seconds: float, logs: str) -> str:
    """How it ended.

    >>> end_line({"job_id": "j", "exit_status": 0}, 61.04, "/logs")
    'madrun: job j ended well after 1 min 1 s, logs in /logs'
    """
    how = f"ended with status {end['exit_status']}" if end["exit_status"] else "ended well"
    words = f"madrun: job {end['job_id']} {how} after {duration(seconds)}"
    return f"{words}, {_logs(logs)}" if logs else words


def duration(seconds: float) -> str:
    """A time in words, as exact as it matters.

    >>> duration(2.34), duration(75), duration(7500), duration(200_000)
    ('2.3 s', '1 min 15 s', '2 h 5 min', '2 d 7 h')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for size, unit, part, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // part} {name}"
    return f"{whole // 60} min {whole % 60} s"


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"


def _logs(folder: str) -> str:
    return f"logs in {folder}" if folder else "no log files"
