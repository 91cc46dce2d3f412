"""What coordinates a job: loop, state machine, console, event log and the link to its agents.

The runner has one, and so has node 0 of a job without a runner.
"""

from __future__ import annotations

import enum
import signal
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from madrun.job.event_log import EventLog
from madrun.job.outcome import (
    SAME_SIGNAL,
    Outcome,
    outcome_of,
    stubborn,
    worker_was_signalled,
)
from madrun.job.state_machine import StateMachine
from madrun.job.states import Action, Admit, JobState, Tell
from madrun.output.console import Console
from madrun.output.progress import NAME_AFTER, Progress
from madrun.output.stdin import StdinForwarder, input_ranks
from madrun.record.event import Listener
from madrun.system.guard_notes import GRACE_NOTE, leave_note
from madrun.system.loop import Loop, Timer
from madrun.system.signals import HOLD_OUTPUT, RELEASE_OUTPUT, follow_signals
from madrun.wire.jobspec import JobSpec
from madrun.wire.messages import (
    Concluded,
    Dropped,
    Exited,
    Input,
    InputCredit,
    JobOver,
    Message,
    Output,
    OutputCredit,
    Serving,
    Signal,
    StartedLater,
)

if TYPE_CHECKING:
    # Not needed, and so not loaded, where no agent is started elsewhere.
    from madrun.wire.key_line import KeyLine

_OF_A_RANK = Output | Dropped | Exited | InputCredit | StartedLater | Concluded
_SAY_AFTER, _SAY_AGAIN = 1.0, 5.0  # seconds
_KILL_ALLOWANCE = 10.0  # seconds an agent may need beyond the grace: kill, look, flush
_CONSOLE_LIMIT = 3.0
_ANSWER_ALLOWANCE = 5.0  # seconds beyond a connection's own limit: a login has several steps
_TOOL_LIMIT = 20.0  # seconds for a tool without agents, where its end says what happened
_LEAVING_LIMIT = 2.0  # seconds for agents that have nothing left to do


class Link(Protocol):
    """The way to the agents: a channel, or calls within this process."""

    def send(self, node_rank: int, message: Message) -> None:
        """Send to one agent."""

    def admit(self, node_rank: int, key: str) -> None:
        """Let in the agent with this key."""

    def to_ours(self, node_rank: int, at: float) -> float:
        """A time of a node's clock as a time of ours, in monotonic seconds."""

    def clock_error(self, node_rank: int) -> float:
        """By how many seconds such a time may be wrong."""


class Leaving(enum.Enum):
    """When agents leave, and who says so."""

    UNSEEN = "once they have finished; nobody tells"
    TOLD = "once they have finished; the backend tells when each one's process has ended"
    TOGETHER = "when the job is over everywhere, with its exit status; that they go is told"


class Assignment(NamedTuple):
    """What a coordinator is for: a job, or of a job by hand these ``node_ranks`` (empty: all).

    ``version`` is madrun's, which every agent has to have; a backend's attempt to connect takes at
    most ``connect_limit`` seconds.
    """

    spec: JobSpec
    version: str
    connect_limit: float
    node_ranks: Sequence[int] = ()


class Coordinator:
    """Runs a job to its end. Everything happens on the loop; backends call in through ``post``."""

    def __init__(
        self,
        loop: Loop,
        assignment: Assignment,
        console: Callable[[Callable[[int, int], None]], Console],
        progress: Progress,
        listeners: Sequence[Listener] = (),
    ) -> None:
        spec, version, self._connect_limit, node_ranks = assignment
        self._loop, self._limits = loop, spec.limits
        self._machine = StateMachine(spec, version, node_ranks)
        # Looked up for each piece of output: not to be counted anew on a thousand nodes.
        who = self._machine.process_table
        self._node_of_rank = dict(enumerate(who.node_ranks))
        self._console = console(self._taken)
        reading = [
            rank
            for rank in input_ranks(spec.stdin, who.size)
            if who.node_ranks[rank] in self._machine.node_ranks
        ]
        self._stdin = StdinForwarder(loop, reading, self._input)
        self.event_log = EventLog(self._machine, listeners)
        self._progress = progress
        self._link: Link | None = None
        self._leaving = Leaving.UNSEEN
        self._launch_timer: Timer | None = None
        self._end_timer: Timer | None = None
        self._leaving_timer: Timer | None = None
        self._pause: Timer | None = None
        self._begun = 0.0
        self._has_run = False

    def run(self, link: Link, leaving: Leaving = Leaving.UNSEEN) -> Outcome:
        """Until the job is over."""
        self._link, self._leaving = link, leaving
        self._machine.agents_leave = leaving is not Leaving.UNSEEN
        leave_note(GRACE_NOTE, str(self._machine.spec.limits.grace))
        follow_signals(self._loop, self.stop, self._pass_on)
        self._loop.on_signal(HOLD_OUTPUT, lambda _number: self._console.hold(True))
        self._loop.on_signal(RELEASE_OUTPUT, lambda _number: self._console.hold(False))
        self._begun = time.monotonic()
        self.event_log.follow(self._begun)
        self._launch_timer = self._loop.call_later(self._limits.launch, self._launch_is_late)
        self._show_progress()
        self._loop.call_later(NAME_AFTER, self._show_progress)
        self._loop.run()
        self._has_run = True
        for timer in (self._launch_timer, self._end_timer, self._leaving_timer):
            if timer is not None:  # the loop may run another job after this one
                timer.cancel()
        outcome = outcome_of(self._machine)
        self.event_log.end(outcome)
        seen = self._console.has_just_shown(outcome.rank, outcome.tail)
        words = outcome.brief if seen else outcome.report
        for loss in self._console.close(_CONSOLE_LIMIT, last_words=words):
            self.event_log.not_shown(*loss)
        return outcome

    # ---- Listener of the backend, from any thread

    def agent_key(self, node_rank: int, line: KeyLine, addresses: Sequence[str]) -> None:
        """See madrun.backends.base.Listener."""
        at = time.monotonic()

        def known(now: float) -> list[Action]:
            self.event_log.of_host("agent_key", node_rank, at, version=line.version)
            return self._machine.agent_key(node_rank, line, addresses, now)

        self._post(known)

    def agent_step(self, node_rank: int, step: str, at: float) -> None:
        """See madrun.backends.base.Listener."""
        self._loop.post(lambda: self.event_log.of_host("step", node_rank, at, step=step))

    def agent_failed(self, node_rank: int, reason: str) -> None:
        """See madrun.backends.base.Listener."""
        self._post(lambda now: self._machine.lost(node_rank, reason, now))

    def agent_gone(self, node_rank: int, reason: str) -> None:
        """See madrun.backends.base.Listener."""
        self._post(lambda now: self._machine.gone(node_rank, reason, now))

    def tool_started(self, carries_signals: bool) -> None:
        """See madrun.backends.base.Listener."""
        self._loop.post(lambda: self._machine.tool_started(carries_signals))

    def tool_ended(self, reason: str, at: float, well: bool) -> None:
        """See madrun.backends.base.Listener."""

        def ended(_now: float) -> list[Action]:
            self.event_log.note("tool_ended", at, reason=reason)
            return self._machine.tool_ended(reason, at, well)

        self._post(ended)

    def tool_says(self, text: str) -> None:
        """Something that the user should know now, from a backend's tool."""
        self._loop.post(lambda: self._console.say(f"madrun: {text}"))

    # ---- events of the loop

    def watch_guard(self, guard_fd: int) -> None:
        """End the job once the guard that holds the other end of this is gone."""

        def gone() -> None:
            self._loop.unwatch(guard_fd)
            self.guard_gone()

        self._loop.watch(guard_fd, gone)

    def agent_lost(self, node_rank: int, reason: str, at: float) -> None:
        """See madrun.wire.runner_channel: an agent is heard no more, since ``at``."""
        self._do(self._machine.gone(node_rank, reason, at))

    def stop(self, number: int) -> None:
        """A signal that ends the job; the second one ends it at once."""
        self.event_log.signal(number, time.monotonic())
        if not self._machine.causes.stopped_by:
            self._loop.call_later(_SAY_AFTER, self._name_the_stubborn)
        elif self._end_timer is not None:  # from now on there is no grace to wait for
            self._end_timer.cancel()
            self._end_timer = self._loop.call_later(_KILL_ALLOWANCE, self._ending_is_late)
        self._do(self._machine.stop(number, time.monotonic()))

    def _name_the_stubborn(self) -> None:
        """The user waits for the prompt: say for whom, and what can be done."""
        names, number = stubborn(self._machine), self._machine.causes.first_signal
        if names:
            again = "Ctrl-C" if number == signal.SIGINT else "a signal"
            self._console.say(f"madrun: ending: waiting for {names}; {again} again kills")
        if self._machine.state is JobState.ENDING:
            self._loop.call_later(_SAY_AGAIN, self._name_the_stubborn)

    def guard_gone(self) -> None:
        """Our guard was killed: that is how a SIGKILL of what the user started looks from here."""
        now = time.monotonic()
        self.event_log.note("guard_gone", now)
        self._do(self._machine.guard_gone(now))

    def receive(self, node_rank: int, message: Message) -> None:
        """A message of an agent; it speaks for its own ranks only."""
        if isinstance(message, _OF_A_RANK) and self._node_of_rank.get(message.rank) != node_rank:
            return
        match message:
            case Output(rank, stream, data, pause):
                self._console.output(rank, stream, data, pause)
                self.event_log.output(node_rank, rank)
                return
            case InputCredit(rank, size):
                self._stdin.taken(rank, size)
                return
            case Dropped(rank, lines):
                self._console.dropped(rank, lines)
                self.event_log.message(node_rank, message, 0.0, time.monotonic())
                return
            case Exited(rank=rank):
                self._console.end_of(rank)
                at = self._to_ours(node_rank, message.at)
            case Concluded():
                at = self._to_ours(node_rank, message.at)
            case Serving(url):
                self._console.announce(f"READY {url}")
                at = 0.0
            case _:
                at = 0.0
        now = time.monotonic()
        self.event_log.message(node_rank, message, at, now)
        error = self._link.clock_error(node_rank) if at and self._link is not None else 0.0
        self._do(self._machine.heard(node_rank, message, at, now, error=error))

    def _post(self, event: Callable[[float], list[Action]]) -> None:
        self._loop.post(lambda: self._do(event(time.monotonic())))

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Tell(node_rank, message):
                    self._send(node_rank, message)
                case Admit(node_rank, key):
                    assert self._link is not None
                    self._link.admit(node_rank, key)
        self._follow_phase()

    def _follow_phase(self) -> None:
        machine = self._machine
        self.event_log.follow(time.monotonic())
        if machine.launching:
            self._show_progress()
            if machine.problems:  # no need to wait long for the others' answers
                self._hasten()
            return
        self._progress.clear()
        if machine.state in (JobState.STARTING, JobState.RUNNING):
            self._stdin.start()
        if self._launch_timer is not None:
            self._launch_timer.cancel()
        if machine.state is JobState.ENDING and self._end_timer is None:
            limit = machine.spec.limits.grace + _KILL_ALLOWANCE
            self._end_timer = self._loop.call_later(limit, self._ending_is_late)
        if self._outcome_is_settled():
            self._leave()

    def _outcome_is_settled(self) -> bool:
        """A scheduler signals workers and agents alike: we may be told a moment after a worker."""
        machine = self._machine
        over = machine.leaving or machine.state is JobState.OVER
        if self._leaving is not Leaving.TOGETHER or not over:
            return True
        told = machine.causes.stopped_by or machine.causes.interruptions
        if told or not worker_was_signalled(machine):
            return True
        if self._pause is None:
            self._pause = self._loop.call_later(SAME_SIGNAL, self._follow_phase)
        return time.monotonic() >= self._pause.when

    def _leave(self) -> None:
        """Once nothing runs any more, the agents leave, and then we do."""
        machine = self._machine
        over = machine.state is JobState.OVER
        if (machine.leaving or over) and self._leaving_timer is None:
            limit = _TOOL_LIMIT if machine.causes.await_tool else _LEAVING_LIMIT
            self._leaving_timer = self._loop.call_later(limit, self._ending_is_late)
            if self._leaving is Leaving.TOGETHER:
                status = outcome_of(machine).status
                for node_rank in machine.node_ranks:
                    self._send(node_rank, JobOver(status))
        if over and not self._has_run:  # what a tool says at its end comes in the next job's time
            self._loop.stop()

    def _show_progress(self) -> None:
        machine = self._machine
        if machine.launching:
            refused = [(machine.host(each.node_rank), each.reason) for each in machine.problems]
            self._progress.show(machine.missing(), refused)

    def _hasten(self) -> None:
        rest = self._connect_limit + _ANSWER_ALLOWANCE
        if self._launch_timer is not None and self._launch_timer.when > time.monotonic() + rest:
            self._launch_timer.cancel()
            self._launch_timer = self._loop.call_later(rest, self._launch_is_late)

    def _launch_is_late(self) -> None:
        now = time.monotonic()
        self._do(self._machine.time_is_up(round(now - self._begun, 1), now))

    def _ending_is_late(self) -> None:
        self._machine.give_up()
        self._follow_phase()

    def _pass_on(self, number: int) -> None:
        self.event_log.signal(number, time.monotonic(), passed_on=True)
        for node_rank in self._machine.node_ranks:
            self._send(node_rank, Signal(number))

    def _input(self, rank: int, data: bytes) -> None:
        self._send(self._node_of_rank[rank], Input(rank, data))

    def _taken(self, rank: int, size: int) -> None:
        """The console wrote something; called on its thread."""
        node_rank = self._node_of_rank[rank]
        self._loop.post(lambda: self._send(node_rank, OutputCredit(size)))

    def _to_ours(self, node_rank: int, at: float) -> float:
        return self._link.to_ours(node_rank, at) if self._link is not None else at

    def _send(self, node_rank: int, message: Message) -> None:
        assert self._link is not None
        self._link.send(node_rank, message)
