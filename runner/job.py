"""One launch, wired up: loop, backend, channel, life, console, signals."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from madrun.runner.life import Action, Admit, Life, Phase, Tell
from madrun.runner.progress import NAME_AFTER, Progress
from madrun.runner.verdict import Verdict, judge
from madrun.wire.console import Console
from madrun.wire.hello import KeyLine
from madrun.wire.jobspec import JobSpec
from madrun.wire.loop import Loop, Timer
from madrun.wire.messages import Dropped, Exited, Message, Output, OutputTaken, Signal
from madrun.wire.signals import PASSED_ON, ending_signals

_KILL_ALLOWANCE = 10.0  # seconds an agent may need beyond the grace: kill, look, flush
_CONSOLE_LIMIT = 3.0
_ANSWER_ALLOWANCE = 5.0  # seconds beyond a connection's own limit: a login has several steps
_LEAVING_LIMIT = 2.0  # seconds for agents that have nothing left to do


class Link(Protocol):
    """The way to the agents: a channel, or calls within this process."""

    def send(self, node_rank: int, message: Message) -> None:
        """Send to one agent."""


class RemoteLink(Link, Protocol):
    """A link whose agents come in by key and may fall silent."""

    def admit(self, node_rank: int, key: str) -> None:
        """Let in the agent with this key."""

    def forget(self, node_rank: int) -> None:
        """Its silence means nothing any more."""


class Limits(NamedTuple):
    """Seconds: for everybody to check in, and for one connection attempt."""

    launch: float = 60.0
    connect: float = 10.0


class Job:
    """Runs a job to its end. Everything happens on the loop; backends call in through ``post``."""

    def __init__(
        self,
        loop: Loop,
        spec: JobSpec,
        version: str,
        console: Callable[[Callable[[int, int], None]], Console],
        limits: Limits,
        progress: Progress,
    ) -> None:
        self._loop, self._limits = loop, limits
        self._life = Life(spec, version)
        self._console = console(self._taken)
        self._progress = progress
        self._link: Link | None = None
        self._remote: RemoteLink | None = None
        self._to_ours: Callable[[int, float], float] = lambda _node_rank, at: at
        self._launch_timer: Timer | None = None
        self._end_timer: Timer | None = None
        self._leaving_timer: Timer | None = None
        self._begun = 0.0

    def run(
        self,
        link: Link,
        remote: RemoteLink | None = None,
        to_ours: Callable[[int, float], float] | None = None,
    ) -> Verdict:
        """Until the job is over; ``to_ours`` brings a node's clock to ours."""
        self._link, self._remote = link, remote
        self._life.agents_leave = remote is not None
        self._to_ours = to_ours or self._to_ours
        for number in ending_signals():
            self._loop.on_signal(number, self.stop)
        for number in PASSED_ON:
            self._loop.on_signal(number, self._pass_on)
        self._begun = time.monotonic()
        self._launch_timer = self._loop.call_later(self._limits.launch, self._launch_is_late)
        self._progress.show(self._life.missing())
        self._loop.call_later(NAME_AFTER, self._name_the_missing)
        self._loop.run()
        verdict = judge(self._life)
        self._console.close(_CONSOLE_LIMIT, last_words=verdict.report)
        return verdict

    # ---- Listener of the backend, from any thread

    def agent_key(self, node_rank: int, line: KeyLine, addresses: Sequence[str]) -> None:
        """See madrun.backends.base.Listener."""
        self._post(lambda now: self._life.agent_key(node_rank, line, addresses, now))

    def agent_failed(self, node_rank: int, reason: str) -> None:
        """See madrun.backends.base.Listener."""
        self._post(lambda now: self._life.lost(node_rank, reason, now))

    def agent_gone(self, node_rank: int, reason: str) -> None:
        """See madrun.backends.base.Listener."""
        self._post(lambda now: self._life.gone(node_rank, reason, now))

    # ---- events of the loop

    def silent(self, node_rank: int, seconds: float) -> None:
        """No word of an agent for so long: it was lost when it was last heard."""
        reason = f"no word from its agent for {seconds:g} s"
        self._do(self._life.gone(node_rank, reason, time.monotonic() - seconds))

    def stop(self, number: int) -> None:
        """A signal that ends the job; also what becomes of a runner that lost its guard."""
        self._do(self._life.stop(number, time.monotonic()))

    def receive(self, node_rank: int, message: Message) -> None:
        """A message of an agent."""
        match message:
            case Output(rank, stream, data):
                self._console.output(rank, stream, data)
                return
            case Dropped(rank, lines):
                self._console.dropped(rank, lines)
                return
            case Exited(rank=rank):
                self._console.end_of(rank)
                at = self._to_ours(node_rank, message.at)
            case _:
                at = 0.0
        self._do(self._life.heard(node_rank, message, at, time.monotonic()))

    def _post(self, event: Callable[[float], list[Action]]) -> None:
        self._loop.post(lambda: self._do(event(time.monotonic())))

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Tell(node_rank, message):
                    self._send(node_rank, message)
                case Admit(node_rank, key):
                    if self._remote is not None:
                        self._remote.admit(node_rank, key)
        self._follow_phase()

    def _follow_phase(self) -> None:
        life = self._life
        if life.launching:
            self._progress.show(life.missing())
            if life.problems:  # no need to wait long for the others' answers
                self._hasten()
            return
        self._progress.clear()
        if self._launch_timer is not None:
            self._launch_timer.cancel()
        if life.phase is Phase.ENDING and self._end_timer is None:
            limit = life.spec.grace + _KILL_ALLOWANCE
            self._end_timer = self._loop.call_later(limit, self._ending_is_late)
        if life.leaving and self._leaving_timer is None:
            self._leaving_timer = self._loop.call_later(_LEAVING_LIMIT, self._ending_is_late)
        if life.phase is Phase.OVER:
            self._loop.stop()

    def _name_the_missing(self) -> None:
        if self._life.launching:
            self._progress.show(self._life.missing())

    def _hasten(self) -> None:
        rest = self._limits.connect + _ANSWER_ALLOWANCE
        if self._launch_timer is not None and self._launch_timer.when > time.monotonic() + rest:
            self._launch_timer.cancel()
            self._launch_timer = self._loop.call_later(rest, self._launch_is_late)

    def _launch_is_late(self) -> None:
        now = time.monotonic()
        self._do(self._life.time_is_up(round(now - self._begun, 1), now))

    def _ending_is_late(self) -> None:
        self._life.give_up()
        self._follow_phase()

    def _pass_on(self, number: int) -> None:
        for node_rank in range(len(self._life.spec.world.nodes)):
            self._send(node_rank, Signal(number))

    def _taken(self, rank: int, size: int) -> None:
        """The console wrote something; called on its thread."""
        node_rank = self._life.spec.world.node_of_rank(rank)
        self._loop.post(lambda: self._send(node_rank, OutputTaken(size)))

    def _send(self, node_rank: int, message: Message) -> None:
        assert self._link is not None
        self._link.send(node_rank, message)
