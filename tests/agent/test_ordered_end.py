"""One node's share in an end that has an order; processes and the kill are stand-ins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from madrun.agent.ordered_end import OrderedEnd
from madrun.agent.tree import Ending
from madrun.agent.worker import Worker
from madrun.launchers.plan import ProcessPlan
from madrun.system.loop import Callback, Loop, Timer
from madrun.wire.messages import LAST, Drained, Message

GRACE = 10.0


class Process:
    """A worker as far as its end is concerned."""

    def __init__(self, pid: int, stop_order: int) -> None:
        self.pid, self.status = pid, cast("int | None", None)
        self.plan = ProcessPlan("x", pid, 0, ("x",), {}, "/", stop_order=stop_order)


class Kill:
    """What is told to the real Ending."""

    rest = GRACE

    def __init__(self) -> None:
        self.told: list[object] = []

    def begin(self, grace: float, _first: int) -> None:
        """All of them."""
        self.told.append(("all", grace))

    def begin_with(self, pids: Sequence[int], grace: float, _first: int) -> None:
        """Some of them."""
        self.told.append((list(pids), grace))


class Clock(Loop):
    """Timers that the test lets expire."""

    def __init__(self) -> None:
        super().__init__()
        self.close()  # only its timers are wanted
        self.timers: list[tuple[float, Timer]] = []

    def call_later(self, delay: float, callback: Callback) -> Timer:
        self.timers.append((delay, Timer(delay, callback)))
        return self.timers[-1][1]


class Node:
    """Processes with these stop orders; their ids are 0, 1, ..."""

    def __init__(self, *orders: int) -> None:
        self.processes = [Process(pid, order) for pid, order in enumerate(orders)]
        self.kill, self.clock, self.said = Kill(), Clock(), list[Message]()
        workers = {each.pid: cast("Worker", each) for each in self.processes}
        self.drain = OrderedEnd(self.clock, cast("Ending", self.kill), workers, self.said.append)

    def gone(self, *pids: int) -> None:
        """These have ended."""
        for pid in pids:
            self.processes[pid].status = 0
        self.drain.check()


def test_without_an_order_all_are_told_at_once() -> None:
    node = Node(0, 0)
    node.drain.end(GRACE, 0)
    assert (node.kill.told, node.said) == ([("all", GRACE)], [])


def test_step_by_step() -> None:
    node = Node(3, 1, 2, 1)
    node.drain.end(GRACE, 1)
    assert node.kill.told == [([1, 3], GRACE)]
    node.gone(1)
    assert node.said == []
    node.gone(3)
    node.drain.check()
    assert node.said == [Drained(2)]
    node.drain.end(GRACE, 2)
    node.gone(2)
    node.drain.end(GRACE, 3)
    assert node.kill.told[1:] == [([2], GRACE), ("all", GRACE)]
    assert node.said == [Drained(2), Drained(3)]


def test_who_has_none_of_a_step_says_so_at_once() -> None:
    node = Node(3)
    node.drain.end(GRACE, 0)
    assert (node.kill.told, node.said) == ([([], GRACE)], [Drained(3)])


def test_a_step_is_not_waited_for_beyond_half_of_what_is_left() -> None:
    node = Node(0, 2)
    node.drain.end(GRACE, 0)
    delay, timer = node.clock.timers[0]
    assert delay == GRACE / 2
    assert timer.callback is not None
    timer.callback()
    assert node.said == [Drained(2)]
    node.drain.end(GRACE, 2)
    assert node.kill.told[-1] == ("all", GRACE)


def test_no_grace_knows_no_order() -> None:
    node = Node(0, 2)
    node.drain.end(GRACE, 0)
    node.drain.end(0.0, LAST)
    assert node.kill.told[-1] == ("all", 0.0)
    assert node.clock.timers[0][1].callback is None
