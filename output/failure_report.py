"""The last thing a failed job prints: what failed first, and who was ended because of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from madrun.system.exits import exit_words
from madrun.wire.messages import Exited

_TAIL_LINES = 12


class WorkerEnd(NamedTuple):
    """One worker's end, with its host and the time on the runner's clock (seconds).

    ``role`` is what it is called where it has no rank: "torchrun".
    """

    host: str
    exited: Exited
    at: float
    role: str = ""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"{self.role or f'rank {self.exited.rank}'} on {self.host}"


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
    words = exited.note if tells_the_end(exited.note) else exit_words(exited.status)
    when = time.strftime("%H:%M:%S", time.localtime(time.time() - time.monotonic() + first.at))
    lines = [
        f"madrun: {first.name} failed first: {words}",
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
    if exited.note and not tells_the_end(exited.note):
        lines.append(f"    {exited.note}")
    others = _others(ends, first)
    return "\n".join([*lines, *others])


def tells_the_end(note: str) -> bool:
    """Whether a note of an agent stands for the exit status, which was none or says too little."""
    return note.startswith(("not started", "not ready", "ended by itself"))


def counted(number: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "host"), counted(2, "worker")
    ('1 host', '2 workers')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _others(ends: Sequence[WorkerEnd], first: WorkerEnd) -> list[str]:
    own = [end for end in ends if end.exited.status and not end.exited.ended and end is not first]
    lines = []
    if own:
        names = ", ".join(
            f"{end.name} ({exit_words(end.exited.status)})"
            for end in sorted(own, key=lambda end: end.at)[:8]
        )
        more = f" and {len(own) - 8} more" if len(own) > 8 else ""
        lines.append(f"madrun: failed after it: {names}{more}")
    # One that was given up, as not ready, has been ended after that as well.
    others = [end for end in ends if end.exited.rank != first.exited.rank]
    return [*lines, *ended_because_of_it(others)]


def ended_because_of_it(ends: Sequence[WorkerEnd]) -> list[str]:
    """One line on those that were told to end; none where there are none."""
    ended = [end for end in ends if end.exited.ended]
    if not ended:
        return []
    if not ended[0].role:
        words = ranks_in_words([end.exited.rank for end in ended])
    else:
        names = [end.name for end in sorted(ended, key=lambda end: end.exited.rank)]
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        words = ", ".join(names[:8]) + more
    return [f"madrun: ended because of it: {words}"]


def ranks_in_words(ranks: Sequence[int], noun: str = "rank") -> str:
    """Ranks in the short form.

    >>> ranks_in_words([5, 0, 1, 2]), ranks_in_words([0, 1], "process")
    ('ranks 0-2,5', 'processes 0-1')
    """
    groups: list[list[int]] = []
    for rank in sorted(ranks):
        if groups and rank == groups[-1][-1] + 1:
            groups[-1].append(rank)
        else:
            groups.append([rank])
    parts = [str(g[0]) if len(g) == 1 else f"{g[0]}-{g[-1]}" for g in groups]
    plural = f"{noun}{'es' if noun.endswith('s') else 's'}"
    return f"{plural if len(ranks) > 1 else noun} {','.join(parts)}"
