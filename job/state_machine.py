"""The life of a job: events in, actions out. No I/O happens here.

CONNECTING   agents are being started; each says Hello and checks whether it is able
TRYING       all are able; the others try to reach the master address of node 0
STARTING     Go was said
RUNNING      every agent has started its workers
ENDING       the agents end their workers, for whatever reason
OVER         every agent that can be heard has said that nothing is left
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING

from madrun.job.causes import Causes, Interruption
from madrun.job.nodes import Nodes
from madrun.job.states import (
    ALIVE,
    DONE,
    Action,
    Admit,
    JobState,
    NodeState,
    Problem,
    Tell,
)
from madrun.job.stop_order import StopOrder
from madrun.launchers.process_table import process_table
from madrun.launchers.registry import find
from madrun.output.failure_report import WorkerEnd
from madrun.system.exits import FAILED
from madrun.wire.jobspec import JobSpec
from madrun.wire.messages import (
    LAST,
    Begin,
    Bye,
    CheckIn,
    Concluded,
    Drained,
    End,
    Exited,
    Finished,
    Go,
    Hello,
    Interrupted,
    MasterTried,
    Message,
    Started,
    TryMaster,
)

if TYPE_CHECKING:
    # Not needed, and so not loaded, where no agent is started elsewhere.
    from madrun.wire.key_line import KeyLine


class StateMachine:
    """One job, from the first key line to the last Finished.

    Every method takes what happened and returns what to do about it. Times are monotonic seconds
    of the runner's clock.
    """

    def __init__(self, spec: JobSpec, version: str, node_ranks: Sequence[int] = ()) -> None:
        """``node_ranks`` are the nodes whose job this is, by hand one; empty: all."""
        self.spec, self.version = spec, version
        self.process_table = process_table(spec)
        self.agents_leave = True  # a backend tells when each agent's process has ended
        self.state = JobState.CONNECTING
        self.problems: list[Problem] = []
        self.causes = Causes()
        self.ends: list[WorkerEnd] = []
        self.left: dict[int, tuple[str, ...]] = {}
        self.started_at = 0.0
        self.master = ("", 0)
        self._nodes = Nodes(spec.world, node_ranks)
        self.node_ranks = self._nodes.ranks
        self._grace = float("inf")
        self._serves = find(spec.launcher).serves
        self._stop_order = StopOrder()

    # ---- what the backend tells

    def agent_key(
        self, node_rank: int, line: KeyLine, addresses: Sequence[str], now: float
    ) -> list[Action]:
        """An agent runs and printed its key; others reach its host at ``addresses``."""
        node = self._nodes[node_rank]
        if node.state is not NodeState.EXPECTED:
            return []
        if line.version != self.version:
            reason = f"madrun {line.version} is installed there, {self.version} here"
            return self.lost(node_rank, reason, now)
        node.state, node.addresses = NodeState.KNOWN, tuple(addresses)
        return [Admit(node_rank, line.key)]

    def lost(self, node_rank: int, reason: str, now: float) -> list[Action]:
        """A node cannot take part, or no longer does: its agent is not heard (any more)."""
        node = self._nodes[node_rank]
        if node.state in (NodeState.FINISHED, NodeState.LEFT, NodeState.LOST):
            return []
        known = node.state is NodeState.UNABLE
        node.state = NodeState.LOST
        if known:  # its problem is on the list already
            return self._settled([])
        if self.launching:
            self.problems.append(Problem(node_rank, reason, FAILED, now))
            return self._go_on(now)
        self.causes.lost(node_rank, reason, FAILED, now)
        return self._settled(self._end_all(f"{self.host(node_rank)} is lost"))

    def gone(self, node_rank: int, reason: str, now: float) -> list[Action]:
        """An agent's process, or the way to it, ended; as it should after Finished."""
        node = self._nodes[node_rank]
        if node.state is NodeState.FINISHED:
            node.state = NodeState.LEFT
            return self._settled([])
        return self.lost(node_rank, reason, now)

    def tool_started(self, carries_signals: bool = False) -> None:
        """One tool starts all agents; its end will be told. Some send agents others' signals."""
        self.causes.tool_runs, self.causes.tool_carries = True, carries_signals

    def tool_ended(self, reason: str, now: float, well: bool = False) -> list[Action]:
        """The tool has ended: as it should once the agents have left, and ``well``.

        During the launch, hosts that have not come do not come any more; where one of them has
        its own reason, that is the reason for the others as well. Later the agents, which still
        answer or are silent, are told to end.
        """
        self.agents_leave = self.causes.tool_runs = False  # nobody is left to tell of it
        known, actions = bool(self.problems), list[Action]()
        for node_rank in self.node_ranks:
            node = self._nodes[node_rank]
            if not self.launching or node.greeted or node.state is NodeState.LOST:
                continue
            if known:
                node.state = NodeState.LOST
                actions += self._go_on(now)
            else:
                actions += self.lost(node_rank, reason, now)
        if self.causes.tool_ended(reason, now, well, cut_off=bool(self._nodes.alive)):
            actions += self._end_all(reason)
        return self._settled(actions)

    # ---- what the agents tell

    def heard(
        self, node_rank: int, message: Message, at: float, now: float, *, error: float = 0.0
    ) -> list[Action]:
        """A message of an agent; ``at`` is its time stamp on our clock, and may be off by error."""
        node = self._nodes[node_rank]
        match message:
            case Hello() if node.state in (NodeState.KNOWN, NodeState.EXPECTED):
                return self._greeted(node_rank)
            case CheckIn() if node.state is NodeState.GREETED:
                return self._checked_in(node_rank, message, now)
            case MasterTried() if node.state is NodeState.ABLE:
                return self._tried(node_rank, message, now)
            case Started() if node.state in (NodeState.ABLE, NodeState.REACHES_MASTER):
                return self._started(node_rank)
            case Exited() if node.state in ALIVE:
                return self._exited(node_rank, message, at, error)
            case Interrupted() if node.state in ALIVE:
                return self._interrupted(node_rank, message, now)
            case Concluded() | Drained() | Finished() if node.state in ALIVE:
                return self._on_the_way_out(node_rank, message, at, now)
        return []

    # ---- what the user and the clock tell

    def stop(self, number: int, now: float) -> list[Action]:
        """A signal asks the job to end; a second one, whichever, ends it at once."""
        causes = self.causes
        if not causes.stopped_by:
            causes.stopped_by, causes.stopped_at = number, now
            causes.stopped_in_launch = self.launching
            return self._settled(self._end_in_order(f"signal {number}"))
        return self._end_all("a second signal", grace=0.0)

    def guard_gone(self, now: float) -> list[Action]:
        """Our own guard was killed: the job ends as by a signal."""
        if self.causes.stopped_by:
            return []
        self.causes.own_guard_gone = True
        return self.stop(signal.SIGTERM, now)

    def time_is_up(self, limit: float, now: float) -> list[Action]:
        """The launch took too long: whoever has not checked in is named."""
        actions: list[Action] = []
        for node_rank in self._nodes.unanswered(self.state):
            reason = f"{self._nodes[node_rank].state.value} within {limit:g} s"
            actions += self.lost(node_rank, reason, now)
        return actions

    def give_up(self) -> None:
        """Agents that should have finished long ago have not: nobody waits for them any more."""
        for node in self._nodes:
            if node.state not in DONE:
                node.state = NodeState.LOST
        self.state = JobState.OVER

    # ---- questions

    @property
    def launching(self) -> bool:
        """True until Go was said or the launch failed."""
        return self.state in (JobState.CONNECTING, JobState.TRYING)

    def host(self, node_rank: int) -> str:
        """The name of a node."""
        return self._nodes.host(node_rank)

    def missing(self) -> list[str]:
        """The hosts that the launch still waits for."""
        return [self.host(rank) for rank in self._nodes.unanswered(self.state)]

    def unfinished(self) -> list[str]:
        """The hosts whose agent took part and has not said Finished, lost ones included."""
        return self._nodes.unfinished()

    @property
    def leaving(self) -> bool:
        """True while nothing runs any more and agents' own processes are about to end."""
        return self.state is not JobState.OVER and not self._nodes.alive

    # ---- steps

    def _greeted(self, node_rank: int) -> list[Action]:
        self._nodes[node_rank].state = NodeState.GREETED
        self._nodes[node_rank].greeted = True
        if self.state is not JobState.CONNECTING:
            return [Tell(node_rank, End(0.0, "the job is ending"))]
        return [Tell(node_rank, Begin(self.spec))]

    def _checked_in(self, node_rank: int, message: CheckIn, now: float) -> list[Action]:
        node = self._nodes[node_rank]
        if message.problem:
            return self._unable(node_rank, message.problem, message.status, now)
        node.state, node.check_in = NodeState.ABLE, message
        return self._go_on(now)

    def _unable(self, node_rank: int, reason: str, status: int, now: float) -> list[Action]:
        """An agent says why it cannot take part: nobody starts, once everyone has answered."""
        self._nodes[node_rank].state = NodeState.UNABLE
        if not self.launching:  # it is ending for another reason
            return []
        self.problems.append(Problem(node_rank, reason, status, now))
        return self._go_on(now)

    def _go_on(self, now: float) -> list[Action]:
        """Once every node has answered: the next phase, or the end."""
        if not self.launching or self._nodes.unanswered(self.state):
            return []
        if self.state is JobState.CONNECTING and not self.problems:
            # Where some nodes have devices, a node without any has a broken driver.
            lacking, reason = self._nodes.without_devices()
            self.problems += [Problem(node_rank, reason, FAILED, now) for node_rank in lacking]
        if self.problems:
            return self._settled(self._end_all("the launch failed", grace=0.0))
        if self.state is JobState.CONNECTING and len(self._nodes) > 1:
            return self._try_master()
        return self._go(now)

    def _try_master(self) -> list[Action]:
        self.state = JobState.TRYING
        first = self._nodes.first
        assert first.check_in is not None
        candidates, port = self._nodes.master_candidates(self.spec.master.addr), first.check_in.port
        self.master = (candidates[0], port)
        first.state, first.master = NodeState.REACHES_MASTER, candidates[0]
        return [Tell(rank, TryMaster(candidates, port)) for rank in self.node_ranks[1:]]

    def _tried(self, node_rank: int, message: MasterTried, now: float) -> list[Action]:
        node = self._nodes[node_rank]
        if not message.address:
            reason = f"cannot reach the master on {self.host(0)}: {message.problem}"
            return self._unable(node_rank, reason, FAILED, now)
        node.state, node.master = NodeState.REACHES_MASTER, message.address
        return self._go_on(now)

    def _go(self, now: float) -> list[Action]:
        self.state, self.started_at = JobState.STARTING, now
        nodes, check_in = self._nodes, self._nodes.first.check_in
        port = self.spec.master.port or (check_in.port if check_in else 0)
        self.master = (nodes.agree_on_master(self.spec.master.addr), port)
        peers = nodes.places() if self._serves else ((), ())
        return [Tell(rank, Go(nodes[rank].master, port, *peers)) for rank in nodes.ranks]

    def _started(self, node_rank: int) -> list[Action]:
        self._nodes[node_rank].state = NodeState.STARTED
        running = all(node.state is NodeState.STARTED for node in self._nodes)
        if running and self.state is JobState.STARTING:
            self.state = JobState.RUNNING
        return []

    def _exited(self, node_rank: int, message: Exited, at: float, error: float) -> list[Action]:
        role = self.process_table.role(message.rank)
        self.ends.append(WorkerEnd(self.host(node_rank), message, at, role, error))
        if message.status == 0:
            return []
        return self._end_all(f"{self.process_table.name(message.rank)} failed")

    def _interrupted(self, node_rank: int, message: Interrupted, now: float) -> list[Action]:
        """An agent was sent a signal, or its guard was killed; it ends its workers by itself."""
        told, is_kill = self.causes.interruptions, message.number == signal.SIGKILL
        guard = "the agent's guard was killed"
        if self.launching and is_kill:
            return self._unable(node_rank, guard, FAILED, now)
        if self.state is not JobState.ENDING or told or not self.causes.known(self.ends):
            if not is_kill:
                self.causes.stopped_in_launch |= self.launching
                told.setdefault(node_rank, Interruption(message.number, now, message.by_parent))
            elif node_rank not in told:  # else a tool kills what does not follow a signal at once
                self.causes.lost(node_rank, guard, FAILED, now)
        reason = f"{self.host(node_rank)} was sent signal {message.number}"
        if message.at_once:
            return self._end_all("a second signal", grace=0.0)
        return self._end_all(reason) if is_kill else self._end_in_order(reason)

    def _finished(self, node_rank: int, left: tuple[str, ...], now: float) -> list[Action]:
        self._nodes[node_rank].state = NodeState.FINISHED
        if left:
            self.left[node_rank] = left
        if self.launching:
            reason = "its agent ended before the start"
            self.problems.append(Problem(node_rank, reason, FAILED, now))
            return [Tell(node_rank, Bye()), *self._go_on(now)]
        return self._settled([Tell(node_rank, Bye()), *self._next_step()])

    def _end_all(self, reason: str, grace: float | None = None, upto: int = LAST) -> list[Action]:
        grace = self.spec.limits.grace if grace is None else grace
        if self.state is JobState.OVER or (grace >= self._grace and upto <= self._stop_order.upto):
            return []
        self.state, self._grace = JobState.ENDING, min(grace, self._grace)
        self._stop_order.begin(upto)
        first = signal.SIGINT if self.causes.first_signal == signal.SIGINT else signal.SIGTERM
        return [Tell(rank, End(self._grace, reason, upto, first)) for rank in self._nodes.alive]

    def _end_in_order(self, reason: str) -> list[Action]:
        """All went well, or the user has had enough: whoever uses a server ends before it."""
        return self._end_all(reason, upto=0 if self._serves else LAST)

    def _on_the_way_out(
        self, node_rank: int, message: Concluded | Drained | Finished, at: float, now: float
    ) -> list[Action]:
        match message:
            case Concluded():
                self.causes.concluded_at = min(at, self.causes.concluded_at)
                return self._end_in_order("the client is done")
            case Drained(following):
                self._stop_order.heard(node_rank, following)
                return self._next_step()
            case Finished(left):
                return self._finished(node_rank, left, now)

    def _next_step(self) -> list[Action]:
        step = self._stop_order.step(self._nodes.alive)
        return [] if step is None else self._end_all("the step before is done", upto=step)

    def _settled(self, actions: list[Action]) -> list[Action]:
        """With these actions the job is over, if there is nobody left to wait for."""
        waiting = {*ALIVE, NodeState.FINISHED} if self.agents_leave else ALIVE
        here = any(node.state in waiting for node in self._nodes)
        if not here and not self.causes.await_tool:
            self.state = JobState.OVER
        return actions
