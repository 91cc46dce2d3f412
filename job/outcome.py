"""What became of a job: its exit status and the report that says why."""

from __future__ import annotations

import signal
import time
from typing import NamedTuple

from madrun.job.state_machine import StateMachine
from madrun.job.states import Problem
from madrun.output.failure_report import ended_because_of_it, first_failure, report_failure
from madrun.system.exits import FAILED, exit_status


class Outcome(NamedTuple):
    """The job's exit status (0-255) and the last thing it prints, empty where all went well."""

    status: int
    report: str
    kind: str = ""  # what ended it: success, worker, host, tool, launch, signal, unknown


def outcome_of(machine: StateMachine) -> Outcome:
    """The verdict on a job that is over: whatever happened *first* is the cause.

    A worker that was told to stop is never the cause, whatever its exit status.
    """
    if machine.problems:
        return Outcome(_common_status(machine.problems), _not_started(machine), "launch")
    failure = first_failure(machine.ends)
    causes: list[tuple[float, Outcome]] = []
    if failure is not None and not failure.exited.ended:
        report = report_failure(machine.ends, machine.started_at)
        causes.append((failure.at, Outcome(exit_status(failure.exited.status), report, "worker")))
    if machine.tool_end is not None:
        ended = ended_because_of_it(machine.ends)
        report = "\n".join([f"madrun: {machine.tool_end.reason}", *ended])
        causes.append((machine.tool_end.at, Outcome(FAILED, report, "tool")))
    if machine.losses:
        loss = min(machine.losses, key=lambda each: each.at)
        causes.append((loss.at, Outcome(FAILED, _lost(machine, loss), "host")))
    if machine.stopped_by:
        stopped = Outcome(128 + machine.stopped_by, _stopped(machine), "signal")
        causes.append((machine.stopped_at, stopped))
    if machine.concluded_at < float("inf") and not machine.unfinished() and not machine.left:
        causes.append((machine.concluded_at, Outcome(0, "", "success")))
    if causes:
        outcome = min(causes, key=lambda each: each[0])[1]
    elif machine.unfinished() or machine.left or not _all_ended_well(machine):
        outcome = Outcome(FAILED, "madrun: the job did not end as it should", "unknown")
    else:
        outcome = Outcome(0, "", "success")
    report = "\n".join(filter(None, [_left_behind(machine), outcome.report]))
    return Outcome(outcome.status, report, outcome.kind)


def _all_ended_well(machine: StateMachine) -> bool:
    """Success needs evidence: every worker of the job has said that it exited with 0.

    Servers never end well by themselves: without workers, only a client can say so.
    """
    well = {end.exited.rank for end in machine.ends if end.exited.status == 0}
    table = machine.process_table
    ours = {each for each in table.workers if table.node_ranks[each] in machine.node_ranks}
    return well >= ours > set()


def _common_status(problems: list[Problem]) -> int:
    """What all nodes agree on (a program that is not found anywhere: 127); else 125."""
    statuses = {problem.status for problem in problems}
    return statuses.pop() if len(statuses) == 1 else FAILED


def _not_started(machine: StateMachine) -> str:
    count = len(machine.node_ranks)
    lines = [
        f"madrun: the job was not started: {len(machine.problems)} of {count} hosts cannot run it"
    ]
    ordered = sorted(machine.problems, key=lambda each: each.node_rank)
    width = max(len(machine.host(problem.node_rank)) for problem in ordered)
    lines += [f"    {machine.host(p.node_rank):<{width}}  {p.reason}" for p in ordered]
    return "\n".join(lines)


def _lost(machine: StateMachine, loss: Problem) -> str:
    when = time.strftime("%H:%M:%S", time.localtime(time.time() - time.monotonic() + loss.at))
    lines = [f"madrun: host {machine.host(loss.node_rank)} was lost at {when}: {loss.reason}"]
    lines += ended_because_of_it(machine.ends)
    return "\n".join(lines)


def _stopped(machine: StateMachine) -> str:
    lines = [f"madrun: stopped by {signal.Signals(machine.stopped_by).name}"]
    return "\n".join([*lines, *ended_because_of_it(machine.ends)])


def _left_behind(machine: StateMachine) -> str:
    lines = []
    for node_rank, names in sorted(machine.left.items()):
        lines += [
            f"madrun: could not be ended on {machine.host(node_rank)}: {name}" for name in names
        ]
    if machine.unfinished() and not machine.problems:
        hosts = ", ".join(machine.unfinished())
        lines.append(
            f"madrun: not heard of at the end: {hosts}; what runs there is ended by its own guard"
        )
    return "\n".join(lines)
