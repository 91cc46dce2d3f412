"""Signs of life as datagrams, beside the heartbeats on the control connection.

A TCP connection that loses packets falls silent: each loss in a row doubles its wait, and at 20 %
loss some seconds without a word are common. A datagram that is lost costs one interval and nothing
else. Where datagrams do not come through (a firewall, a tunnel) the connection's own heartbeats
have to do.

A datagram is sealed with a key that only its agent and the runner know (it came over the
encrypted connection), says which way it goes, and has a number that must grow: none can be forged,
turned around or repeated.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable
from hashlib import blake2b

HEARTBEATS_PER_TIMEOUT = 20
KEY_SIZE = 32  # bytes
_UP, _DOWN = b"^", b"v"
_BODY = struct.Struct("!cIQ")  # the way it goes, node rank, number
_SEAL_SIZE = 16
_SIZE = _BODY.size + _SEAL_SIZE
_AT_ONCE = 1000  # datagrams read before something else gets its turn


def new_key() -> bytes:
    """A key for the UDP heartbeats of one agent."""
    return os.urandom(KEY_SIZE)


def sealed(key: bytes, way: bytes, node_rank: int, number: int) -> bytes:
    """One datagram."""
    body = _BODY.pack(way, node_rank, number)
    return body + blake2b(body, key=key, digest_size=_SEAL_SIZE).digest()


class RunnerHeartbeat:
    """The runner's socket: each true UDP heartbeat of an agent is answered with one.

    ``port`` is 0 where there can be no such socket; nothing is ever heard then.
    """

    def __init__(self) -> None:
        self.socket = _listening()
        self.port: int = self.socket.getsockname()[1]
        self._numbers: dict[int, int] = {}

    def take(self, key_of: Callable[[int], bytes | None]) -> set[int]:
        """Answer what has come in; returns the node ranks that sent true heartbeats."""
        alive = set()
        for _ in range(_AT_ONCE):
            try:
                datagram, sender = self.socket.recvfrom(_SIZE + 1)
            except BlockingIOError:
                break
            except OSError:
                continue  # the network's answer to an earlier one of ours
            if len(datagram) != _SIZE:
                continue
            _way, node_rank, number = _BODY.unpack_from(datagram)
            key = key_of(node_rank)
            if key is None or datagram != sealed(key, _UP, node_rank, number):
                continue
            if number <= self._numbers.get(node_rank, 0):
                continue
            self._numbers[node_rank] = number
            alive.add(node_rank)
            with contextlib.suppress(OSError):
                self.socket.sendto(sealed(key, _DOWN, node_rank, number), sender)
        return alive

    def close(self) -> None:
        """Let go of the socket."""
        self.socket.close()


class AgentHeartbeat:
    """The agent's socket. ``address`` is the runner's as the control connection found it."""

    def __init__(self, address: str, port: int, node_rank: int, key: bytes) -> None:
        family, kind, _, _, where = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM)[0]
        self.socket = socket.socket(family, kind)
        self.socket.setblocking(False)
        self.socket.connect(where)
        self._key, self._node_rank = key, node_rank
        self._sent = self._answered = 0

    def beat(self) -> None:
        """Send one; that it cannot be sent now is the same as its loss."""
        self._sent += 1
        with contextlib.suppress(OSError):
            self.socket.send(sealed(self._key, _UP, self._node_rank, self._sent))

    def heard(self) -> bool:
        """Read what has come in; true where a new answer of the runner was among it."""
        news = False
        for _ in range(_AT_ONCE):
            try:
                datagram = self.socket.recv(_SIZE + 1)
            except BlockingIOError:
                break
            except OSError:
                continue  # nobody listens there (any more)
            if len(datagram) != _SIZE:
                continue
            number = _BODY.unpack_from(datagram)[2]
            true = datagram == sealed(self._key, _DOWN, self._node_rank, number)
            if true and self._answered < number <= self._sent:
                self._answered, news = number, True
        return news

    def close(self) -> None:
        """Let go of the socket."""
        self.socket.close()


def is_loopback(address: str) -> bool:
    """Whether an address is this machine's own: nothing is lost there, and a tunnel ends there."""
    return address in ("localhost", "::1") or address.startswith("127.")


def _listening() -> socket.socket:
    """A free port for both families; where there is no IPv6, for IPv4."""
    if socket.has_dualstack_ipv6():
        made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind(("::", 0))
    else:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(("", 0))
    made.setblocking(False)
    return made
