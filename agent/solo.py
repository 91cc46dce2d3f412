"""An agent without a runner: by hand on each node, it is its own master of its own node.

What happens on the other nodes is not its business; when a worker of its own fails, it ends the
workers of its own node with that worker's exit status.
"""

from __future__ import annotations

import os
import signal
import time

from madrun.agent.agent import Agent
from madrun.wire.console import Console
from madrun.wire.exits import FAILED, exit_status
from madrun.wire.input import Feed, input_ranks
from madrun.wire.jobspec import JobSpec
from madrun.wire.loop import Loop
from madrun.wire.messages import (
    Begin,
    Bye,
    CheckIn,
    Dropped,
    End,
    Exited,
    Finished,
    Go,
    Input,
    InputTaken,
    Interrupted,
    Message,
    Output,
    OutputTaken,
    Started,
)
from madrun.wire.report import WorkerEnd, first_failure, report_failure
from madrun.wire.signals import PASSED_ON, ending_signals, is_second_wish

_CONSOLE_LIMIT = 3.0


class Solo:
    """Runs one node of a job and shows its output; ``run()`` returns the exit status."""

    def __init__(
        self, spec: JobSpec, node_rank: int, guard_fd: int, prefix: bool, fold: bool = False
    ) -> None:
        self._spec, self._node_rank = spec, node_rank
        self._host = spec.world.nodes[node_rank].host
        self._loop = Loop()
        names = [node.host for node in spec.world.nodes for _ in node.devices]
        self._console = self._make_console(names, prefix, fold)
        self._agent = Agent(self._loop, node_rank, self._up, self._loop.stop, os.environ)
        reading = input_ranks(spec.stdin, spec.world.world_size)
        ours = {rank for rank in reading if spec.world.node_of_rank(rank) == node_rank}
        self._feed = Feed(self._loop, ours, self._input)
        self._ends: list[WorkerEnd] = []
        self._started_at = 0.0
        self._stopped: tuple[int, float] | None = None
        self._problem: CheckIn | None = None
        self._left: tuple[str, ...] = ()
        self._loop.watch(guard_fd, lambda: self._guard_gone(guard_fd))

    def run(self) -> int:
        """The node's part of the job, from check-in to the last look."""
        for number in ending_signals():
            self._loop.on_signal(number, self._agent.interrupt)
        for number in PASSED_ON:
            self._loop.on_signal(number, self._agent.signal_workers)
        self._agent.receive(Begin(self._spec))
        self._loop.run()
        status, report = self._verdict()
        for name in self._left:
            self._console.say(f"madagent: could not be ended: {name}")
        self._console.close(_CONSOLE_LIMIT, last_words=report)
        return status

    def _make_console(self, names: list[str], prefix: bool, fold: bool) -> Console:
        if not fold:
            return Console(names, prefix, self._taken)
        from madrun.wire.folding_console import FoldingConsole

        return FoldingConsole(names, prefix, self._taken, self._loop)

    def _up(self, message: Message) -> None:
        self._loop.post(lambda: self._hear(message))

    def _hear(self, message: Message) -> None:
        match message:
            case CheckIn():
                self._checked_in(message)
            case Started():
                self._feed.start()
            case Output(rank, stream, data, pause):
                self._console.output(rank, stream, data, pause)
            case InputTaken(rank, size):
                self._feed.taken(rank, size)
            case Dropped(rank, lines):
                self._console.dropped(rank, lines)
            case Exited(rank=rank, at=at):
                self._console.end_of(rank)
                self._ends.append(WorkerEnd(self._host, message, at))
            case Interrupted(number):
                self._interrupted(number)
            case Finished(left):
                self._left = left
                self._agent.receive(Bye())
            case _:
                return

    def _checked_in(self, message: CheckIn) -> None:
        if message.problem:
            self._problem = message
            self._agent.receive(End(0.0, message.problem))
            return
        self._started_at = time.monotonic()
        port = self._spec.master_port or message.port
        self._agent.receive(Go(self._spec.master_addr or "127.0.0.1", port))

    def _interrupted(self, number: int) -> None:
        now = time.monotonic()
        if self._stopped is None:
            self._stopped = (number, now)
        elif is_second_wish(number, now - self._stopped[1]):
            self._agent.receive(End(0.0, "a second SIGINT"))

    def _guard_gone(self, guard_fd: int) -> None:
        self._loop.unwatch(guard_fd)
        self._agent.interrupt(signal.SIGTERM)

    def _input(self, rank: int, data: bytes) -> None:
        self._agent.receive(Input(rank, data))

    def _taken(self, _rank: int, size: int) -> None:
        self._loop.post(lambda: self._agent.receive(OutputTaken(size)))

    def _verdict(self) -> tuple[int, str]:
        if self._problem is not None:
            return self._problem.status, f"madagent: {self._host}: {self._problem.problem}"
        first = first_failure(self._ends)
        caused = first is not None and not first.exited.ended
        if first is not None and caused and (not self._stopped or first.at < self._stopped[1]):
            report = report_failure(self._ends, self._started_at).replace("madrun: ", "madagent: ")
            return exit_status(first.exited.status), report
        if self._stopped:
            name = signal.Signals(self._stopped[0]).name
            return 128 + self._stopped[0], f"madagent: stopped by {name}"
        return (FAILED, "madagent: the job did not end as it should") if self._left else (0, "")
