"""How the agents of a job without a runner meet: each comes to node 0's, and they exchange keys.

Node 0 learns who is there, each one's public key, address and devices; the others learn the key and
the ports of node 0's channel (see madrun.wire.runner_channel), over which the job then runs as
under a runner. Who is on the other end proves it by a credential, and that the credential is not an
old one by the other's nonce in it:

    node 0   MADRUN-MEET 1 METHOD NONCE
    another  its nonce, key and devices, sealed with node 0's nonce
    node 0   "seen", sealed with the other's nonce: this port is node 0's and no stranger's
    node 0   once all are there: "welcome" with key and ports, or "refused" with an exit status

The connection stays for as long as both live: its end is the end of the agent at the other end.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, Any, NamedTuple

import madrun
from madrun.agent.master_port import bound
from madrun.agent.standalone.capacity import NodeCapacity
from madrun.agent.standalone.credential import Credential
from madrun.system.errors import ClusterError, MadrunError
from madrun.system.exits import FAILED
from madrun.system.loop import Loop
from madrun.wire.key_line import KeyLine

LIMIT = 60.0  # seconds for all agents to come; srun starts its tasks within a few
_ANSWER_LIMIT = 2.0  # seconds: a port that is a stranger's says nothing
_PAUSE = 0.1  # seconds between two looks whether node 0 is there
_LONGEST = 16 * 1024  # bytes of a line
_STRANGERS = 256  # connections of those who have not proven anything; the oldest makes room
_GREETING = re.compile(rb"MADRUN-MEET 1 ([a-z]{1,16}) ([0-9a-f]{64})\n")
_KEY = re.compile(r"[0-9a-f]{64}")


class Meeting(NamedTuple):
    """Which job meets, and where: ``address`` is node 0's, ``ports`` are tried in this order.

    ``job`` is the same on all nodes, and no other job's.
    """

    job: str
    hosts: tuple[str, ...]
    node_rank: int
    address: str
    ports: tuple[int, ...]
    limit: float = LIMIT


class Guest(NamedTuple):
    """Another node's agent: its key, what it brings, and by which addresses we reach each other."""

    line: KeyLine
    capacity: NodeCapacity
    address: str
    ours: str


class Welcome(NamedTuple):
    """Node 0's channel, as another node reaches it; ``line`` ends when node 0's agent does."""

    address: str
    ports: tuple[int, int]
    key: str
    line: socket.socket


class RefusedError(MadrunError):
    """Node 0 has said why the job cannot be; here only its exit status is of interest."""

    def __init__(self, status: int) -> None:
        super().__init__("node 0 has refused")
        self.status = status


class Host:
    """Node 0's side; raises ClusterError where no port is free."""

    def __init__(self, loop: Loop, meeting: Meeting, credential: Credential) -> None:
        self._loop, self._meeting, self._credential = loop, meeting, credential
        self.guests: dict[int, Guest] = {}
        self.missing: dict[int, str] = {}  # why a node takes no part
        self._lines: dict[int, _Line] = {}
        self._strangers: list[_Line] = []
        self._listener = _listen(meeting)

    def gather(self) -> None:
        """Return once all have come, or the limit has passed."""
        meeting = self._meeting
        self._loop.watch(self._listener.fileno(), self._accept)
        timer = self._loop.call_later(meeting.limit, self._loop.stop)
        self._loop.run()
        timer.cancel()
        self._loop.unwatch(self._listener.fileno())
        self._listener.close()
        for line in self._strangers:
            line.close()
        for node_rank in set(range(1, len(meeting.hosts))) - {*self.guests, *self.missing}:
            self.missing[node_rank] = f"its agent has not come within {meeting.limit:g} s"

    def welcome(self, key: str, ports: tuple[int, int], on_gone: Callable[[int], None]) -> None:
        """Let them connect to the channel; ``on_gone(node_rank)`` is called when one ends."""
        for node_rank, line in self._lines.items():
            if self.guests[node_rank].line.version != madrun.__version__:
                self._send(line, what="refused", status=FAILED)
                continue
            line.on_end = partial(on_gone, node_rank)
            self._send(line, what="welcome", key=key, ports=ports)

    @contextlib.contextmanager
    def refusing_on_error(self) -> Iterator[None]:
        """Where node 0 finds that the job cannot be, the others go home with its exit status."""
        try:
            yield
        except MadrunError as error:
            for line in self._lines.values():
                self._send(line, what="refused", status=error.exit_status)
            raise

    def close(self) -> None:
        """Hang up: the job is over."""
        for line in self._lines.values():
            line.close()

    def _send(self, line: _Line, **fields: object) -> None:
        fields |= {"job": self._meeting.job, "nonce": line.peer_nonce}
        line.send(self._credential.seal(json.dumps(fields).encode()))

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # who knocked has gone
            return
        line = _Line(self._loop, connection)
        line.on_line, line.on_end = partial(self._heard, line), partial(self._ended, line)
        self._strangers.append(line)
        if len(self._strangers) > _STRANGERS:
            self._strangers.pop(0).close()
        line.send(f"MADRUN-MEET 1 {self._credential.name} {line.nonce}".encode())

    def _ended(self, line: _Line) -> None:
        if line in self._strangers:
            self._strangers.remove(line)

    def _heard(self, line: _Line, data: bytes) -> None:
        self._strangers.remove(line)
        try:
            said = _opened(self._credential, data, self._meeting.job, line.nonce)
            node_rank, guest = _guest_of(said, line)
        except (ClusterError, KeyError, ValueError, TypeError):
            line.close()  # no agent of this job; there may be one yet
            return
        if node_rank in self.guests or not 0 < node_rank < len(self._meeting.hosts):
            line.close()
            return
        line.peer_nonce = said["own"]
        line.on_end = partial(self._left, node_rank)
        line.on_line = lambda _data: None
        self.guests[node_rank], self._lines[node_rank] = guest, line
        self._send(line, what="seen")
        self._check_complete()

    def _left(self, node_rank: int) -> None:
        self.guests.pop(node_rank, None)
        self._lines.pop(node_rank, None)
        self.missing[node_rank] = "its agent left before the start"
        self._check_complete()

    def _check_complete(self) -> None:
        if len(self.guests) + len(self.missing) == len(self._meeting.hosts) - 1:
            self._loop.stop()


def come(
    loop: Loop,
    meeting: Meeting,
    credential_of: Callable[[str], Credential],
    key: str,
    capacity: NodeCapacity,
) -> Welcome:
    """Every other node's side: look for node 0 until it is there, then wait for the rest.

    ``credential_of`` makes the credential that node 0 names, or raises ClusterError. Raises
    ClusterError where node 0 is not found, RefusedError where it has refused.
    """
    guest = _Guest(meeting, credential_of, key, capacity)
    found: list[Welcome | MadrunError] = []

    def look() -> None:
        try:
            found.append(guest.look())
        except MadrunError as error:
            found.append(error)
        loop.post(loop.stop)

    # A thread, because connecting can block; nothing is forked while it runs.
    threading.Thread(target=look, name="rendezvous", daemon=True).start()
    loop.run()
    if isinstance(found[0], MadrunError):
        raise found[0]
    return found[0]


class _Guest:
    def __init__(
        self,
        meeting: Meeting,
        credential_of: Callable[[str], Credential],
        key: str,
        capacity: NodeCapacity,
    ) -> None:
        self._meeting, self._credential_of = meeting, credential_of
        self._key, self._capacity = key, capacity

    def look(self) -> Welcome:
        host, limit = self._meeting.hosts[0], self._meeting.limit
        deadline = time.monotonic() + limit
        problem, pause = "nobody listens", threading.Event()
        while time.monotonic() < deadline:
            for port in self._meeting.ports:
                try:
                    return self._try(port)
                except ConnectionRefusedError:
                    continue
                except (OSError, UnicodeError) as error:
                    problem = f"port {port}: {getattr(error, 'strerror', None) or error}"
                except _NotNodeZeroError as error:
                    problem = f"port {port}: {error}"
            pause.wait(_PAUSE)
        raise ClusterError(f"the agent of {host} is not reached within {limit:g} s: {problem}")

    def _try(self, port: int) -> Welcome:
        where = (self._meeting.address, port)
        connection = socket.create_connection(where, timeout=_ANSWER_LIMIT)
        try:
            with connection.makefile("rb") as file:
                return self._ask(connection, file)
        except BaseException:
            connection.close()
            raise

    def _ask(self, connection: socket.socket, file: IO[bytes]) -> Welcome:
        nonce = os.urandom(32).hex()
        greeting = _GREETING.fullmatch(file.readline(_LONGEST))
        if greeting is None:
            raise _NotNodeZeroError("somebody else listens there")
        try:
            credential = self._credential_of(greeting[1].decode())
            connection.sendall(self._introduction(credential, greeting[2].decode(), nonce) + b"\n")
            self._read(file.readline(_LONGEST), credential, nonce)
        except ClusterError as error:
            raise _NotNodeZeroError(str(error)) from None
        # It is node 0, which waits for others now: it may have waited just as long for them.
        connection.settimeout(self._meeting.limit + _ANSWER_LIMIT)
        try:
            said = self._read(file.readline(_LONGEST), credential, nonce)
        except OSError as error:
            raise self._left(str(error)) from None
        if said["what"] == "refused":
            raise RefusedError(int(said["status"]))
        control, output = said["ports"]
        address = plain_address(connection.getpeername()[0])
        connection.setblocking(False)
        return Welcome(address, (int(control), int(output)), str(said["key"]), connection)

    def _introduction(self, credential: Credential, nonce: str, own: str) -> bytes:
        meeting, (devices, workers) = self._meeting, self._capacity
        fields = {
            "job": meeting.job, "nonce": nonce, "own": own, "rank": meeting.node_rank,
            "version": madrun.__version__, "key": self._key,
            "devices": devices, "workers": workers,
        }  # fmt: skip
        return credential.seal(json.dumps(fields).encode())

    def _read(self, line: bytes, credential: Credential, nonce: str) -> dict[str, Any]:
        if not line:
            raise self._left("it has hung up")
        return _opened(credential, line.rstrip(b"\n"), self._meeting.job, nonce)

    def _left(self, reason: str) -> ClusterError:
        return ClusterError(f"{self._meeting.hosts[0]} left before the start: {reason}")


class _NotNodeZeroError(Exception):
    """Who listens on a port has not proven to be node 0."""


class _Line:
    """A connection to another agent, or to a stranger; one line at a time, each small."""

    def __init__(self, loop: Loop, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._loop, self._socket, self._rest, self._open = loop, connection, b"", True
        self.nonce, self.peer_nonce = os.urandom(32).hex(), ""
        self.on_line: Callable[[bytes], None] = lambda _data: None
        self.on_end: Callable[[], None] = lambda: None
        self.peer = plain_address(connection.getpeername()[0])
        self.own = plain_address(connection.getsockname()[0])
        loop.watch(connection.fileno(), self._read)

    def send(self, data: bytes) -> None:
        """Send a line; what does not go out at once is too much for a peer that reads."""
        try:
            self._socket.send(data + b"\n")
        except OSError:
            return  # its end is told by the next read

    def close(self) -> None:
        """Hang up, and say nothing of it here."""
        if self._open:
            self._open = False
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()

    def _read(self) -> None:
        try:
            data = self._socket.recv(_LONGEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        line, end, rest = (self._rest + data).partition(b"\n")
        if not data or len(line) > _LONGEST:
            self.close()
            self.on_end()
        elif end:
            self._rest = rest
            self.on_line(line)
        else:
            self._rest = line


def _opened(credential: Credential, data: bytes, job: str, nonce: str) -> dict[str, Any]:
    """What a sealed line says; raises ClusterError for one that is not for us, or not new."""
    try:
        said = json.loads(credential.open(data))
    except (ValueError, RecursionError):
        raise ClusterError("it does not speak our language") from None
    if not isinstance(said, dict) or said.get("job") != job:
        raise ClusterError("it is of another job")
    if said.get("nonce") != nonce:
        raise ClusterError("its credential is an old one")
    return said


def _guest_of(said: dict[str, Any], line: _Line) -> tuple[int, Guest]:
    """Raises KeyError, TypeError and ValueError for what our agent does not say."""
    rank, key, own = said["rank"], said["key"], said["own"]
    capacity = NodeCapacity(said["devices"], said["workers"])
    if not all(type(each) is int for each in (rank, *capacity)) or not _KEY.fullmatch(own):
        raise TypeError("numbers and a nonce are wanted")
    if capacity.devices < 0 or capacity.workers < 1 or not _KEY.fullmatch(key):
        raise ValueError("out of range")
    return rank, Guest(KeyLine(rank, str(said["version"])[:64], key), capacity, line.peer, line.own)


def plain_address(address: str) -> str:
    """An address as others write it, where a socket for both families has it mapped.

    >>> plain_address("::ffff:10.0.0.1"), plain_address("fd00::1")
    ('10.0.0.1', 'fd00::1')
    """
    return address.removeprefix("::ffff:") if "." in address else address


def _listen(meeting: Meeting) -> socket.socket:
    for port in meeting.ports:
        try:
            listener = bound(port)
        except OSError:
            continue
        listener.setblocking(False)
        return listener
    ports = ", ".join(str(port) for port in meeting.ports)
    raise ClusterError(f"none of the ports on which the job's agents could meet is free: {ports}")
