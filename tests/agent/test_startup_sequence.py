"""Stages of a node's processes: histories of probes, exits and a clock that the test moves on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from madrun.agent.startup_sequence import EndEffect, StartupSequence, as_failure
from madrun.launchers.plan import (
    CLIENT,
    GATE,
    SERVER,
    WORKER,
    NodePlan,
    Probe,
    ProcessPlan,
)
from madrun.system.loop import Callback, Loop, Timer
from madrun.wire.messages import Exited, ExitKind

LIMIT = 30.0
URL = "http://node01:8000"


class Clock(Loop):
    """A loop whose time stands still until the test moves it on."""

    def __init__(self) -> None:
        super().__init__()
        self.close()  # only its timers are wanted
        self.now, self.due = 0.0, list[Timer]()

    def call_later(self, delay: float, callback: Callback) -> Timer:
        self.due.append(Timer(self.now + delay, callback))
        return self.due[-1]

    def move_on(self, seconds: float) -> None:
        """Everything that is due within so many seconds, in its order."""
        until = self.now + seconds
        while due := sorted(each for each in self.due if each.when <= until):
            self.due.remove(due[0])
            self.now = due[0].when
            if due[0].callback is not None:
                due[0].callback()
        self.now = until


class Asked:
    """Probes that answer when the test says so."""

    def __init__(self, probes: Sequence[Probe], on_answer: Callable[[], None]) -> None:
        self.url, self.answer = probes[0].url, on_answer
        self.stopped = False

    @property
    def trouble(self) -> str:
        """What a real one says of its last attempt."""
        return f"{self.url}: Connection refused"

    def stop(self) -> None:
        """Nobody may answer any more."""
        self.stopped = True


class Node:
    """One node's startup, and what they told."""

    def __init__(self, *processes: ProcessPlan, announce: str = "", fails: str = "") -> None:
        self.clock = Clock()
        self.said: list[str] = []
        self.asked: list[Asked] = []
        self._fails = fails
        plan = NodePlan("node01", 0, processes, announce=announce)
        self.startup = StartupSequence(self.clock, plan, LIMIT, self, self._ask)
        self.plans = {process.role: process for process in processes}
        self.startup.begin()

    def _ask(self, _loop: Loop, probes: Sequence[Probe], on_answer: Callable[[], None]) -> Asked:
        self.asked.append(Asked(probes, on_answer))
        return self.asked[-1]

    def start(self, process: ProcessPlan) -> bool:
        """A process is started."""
        self.said.append(process.role)
        return process.role != self._fails

    def is_ready(self, url: str) -> None:
        """The node is ready."""
        self.said.append(f"READY {url}")

    def is_late(self, process: ProcessPlan, _kind: ExitKind, reason: str) -> None:
        """The deadline has passed."""
        self.said.append(f"{process.role} {reason}")

    def answers(self, word: str) -> None:
        """The probe whose address has this word answers."""
        found = [each for each in self.asked if word in each.url and not each.stopped]
        self.asked.remove(found[0])
        found[0].answer()

    def ended(self, role: str, status: int = 0) -> EndEffect:
        """A process ends by itself."""
        return self.startup.ended(self.plans[role], status)


def process(
    role: str, rank: int, kind: str = SERVER, after: str = "", ready: str = ""
) -> ProcessPlan:
    return ProcessPlan(
        role=role,
        rank=rank,
        local_rank=rank,
        argv=("x",),
        env={},
        cwd="/",
        kind=kind,
        after=(Probe(f"tcp://{after}:1"),) if after else (),
        ready=(Probe(f"http://{ready}:1"),) if ready else (),
    )


def over_ray() -> Node:
    return Node(
        process("head", 0, ready="head"),
        process("wait", 1, GATE, after="gcs"),
        process("vllm", 2, ready="models"),
        process("client", 3, CLIENT),
        announce=URL,
    )


def test_workers_start_at_once_and_the_last_to_end_well_ends_the_node() -> None:
    node = Node(process("a", 0, WORKER), process("b", 1, WORKER))
    assert node.said == ["a", "b"]
    assert not node.clock.due, "nothing to wait for, no deadline"
    assert [node.ended("a"), node.ended("b")] == [EndEffect.GOES_ON, EndEffect.DONE]


def test_a_worker_that_fails_is_the_jobs_failure() -> None:
    node = Node(process("a", 0, WORKER), process("b", 1, WORKER))
    assert node.ended("b", 3) is EndEffect.FAILED


def test_head_gate_server_and_client_in_their_order() -> None:
    node = over_ray()
    assert node.said == ["head"]
    node.answers("gcs")
    assert node.said == ["head", "wait"]
    node.answers("head")
    assert node.said == ["head", "wait"], "the gate has not succeeded"
    assert node.ended("wait") is EndEffect.GOES_ON
    assert node.said == ["head", "wait", "vllm"]
    node.answers("models")
    assert node.said[3:] == [f"READY {URL}", "client"]
    assert node.ended("client") is EndEffect.CONCLUDED
    assert node.said.count(f"READY {URL}") == 1


@pytest.mark.parametrize(("role", "status"), [("wait", 1), ("head", 0), ("head", 1), ("client", 4)])
def test_what_fails_the_job(role: str, status: int) -> None:
    assert over_ray().ended(role, status) is EndEffect.FAILED


def test_the_deadline_names_the_first_that_is_not_ready_and_why() -> None:
    node = over_ray()
    node.answers("gcs")
    node.ended("wait")
    node.clock.move_on(LIMIT - 1)
    assert node.said == ["head", "wait", "vllm"]
    node.clock.move_on(1)
    reason = f"not ready within {LIMIT:g} s: http://head:1: Connection refused"
    assert node.said[3:] == [f"head {reason}"]
    assert all(each.stopped for each in node.asked)


def test_one_that_waits_for_another_node_leaves_that_one_the_word() -> None:
    node = Node(process("worker", 0, after="head"))
    node.clock.move_on(LIMIT + 0.5)
    assert node.said == []
    node.clock.move_on(1)
    assert node.said == ["worker not started within 30 s: tcp://head:1: Connection refused"]


def test_once_ready_there_is_no_deadline() -> None:
    node = Node(process("vllm", 0, ready="models"), announce=URL)
    node.answers("models")
    node.clock.move_on(10 * LIMIT)
    assert node.said == ["vllm", f"READY {URL}"]


def test_nothing_starts_and_nobody_is_asked_once_the_job_ends() -> None:
    node = over_ray()
    answer = node.asked[0].answer
    node.startup.close()
    node.clock.move_on(2 * LIMIT)
    node.startup.ended(node.plans["wait"], 0)
    assert all(each.stopped for each in node.asked)
    assert callable(answer)
    assert node.said == ["head"]


def test_where_one_cannot_be_started_nothing_follows() -> None:
    node = Node(process("a", 0), process("b", 1), fails="a")
    assert node.said == ["a"]


def test_a_server_that_ends_with_0_has_failed() -> None:
    def exited(status: int, ended: bool = False) -> Exited:
        return Exited(0, 1, status, 1.0, ended)

    failed = as_failure(exited(0), process("vllm", 0))
    assert (failed.status, failed.kind) == (1, ExitKind.SERVER_ENDED)
    for kept, kind in ((exited(0, ended=True), SERVER), (exited(7), SERVER), (exited(0), WORKER)):
        assert as_failure(kept, process("x", 0, kind)) == kept
