"""Agents that the runner has admitted, and that say what none of this version says."""

from __future__ import annotations

from collections.abc import Iterator

import msgpack
import psutil
import pytest

from madrun.wire import codec
from madrun.wire.agent_channel import AgentChannel
from madrun.wire.codec import pack
from madrun.wire.messages import CheckIn, Hello, Output, OutputCredit
from madrun.wire.runner_channel import RunnerChannel
from support.programs import PATIENCE
from support.served import BOUND, Peer, Served


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.close()


def nested(depth: int) -> bytes:
    frame: bytes = msgpack.packb([codec.VERSION, "Signal", {"number": 0}])
    return frame[:-1] + b"\x91" * depth + b"\x90"


@pytest.mark.parametrize("depth", [1, 300, 1000, 100_000])
def test_nested_lists_of_an_admitted_agent_cost_only_that_agent(served: Served, depth: int) -> None:
    served.admit()
    with Peer(served) as liar:
        served.channel.admit(1, liar.key)
        liar.say(Hello(1, "x", 1))
        assert served.heard.get(timeout=PATIENCE)[0] == 1
        liar.socket.send(nested(depth))
        node_rank, reason = served.left.get(timeout=PATIENCE)
        assert (node_rank, reason[:15]) == (1, "its agent sent ")
        assert len(reason) < 200
        served.goes_on()
        assert served.faults.empty()


def test_output_beyond_the_window_costs_only_its_sender(served: Served) -> None:
    served.admit()
    with Peer(served) as liar:
        served.channel.admit(1, liar.key)
        liar.say(Hello(1, "x", 1))
        assert served.heard.get(timeout=PATIENCE)[0] == 1
        before = psutil.Process().memory_info().rss
        liar.socket.sndhwm = 4  # what it holds back is not ours
        piece = pack(Output(0, 1, b"x" * 65536))
        for _ in range(4096):  # 256 MiB that nobody has asked for
            liar.socket.send(piece)
        assert served.left.get(timeout=PATIENCE) == (1, "its agent sent more output than it may")
        served.goes_on_whoever_else_is_heard()
        assert psutil.Process().memory_info().rss - before < BOUND


def test_an_agent_that_is_given_credit_may_go_on(served: Served) -> None:
    served.admit()
    for number in range(64):
        served.agent.send(Output(0, 1, bytes([number]) * 65536))
        assert served.heard.get(timeout=PATIENCE) == (0, Output(0, 1, bytes([number]) * 65536))
        served.channel.send(0, OutputCredit(65536))
        assert served.agent_heard.get(timeout=PATIENCE) == OutputCredit(65536)
    assert served.left.empty()


def test_a_fault_of_the_channels_thread_is_raised_where_it_ends_the_job(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.admit()

    def broken(_channel: RunnerChannel, _socket: object) -> None:
        raise RecursionError("a fault of ours")

    monkeypatch.setattr(RunnerChannel, "_receive", broken)
    served.agent.send(CheckIn())
    assert str(served.faults.get(timeout=PATIENCE)) == "a fault of ours"


def test_a_fault_of_an_agents_thread_is_the_end_of_its_lease(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_channel: AgentChannel) -> None:
        raise RecursionError("a fault of ours")

    monkeypatch.setattr(AgentChannel, "_receive", broken)
    served.admit()
    assert "a fault of ours" in served.lost.get(timeout=PATIENCE)
