"""Which process of a node may start when, which one is ready, and what the end of one means.

A node of a training job starts everything at once and this file has little to say. An inference
server has an order: a worker comes when the head answers, a gate has to succeed before what stands
behind it, a client runs when all is ready; and all of it has to be ready before the deadline.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Protocol

from madrun.launchers.plan import CLIENT, GATE, SERVER, NodePlan, Probe, ProcessPlan
from madrun.system.loop import Loop, Timer
from madrun.wire.messages import Exited, ExitKind

_OVERTIME = 1.0  # seconds
BY_ITSELF = "ended by itself with status 0, and a server has to run until it is told to end"


class Question(Protocol):
    """Probes that are being asked (see madrun.agent.probe.Asking)."""

    @property
    def trouble(self) -> str:
        """What has not answered yet."""

    def stop(self) -> None:
        """Ask no more."""


Ask = Callable[[Loop, Sequence[Probe], Callable[[], None]], Question]


def _ask(loop: Loop, probes: Sequence[Probe], on_answer: Callable[[], None]) -> Question:
    from madrun.agent.probe import ReadinessProbe  # only where there is something to ask

    return ReadinessProbe(loop, probes, on_answer)


class EndEffect(enum.Enum):
    """What the end of a process means for the job."""

    GOES_ON = "the others go on"
    DONE = "all that this node had to do is done"
    CONCLUDED = "the client is done, and so is the job"
    FAILED = "the job has failed"


class Listener(Protocol):
    """Whom the startup sequence tells."""

    def start(self, process: ProcessPlan) -> bool:
        """Start this process now; False where that did not work: then there is no next one."""

    def is_ready(self, url: str) -> None:
        """All that serves on this node is ready."""

    def is_late(self, process: ProcessPlan, kind: ExitKind, reason: str) -> None:
        """The deadline has passed, and this process is not ready or could not even start."""


class StartupSequence:
    """The processes of one node plan on their way: waiting, started, ready, ended.

    ``limit`` is how long the node may take to be ready, in seconds.
    """

    def __init__(
        self,
        loop: Loop,
        plan: NodePlan,
        limit: float,
        listener: Listener,
        ask: Ask = _ask,
    ) -> None:
        self._loop, self._plan, self._listener = loop, plan, listener
        self._limit = limit
        self._make_asking = ask
        self._waiting = list(plan.processes)
        self._unready = [each for each in plan.processes if each.kind != CLIENT]
        self._running: set[int] = set()
        self._asking: dict[int, Question] = {}
        self._may_start: set[int] = set()  # those whose ``after`` probes have answered
        self._deadline: Timer | None = None
        self._closed = self._overtime = False

    @property
    def waiting(self) -> list[ProcessPlan]:
        """Those that have not been started yet."""
        return list(self._waiting)

    def begin(self) -> None:
        """Start those that wait for nothing, and ask the others' probes."""
        if any(each.ready or each.after or each.kind == GATE for each in self._plan.processes):
            self._deadline = self._loop.call_later(self._limit, self._too_late)
        self._go_on()

    def close(self) -> None:
        """Nothing is started or asked any more."""
        self._closed = True
        for asking in self._asking.values():
            asking.stop()
        self._asking.clear()
        if self._deadline is not None:
            self._deadline.cancel()

    def ended(self, process: ProcessPlan, status: int) -> EndEffect:
        """A process has ended, and nobody had told it to."""
        self._running.discard(process.rank)
        if status != 0 or process.kind == SERVER:
            return EndEffect.FAILED
        if process.kind == CLIENT:
            return EndEffect.CONCLUDED
        if process.kind == GATE:
            self._now_ready(process)
        return EndEffect.GOES_ON if self._running or self._waiting else EndEffect.DONE

    def _go_on(self) -> None:
        """Start whatever may be started now, in the order of the plan."""
        for process in list(self._waiting):
            if self._closed:
                return
            if self._is_held_up(process):
                continue
            if process.after and process.rank not in self._may_start:
                self._ask(process, process.after, self._may_start_now)
                continue
            self._waiting.remove(process)
            self._running.add(process.rank)
            if not self._listener.start(process):
                return
            if process.ready:
                self._ask(process, process.ready, self._now_ready)
            elif process.kind != GATE:
                self._mark_ready(process)

    def _is_held_up(self, process: ProcessPlan) -> bool:
        if process.kind == CLIENT:
            return bool(self._unready)
        before = self._plan.processes[: self._plan.processes.index(process)]
        return any(each.kind == GATE and each in self._unready for each in before)

    def _ask(
        self,
        process: ProcessPlan,
        probes: tuple[Probe, ...],
        then: Callable[[ProcessPlan], None],
    ) -> None:
        if process.rank not in self._asking:
            self._asking[process.rank] = self._make_asking(
                self._loop, probes, lambda: then(process)
            )

    def _may_start_now(self, process: ProcessPlan) -> None:
        del self._asking[process.rank]
        self._may_start.add(process.rank)
        self._go_on()

    def _now_ready(self, process: ProcessPlan) -> None:
        self._asking.pop(process.rank, None)
        self._mark_ready(process)
        self._go_on()

    def _mark_ready(self, process: ProcessPlan) -> None:
        if process not in self._unready:  # a client
            return
        self._unready.remove(process)
        if self._unready:
            return
        if self._deadline is not None:
            self._deadline.cancel()
        if self._plan.announce:
            self._listener.is_ready(self._plan.announce)

    def _too_late(self) -> None:
        late = next(each for each in self._plan.processes if each in self._unready)
        asking = self._asking.get(late.rank)
        if late in self._waiting and not self._overtime:
            # It waits for one on another node, whose own agent has more to say about it.
            self._overtime = True
            self._deadline = self._loop.call_later(_OVERTIME, self._too_late)
            return
        kind = ExitKind.NOT_STARTED if late in self._waiting else ExitKind.NOT_READY
        reason = f"{kind.value} within {self._limit:g} s"
        self.close()
        self._listener.is_late(late, kind, f"{reason}: {asking.trouble}" if asking else reason)


def as_failure(exited: Exited, process: ProcessPlan) -> Exited:
    """A server's end by itself is a failure, whatever status it gave; others are what they are."""
    if process.kind == SERVER and exited.status == 0 and not exited.ended:
        return exited._replace(status=1, kind=ExitKind.SERVER_ENDED, words=BY_ITSELF)
    return exited
