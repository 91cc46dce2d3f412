"""Which of several addresses of one machine can be reached from here, and by which of ours."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, NamedTuple

_PAUSE = 1.0  # seconds between two dials
_DIALS = 3  # of each address that is silent
_UNREACHABLE_DIALS = 5  # of one that the network calls unreachable, as it does where ARP is lost


def first_reachable(addresses: Sequence[str], port: int, limit: float) -> tuple[str, str]:
    """The first address that takes a TCP connection within ``limit`` seconds for all together.

    Returns the address and no problem, or an empty address and why each one failed.
    """
    race = Race(addresses, port)
    connection = race.run(limit)
    if connection is not None:
        connection.close()
        return race.winner, ""
    words = [f"{address}:{port}: {_words(why)}" for address, why in race.problems.items()]
    return "", "; ".join(words) or "it has no address"


class _Target(NamedTuple):
    address: str
    family: int
    place: tuple[object, ...]


class Race:
    """Dials addresses, the first ones first, until one answers.

    An address that is silent is dialled again: the kernel repeats a lost SYN after 1, 3, 7 and 15
    seconds only, which is much on a network that loses every fifth packet.
    """

    def __init__(self, addresses: Sequence[str], port: int, family: int = 0) -> None:
        self.winner = ""
        self.problems: dict[str, Exception] = {}
        self._selector = selectors.DefaultSelector()
        targets = []
        for address in addresses:
            try:
                found = socket.getaddrinfo(address, port, family, socket.SOCK_STREAM)
            except (OSError, UnicodeError) as error:
                self.problems[address] = error
                continue
            targets += [_Target(address, each[0], each[4]) for each in found]
        self._waiting = deque(targets * _DIALS)
        self._dialled: Counter[_Target] = Counter()

    def run(self, limit: float) -> socket.socket | None:
        """The connection, or None after ``limit`` seconds or where all have failed."""
        deadline = time.monotonic() + limit
        try:
            return self._first(deadline)
        finally:
            for key in list(self._selector.get_map().values()):
                self._let_go(key.fileobj)
            self._selector.close()

    def _first(self, deadline: float) -> socket.socket | None:
        next_dial = time.monotonic()
        while (now := time.monotonic()) < deadline:
            if self._waiting and now >= next_dial:
                next_dial = now + (_PAUSE if self._dial(self._waiting.popleft()) else 0.0)
                continue
            if not self._waiting and not self._selector.get_map():
                return None
            until = min(next_dial, deadline) if self._waiting else deadline
            for key, _ in self._selector.select(max(0.0, until - now)):
                if connection := self._answered(key.fileobj, key.data):
                    return connection
                if key.data not in self._waiting:
                    next_dial = now  # nothing is waited for where somebody has refused
        for each in [key.data for key in self._selector.get_map().values()]:
            self.problems[each.address] = TimeoutError("timed out")
        return None

    def _dial(self, target: _Target) -> bool:
        """Whether the answer is still to come."""
        self._dialled[target] += 1
        connection = socket.socket(target.family, socket.SOCK_STREAM)
        connection.setblocking(False)
        number = connection.connect_ex(target.place)
        if number not in (0, errno.EINPROGRESS):
            connection.close()
            self._failed(target, number)
            return False
        self._selector.register(connection, selectors.EVENT_WRITE, target)
        return True

    def _answered(self, connection: Any, target: _Target) -> socket.socket | None:
        number = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._let_go(connection)
            self._failed(target, number)
            return None
        self._selector.unregister(connection)
        connection.setblocking(True)
        self.winner = target.address
        answered: socket.socket = connection
        return answered

    def _failed(self, target: _Target, number: int) -> None:
        self.problems[target.address] = OSError(number, os.strerror(number))
        self._waiting = deque(each for each in self._waiting if each != target)
        if number == errno.EHOSTUNREACH and self._dialled[target] < _UNREACHABLE_DIALS:
            self._waiting.append(target)

    def _let_go(self, connection: Any) -> None:
        self._selector.unregister(connection)
        connection.close()


def _words(why: Exception) -> str:
    if isinstance(why, UnicodeError):
        return "not a host name"
    return str(getattr(why, "strerror", None) or why)


def own_address_towards(host: str) -> str:
    """Our address on the route to a host, empty where there is none; nothing is sent."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(address)  # of UDP: only the route is looked up
            found: str = probe.getsockname()[0]
    except (OSError, UnicodeError):
        return ""
    return found
