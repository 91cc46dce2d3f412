"""What became of a job: its exit status and the report that says why."""

from __future__ import annotations

import signal
import time
from typing import NamedTuple

from madrun.job.state_machine import Life
from madrun.job.states import Problem
from madrun.output.failure_report import ended_because_of_it, first_failure, report_failure
from madrun.system.exits import FAILED, exit_status


class Verdict(NamedTuple):
    """The job's exit status (0-255) and the last thing it prints, empty where all went well."""

    status: int
    report: str
    kind: str = ""  # what ended it: success, worker, host, tool, launch, signal, unknown


def judge(life: Life) -> Verdict:
    """The verdict on a job that is over: whatever happened *first* is the cause.

    A worker that was told to stop is never the cause, whatever its exit status.
    """
    if life.problems:
        return Verdict(_common_status(life.problems), _not_started(life), "launch")
    failure = first_failure(life.ends)
    causes: list[tuple[float, Verdict]] = []
    if failure is not None and not failure.exited.ended:
        report = report_failure(life.ends, life.started_at)
        causes.append((failure.at, Verdict(exit_status(failure.exited.status), report, "worker")))
    if life.tool_end is not None:
        ended = ended_because_of_it(life.ends)
        report = "\n".join([f"madrun: {life.tool_end.reason}", *ended])
        causes.append((life.tool_end.at, Verdict(FAILED, report, "tool")))
    if life.losses:
        loss = min(life.losses, key=lambda each: each.at)
        causes.append((loss.at, Verdict(FAILED, _lost(life, loss), "host")))
    if life.stopped_by:
        stopped = Verdict(128 + life.stopped_by, _stopped(life), "signal")
        causes.append((life.stopped_at, stopped))
    if life.concluded_at < float("inf") and not life.unfinished() and not life.left:
        causes.append((life.concluded_at, Verdict(0, "", "success")))
    if causes:
        verdict = min(causes, key=lambda each: each[0])[1]
    elif life.unfinished() or life.left or not _all_ended_well(life):
        verdict = Verdict(FAILED, "madrun: the job did not end as it should", "unknown")
    else:
        verdict = Verdict(0, "", "success")
    report = "\n".join(filter(None, [_left_behind(life), verdict.report]))
    return Verdict(verdict.status, report, verdict.kind)


def _all_ended_well(life: Life) -> bool:
    """Success needs evidence: every worker of the job has said that it exited with 0.

    Servers never end well by themselves: without workers, only a client can say so.
    """
    well = {end.exited.rank for end in life.ends if end.exited.status == 0}
    return well >= life.members.workers > frozenset()


def _common_status(problems: list[Problem]) -> int:
    """What all nodes agree on (a program that is not found anywhere: 127); else 125."""
    statuses = {problem.status for problem in problems}
    return statuses.pop() if len(statuses) == 1 else FAILED


def _not_started(life: Life) -> str:
    count = len(life.spec.world.nodes)
    lines = [
        f"madrun: the job was not started: {len(life.problems)} of {count} hosts cannot run it"
    ]
    ordered = sorted(life.problems, key=lambda each: each.node_rank)
    width = max(len(life.host(problem.node_rank)) for problem in ordered)
    lines += [f"    {life.host(p.node_rank):<{width}}  {p.reason}" for p in ordered]
    return "\n".join(lines)


def _lost(life: Life, loss: Problem) -> str:
    when = time.strftime("%H:%M:%S", time.localtime(time.time() - time.monotonic() + loss.at))
    lines = [f"madrun: host {life.host(loss.node_rank)} was lost at {when}: {loss.reason}"]
    lines += ended_because_of_it(life.ends)
    return "\n".join(lines)


def _stopped(life: Life) -> str:
    lines = [f"madrun: stopped by {signal.Signals(life.stopped_by).name}"]
    return "\n".join([*lines, *ended_because_of_it(life.ends)])


def _left_behind(life: Life) -> str:
    lines = []
    for node_rank, names in sorted(life.left.items()):
        lines += [f"madrun: could not be ended on {life.host(node_rank)}: {name}" for name in names]
    if life.unfinished() and not life.problems:
        hosts = ", ".join(life.unfinished())
        lines.append(
            f"madrun: not heard of at the end: {hosts}; what runs there is ended by its own guard"
        )
    return "\n".join(lines)
