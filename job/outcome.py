"""What became of a job: its exit status and the report that says why."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from typing import NamedTuple

from madrun.hosts import hostlist
from madrun.job.causes import NEVER
from madrun.job.state_machine import StateMachine
from madrun.job.states import JobState, Problem
from madrun.output.failure_report import (
    ended_because_of_it,
    first_failure,
    last_lines,
    on_hosts,
    report_failure,
)
from madrun.record.event import OutcomeKind
from madrun.system.exits import FAILED, exit_status
from madrun.system.signals import ENDING
from madrun.wire.messages import Exited

# Seconds within which a scheduler's signal reaches a job's processes, workers and agents alike.
SAME_SIGNAL = 0.5


class Outcome(NamedTuple):
    """The job's exit status (0-255) and the last thing it prints, empty where all went well.

    ``cause`` says in a line what ended it, ``rank`` is the worker whose failure did, ``tail`` its
    last lines, ``brief`` the report without them, for a terminal that has just shown them.
    """

    status: int
    report: str
    kind: OutcomeKind
    cause: str = ""
    rank: int | None = None
    tail: tuple[str, ...] = ()
    brief: str = ""


_SUCCESS = Outcome(0, "", OutcomeKind.SUCCESS)


def failed(
    kind: OutcomeKind,
    cause: str,
    status: int = FAILED,
    more: Sequence[str] = (),
    rank: int | None = None,
) -> Outcome:
    """The outcome of a job that did not go well; ``more`` are the other lines of its report."""
    return Outcome(status, "\n".join([f"madrun: {cause}", *more]), kind, cause, rank)


def outcome_of(machine: StateMachine) -> Outcome:
    """The outcome of a job that is over: whatever happened *first* is the cause.

    A worker that was told to stop is never the cause, whatever its exit status.
    """
    if machine.problems and not machine.causes.stopped_in_launch:
        return _not_started(machine)
    causes = _causes(machine)
    if causes:
        outcome = min(causes, key=lambda each: each[0])[1]
    elif machine.unfinished() or machine.left or not _all_ended_well(machine):
        outcome = failed(OutcomeKind.UNKNOWN, "the job did not end as it should")
    else:
        outcome = _SUCCESS
    left = _left_behind(machine)
    report, brief = (
        "\n".join([*left, *([words] if words else [])]) for words in (outcome.report, outcome.brief)
    )
    return outcome._replace(report=report, brief=brief)


def _causes(machine: StateMachine) -> list[tuple[float, Outcome]]:
    """All that alone would have ended the job, and when; of two at one time the first counts."""
    causes: list[tuple[float, Outcome]] = []
    ended = ended_because_of_it(machine.ends)
    first = first_failure(machine.ends)
    if first is not None and not first.exited.ended:
        causes.append((first.at, _worker_failed(machine, first.exited)))
    known = machine.causes
    for loss in sorted(known.losses, key=lambda each: each.at)[:1]:
        causes.append((loss.at, failed(OutcomeKind.HOST, _lost(machine, loss), more=ended)))
    if known.tool_end is not None:
        tool = failed(OutcomeKind.TOOL, known.tool_end.reason, more=ended)
        causes.append((known.tool_end.at, tool))
    if known.own_guard_gone:
        cause = "the guard of the runner was killed"
        causes.append((known.stopped_at, failed(OutcomeKind.GUARD, cause, more=ended)))
    elif known.stopped_by:
        at = _wished_at(machine, known.stopped_by, known.stopped_at)
        causes.append((at, _stopped(known.stopped_by, "", ended)))
    if known.interruptions:
        at, number = min((each.at, each.number) for each in known.interruptions.values())
        hosts = hostlist.fold(machine.host(each) for each in sorted(known.interruptions))
        agents = "agent" if len(known.interruptions) == 1 else "agents"
        stopped = _stopped(number, f", sent to the {agents} on {hosts}", ended)
        causes.append((_wished_at(machine, number, at), stopped))
    if known.concluded_at < NEVER and not machine.unfinished() and not machine.left:
        causes.append((known.concluded_at, _SUCCESS))
    return causes


def _stopped(number: int, where: str, ended: Sequence[str]) -> Outcome:
    cause = f"stopped by {signal.Signals(number).name}{where}"
    return failed(OutcomeKind.SIGNAL, cause, 128 + number, ended)


def _wished_at(machine: StateMachine, number: int, at: float) -> float:
    """That a scheduler's signal reached a worker before us is not the worker's doing."""
    return at - SAME_SIGNAL if worker_was_signalled(machine) == number else at


def worker_was_signalled(machine: StateMachine) -> int:
    """The signal of those that end a job of which the first worker to fail died; 0: none."""
    failure = first_failure(machine.ends)
    if failure is None or failure.exited.ended or -failure.exited.status not in ENDING:
        return 0
    return -failure.exited.status


def _worker_failed(machine: StateMachine, exited: Exited) -> Outcome:
    cause, *more = report_failure(machine.ends, machine.started_at)
    _, *less = report_failure(machine.ends, machine.started_at, tail_is_shown=True)
    status, rank = exit_status(exited.status), exited.rank
    brief = failed(OutcomeKind.WORKER, cause, more=less).report
    outcome = failed(OutcomeKind.WORKER, cause, status, more, rank)
    return outcome._replace(tail=tuple(last_lines(exited)), brief=brief)


def _all_ended_well(machine: StateMachine) -> bool:
    """Success needs evidence: every worker of the job has said that it exited with 0.

    Servers never end well by themselves: without workers, only a client can say so.
    """
    well = {end.exited.rank for end in machine.ends if end.exited.status == 0}
    table = machine.process_table
    ours = {each for each in table.workers if table.node_ranks[each] in machine.node_ranks}
    return well >= ours > set()


def _not_started(machine: StateMachine) -> Outcome:
    problems, count = machine.problems, len(machine.node_ranks)
    cause = f"the job was not started: {len(problems)} of {count} hosts cannot run it"
    ordered = sorted(problems, key=lambda each: each.node_rank)
    width = max(len(machine.host(problem.node_rank)) for problem in ordered)
    lines = [f"    {machine.host(p.node_rank):<{width}}  {p.reason}" for p in ordered]
    # What all nodes agree on (a program that is not found anywhere: 127) is the job's status.
    statuses = {problem.status for problem in problems}
    status = statuses.pop() if len(statuses) == 1 else FAILED
    return failed(OutcomeKind.LAUNCH, cause, status, lines)


def _lost(machine: StateMachine, loss: Problem) -> str:
    when = time.strftime("%H:%M:%S", time.localtime(time.time() - time.monotonic() + loss.at))
    return f"host {machine.host(loss.node_rank)} was lost at {when}: {loss.reason}"


def _left_behind(machine: StateMachine) -> list[str]:
    lines = [
        f"madrun: could not be ended on {machine.host(node_rank)}: {name}"
        for node_rank, names in sorted(machine.left.items())
        for name in names
    ]
    if machine.unfinished() and not machine.problems:
        hosts = ", ".join(machine.unfinished())
        lines.append(
            f"madrun: not heard of at the end: {hosts}; what runs there is ended by madrun there, "
            "unless every process of madrun was killed"
        )
    return lines


def stubborn(machine: StateMachine) -> str:
    """Which workers a job that is ending still waits for, in words; empty for none."""
    if machine.state is not JobState.ENDING or not machine.started_at:
        return ""
    ended, who = {end.exited.rank for end in machine.ends}, machine.process_table
    places = [
        (machine.host(each), rank, who.role(rank)) for rank, each in enumerate(who.node_ranks)
    ]
    hosts = machine.unfinished()
    return on_hosts([each for each in places if each[1] not in ended and each[0] in hosts])
