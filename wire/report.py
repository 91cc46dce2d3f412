"""The last thing a failed job prints: what failed first, and who was ended because of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from madrun.wire.exits import exit_words
from madrun.wire.messages import Exited

_TAIL_LINES = 12


class WorkerEnd(NamedTuple):
    """One worker's end, with its host and the time on the runner's clock (seconds)."""

    host: str
    exited: Exited
    at: float


def first_failure(ends: Sequence[WorkerEnd]) -> WorkerEnd | None:
    """The failure that came before all others; one that we caused only where there is no other."""
    failed = [end for end in ends if end.exited.status != 0]
    return min(failed, key=lambda end: (end.exited.ended, end.at), default=None)


def report_failure(ends: Sequence[WorkerEnd], started_at: float) -> str:
    """The report on the first failure; ``started_at`` is when the workers started."""
    first = first_failure(ends)
    if first is None:
        return ""
    exited = first.exited
    device = f", device {exited.device}" if exited.device else ""
    words = exited.note if exited.note.startswith("not started") else exit_words(exited.status)
    when = time.strftime("%H:%M:%S", time.localtime(time.time() - time.monotonic() + first.at))
    lines = [
        f"madrun: rank {exited.rank} on {first.host} failed first: {words}",
        *([f"    cause: {exited.cause}"] if exited.cause else []),
        f"    pid {exited.pid}{device}, at {when}, {first.at - started_at:.1f} s after the start",
    ]
    tail = exited.tail.decode(errors="replace").rstrip().split("\n")[-_TAIL_LINES:]
    if any(tail):
        lines.append("    its last lines:")
        # Of a line drawn several times over, the last state counts.
        lines += [f"      {line.rstrip(chr(13)).rpartition(chr(13))[2]}" for line in tail]
    if exited.log:
        lines.append(f"    all of its output: {first.host}:{exited.log}")
    if exited.note and not exited.note.startswith("not started"):
        lines.append(f"    {exited.note}")
    others = _others(ends, first)
    return "\n".join([*lines, *others])


def counted(number: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "host"), counted(2, "worker")
    ('1 host', '2 workers')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _others(ends: Sequence[WorkerEnd], first: WorkerEnd) -> list[str]:
    own = [end for end in ends if end.exited.status and not end.exited.ended and end is not first]
    ended = [end for end in ends if end.exited.ended]
    lines = []
    if own:
        names = ", ".join(
            f"rank {end.exited.rank} on {end.host} ({exit_words(end.exited.status)})"
            for end in sorted(own, key=lambda end: end.at)[:8]
        )
        more = f" and {len(own) - 8} more" if len(own) > 8 else ""
        lines.append(f"madrun: failed after it: {names}{more}")
    if ended:
        lines.append(
            f"madrun: ended because of it: {ranks_in_words([e.exited.rank for e in ended])}"
        )
    return lines


def ranks_in_words(ranks: Sequence[int]) -> str:
    """Ranks in the short form.

    >>> ranks_in_words([5, 0, 1, 2])
    'ranks 0-2,5'
    """
    groups: list[list[int]] = []
    for rank in sorted(ranks):
        if groups and rank == groups[-1][-1] + 1:
            groups[-1].append(rank)
        else:
            groups.append([rank])
    parts = [str(g[0]) if len(g) == 1 else f"{g[0]}-{g[-1]}" for g in groups]
    return f"rank{'s' if len(ranks) > 1 else ''} {','.join(parts)}"
