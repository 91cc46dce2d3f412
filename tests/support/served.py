"""A runner's end with a real agent, and clients that say what they like."""

from __future__ import annotations

import queue
from collections.abc import Callable

import pytest
import zmq
from zmq.utils import z85

from madrun.wire.agent_channel import AgentChannel
from madrun.wire.codec import pack
from madrun.wire.messages import Go, Hello, Message, Signal
from madrun.wire.runner_channel import RunnerChannel
from support.programs import PATIENCE

HERE = "127.0.0.1"
SILENCE = 0.3  # seconds in which nothing must be heard
BOUND = 64 * 2**20  # bytes that strangers may cost us at most


class Served:
    """A runner's end and a real agent that it has admitted as node 0."""

    def __init__(self) -> None:
        self.heard: queue.Queue[tuple[int, Message]] = queue.Queue()
        self.agent_heard: queue.Queue[Message] = queue.Queue()
        self.lost: queue.Queue[str] = queue.Queue()
        self.left: queue.Queue[tuple[int, str]] = queue.Queue()
        self.faults: queue.Queue[Exception] = queue.Queue()
        self.channel = RunnerChannel(
            self._post,
            lambda *said: self.heard.put(said),
            lambda node_rank, reason, _at: self.left.put((node_rank, reason)),
            30.0,
        )
        self.agent = AgentChannel(
            lambda call: call(), self.agent_heard.put, self.lost.put, patience=30.0
        )
        self._number = 0

    def _post(self, call: Callable[[], None]) -> None:
        """As a loop does it: what is raised ends the job."""
        try:
            call()
        except Exception as error:
            self.faults.put(error)

    def admit(self, port: int = 0) -> None:
        """Let the agent in, and wait for its Hello; it connects to another port where asked."""
        control, output = self.channel.ports
        self.channel.admit(0, self.agent.public_key)
        self.agent.connect([HERE], (port or control, output), self.channel.public_key)
        self.agent.send(Hello(0, "real", 1))
        assert self.heard.get(timeout=PATIENCE) == (0, Hello(0, "real", 1))

    def goes_on(self) -> None:
        """A word each way still arrives, and nobody else's in between."""
        self._number += 1
        self.agent.send(Signal(self._number))
        assert self.heard.get(timeout=PATIENCE) == (0, Signal(self._number))
        self.channel.send(0, Go("x", self._number))
        assert self.agent_heard.get(timeout=PATIENCE) == Go("x", self._number)

    def goes_on_whoever_else_is_heard(self) -> None:
        """A word each way still arrives."""
        self.agent.send(Signal(64))
        while self.heard.get(timeout=PATIENCE) != (0, Signal(64)):
            pass

    def hears_nobody(self) -> None:
        with pytest.raises(queue.Empty):
            self.heard.get(timeout=SILENCE)

    def close(self) -> None:
        self.agent.close()
        self.channel.close()


class Peer:
    """A CURVE client that sends what it likes, under whatever routing id it likes."""

    def __init__(self, served: Served, server_key: bytes = b"", identity: bytes = b"") -> None:
        public, secret = zmq.curve_keypair()
        self.key = z85.decode(public).hex()
        self.context = zmq.Context()
        self.socket: zmq.Socket[bytes] = self.context.socket(zmq.DEALER)
        self.socket.curve_publickey, self.socket.curve_secretkey = public, secret
        self.socket.curve_serverkey = server_key or bytes.fromhex(served.channel.public_key)
        if identity:
            self.socket.setsockopt(zmq.ROUTING_ID, identity)
        self.socket.linger = 0
        self._ports = served.channel.ports

    def say(self, *messages: Message, as_output: bool = False) -> Peer:
        """On a new connection to the port for control, or to the one for output."""
        self.socket.connect(f"tcp://{HERE}:{self._ports[as_output]}")
        for message in messages:
            self.socket.send(pack(message))
        return self

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_error: object) -> None:
        self.context.destroy(linger=0)
