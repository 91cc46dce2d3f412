"""UdpHeartbeats over loopback: what is true is answered, whatever else comes is not."""

from __future__ import annotations

import contextlib
import queue
import select
import socket
import threading
from collections.abc import Iterator

import pytest

from madrun.hosts.world import Node, World
from madrun.options.spec_groups import Limits
from madrun.wire.agent_channel import AgentChannel
from madrun.wire.jobspec import JobSpec
from madrun.wire.lease import CONNECTION_TIMEOUTS, LivenessMonitor
from madrun.wire.messages import Begin, Hello
from madrun.wire.runner_channel import RunnerChannel
from madrun.wire.udp_heartbeat import AgentHeartbeat, RunnerHeartbeat, is_loopback, new_key, sealed
from support.programs import PATIENCE

KEYS = {0: new_key(), 7: new_key()}
SPEC = JobSpec("j", World((Node("a", (0,)),)), ("x",), limits=Limits(heartbeat=1.0))


@pytest.fixture
def runner() -> Iterator[RunnerHeartbeat]:
    made = RunnerHeartbeat()
    yield made
    made.close()


@pytest.fixture
def agent(runner: RunnerHeartbeat) -> Iterator[AgentHeartbeat]:
    made = AgentHeartbeat("127.0.0.1", runner.port, 7, KEYS[7])
    yield made
    made.close()


def arrived(end: RunnerHeartbeat | AgentHeartbeat, limit: float = PATIENCE) -> bool:
    return bool(select.select([end.socket], [], [], limit)[0])


def test_a_udp_heartbeat_is_answered(runner: RunnerHeartbeat, agent: AgentHeartbeat) -> None:
    for _ in range(3):
        agent.beat()
        assert arrived(runner)
        assert runner.take(KEYS.get) == {7}
        assert arrived(agent)
        assert agent.heard()
    assert not agent.heard(), "each answer counts once"


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param(sealed(KEYS[0], b"^", 7, 5), id="another agent's key"),
        pytest.param(sealed(new_key(), b"^", 3, 5), id="nobody's rank"),
        pytest.param(sealed(KEYS[7], b"v", 7, 5), id="an answer, turned around"),
        pytest.param(sealed(KEYS[7], b"^", 7, 5)[:-1], id="too short"),
        pytest.param(sealed(KEYS[7], b"^", 7, 5) + b"x", id="too long"),
        pytest.param(b"", id="empty"),
        pytest.param(b"hello", id="no heartbeat at all"),
    ],
)
def test_what_is_not_true_is_not_answered(runner: RunnerHeartbeat, forged: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.connect(("127.0.0.1", runner.port))
        stranger.send(forged)
        assert arrived(runner)
        assert runner.take(KEYS.get) == set()
        assert not select.select([stranger], [], [], 0.05)[0]


def test_what_was_recorded_and_repeated_is_not_answered(runner: RunnerHeartbeat) -> None:
    first, second = (sealed(KEYS[7], b"^", 7, number) for number in (1, 2))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("127.0.0.1", runner.port))
        for datagram, alive in ((first, {7}), (first, set()), (second, {7}), (first, set())):
            sender.send(datagram)
            assert arrived(runner)
            assert runner.take(KEYS.get) == alive


def test_an_agent_believes_only_answers_to_what_it_sent() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.bind(("127.0.0.1", 0))
        agent = AgentHeartbeat("127.0.0.1", there.getsockname()[1], 7, KEYS[7])
        agent.beat()
        asked, sender = there.recvfrom(100)
        answers = [
            (asked, False),  # its own, turned around
            (sealed(KEYS[7], b"v", 7, 2), False),  # not asked yet
            (sealed(KEYS[0], b"v", 7, 1), False),
            (sealed(KEYS[7], b"v", 7, 1), True),
            (sealed(KEYS[7], b"v", 7, 1), False),
        ]
        for answer, counts in answers:
            there.sendto(answer, sender)
            assert arrived(agent)
            assert agent.heard() is counts
        agent.close()


def test_a_runner_that_is_gone_is_only_silent(
    runner: RunnerHeartbeat, agent: AgentHeartbeat
) -> None:
    runner.close()
    for _ in range(3):
        agent.beat()
        arrived(agent, 0.05)  # the refusal
        assert not agent.heard()


@pytest.mark.parametrize(
    ("address", "own"),
    [("127.0.0.1", True), ("127.3.2.1", True), ("::1", True), ("localhost", True),
     ("10.1.2.3", False), ("node01", False), ("fe80::1%eth0", False)],
)  # fmt: skip
def test_loopback(address: str, own: bool) -> None:
    assert is_loopback(address) is own


def test_udp_heartbeats_keep_a_silent_connection_for_a_while() -> None:
    liveness = LivenessMonitor(1.0, now=0.0)
    now = 0.0
    while now <= CONNECTION_TIMEOUTS:
        assert liveness.udp_heartbeat(now)
        now += 0.5
    assert liveness.expired(now), "an other side that can tell us nothing is no use"
    assert not liveness.message(now)


def test_udp_heartbeats_do_not_keep_a_broken_connection() -> None:
    liveness = LivenessMonitor(5.0, now=0.0)
    liveness.connection_ended(1.0, rest=0.5)
    assert not liveness.udp_heartbeat(1.2)
    assert liveness.expired(1.6)


def test_a_connection_that_came_back_counts_again() -> None:
    liveness = LivenessMonitor(5.0, now=0.0)
    liveness.connection_ended(1.0, rest=0.5)
    assert liveness.message(1.4)
    assert liveness.udp_heartbeat(5.0)
    assert not liveness.expired(9.9)
    assert liveness.rest(9.0) == 1.0


class StallingRelay:
    """A TCP connection that goes silent when told to, as one does that loses packets."""

    def __init__(self, port: int) -> None:
        self.stalled = threading.Event()
        self._there = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._ends: list[socket.socket] = [self._server]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here = self._server.accept()[0]
                there = socket.create_connection(("127.0.0.1", self._there))
                self._ends += [here, there]
                for pair in ((here, there), (there, here)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self.stalled.is_set():
                    return
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for end in self._ends:
            end.close()


@pytest.mark.parametrize(("address", "lives"), [("0.0.0.0", True), ("127.0.0.1", False)])
def test_udp_heartbeats_bridge_a_silent_connection(address: str, lives: bool) -> None:
    """0.0.0.0 is this machine as well, but no loopback address: UDP heartbeats go there."""
    silent: queue.Queue[str] = queue.Queue()
    heard: queue.Queue[object] = queue.Queue()
    runner = RunnerChannel(
        lambda call: call(),
        lambda _rank, message: heard.put(message),
        lambda *_lost: silent.put("agent"),
        1.0,
    )
    relay = StallingRelay(runner.ports[0])
    agent = AgentChannel(lambda call: call(), heard.put, lambda _reason: silent.put("runner"), 1.0)
    runner.admit(0, agent.public_key)
    agent.connect([address], (relay.port, runner.ports[1]), runner.public_key)
    agent.send(Hello(0, "here", 1))
    assert heard.get(timeout=PATIENCE) == Hello(0, "here", 1)
    runner.send(0, Begin(SPEC))
    assert heard.get(timeout=PATIENCE) == Begin(SPEC)
    relay.stalled.set()
    try:
        if lives:
            with pytest.raises(queue.Empty):
                silent.get(timeout=2.5)
        else:
            assert {silent.get(timeout=PATIENCE) for _ in range(2)} == {"agent", "runner"}
    finally:
        agent.close()
        runner.close()
        relay.close()
