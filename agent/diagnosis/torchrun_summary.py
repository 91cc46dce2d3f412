"""What torchrun says of the worker that failed first below it, and what that worker said itself."""

from __future__ import annotations

import re
from collections.abc import Sequence

from madrun.agent.diagnosis.traceback_parser import exception

FAILED = "torch.distributed.elastic.multiprocessing.errors.ChildFailedError"
_FIRST = "Root Cause (first observed failure)"
_FIELD = re.compile(r"\s+(rank|exitcode)\s*: (.*)")
_RANK = re.compile(r"(\d+) \(local_rank: (\d+)\)")
_EXIT = re.compile(r"(-?\d+)(?: \(pid: \d+\))?(?:\s+\((SIG\w+)\))?")
_HEADER = "Traceback (most recent call last)"


def first_failure(lines: Sequence[str]) -> str:
    """The worker of torchrun's summary, how it ended, and its exception if that stands above.

    Empty where there is no summary.
    """
    found = [number for number, line in enumerate(lines) if line.startswith(_FIRST)]
    if not found:
        return ""
    fields = {each[1]: each[2] for each in map(_FIELD.match, lines[found[-1] :]) if each}
    rank = _RANK.match(fields.get("rank", ""))
    end = _EXIT.match(fields.get("exitcode", ""))
    if rank is None or end is None:
        return ""
    how = f"killed by {end[2]}" if end[2] else f"exited with status {end[1]}"
    own = [] if end[2] else _own_exception(lines[: found[-1]])
    return "; ".join([f"rank {rank[1]}, local rank {rank[2]}, below torchrun: {how}", *own])


def _own_exception(lines: Sequence[str]) -> list[str]:
    """The last exception before torchrun's own."""
    ends = [number for number, line in enumerate(lines) if line.startswith(FAILED)]
    own = lines[: ends[-1] if ends else len(lines)]
    headers = [number for number, line in enumerate(own) if _HEADER in line]
    raised = exception(own[: headers[-1]]) if ends and headers else exception(own)
    return [str(raised)] if raised else []
