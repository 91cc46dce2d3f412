"""An agent without a runner: by hand on each node, it is its own master of its own node.

By hand, what happens on the other nodes is not its business; when a worker of its own fails, it
ends the workers of its own node with that worker's exit status. In a Slurm step it has peers: all
start together, and the first failure anywhere is everybody's end and exit status.
"""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from typing import TYPE_CHECKING

from madrun.agent.agent import Agent
from madrun.launchers.process_table import process_table
from madrun.launchers.registry import find
from madrun.output.console import Console
from madrun.output.failure_report import WorkerEnd, first_failure, report_failure
from madrun.output.look import Look
from madrun.output.stdin import StdinForwarder, input_ranks
from madrun.system.exits import FAILED, exit_status
from madrun.system.loop import Loop
from madrun.system.signals import ENDING, follow_signals
from madrun.wire.jobspec import JobSpec
from madrun.wire.messages import (
    Begin,
    Bye,
    CheckIn,
    Concluded,
    Drained,
    Dropped,
    End,
    Exited,
    Finished,
    Go,
    Input,
    InputCredit,
    Interrupted,
    Message,
    Output,
    OutputCredit,
    Serving,
    Started,
)

if TYPE_CHECKING:
    # Not needed, and so not loaded, where somebody starts an agent by hand.
    from madrun.agent.standalone.coordinator import PeerMessage
    from madrun.agent.standalone.json_socket import JsonSocket
    from madrun.agent.standalone.peers import Peers

_CONSOLE_LIMIT = 3.0
_SAME_SIGNAL = 0.5  # seconds within which Slurm reaches all processes of a step


class StandaloneJob:
    """Runs one node of a job and shows its output; ``run()`` returns the exit status."""

    def __init__(
        self,
        spec: JobSpec,
        node_rank: int,
        guard_fd: int,
        prefix: bool,
        fold: bool = False,
        loop: Loop | None = None,
        lines: dict[int, JsonSocket] | None = None,
    ) -> None:
        """``lines`` lead to the peers (see ``meeting``); they are on this ``loop``."""
        self._spec, self._node_rank = spec, node_rank
        self._host = spec.world.nodes[node_rank].host
        self._loop = loop or Loop()
        self._processes = process_table(spec)
        hosts = [spec.world.nodes[each].host for each in self._processes.node_ranks]
        self._console = self._make_console(hosts, prefix, fold)
        self._agent = Agent(self._loop, node_rank, self._up, self._agent_gone, os.environ)
        reading = input_ranks(spec.stdin, self._processes.size)
        ours = {rank for rank in reading if self._processes.node_ranks[rank] == node_rank}
        self._stdin = StdinForwarder(self._loop, ours, self._input)
        self._ends: list[WorkerEnd] = []
        self._started_at = 0.0
        self._stopped: tuple[int, float] | None = None
        self._problem: CheckIn | None = None
        self._left: tuple[str, ...] = ()
        self._failure: PeerMessage | None = None  # what ends the job on all nodes
        self._over = self._finished = False
        self._master_port, self._ports = 0, tuple[int, ...]()
        self._peers: Peers | None = None
        if lines is not None:
            from madrun.agent.standalone.peers import Peers

            self._peers = Peers(self._loop, node_rank, spec.world.hosts, lines, self._word)
        self._loop.watch(guard_fd, lambda: self._guard_gone(guard_fd))

    def run(self) -> int:
        """The node's part of the job, from check-in to the last look."""
        follow_signals(self._loop, self._agent.interrupt, self._agent.signal_workers)
        self._agent.receive(Begin(self._spec))
        self._loop.run()
        status, report = self._outcome()
        for name in self._left:
            self._console.say(f"madagent: could not be ended: {name}")
        self._console.close(_CONSOLE_LIMIT, last_words=report)
        return status

    @property
    def somebody_is_silent(self) -> bool:
        """True where a node was lost that may still run."""
        return self._peers is not None and self._peers.silent

    def _make_console(self, hosts: list[str], prefix: bool, fold: bool) -> Console:
        roles = self._processes.roles
        if not fold:
            return Console(hosts, Look(prefix), self._taken, roles)
        from madrun.output.coalescing_console import CoalescingConsole

        return CoalescingConsole(hosts, Look(prefix), self._taken, self._loop, roles)

    def _up(self, message: Message) -> None:
        self._loop.post(lambda: self._hear(message))

    def _hear(self, message: Message) -> None:
        match message:
            case CheckIn():
                self._checked_in(message)
            case Started():
                self._stdin.start()

            case Output(rank, stream, data, pause):
                self._console.output(rank, stream, data, pause)
            case InputCredit(rank, size):
                self._stdin.taken(rank, size)
            case Dropped(rank, lines):
                self._console.dropped(rank, lines)
            case Exited():
                self._exited(message)
            case Interrupted(number):
                self._interrupted(number)
            case Finished(left):
                self._left = left
                if self._peers is not None:
                    self._peers.done()
                self._agent.receive(Bye())
            case _:
                self._hear_of_servers(message)

    def _exited(self, message: Exited) -> None:
        self._console.end_of(message.rank)
        role = self._processes.role(message.rank)
        self._ends.append(WorkerEnd(self._host, message, message.at, role))
        if message.status and not message.ended:
            self._tell_failure(self._ends[-1])

    def _hear_of_servers(self, message: Message) -> None:
        match message:
            case Serving(url):
                self._console.announce(f"READY {url}")
            case Concluded():
                self._agent.receive(End(self._spec.limits.grace, "the client is done", upto=0))
                if self._peers is not None and len(self._spec.world.nodes) > 1:
                    self._peers.failed(0, "the client is done")  # the end of all, and no failure
            case Drained(following):
                self._agent.receive(
                    End(self._spec.limits.grace, "the step before is done", following)
                )

    def _checked_in(self, message: CheckIn) -> None:
        if message.problem:
            self._problem = message
            self._agent.receive(End(0.0, message.problem))
            if self._peers is not None:
                self._peers.failed(message.status, f"{self._host}: {message.problem}")
            return
        if message.log_trouble:
            self._console.say(f"madagent: no log files: {message.log_trouble}")
        self._master_port = self._spec.master.port or message.port
        self._ports = message.ports
        self._expect_usual_ports()
        if self._peers is not None:
            self._peers.ready()
        else:
            self._go()

    def _expect_usual_ports(self) -> None:
        """Without a runner the other nodes count on them: one that is taken will be told about."""
        if len(self._spec.world.nodes) == 1 or not self._ports:
            return
        wishes = find(self._spec.launcher).ports(self._spec, self._node_rank)
        for wish, number in zip(wishes, self._ports, strict=True):
            if wish.number != number:
                self._console.say(
                    f"madagent: {wish.name} {wish.number} is taken on {self._host}, "
                    "and without a runner the other nodes count on it"
                )

    def _go(self) -> None:
        self._started_at = time.monotonic()
        address = self._spec.master.addr or "127.0.0.1"
        alone = len(self._spec.world.nodes) == 1  # else the others know only the usual ports
        places = ((address,), (self._ports,)) if alone and self._ports else ((), ())
        self._agent.receive(Go(address, self._master_port, *places))

    def _word(self, word: PeerMessage) -> None:
        """What the peers have agreed on."""
        match word.kind:
            case "go":
                self._go()
            case "failed":
                self._failure = word
                self._agent.receive(End(self._spec.limits.grace, word.text))
            case "over":
                self._over = True
                self._leave_when_over()

    def _agent_gone(self) -> None:
        self._finished = True
        self._leave_when_over()

    def _leave_when_over(self) -> None:
        """Nobody leaves before the job is over everywhere: its exit status is everybody's."""
        if self._peers is None:
            self._loop.stop()
        elif self._over and self._finished:
            self._peers.leave(self._loop.stop)

    def _tell_failure(self, end: WorkerEnd) -> None:
        if self._peers is None:
            return
        exited = end.exited
        text = f"{end.name} failed first: {end.words}"
        tell = partial(self._peers.failed, exit_status(exited.status), text)
        if -exited.status in ENDING:
            # Slurm sends them to workers and agents alike: then it is not the worker's doing.
            self._loop.call_later(_SAME_SIGNAL, tell)
        else:
            tell()

    def _interrupted(self, number: int) -> None:
        now = time.monotonic()
        if self._stopped is None:
            self._stopped = (number, now)
            if self._peers is not None:
                text = f"stopped by {signal.Signals(number).name}"
                self._peers.failed(128 + number, text)

    def _guard_gone(self, guard_fd: int) -> None:
        self._loop.unwatch(guard_fd)
        self._agent.interrupt(signal.SIGTERM)

    def _input(self, rank: int, data: bytes) -> None:
        self._agent.receive(Input(rank, data))

    def _taken(self, _rank: int, size: int) -> None:
        self._loop.post(lambda: self._agent.receive(OutputCredit(size)))

    def _outcome(self) -> tuple[int, str]:
        """Exit status and report; with peers, a failure is reported where it was, and by node 0."""
        status, report = self._own_verdict()
        failure = self._failure
        if failure is None or failure.origin == self._node_rank:
            return status, report
        tells = failure.status and self._node_rank == (1 if failure.origin == 0 else 0)
        return failure.status, f"madagent: {failure.text}" if tells else ""

    def _own_verdict(self) -> tuple[int, str]:
        if self._problem is not None:
            return self._problem.status, f"madagent: {self._host}: {self._problem.problem}"
        first = first_failure(self._ends)
        caused = first is not None and not first.exited.ended
        if first is not None and caused and not self._stopped_before(first):
            lines = "\n".join(report_failure(self._ends, self._started_at))
            report = f"madagent: {lines}".replace("\nmadrun: ", "\nmadagent: ")
            return exit_status(first.exited.status), report
        if self._stopped:
            name = signal.Signals(self._stopped[0]).name
            return 128 + self._stopped[0], f"madagent: stopped by {name}"
        return (FAILED, "madagent: the job did not end as it should") if self._left else (0, "")

    def _stopped_before(self, first: WorkerEnd) -> bool:
        if self._stopped is None:
            return False
        number, at = self._stopped
        # A signal that reached this agent's workers too counts as one, whichever came first.
        return at - (_SAME_SIGNAL if first.exited.status == -number else 0.0) <= first.at
