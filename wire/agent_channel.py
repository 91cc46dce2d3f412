"""The agent's end of the control channel, and its lease on life.

The agent's workers live only as long as the runner is heard of. The thread here answers each
heartbeat at once, sends UDP heartbeats, and says so when the runner has gone; it does nothing
that could block.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import zmq
from zmq.utils import z85

from madrun.hosts.reach import first_reachable
from madrun.system.errors import ClusterError, WireError
from madrun.wire.codec import MAX_FRAME, pack, unpack
from madrun.wire.lease import LivenessMonitor
from madrun.wire.messages import Begin, Dropped, Finished, Heartbeat, Message, Output, UdpHeartbeats
from madrun.wire.udp_heartbeat import HEARTBEATS_PER_TIMEOUT, AgentHeartbeat, is_loopback

_RECONNECT_LIMIT = 0.5  # seconds without a word after the connection broke
_DIAL_LIMIT_MS = 5000  # then the next attempt: the kernel waits longer and longer for a lost SYN


class AgentChannel:
    """Connected to the runner; ``send`` may be called from any thread.

    ``on_message(message)`` and ``on_lost(reason)`` run through ``post``. Until the job spec
    arrives the runner may be silent for ``patience`` seconds, from then on for the timeout that
    the job spec names.
    """

    def __init__(
        self,
        post: Callable[[Callable[[], None]], None],
        on_message: Callable[[Message], None],
        on_lost: Callable[[str], None],
        patience: float,
    ) -> None:
        self._post, self._on_message, self._on_lost = post, on_message, on_lost
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._public, self._secret = zmq.curve_keypair()
        self.public_key = z85.decode(self._public).hex()
        self._launch_limit = patience
        self._liveness = LivenessMonitor(patience, time.monotonic())
        self._heard = False
        self._udp_heartbeat: AgentHeartbeat | None = None
        self._udp_interval = self._next_udp_heartbeat = float("inf")
        self._outgoing: deque[tuple[bool, bytes]] = deque()
        self._outputs = 0
        self._closing = False
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="channel", daemon=True)

    def connect(self, addresses: Sequence[str], ports: tuple[int, int], runner_key: str) -> None:
        """Connect to the first address that answers; raises ClusterError where none does."""
        address, problem = first_reachable(addresses, ports[0], self._launch_limit / 2)
        if not address:
            raise ClusterError(f"the runner cannot be reached from here: {problem}")
        self._address = address
        key = bytes.fromhex(runner_key)
        self._control = self._dial(address, ports[0], key)
        self._output = self._dial(address, ports[1], key)
        self._control.monitor("inproc://monitor", zmq.EVENT_DISCONNECTED)
        self._monitor = self._context.socket(zmq.PAIR)
        self._monitor.connect("inproc://monitor")
        self._thread.start()

    def send(self, message: Message) -> None:
        """Queue a message; output has its own connection and never stands before the rest."""
        is_output = isinstance(message, Output | Dropped)
        self._outputs += is_output
        if isinstance(message, Finished):
            message = message._replace(outputs=self._outputs)
        self._outgoing.append((is_output, pack(message)))
        self._wake()

    def close(self) -> None:
        """Send what is queued (at most half a second), then let go of the sockets."""
        self._closing = True
        self._wake()
        if self._thread.is_alive():
            self._thread.join()
        self._context.destroy(linger=500)
        if self._udp_heartbeat is not None:
            self._udp_heartbeat.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _dial(self, address: str, port: int, runner_key: bytes) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.DEALER)
        socket.curve_serverkey = runner_key
        socket.curve_publickey, socket.curve_secretkey = self._public, self._secret
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME)
        socket.setsockopt(zmq.SNDHWM, 0)  # what may be under way is bounded by the protocol
        socket.setsockopt(zmq.CONNECT_TIMEOUT, _DIAL_LIMIT_MS)
        socket.setsockopt(zmq.IPV6, 1)
        host = f"[{address}]" if ":" in address else address
        socket.connect(f"tcp://{host}:{port}")
        return socket

    def _wake(self) -> None:
        try:
            os.write(self._wake_write, b"\0")
        except BlockingIOError:
            return  # enough wake-ups are under way

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as error:  # the outermost place of this thread
            words = f"a fault in the channel to the runner: {error!r}"
            self._post(lambda: self._on_lost(words))

    def _serve(self) -> None:
        self._poller = zmq.Poller()
        self._handlers: dict[object, Callable[[], None]] = {}
        self._handle(self._control, self._receive)
        self._handle(self._monitor, self._disconnected)
        self._handle(self._wake_read, self._woken)
        while True:
            ready = self._poller.poll(self._patience())
            # Before anything queued is read: a process that was stopped must not go on.
            if self._liveness.expired(time.monotonic()):
                self._post(lambda: self._on_lost("no word from the runner"))
                return
            for source, _events in ready:
                self._handlers[source]()
            while self._outgoing:
                is_output, frame = self._outgoing.popleft()
                (self._output if is_output else self._control).send(frame)
            if self._closing:
                return
            self._send_udp_heartbeat()

    def _woken(self) -> None:
        os.read(self._wake_read, 4096)

    def _handle(self, source: Any, handler: Callable[[], None]) -> None:
        self._handlers[source] = handler
        self._poller.register(source, zmq.POLLIN)

    def _patience(self) -> int:
        """Milliseconds until the next UDP heartbeat is due or the runner counts as lost."""
        now = time.monotonic()
        return (
            int(max(0.0, min(self._liveness.rest(now), self._next_udp_heartbeat - now)) * 1000) + 1
        )

    def _disconnected(self) -> None:
        event, _value = struct.unpack("=Hi", self._monitor.recv_multipart()[0])
        # Before the runner's first word a connection may end because our key is not known yet.
        if event == zmq.EVENT_DISCONNECTED and self._heard:
            self._liveness.connection_ended(time.monotonic(), _RECONNECT_LIMIT)

    def _receive(self) -> None:
        try:
            message = unpack(self._control.recv())
        except WireError:
            return
        now = time.monotonic()
        self._heard = True
        if isinstance(message, Begin):
            self._liveness.set_timeout(message.spec.limits.heartbeat)
            self._udp_interval = message.spec.limits.heartbeat / HEARTBEATS_PER_TIMEOUT
            self._next_udp_heartbeat = now
        self._liveness.message(now)
        if isinstance(message, Heartbeat):
            self._control.send(pack(Heartbeat(now, message.sent)))
        elif isinstance(message, UdpHeartbeats):
            self._begin_udp_heartbeats(message)
        else:
            self._post(lambda: self._on_message(message))

    def _begin_udp_heartbeats(self, told: UdpHeartbeats) -> None:
        """Where the way to the runner is a tunnel's end on this machine, no datagram goes."""
        if self._udp_heartbeat is None and not is_loopback(self._address):
            self._udp_heartbeat = AgentHeartbeat(self._address, told.port, told.node_rank, told.key)
            self._handle(self._udp_heartbeat.socket.fileno(), self._take_udp_heartbeats)

    def _send_udp_heartbeat(self) -> None:
        now = time.monotonic()
        if now >= self._next_udp_heartbeat:
            self._next_udp_heartbeat = now + self._udp_interval
            if self._udp_heartbeat is not None:
                self._udp_heartbeat.beat()

    def _take_udp_heartbeats(self) -> None:
        if self._udp_heartbeat is not None and self._udp_heartbeat.heard():
            self._liveness.udp_heartbeat(time.monotonic())
