"""The last thing a failed job prints: what failed first, and who was ended because of it."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from typing import NamedTuple

from madrun.hosts.hostlist import fold_numbers
from madrun.output.look import without_controls
from madrun.system.exits import exit_words
from madrun.wire.messages import Exited

_TAIL_LINES = 12
_NAMED = 8  # of those that are told one by one
_CRASHES = {-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGILL, -signal.SIGFPE}
_CRASH_HINT = (
    "--export PYTHONFAULTHANDLER=1 shows where in Python; for a core file, see "
    "docs/troubleshooting.md"
)


# Seconds until an agent hears of an end: the kernel notes no time, and a core may be busy.
_HEARD_WITHIN = 0.005


class WorkerEnd(NamedTuple):
    """One worker's end, with its host and the time on the runner's clock (seconds).

    ``role`` is what it is called where it has no rank: "torchrun". ``error`` is by how many seconds
    the time may be wrong: the host's clock is another one.
    """

    host: str
    exited: Exited
    at: float
    role: str = ""
    error: float = 0.0

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"{self.role or f'rank {self.exited.rank}'} on {self.host}"

    @property
    def words(self) -> str:
        """How it ended."""
        return self.exited.words or exit_words(self.exited.status)

    def like(self, other: WorkerEnd) -> bool:
        """Whether both failed by themselves, and in the same way.

        One that we ended had failed before where it had written of the same exception.
        """
        if self.exited.ended:
            return self.exited.cause != "" and self.exited.cause == other.exited.cause
        return self.words == other.words

    def together_with(self, other: WorkerEnd) -> bool:
        """Whether the times cannot tell which of two came first."""
        if self.host == other.host:
            return self.at == other.at
        return abs(self.at - other.at) <= self.error + other.error + _HEARD_WITHIN


def first_failure(ends: Sequence[WorkerEnd]) -> WorkerEnd | None:
    """The failure that came before all others; one that we caused only where there is no other."""
    failed = [end for end in ends if end.exited.status != 0]
    return min(failed, key=lambda end: (end.exited.ended, end.at), default=None)


def last_lines(exited: Exited) -> list[str]:
    """The end of what a worker wrote, as a terminal would show it, without its controls."""
    lines = exited.tail.rstrip().split(b"\n")[-_TAIL_LINES:]
    # Of a line drawn several times over, the last state counts.
    states = [line.rstrip(b"\r").rpartition(b"\r")[2] for line in lines]
    return [without_controls(state).decode(errors="replace") for state in states if any(lines)]


def report_failure(
    ends: Sequence[WorkerEnd], started_at: float, tail_is_shown: bool = False
) -> list[str]:
    """The report on the first failure, the cause in its first line; empty where there is none.

    ``started_at`` is when the workers started; with ``tail_is_shown`` its last lines are above.
    """
    first = first_failure(ends)
    if first is None:
        return []
    exited = first.exited
    device = f", device {exited.device}" if exited.device else ""
    when = time.strftime("%H:%M:%S", time.localtime(time.time() - time.monotonic() + first.at))
    lines = [
        f"{first.name} failed first: {first.words}",
        *([f"    cause: {exited.cause}"] if exited.cause else []),
        f"    pid {exited.pid}{device}, at {when}, {first.at - started_at:.1f} s after the start",
    ]
    if exited.status in _CRASHES and b"Fatal Python error" not in exited.tail:
        lines.append(f"    hint: {_CRASH_HINT}")
    tail = last_lines(exited)
    if tail and tail_is_shown:
        lines.append("    its last lines: see above")
    elif tail:
        lines += ["    its last lines:", *(f"      {line}" for line in tail)]
    if exited.log:
        lines.append(f"    all of its output: {first.host}:{exited.log}")
    if exited.log_trouble:
        lines.append(f"    {exited.log_trouble}")
    return [*lines, *_others(ends, first)]


def _others(ends: Sequence[WorkerEnd], first: WorkerEnd) -> list[str]:
    """Who failed alike, who failed otherwise, and who was ended because of it: in one line each."""
    # One that was given up, as not ready, has been ended after that as well.
    others = [end for end in ends if end.exited.rank != first.exited.rank]
    failed = sorted((end for end in others if end.exited.status), key=lambda end: end.at)
    alike = [end for end in failed if end.like(first)]
    own = [end for end in failed if not end.exited.ended and end not in alike]
    lines = []
    if alike:
        together = [end for end in alike if end.together_with(first)]
        words = f" ({_named([first, *together])} at the same time)" if together else ""
        lines.append(f"madrun: failed alike: {_named([first, *alike])}{words}")
    for when, is_together in (("at the same time", True), ("after it", False)):
        named = [end for end in own if end.together_with(first) is is_together]
        if named:
            names = ", ".join(f"{end.name} ({end.words})" for end in named[:_NAMED])
            lines.append(f"madrun: failed {when}: {names}{_more(named)}")
    return [*lines, *ended_because_of_it([end for end in others if end not in alike])]


def ended_because_of_it(ends: Sequence[WorkerEnd]) -> list[str]:
    """Those that were told to end, and those of them that would not; empty for none."""
    ended = sorted((end for end in ends if end.exited.ended), key=lambda end: end.exited.rank)
    killed = [end for end in ended if end.exited.status == -signal.SIGKILL]
    lines = []
    if ended:
        lines.append(f"madrun: ended because of it: {_named(ended)}")
    if killed:
        places = on_hosts([(end.host, end.exited.rank, end.role) for end in killed])
        lines.append(f"madrun: ended by SIGKILL: {places}")
    return lines


def on_hosts(places: Sequence[tuple[str, int, str]]) -> str:
    """Processes by host, from each one's host, number, and role where it has no rank.

    >>> on_hosts([("a", 0, ""), ("a", 1, ""), ("b", 2, "")]), on_hosts([("a", 0, "torchrun")])
    ('ranks 0-1 on a, rank 2 on b', 'torchrun on a')
    """
    by_host: dict[str, list[tuple[int, str]]] = {}
    for host, number, role in places:
        by_host.setdefault(host, []).append((number, role))
    names = []
    for host, found in by_host.items():
        roles = [role for _, role in found if role]
        words = " and ".join(roles) or ranks_in_words([number for number, _ in found])
        names.append(f"{words} on {host}")
    more = f" and on {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more


def _named(ends: Sequence[WorkerEnd]) -> str:
    if not ends[0].role:
        return ranks_in_words([end.exited.rank for end in ends])
    return on_hosts([(end.host, end.exited.rank, end.role) for end in ends])


def _more(ends: Sequence[WorkerEnd]) -> str:
    return f" and {len(ends) - _NAMED} more" if len(ends) > _NAMED else ""


def ranks_in_words(ranks: Sequence[int], noun: str = "rank") -> str:
    """Ranks in the short form.

    >>> ranks_in_words([5, 0, 1, 2]), ranks_in_words([0, 1], "process")
    ('ranks 0-2,5', 'processes 0-1')
    """
    plural = f"{noun}{'es' if noun.endswith('s') else 's'}"
    return f"{plural if len(ranks) > 1 else noun} {fold_numbers(ranks)}"
