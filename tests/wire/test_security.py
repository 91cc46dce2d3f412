"""Strangers and liars at the runner's port: none is heard, and the real agent is served on."""

from __future__ import annotations

import os
import queue
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import psutil
import pytest
import zmq
from zmq.utils import z85

from madrun.wire import authenticator
from madrun.wire.authenticator import DOMAIN, Authenticator
from madrun.wire.codec import pack
from madrun.wire.messages import (
    CheckIn,
    Finished,
    Heartbeat,
    Hello,
    Output,
)
from support.programs import PATIENCE
from support.served import BOUND, HERE, Peer, Served

# RFC 23: signature, version 3.1, mechanism, as-server, filler; then RFC 26's HELLO command.
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32)


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.close()


def test_a_wrong_server_key(served: Served) -> None:
    served.admit()
    other, _secret = zmq.curve_keypair()
    with Peer(served, server_key=z85.decode(other)) as peer:
        served.channel.admit(1, peer.key)
        peer.say(Hello(1, "x", 1), Finished())
        served.goes_on()
        served.hears_nobody()


def test_an_unknown_key_is_held_and_never_heard(served: Served) -> None:
    served.admit()
    with ExitStack() as strangers:
        for _ in range(20):
            strangers.enter_context(Peer(served)).say(Hello(0, "x", 1), Finished())
        served.goes_on()
        served.hears_nobody()


def test_the_key_says_who_speaks_and_not_the_words(served: Served) -> None:
    served.admit()
    with Peer(served) as liar:
        served.channel.admit(1, liar.key)
        liar.say(Hello(0, "I am node 0", 1), Finished())
        said = [served.heard.get(timeout=PATIENCE) for _ in range(2)]
        assert said == [(1, Hello(0, "I am node 0", 1)), (1, Finished())]
        served.goes_on()


def test_the_end_is_heard_of_behind_all_output(served: Served) -> None:
    """The output has a connection of its own, which may lose packets and be late."""
    output = Output(1, 1, b"the last words")
    with Peer(served) as control, Peer(served) as late:
        for peer in (control, late):
            served.channel.admit(1, peer.key)
        control.say(Hello(1, "x", 1), Finished((), 1), CheckIn())
        said = [served.heard.get(timeout=PATIENCE) for _ in range(2)]
        assert said == [(1, Hello(1, "x", 1)), (1, CheckIn())]
        late.say(output, as_output=True)
        said = [served.heard.get(timeout=PATIENCE) for _ in range(2)]
        assert said == [(1, output), (1, Finished((), 1))]


def test_a_claimed_routing_id_takes_nobodys_messages(served: Served) -> None:
    """An admitted agent calls itself what ZeroMQ calls another one."""
    served.admit()
    routing_id = served.channel._peers[0].routing_id
    with Peer(served, identity=routing_id) as liar:
        served.channel.admit(1, liar.key)
        liar.say(Hello(0, "I am node 0", 1))
        with suppress(queue.Empty):  # if it is heard at all, then as node 1
            assert served.heard.get(timeout=2.0)[0] == 1
        for _ in range(3):
            served.goes_on()


def test_a_liar_that_came_first_does_not_keep_another_out(served: Served) -> None:
    with Peer(served) as liar:
        served.channel.admit(1, liar.key)
        liar.say(Hello(0, "I am node 0", 1))
        assert served.heard.get(timeout=PATIENCE)[0] == 1
        served.admit()
        served.goes_on()


class Recorder:
    """Stands between agent and runner and keeps what the agent sent, connection by connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server = socket.create_server((HERE, 0))
        self.port: int = self._server.getsockname()[1]
        self.sent: list[bytearray] = []
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            far = socket.create_connection((HERE, self._port))
            self._open += [near, far]
            self.sent.append(bytearray())
            for source, sink, kept in ((near, far, self.sent[-1]), (far, near, bytearray())):
                threading.Thread(target=self._pump, args=(source, sink, kept), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
        try:
            while data := source.recv(65536):
                kept += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def close(self) -> None:
        self._server.close()
        for each in self._open:
            each.close()


def test_recorded_frames_say_nothing_when_sent_again(served: Served) -> None:
    recorder = Recorder(served.channel.ports[0])
    served.admit(recorder.port)
    served.agent.send(CheckIn())
    assert served.heard.get(timeout=PATIENCE) == (0, CheckIn())
    served.goes_on()
    record = bytes(max(recorder.sent, key=len))
    assert len(record) > len(GREETING) + 400, "greeting, handshake, and words"
    with raw(served, record), raw(served, record + record), raw(served, record[len(GREETING) :]):
        served.goes_on()
        served.hears_nobody()
    recorder.close()


@contextmanager
def raw(served: Served, data: bytes, output: bool = False) -> Iterator[socket.socket]:
    """A TCP connection on which these bytes were sent; whether they were taken is no matter."""
    with socket.create_connection((HERE, served.channel.ports[output])) as connection:
        with suppress(OSError):
            connection.sendall(data)
        yield connection


def command(name: bytes, body: bytes) -> bytes:
    """A ZMTP command frame."""
    content = bytes([len(name)]) + name + body
    return b"\x04" + bytes([len(content)]) + content


HUGE = struct.pack(">Q", 2**63 - 1)
LARGE = struct.pack(">Q", 2**40)
FRAMES = {
    "huge command": GREETING + b"\x06" + HUGE,
    "huge message": GREETING + b"\x02" + HUGE + b"x" * 100_000,
    "large message": GREETING + b"\x02" + LARGE + b"x" * 100_000,
    "all bits": GREETING + b"\xff" * 10_000,
    "old protocol": b"\xff" + HUGE + b"\x7f\x01\x05",
    "oldest protocol": b"\xff" + HUGE + b"x" * 100_000,
    "short hello": GREETING + command(b"HELLO", b"x"),
    "hello of zeros": GREETING + command(b"HELLO", bytes(194)),
    "initiate first": GREETING + command(b"INITIATE", bytes(240)),
    "no mechanism": GREETING.replace(b"CURVE", b"NULL\0") + command(b"READY", b""),
    "half a greeting": GREETING[:20],
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("name", FRAMES)
def test_frames_that_no_agent_sends(served: Served, name: str) -> None:
    served.admit()
    before = psutil.Process().memory_info().rss
    with ExitStack() as strangers:
        for number in range(8):
            strangers.enter_context(raw(served, FRAMES[name], output=bool(number % 2)))
        served.goes_on()
        assert served.heard.empty()
        assert psutil.Process().memory_info().rss - before < BOUND


def test_random_bytes(served: Served) -> None:
    served.admit()
    before = psutil.Process().memory_info().rss
    for number in range(40):
        noise = os.urandom(1 + number * 997)
        with raw(served, noise), raw(served, GREETING + noise), raw(served, noise, output=True):
            pass
    served.goes_on()
    assert served.heard.empty()
    assert psutil.Process().memory_info().rss - before < BOUND


@pytest.mark.parametrize("data", [b"", GREETING], ids=["silent", "greeted"])
def test_two_hundred_idle_connections(served: Served, data: bytes) -> None:
    before = psutil.Process().memory_info().rss
    with ExitStack() as idle:
        for number in range(200):
            idle.enter_context(raw(served, data, output=bool(number % 2)))
        served.admit()
        served.goes_on()
        assert psutil.Process().memory_info().rss - before < BOUND


def test_an_admitted_agent_that_never_stops_talking(served: Served) -> None:
    served.admit()
    with Peer(served) as liar:
        served.channel.admit(1, liar.key)
        liar.say(Hello(1, "x", 1))
        assert served.heard.get(timeout=PATIENCE)[0] == 1
        for number in range(3000):
            liar.socket.send(pack(Heartbeat(float("nan"), float(number))))
            liar.socket.send(b"\xc1" * 50)
        served.goes_on()


@pytest.mark.parametrize("keys", [1, 200], ids=["one key", "many keys"])
def test_questions_about_strangers_are_bounded(keys: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept for keys that may come is bounded, however often a stranger asks."""
    limit = 50
    monkeypatch.setattr(authenticator, "_PENDING_LIMIT", limit)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    made = Authenticator(context)
    with context.socket(zmq.DEALER) as zeromq:
        zeromq.connect("inproc://zeromq.zap.01")
        for number in range(200):
            key = (number % keys).to_bytes(32, "big")
            request = [b"", b"1.0", str(number).encode(), DOMAIN, b"addr", b"", b"CURVE", key]
            zeromq.send_multipart(request)
            made.ask()
        for number in range(keys):
            made.admit(0, number.to_bytes(32, "big"))
        answered = 0
        while zeromq.poll(0):
            zeromq.recv_multipart()
            answered += 1
    made.socket.close()
    context.destroy(linger=0)
    assert 0 < answered <= limit
