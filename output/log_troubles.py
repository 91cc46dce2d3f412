"""What the user hears of log files that could not be had, or are not complete: once, in short."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from madrun.record.event import Event
from madrun.system.words import counted

_SHOWN_HOSTS = 4


class LogTroubles:
    """Listens to the events; ``show`` gets lines for the user.

    Folders that are missing are told of once the job runs, files that are not complete at its end.
    """

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._nodes: dict[str, dict[int, str]] = {}  # hosts by node rank, by what is the matter
        self._files: dict[int, str] = {}  # of a rank that has ended

    def take(self, event: Event) -> None:
        """Note who has which trouble; say it when its time has come."""
        name, _, fields = event
        if name == "check_in" and fields["log_trouble"]:
            hosts = self._nodes.setdefault(fields["log_trouble"], {})
            hosts[fields["node_rank"]] = fields["host"]
        elif name == "state" and fields["state"] in ("running", "ending", "over"):
            for reason, hosts in self._nodes.items():
                self._show(no_log_files([hosts[rank] for rank in sorted(hosts)], reason))
            self._nodes.clear()
        elif name == "exited" and fields["log_trouble"]:
            self._files[fields["rank"]] = f"{fields['host']}: {fields['log_trouble']}"
        elif name == "end":
            self._end(fields)

    def _end(self, fields: dict[str, Any]) -> None:
        self._files.pop(fields["rank"], None)  # the report has it
        first, *others = self._files.values() or [""]
        if first:
            more = f"; log files of {counted(len(others), 'more rank')} as well" if others else ""
            self._show(f"madrun: {first}{more}")


def no_log_files(hosts: Sequence[str], reason: str) -> str:
    """The line on folders that cannot be had.

    >>> no_log_files(["a", "b"], "/home/me/.madrun/jobs/j/logs: Permission denied")
    'madrun: no log files on a, b: /home/me/.madrun/jobs/j/logs: Permission denied'
    """
    more = f" and {len(hosts) - _SHOWN_HOSTS} more" if len(hosts) > _SHOWN_HOSTS else ""
    return f"madrun: no log files on {', '.join(hosts[:_SHOWN_HOSTS])}{more}: {reason}"
