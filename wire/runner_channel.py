"""The runner's end of the control channel: two CURVE ROUTER sockets on a thread of their own.

One socket carries control messages and heartbeats, the other one workers' output, so that no
flood of logs stands before a sign of life; UDP heartbeats go beside them. The thread only moves
frames: neither the console nor a disk can hold up a heartbeat.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import zmq
from zmq.utils import z85

from madrun.system.errors import WireError
from madrun.wire.authenticator import DOMAIN, Authenticator
from madrun.wire.codec import MAX_FRAME_UP, pack, unpack
from madrun.wire.lease import ClockOffset, LivenessMonitor
from madrun.wire.messages import (
    OUTPUT_WINDOW,
    Finished,
    Heartbeat,
    Hello,
    Message,
    Output,
    OutputCredit,
    UdpHeartbeats,
)
from madrun.wire.udp_heartbeat import RunnerHeartbeat, new_key

BEATS_PER_TIMEOUT = 5
_HANDSHAKE_LIMIT_MS = 30_000
_MOST_OUTPUT = 3 * OUTPUT_WINDOW  # bytes: an agent may end one piece beyond the window


@dataclass(slots=True)
class _Peer:
    """What the channel knows of one agent that has said Hello."""

    routing_id: bytes
    liveness: LivenessMonitor
    heartbeat_key: bytes = field(default_factory=new_key)
    clock: ClockOffset = field(default_factory=ClockOffset)
    output: int = 0  # bytes that came and that the console has not taken
    outputs: int = 0  # messages that came on the connection of the output
    finished: Finished | None = None  # heard, but not all output that was sent before
    output_until: float = 0.0  # when that is given up: a connection that broke has lost some


class RunnerChannel:
    """Listens on free ports; ``send`` and ``admit`` may be called from any thread.

    ``on_message(node_rank, message)`` and ``on_lost(node_rank, reason, at)`` run through ``post``,
    that is on the runner's loop. ``timeout`` is how long an agent may stay silent, in seconds. An
    agent is lost that was silent for longer, that sends what none of this version sends, or more
    output than it may. A fault of ours on the thread is raised on the loop, and so ends the job.
    """

    def __init__(
        self,
        post: Callable[[Callable[[], None]], None],
        on_message: Callable[[int, Message], None],
        on_lost: Callable[[int, str, float], None],
        timeout: float,
    ) -> None:
        self._post, self._on_message, self._on_lost = post, on_message, on_lost
        self._timeout = timeout
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._authenticator = Authenticator(self._context)
        public, secret = zmq.curve_keypair()
        self.public_key = z85.decode(public).hex()
        self._control = self._listen(secret)
        self._output = self._listen(secret)
        self._udp_heartbeat = RunnerHeartbeat()
        self.ports = (self._port(self._control), self._port(self._output))
        self._peers: dict[int, _Peer] = {}
        self._expelled: set[int] = set()
        self._outgoing: deque[Callable[[], None]] = deque()
        self._closing = False
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="channel", daemon=True)
        self._thread.start()

    def admit(self, node_rank: int, key: str) -> None:
        """Let in the agent with this public key (hex)."""
        self._do(lambda: self._authenticator.admit(node_rank, bytes.fromhex(key)))

    def send(self, node_rank: int, message: Message) -> None:
        """Send to one agent; to one that is not there (any more) nothing is sent."""
        frame = pack(message)
        credit = message.size if isinstance(message, OutputCredit) else 0
        self._do(lambda: self._send(node_rank, frame, credit))

    def clock_of(self, node_rank: int) -> ClockOffset:
        """The offset of an agent's clock as far as it is known."""
        peer = self._peers.get(node_rank)
        return peer.clock if peer else ClockOffset()

    def to_ours(self, node_rank: int, at: float) -> float:
        """A time of an agent's clock as a time of ours, as far as its offset is known."""
        return self.clock_of(node_rank).to_ours(at)

    def clock_error(self, node_rank: int) -> float:
        """By how many seconds such a time may be wrong."""
        return self.clock_of(node_rank).error

    def close(self) -> None:
        """Send what is queued (at most half a second), then let go of every socket."""
        if self._closing:
            return
        self._closing = True
        self._do(lambda: None)
        self._thread.join()
        self._context.destroy(linger=500)
        self._udp_heartbeat.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _listen(self, secret: bytes) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.ROUTER)
        socket.curve_server = True
        socket.curve_secretkey = secret
        socket.zap_domain = DOMAIN
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_UP)
        socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_LIMIT_MS)
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.setsockopt(zmq.IPV6, 1)
        socket.bind("tcp://*:*")
        return socket

    @staticmethod
    def _port(socket: zmq.Socket[bytes]) -> int:
        endpoint: bytes = socket.getsockopt(zmq.LAST_ENDPOINT)  # type: ignore[assignment]
        return int(endpoint.rstrip(b"\0").rpartition(b":")[2])

    def _do(self, action: Callable[[], None]) -> None:
        self._outgoing.append(action)
        try:
            os.write(self._wake_write, b"\0")
        except BlockingIOError:
            return  # enough wake-ups are under way

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as error:  # the outermost place of this thread
            self._post(partial(_raise, error))

    def _serve(self) -> None:
        poller = zmq.Poller()
        handlers: dict[object, Callable[[], None]] = {
            self._authenticator.socket: self._authenticator.ask,
            self._control: lambda: self._receive(self._control),
            self._output: lambda: self._receive(self._output),
            self._udp_heartbeat.socket.fileno(): self._take_udp_heartbeats,
            self._wake_read: self._woken,
        }
        for source in handlers:
            poller.register(source, zmq.POLLIN)
        interval = self._timeout / BEATS_PER_TIMEOUT
        next_beat = time.monotonic()
        while True:
            ready = poller.poll(self._patience(next_beat))
            self._look_for_silence()
            for source, _events in ready:
                handlers[source]()
            while self._outgoing:
                self._outgoing.popleft()()
            if self._closing:
                return
            if time.monotonic() >= next_beat:
                self._beat()
                next_beat = time.monotonic() + interval

    def _woken(self) -> None:
        os.read(self._wake_read, 4096)

    def _patience(self, next_beat: float) -> int:
        """Milliseconds until the next beat is due or the next lease may have run out."""
        now = time.monotonic()
        rests = [peer.liveness.rest(now) for peer in self._peers.values()]
        return int(max(0.0, min([next_beat - now, *rests])) * 1000) + 1

    def _beat(self) -> None:
        now = time.monotonic()
        frame = pack(Heartbeat(now, 0.0))
        for node_rank, peer in list(self._peers.items()):
            self._send(node_rank, frame)
            self._finish_in_order(node_rank, peer, now)

    def _look_for_silence(self) -> None:
        now = time.monotonic()
        for node_rank, peer in list(self._peers.items()):
            if peer.liveness.expired(now):
                reason = f"no word from its agent for {self._timeout:g} s"
                self._lose(node_rank, reason, now - self._timeout)

    def _lose(self, node_rank: int, reason: str, at: float) -> None:
        self._peers.pop(node_rank, None)
        self._post(partial(self._on_lost, node_rank, reason, at))

    def _expel(self, node_rank: int, what: str) -> None:
        """Hear this agent no more, nor under another name; its own lease ends it."""
        self._expelled.add(node_rank)
        self._lose(node_rank, f"its agent sent {what}", time.monotonic())

    def _send(self, node_rank: int, frame: bytes, credit: int = 0) -> None:
        peer = self._peers.get(node_rank)
        if peer is not None:
            peer.output -= credit
            self._control.send_multipart([peer.routing_id, frame])

    def _take_udp_heartbeats(self) -> None:
        now = time.monotonic()
        for node_rank in self._udp_heartbeat.take(self._heartbeat_key):
            self._peers[node_rank].liveness.udp_heartbeat(now)

    def _heartbeat_key(self, node_rank: int) -> bytes | None:
        peer = self._peers.get(node_rank)
        return peer.heartbeat_key if peer else None

    def _receive(self, socket: zmq.Socket[bytes]) -> None:
        routing_id, *payload = socket.recv_multipart(copy=False)
        node_rank = int(payload[0].get("User-Id"))
        if node_rank in self._expelled:
            return
        try:
            if len(payload) != 1:
                raise WireError("a message of several frames")
            message = unpack(payload[0].bytes, MAX_FRAME_UP)
        except WireError as error:
            self._expel(node_rank, str(error))
            return
        now = time.monotonic()
        peer = self._peers.get(node_rank)
        if isinstance(message, Hello) and socket is self._control and peer is None:
            peer = _Peer(routing_id.bytes, LivenessMonitor(self._timeout, now))
            self._peers[node_rank] = peer
            self._send(node_rank, pack(Heartbeat(now, 0.0)))
            self._send(
                node_rank,
                pack(UdpHeartbeats(node_rank, self._udp_heartbeat.port, peer.heartbeat_key)),
            )
        if peer is None or not peer.liveness.message(now):
            return
        peer.outputs += socket is self._output
        if isinstance(message, Output):
            peer.output += len(message.data)
            if peer.output > _MOST_OUTPUT:
                self._expel(node_rank, "more output than it may")
                return
        if isinstance(message, Heartbeat):
            peer.clock.sample(message.echo, message.sent, now)
        elif isinstance(message, Finished):
            peer.finished, peer.output_until = message, now + self._timeout
        else:
            self._post(lambda: self._on_message(node_rank, message))
        self._finish_in_order(node_rank, peer, now)

    def _finish_in_order(self, node_rank: int, peer: _Peer, now: float) -> None:
        """Hand an agent's last message on behind all of its output."""
        finished = peer.finished
        if finished is None:
            return
        if peer.outputs >= finished.outputs or now >= peer.output_until:
            peer.finished = None
            self._post(lambda: self._on_message(node_rank, finished))


def _raise(error: Exception) -> None:
    raise error
