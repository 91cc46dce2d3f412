"""Any life of any job: agents that are late, lost, or come twice, on a network that fails.

Messages of an agent are delayed, dropped, repeated and put out of order. Whatever happens, the
job ends everywhere once anything is wrong, it ends once, and its exit status says so.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from madrun.hosts.world import Node, World
from madrun.job.outcome import outcome_of
from madrun.job.state_machine import StateMachine
from madrun.job.states import Action, JobState
from madrun.options.spec_groups import Limits
from madrun.system.exits import FAILED, exit_status
from madrun.wire.jobspec import JobSpec
from madrun.wire.key_line import KeyLine
from madrun.wire.messages import (
    Begin,
    Bye,
    CheckIn,
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
from support.histories import GRACE, KEY, VERSION, History, told

WORKERS = 2  # on each node
ORDER = list(JobState)
NODES = st.integers(0, 3)
STATUSES = st.sampled_from([0, 0, 1, 3, -9, -15])
ENDING = st.sampled_from([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])


@dataclass
class Agent:
    """One simulated agent: what is on its way to it and from it, and what the runner must know.

    ``heard_of`` is true from its first Hello on, until it was lost or has said Finished.
    """

    node_rank: int
    inbox: list[Message] = field(default_factory=list)
    outbox: list[tuple[float, Message]] = field(default_factory=list)
    running: set[int] = field(default_factory=set)
    started: bool = False
    done: bool = False
    reachable: bool = True
    heard_of: bool = False
    over: bool = False  # lost, or Finished was heard
    able: bool = False
    tried: bool = False
    told_to_end: bool = False


class AnyLife(RuleBasedStateMachine):
    """Drives a Life with whatever may happen, and remembers what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.agents: list[Agent] = []
        self.causes: list[tuple[float, int]] = []  # when, and the exit status that it means
        self.ended_well: set[int] = set()
        self.reached = 0
        self.machine: StateMachine

    @initialize(nodes=st.integers(1, 4), leave=st.booleans(), calm=st.sampled_from([0, 0, 1, 2, 6]))
    def begin(self, nodes: int, leave: bool, calm: int) -> None:
        world = World(tuple(Node(f"node{n}", tuple(range(WORKERS))) for n in range(nodes)))
        self.machine = StateMachine(JobSpec("j", world, ("x",), limits=Limits(GRACE)), VERSION)
        self.machine.agents_leave = leave
        self.agents = [Agent(node_rank) for node_rank in range(nodes)]
        self.all_is_calm(calm)

    # ---- what the rules are made of

    def agent(self, number: int) -> Agent:
        return self.agents[number % len(self.agents)]

    def is_over(self) -> bool:
        return self.machine.state is JobState.OVER

    def tick(self) -> float:
        self.now += 1.0
        return self.now

    def follow(self, actions: list[Action]) -> None:
        """Put what is to be told on its way; Go only where everybody is able."""
        for node_rank, message in told(actions):
            agent = self.agents[node_rank]
            if isinstance(message, Go):
                assert all(each.able and not each.over for each in self.agents)
                assert all(each.tried for each in self.agents[1:])
            agent.told_to_end = agent.told_to_end or isinstance(message, End)
            agent.inbox.append(message)

    def says(self, agent: Agent, *messages: Message) -> None:
        if agent.reachable:
            agent.outbox += [(self.tick(), message) for message in messages]

    def leave(self, agent: Agent, ended: bool) -> None:
        """The agent ends its workers and says so."""
        first = WORKERS * agent.node_rank
        gone = [Exited(first + n, 1, -15, self.tick(), ended) for n in sorted(agent.running)]
        agent.running.clear()
        if not agent.done:
            agent.done = True
            self.says(agent, *gone, Finished())

    def expect(self, agent: Agent, message: Message, at: float) -> None:
        """Note what a message means, before the runner hears it."""
        match message:
            case Hello():
                agent.heard_of = agent.heard_of or not agent.over
            case _ if not agent.heard_of or agent.over:
                return
            case CheckIn(problem="") if not self.machine.problems:
                agent.able = True
            case MasterTried(address) if address:
                agent.tried = True
            case Exited(rank=rank, status=0):
                self.ended_well.add(rank)
            case Exited(status=status, ended=False):
                self.causes.append((at, exit_status(status)))
            case Interrupted(number) if not self.machine.causes.stopped_by:
                self.causes.append((self.now, 128 + number))
            case Finished():
                agent.over = True

    # ---- what may happen

    @rule(number=NODES, version=st.sampled_from([VERSION] * 9 + ["0.9"]))
    @precondition(lambda self: not self.is_over())
    def an_agent_starts(self, number: int, version: str) -> None:
        """Or starts anew: a second key line, a second Hello."""
        agent = self.agent(number)
        agent.started = True
        if version != VERSION:
            agent.over = agent.over or not agent.heard_of
        line = KeyLine(agent.node_rank, version, KEY)
        self.follow(self.machine.agent_key(agent.node_rank, line, ("10.0.0.1",), self.tick()))
        self.says(agent, Hello(agent.node_rank, "here", 1))

    @rule(number=NODES, which=st.integers(0, 9), again=st.booleans())
    @precondition(lambda self: not self.is_over())
    def a_word_arrives(self, number: int, which: int, again: bool) -> None:
        """Not always the oldest one, and sometimes twice."""
        agent = self.agent(number)
        if not agent.outbox:
            return
        index = which % len(agent.outbox) if which > 6 else 0
        at, message = agent.outbox[index]
        if not again or index == 0:
            del agent.outbox[index]
        now = self.tick()
        self.expect(agent, message, at)
        self.follow(self.machine.heard(agent.node_rank, message, at, now))

    @rule(number=NODES, which=st.integers(0, 9))
    def a_word_is_lost(self, number: int, which: int) -> None:
        outbox = self.agent(number).outbox
        if which < len(outbox):
            del outbox[which]

    @rule(number=NODES, problem=st.sampled_from(["", "", "no such folder"]))
    def an_agent_obeys(self, number: int, problem: str) -> None:
        agent = self.agent(number)
        if not agent.inbox or not agent.reachable:
            return
        match agent.inbox.pop(0):
            case Begin():
                self.says(agent, CheckIn(problem, FAILED if problem else 0, port=29500))
            case TryMaster(addresses):
                self.says(agent, MasterTried("" if problem else addresses[0], problem))
            case Go() if not agent.done:
                agent.running = set(range(WORKERS))
                self.says(agent, Started((1, 2)))
            case End():
                self.leave(agent, ended=True)
            case Bye() if self.machine.agents_leave and not self.is_over():
                self.follow(self.machine.gone(agent.node_rank, "it ended", self.tick()))

    @rule(number=NODES, status=STATUSES)
    def a_worker_ends(self, number: int, status: int) -> None:
        agent = self.agent(number)
        if agent.running:
            local = agent.running.pop()
            rank = WORKERS * agent.node_rank + local
            at = self.tick()
            self.says(agent, Exited(rank, 1, status, at, ended=False))
            if status or not agent.running:
                self.leave(agent, ended=True)

    @rule(number=NODES)
    @precondition(lambda self: not self.is_over())
    def a_node_is_lost(self, number: int) -> None:
        agent = self.agent(number)
        agent.reachable, launching = False, self.machine.launching
        now = self.tick()
        if not agent.over:
            agent.over = True
            if not launching:
                self.causes.append((now, FAILED))
        self.follow(self.machine.gone(agent.node_rank, "no word", now))

    @rule(number=NODES, signal_number=ENDING)
    def an_agent_is_told_to_stop(self, number: int, signal_number: int) -> None:
        agent = self.agent(number)
        if not agent.done:
            self.says(agent, Interrupted(signal_number))
            self.leave(agent, ended=True)

    @rule(number=ENDING)
    @precondition(lambda self: not self.is_over())
    def the_user_is_tired_of_it(self, number: int) -> None:
        now = self.tick()
        if not self.machine.causes.stopped_by:
            self.causes.append((now, 128 + number))
        self.follow(self.machine.stop(number, now))

    @rule()
    @precondition(lambda self: not self.is_over() and self.machine.launching)
    def the_launch_takes_too_long(self) -> None:
        for agent in self.agents:
            if self.machine.host(agent.node_rank) in self.machine.missing():
                agent.over = True
        self.follow(self.machine.time_is_up(60.0, self.tick()))
        assert not self.machine.launching

    @rule(rounds=st.integers(1, 4))
    def all_is_calm(self, rounds: int) -> None:
        """For a while everything goes as it should."""
        for _ in range(rounds):
            for agent in self.agents:
                if not agent.started and not self.is_over():
                    self.an_agent_starts(agent.node_rank, VERSION)
                if not self.is_over():
                    self.a_word_arrives(agent.node_rank, 0, again=False)
                self.an_agent_obeys(agent.node_rank, "")

    # ---- what is always so

    @invariant()
    def the_phase_never_goes_back(self) -> None:
        state = ORDER.index(self.machine.state)
        assert state >= self.reached
        self.reached = state

    @invariant()
    def whatever_is_wrong_ends_it(self) -> None:
        if self.causes:
            assert self.machine.state in (JobState.ENDING, JobState.OVER)

    @invariant()
    def when_it_ends_everybody_is_told(self) -> None:
        if self.machine.state is JobState.ENDING:
            alive = [each for each in self.agents if each.heard_of and not each.over]
            assert all(each.told_to_end for each in alive)

    @invariant()
    def when_nobody_is_left_it_is_over(self) -> None:
        alive = [each for each in self.agents if each.heard_of and not each.over]
        if self.machine.state is JobState.ENDING and not self.machine.agents_leave:
            assert alive
        if self.machine.state is JobState.ENDING and not alive:
            assert self.machine.leaving

    def teardown(self) -> None:
        """However far it came: to give up is to be over, and the exit status is right."""
        if not self.agents:
            return
        if not self.is_over():
            self.machine.give_up()
        assert self.is_over()
        status = outcome_of(self.machine).status
        assert 0 <= status <= 255
        ranks = set(range(WORKERS * len(self.agents)))
        begun = min((each.at for each in self.machine.problems), default=float("inf"))
        if not self.causes or begun < min(self.causes)[0]:
            assert status != 0 or (self.ended_well == ranks and not self.machine.problems)
        else:
            assert status == min(self.causes)[1]


AnyLife.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestAnyLife = AnyLife.TestCase


@pytest.mark.parametrize("ranks", [(), (0, 1, 2), (0, 0, 1, 2)])
def test_zero_is_for_workers_that_were_all_heard_of(ranks: tuple[int, ...]) -> None:
    history = History(nodes=2).running()
    for rank in ranks:
        history.exited(rank, 0)
    history.finished(0, 1)
    assert history.state() is JobState.OVER
    assert outcome_of(history.machine).status == FAILED


def test_one_that_finishes_before_the_start_is_no_success() -> None:
    """However that comes: its words about the reason may have been lost."""
    history = History(nodes=2)
    history.key(0)
    history.hears(0, Hello(0, "node0", 1))
    history.finished(0)
    if history.state() is not JobState.OVER:
        history.machine.time_is_up(60.0, history.now)
    assert outcome_of(history.machine).status != 0


def test_a_problem_that_follows_a_signal_is_not_the_cause() -> None:
    history = History(nodes=2)
    history.greeted()
    history.machine.stop(signal.SIGINT, history.now)
    history.hears(0, CheckIn(problem="no such folder", status=FAILED))
    history.finished(0, 1)
    assert outcome_of(history.machine).status == 128 + signal.SIGINT


def test_a_signal_that_is_heard_of_after_what_came_of_it_is_the_cause() -> None:
    history = History(nodes=1).running()
    history.hears(0, Exited(0, 1, -signal.SIGTERM, history.now, ended=True))
    history.hears(0, Interrupted(signal.SIGINT))
    history.finished(0)
    assert outcome_of(history.machine).status == 128 + signal.SIGINT
