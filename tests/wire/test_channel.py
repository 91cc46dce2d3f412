"""The control channel, both ends in one process over loopback."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq
from zmq.utils import z85

from madrun.hosts.world import Node, World
from madrun.options.spec_groups import Limits
from madrun.system.errors import ClusterError
from madrun.wire import runner_channel
from madrun.wire.agent_channel import AgentChannel
from madrun.wire.authenticator import Authenticator
from madrun.wire.codec import MAX_FRAME_UP, pack
from madrun.wire.jobspec import JobSpec
from madrun.wire.messages import (
    Begin,
    CheckIn,
    Drained,
    Finished,
    Go,
    Heartbeat,
    Hello,
    InputCredit,
    Message,
    Output,
    Signal,
)
from madrun.wire.runner_channel import RunnerChannel
from support.programs import PATIENCE

HELLO = Hello(0, "here", 1)
SILENCE = 0.3  # seconds in which nothing must happen
SPEC = JobSpec("j", World((Node("a", (0,)),)), ("x",), limits=Limits(heartbeat=1.0))


def at_once(callback: Callable[[], None]) -> None:
    callback()


class Runner:
    """A runner's end, and what it was told."""

    def __init__(self, timeout: float = 30.0) -> None:
        self.heard: queue.Queue[tuple[int, Message]] = queue.Queue()
        self.silent: queue.Queue[int] = queue.Queue()
        self.channel = RunnerChannel(
            at_once,
            lambda *said: self.heard.put(said),
            lambda node_rank, _reason, _at: self.silent.put(node_rank),
            timeout,
        )

    def next(self) -> tuple[int, Message]:
        return self.heard.get(timeout=PATIENCE)


class Agent:
    """An agent's end, connected unless it cannot be, and what it was told."""

    def __init__(self, runner: Runner, key: str = "", patience: float = 30.0) -> None:
        self.heard: queue.Queue[Message] = queue.Queue()
        self.lost: queue.Queue[str] = queue.Queue()
        self.channel = AgentChannel(at_once, self.heard.put, self.lost.put, patience)
        self._runner, self._key = runner, key

    def connect(self) -> Agent:
        there = self._runner.channel
        self.channel.connect(["127.0.0.1"], there.ports, self._key or there.public_key)
        return self

    def next(self) -> Message:
        return self.heard.get(timeout=PATIENCE)


@pytest.fixture
def open_ends() -> Iterator[list[Any]]:
    """Ends that a test opened; they are closed, the last one first."""
    ends: list[Any] = []
    yield ends
    for end in reversed(ends):
        end.channel.close()


@pytest.fixture
def runner(open_ends: list[Any]) -> Runner:
    made = Runner()
    open_ends.append(made)
    return made


@pytest.fixture
def agent(runner: Runner, open_ends: list[Any]) -> Agent:
    """Admitted, and it has said Hello."""
    made = Agent(runner)
    open_ends.append(made)
    runner.channel.admit(0, made.channel.public_key)
    made.connect().channel.send(HELLO)
    assert runner.next() == (0, HELLO)
    return made


def test_messages_arrive_in_order_both_ways(runner: Runner, agent: Agent) -> None:
    for number in range(2000):
        agent.channel.send(Drained(0) if number % 2 else InputCredit(0, number))
        runner.channel.send(0, Go("a", number))
    said = [Drained(0) if n % 2 else InputCredit(0, n) for n in range(2000)]
    assert [runner.next() for _ in range(2000)] == [(0, each) for each in said]
    assert [agent.next() for _ in range(2000)] == [Go("a", n) for n in range(2000)]


def test_a_flood_of_output_does_not_stand_before_a_word(runner: Runner, agent: Agent) -> None:
    flood = [Output(0, 1, bytes(60_000)) for _ in range(12)]  # as much as an agent may
    for output in flood:
        agent.channel.send(output)
    agent.channel.send(CheckIn())
    heard = [runner.next()[1] for _ in range(len(flood) + 1)]
    assert [each for each in heard if isinstance(each, Output)] == flood
    assert CheckIn() in heard


def test_an_agent_may_come_before_its_key(runner: Runner, open_ends: list[Any]) -> None:
    early = Agent(runner)
    open_ends.append(early)
    early.connect().channel.send(HELLO)
    with pytest.raises(queue.Empty):
        runner.heard.get(timeout=SILENCE)
    runner.channel.admit(5, early.channel.public_key)
    assert runner.next() == (5, HELLO), "it is who its key is, whatever it says"


def test_a_stranger_never_gets_a_word_in(
    runner: Runner, agent: Agent, open_ends: list[Any]
) -> None:
    stranger = Agent(runner)
    open_ends.append(stranger)
    stranger.connect().channel.send(HELLO)
    stranger.channel.send(Finished())
    agent.channel.send(CheckIn())
    assert runner.next() == (0, CheckIn())
    with pytest.raises(queue.Empty):
        runner.heard.get(timeout=SILENCE)


def test_nor_does_one_without_any_key(runner: Runner, agent: Agent) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as plain:
        plain.linger = 0
        plain.connect(f"tcp://127.0.0.1:{runner.channel.ports[0]}")
        plain.send(pack(HELLO))
        agent.channel.send(CheckIn())
        assert runner.next() == (0, CheckIn())
        with pytest.raises(queue.Empty):
            runner.heard.get(timeout=SILENCE)


def test_a_runner_with_another_key_is_not_listened_to(runner: Runner, open_ends: list[Any]) -> None:
    public, _secret = zmq.curve_keypair()
    agent = Agent(runner, key=z85.decode(public).hex(), patience=0.5)
    open_ends.append(agent)
    runner.channel.admit(0, agent.channel.public_key)
    agent.connect().channel.send(HELLO)
    assert agent.lost.get(timeout=PATIENCE) == "no word from the runner"
    assert runner.heard.empty()


def test_no_runner_at_all(runner: Runner) -> None:
    agent = Agent(runner)
    with pytest.raises(ClusterError, match="cannot be reached"):
        agent.channel.connect(["127.0.0.1"], (1, 1), runner.channel.public_key)
    agent.channel.close()


class RawAgent:
    """An admitted agent that sends whatever it likes."""

    def __init__(self, runner: Runner, node_rank: int) -> None:
        public, secret = zmq.curve_keypair()
        runner.channel.admit(node_rank, z85.decode(public).hex())
        self.context = zmq.Context()
        self.socket: zmq.Socket[bytes] = self.context.socket(zmq.DEALER)
        self.socket.curve_publickey, self.socket.curve_secretkey = public, secret
        self.socket.curve_serverkey = bytes.fromhex(runner.channel.public_key)
        self.socket.linger = 0
        self.socket.connect(f"tcp://127.0.0.1:{runner.channel.ports[0]}")

    def close(self) -> None:
        self.context.destroy(linger=0)


@pytest.mark.parametrize(
    "parts", [[b""], [b"\xc1"], [b"a", b"b"], [b""] * 50, [os.urandom(100_000)]]
)
@pytest.mark.parametrize("greets", [False, True])
def test_an_admitted_agent_that_talks_nonsense_is_lost_and_heard_no_more(
    runner: Runner, agent: Agent, parts: list[bytes], greets: bool
) -> None:
    raw = RawAgent(runner, 1)
    if greets:
        raw.socket.send(pack(Hello(0, "I am another", 1)))
        assert runner.next() == (1, Hello(0, "I am another", 1))
    raw.socket.send_multipart(parts)
    assert runner.silent.get(timeout=PATIENCE) == 1
    raw.socket.send(pack(Hello(0, "I am another", 1)))
    raw.socket.send(pack(CheckIn()))
    agent.channel.send(CheckIn())
    assert runner.next() == (0, CheckIn())
    raw.close()


def test_what_an_agent_says_before_its_hello_is_not_heard(runner: Runner, agent: Agent) -> None:
    raw = RawAgent(runner, 1)
    raw.socket.send(pack(CheckIn()))
    raw.socket.send(pack(Hello(0, "I am another", 1)))
    assert runner.next() == (1, Hello(0, "I am another", 1))
    raw.close()


def test_what_is_too_large_costs_only_its_sender(runner: Runner, agent: Agent) -> None:
    raw = RawAgent(runner, 1)
    raw.socket.send(bytes(MAX_FRAME_UP + 1), copy=False)
    agent.channel.send(CheckIn())
    assert runner.next() == (0, CheckIn())
    raw.close()


def test_an_agent_whose_channel_closes_falls_silent(open_ends: list[Any]) -> None:
    runner = Runner(timeout=1.0)
    open_ends.append(runner)
    agent = Agent(runner)
    runner.channel.admit(0, agent.channel.public_key)
    agent.connect().channel.send(HELLO)
    assert runner.next() == (0, HELLO)
    agent.channel.close()
    assert runner.silent.get(timeout=PATIENCE) == 0
    runner.channel.send(0, Signal(1))  # to nobody: harmless


def test_a_quiet_agent_is_kept_by_its_heartbeats(open_ends: list[Any]) -> None:
    runner = Runner(timeout=2.0)
    open_ends.append(runner)
    agent = Agent(runner, patience=2.0)
    open_ends.append(agent)
    runner.channel.admit(0, agent.channel.public_key)
    agent.connect().channel.send(HELLO)
    with pytest.raises(queue.Empty):
        runner.silent.get(timeout=3.0)
    assert agent.lost.empty()
    assert agent.heard.empty(), "heartbeats are the channel's own"


def test_an_agent_notices_that_its_runner_is_gone(open_ends: list[Any]) -> None:
    runner = Runner()
    agent = Agent(runner)
    open_ends.append(agent)
    runner.channel.admit(0, agent.channel.public_key)
    agent.connect().channel.send(HELLO)
    assert runner.next() == (0, HELLO)
    runner.channel.send(0, Begin(SPEC))
    assert agent.next() == Begin(SPEC)
    runner.channel.close()
    assert agent.lost.get(timeout=PATIENCE) == "no word from the runner"


def test_what_was_said_before_closing_still_arrives(runner: Runner) -> None:
    agent = Agent(runner)
    runner.channel.admit(0, agent.channel.public_key)
    agent.connect().channel.send(HELLO)
    agent.channel.send(Output(0, 1, b"last words"))
    agent.channel.send(Finished(("x",)))
    assert runner.next() == (0, HELLO)
    agent.channel.close()
    assert runner.next() == (0, Output(0, 1, b"last words"))
    assert runner.next() == (0, Finished(("x",), 1))


def test_output_that_a_broken_connection_has_lost_is_not_waited_for_without_an_end() -> None:
    runner = Runner(timeout=1.0)
    agent = Agent(runner)
    runner.channel.admit(0, agent.channel.public_key)
    agent.connect().channel.send(HELLO)
    assert runner.next() == (0, HELLO)
    agent.channel._outputs = 1  # which never comes
    agent.channel.send(Finished())
    assert runner.next() == (0, Finished((), 1))
    assert runner.silent.empty()
    agent.channel.close()
    runner.channel.close()


def test_two_ends_of_one_machine_have_one_clock(open_ends: list[Any]) -> None:
    runner = Runner(timeout=1.0)
    open_ends.append(runner)
    agent = Agent(runner)
    open_ends.append(agent)
    runner.channel.admit(0, agent.channel.public_key)
    agent.connect().channel.send(HELLO)
    deadline = time.monotonic() + PATIENCE
    while runner.channel.clock_of(0).round_trip == float("inf"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    clock = runner.channel.clock_of(0)
    assert abs(clock.offset) <= clock.round_trip / 2 + 1e-6
    assert runner.channel.clock_of(7).offset == 0.0


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_channel_that_is_closed_twice_closes_nothing_of_anybody_else() -> None:
    before = open_descriptors()
    runner = Runner()
    runner.channel.close()
    assert open_descriptors() == before, "each descriptor is given back"
    with open(os.devnull, "rb") as taken:
        runner.channel.close()
        assert taken.read() == b""


def test_an_unused_channel_gives_back_its_descriptors() -> None:
    before = open_descriptors()
    channel = AgentChannel(at_once, lambda _message: None, lambda _reason: None, 1.0)
    assert open_descriptors() > before
    channel.close()
    assert open_descriptors() == before


def test_an_agent_whose_key_comes_late_is_let_in_all_the_same(
    open_ends: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handshake that ends before the login has brought the key is not the runner's end."""
    asked = threading.Semaphore(0)
    ask = Authenticator.ask

    def counted(self: Authenticator) -> None:
        ask(self)
        asked.release()

    monkeypatch.setattr(Authenticator, "ask", counted)
    monkeypatch.setattr(runner_channel, "_HANDSHAKE_LIMIT_MS", 300)
    runner = Runner()
    open_ends.append(runner)
    agent = Agent(runner)
    open_ends.append(agent)
    agent.connect().channel.send(HELLO)
    for _ in range(8):  # two for each attempt: control and output
        assert asked.acquire(timeout=PATIENCE)
    assert agent.lost.empty()
    runner.channel.admit(0, agent.channel.public_key)
    assert runner.next() == (0, HELLO)


def test_a_beat_is_never_handed_on(runner: Runner, agent: Agent) -> None:
    agent.channel.send(Heartbeat(1.0, 1.0))
    agent.channel.send(CheckIn())
    assert runner.next() == (0, CheckIn())
