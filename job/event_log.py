"""What happens to a job, as events: named, timed, plain data, for whoever wants to know.

Here the job's own words (messages, phases, problems) become those of the record; who listens -
the record, ``--json``, the report on the start - is not known here.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from typing import Any

from madrun.job.outcome import Outcome
from madrun.job.state_machine import StateMachine
from madrun.job.states import JobState, Problem
from madrun.record.event import Event, Listener
from madrun.system.guard import guard_pid
from madrun.wire.messages import (
    CheckIn,
    Concluded,
    Dropped,
    Exited,
    ExitKind,
    Finished,
    Hello,
    Interrupted,
    MasterTried,
    Message,
    Serving,
    Started,
    StartedLater,
)

_TAIL_LINES = 12


class EventLog:
    """Told by the job as it goes; every call comes from the job's loop."""

    def __init__(self, machine: StateMachine, listeners: Sequence[Listener] = ()) -> None:
        self._machine, self._listeners = machine, listeners
        self._state: JobState | None = None
        self._problems = self._losses = 0
        self._heard: set[int] = set()

    def begin(self, backend: str) -> None:
        """The job exists; the process that the user started is the guard, our parent."""
        world = self._machine.spec.world
        self.note(
            "begin",
            time.monotonic(),
            job_id=self._machine.spec.job_id,
            madrun=self._machine.version,
            backend=backend,
            runner_host=os.uname().nodename,
            pids={"guard": guard_pid(), "core": os.getpid()},
            hosts=list(world.hosts),
            workers=self._machine.process_table.size,
        )

    def end(self, outcome: Outcome) -> None:
        """The job is over, for this reason."""
        self.note(
            "end",
            time.monotonic(),
            job_id=self._machine.spec.job_id,
            exit_status=outcome.status,
            kind=outcome.kind.value,
            cause=outcome.cause,
            rank=outcome.rank,
            report=outcome.report,
        )

    def not_shown(self, stream: str, lines: int, reason: str) -> None:
        """What stdout or stderr of the runner did not take, told at the end."""
        fields = {"rank": None, "lines": lines, "stream": stream, "reason": reason}
        self.note("dropped", time.monotonic(), **fields)

    def note(self, name: str, at: float, /, **fields: object) -> None:
        """Something happened."""
        for listener in self._listeners:
            listener(Event(name, at, fields))

    def of_host(self, name: str, node_rank: int, at: float, /, **fields: object) -> None:
        """Something happened on a host, or on the way to it."""
        self.note(name, at, host=self._machine.host(node_rank), node_rank=node_rank, **fields)

    def output(self, node_rank: int, rank: int) -> None:
        """A worker wrote something; the first time of each host is an event."""
        if node_rank not in self._heard:
            self._heard.add(node_rank)
            self.of_host("first_output", node_rank, time.monotonic(), rank=rank)

    def message(self, node_rank: int, message: Message, at: float, now: float) -> None:
        """An agent's message; ``at`` is its own time stamp on our clock, where it has one."""
        match message:
            case Exited():
                self.of_host("exited", node_rank, now, **_exit_fields(message, at, now))
            case Started(pids):
                first = self._machine.process_table.first(node_rank)
                ranks = {str(first + index): pid for index, pid in enumerate(pids) if pid}
                self.of_host("started", node_rank, now, workers=ranks)
            case StartedLater(rank, pid):
                self.of_host("started", node_rank, now, workers={str(rank): pid})
            case Serving(url):
                self.of_host("ready", node_rank, now, url=url)
            case Concluded(rank):
                self.of_host("concluded", node_rank, now, rank=rank)
            case Dropped(rank, lines):
                self.of_host("dropped", node_rank, now, rank=rank, lines=lines)
            case Interrupted(number):
                fields = {"number": number, "name": _signal_name(number)}
                self.of_host("interrupted", node_rank, now, **fields)
            case Finished(left):
                self.of_host("finished", node_rank, now, left=list(left))
            case Hello() | CheckIn() | MasterTried():
                name, fields = _greeting(message)
                self.of_host(name, node_rank, now, **fields)

    def follow(self, now: float) -> None:
        """Look what the last step has changed: the phase, hosts that cannot or are lost."""
        machine = self._machine
        for problem in machine.problems[self._problems :]:
            self._trouble("problem", problem)
        for loss in machine.causes.losses[self._losses :]:
            self._trouble("lost", loss)
        self._problems, self._losses = len(machine.problems), len(machine.causes.losses)
        if machine.state is not self._state:
            self._state = machine.state
            self.note("state", now, state=machine.state.name.lower())

    def signal(self, number: int, now: float, passed_on: bool = False) -> None:
        """A signal reached the runner: to end the job, or to be passed on to the workers."""
        name = _signal_name(number)
        self.note("signal", now, number=number, name=name, passed_on=passed_on)

    def _trouble(self, name: str, problem: Problem) -> None:
        fields = {"reason": problem.reason, "status": problem.status}
        self.of_host(name, problem.node_rank, problem.at, **fields)


def _greeting(message: Hello | CheckIn | MasterTried) -> tuple[str, dict[str, Any]]:
    match message:
        case Hello():
            pids = {"guard": message.guard_pid, "core": message.pid}
            return "hello", {"hostname": message.hostname, "pids": pids, "age": message.age}
        case CheckIn():
            return "check_in", message._asdict()
        case MasterTried():
            return "master_tried", message._asdict()


def _exit_fields(exited: Exited, at: float, now: float) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "rank": exited.rank,
        "pid": exited.pid,
        "status": exited.status,
        "t": round(time.time() - time.monotonic() + (at or now), 6),
        "ended": exited.ended,
        "device": exited.device,
        "log": exited.log,
        "kind": _exit_kind(exited),
        "log_trouble": exited.log_trouble,
        "cause": exited.cause,
    }
    if exited.words:
        fields["words"] = exited.words
    if exited.status < 0:
        fields["signal"] = _signal_name(-exited.status)
    if exited.status and not exited.ended:
        tail = exited.tail.decode(errors="replace").rstrip().split("\n")[-_TAIL_LINES:]
        fields["tail"] = "\n".join(tail)
    return fields


def _exit_kind(exited: Exited) -> str:
    if exited.kind is not ExitKind.BY_STATUS:
        return exited.kind.name.lower()
    return "signalled" if exited.status < 0 else "exited"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
