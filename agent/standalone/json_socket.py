"""A line between two agents: one JSON list a line over TCP, small, and never waited for.

It carries numbers and short texts, is not encrypted and proves nobody's identity: who can reach
the port could end the job, as through the port of any framework's rendezvous, and no more.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from madrun.system.loop import Loop

_LONGEST = 1024 * 1024  # bytes of one message: the World of 65536 nodes fits
_READ = 65536


class JsonSocket:
    """One end of a connection, on a loop; ``on_end(reason)`` is called once, unless we close it."""

    def __init__(self, loop: Loop, connection: socket.socket) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop, self._socket = loop, connection
        self._rest = b""
        self._open = True
        self._held: list[list[Any]] | None = None
        self.on_message: Callable[[list[Any]], None] = lambda _message: None
        self.on_end: Callable[[str], None] = lambda _reason: None
        self.heard_at = time.monotonic()
        loop.watch(connection.fileno(), self._read)

    def hold(self) -> None:
        """Keep what comes from now on, until ``release``: whom it is for is not here yet."""
        self._held = []

    def release(self) -> None:
        """Hand over what was kept, soon, and go on."""
        held, self._held = self._held or [], None
        for message in held:
            self._loop.post(partial(self._deliver, message))

    def send(self, *message: object) -> None:
        """Send a list of numbers and texts; a peer that takes nothing more is lost."""
        if not self._open:
            return
        data = json.dumps(message).encode() + b"\n"
        try:
            sent = self._socket.send(data)
        except OSError as error:
            self._end(f"the connection was lost: {error.strerror}")
            return
        if sent < len(data):
            self._end("it does not answer")

    def finish(self) -> None:
        """Nothing more will be sent; what was, arrives."""
        if self._open:
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:
                self.close()

    def close(self) -> None:
        """Hang up."""
        if self._open:
            self._open = False
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()

    def _end(self, reason: str) -> None:
        self.close()
        self.on_end(reason)

    def _read(self) -> None:
        try:
            data = self._socket.recv(_READ)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(f"the connection was lost: {error.strerror}")
            return
        if not data or len(self._rest) > _LONGEST:
            self._end("its agent ended" if not data else "it does not speak our language")
            return
        self.heard_at = time.monotonic()
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            try:
                message = json.loads(line)
            except (ValueError, RecursionError):
                message = None
            if not isinstance(message, list):
                self._end("it does not speak our language")
                return
            if self._open:
                self._deliver(message)

    def _deliver(self, message: list[Any]) -> None:
        if self._held is None:
            self.on_message(message)
        else:
            self._held.append(message)
