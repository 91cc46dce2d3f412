"""Asking a server whether it is ready: one small HTTP exchange, or a connection, without blocking.

Written on the loop, not with an HTTP library: a probe may hang as long as it likes, a child's exit
and the deadline are seen meanwhile, and no proxy variable of anybody's environment has a say.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from madrun.launchers.plan import Probe
from madrun.system.loop import Loop, Timer

_ANSWER_LIMIT = 30.0  # seconds for one answer: a health check may generate a token
_SHORTEST, _LONGEST = 0.1, 1.0  # seconds between two attempts: twice as long after each
_HANGS = 1.0  # seconds; then what the attempt before had said is no news
_ANSWER_SIZE = 64 * 1024  # bytes that are looked at
_SHOWN = 120  # characters of an answer in a message


class Attempt:
    """One exchange; ``done(problem)`` is called once, with no problem where it was answered."""

    def __init__(
        self, loop: Loop, probe: Probe, done: Callable[[str], None], limit: float = _ANSWER_LIMIT
    ) -> None:
        self._loop, self._probe, self._done = loop, probe, done
        self._parts = urlsplit(probe.url)
        self._answer = bytearray()
        self._socket: socket.socket | None = None
        silent = f"no answer within {limit:g} s"
        self._timer = loop.call_later(limit, lambda: self._finish(silent))
        # The first word comes from the loop: whoever asks has us in hand by then.
        self._begin = loop.call_later(0.0, self._connect)

    def cancel(self) -> None:
        """Hang up; nobody is called."""
        self._begin.cancel()
        self._timer.cancel()
        if self._socket is not None:
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _connect(self) -> None:
        host, port = self._parts.hostname or "", self._parts.port or 80
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            family, kind, protocol, _, address = found[0]
            connecting = socket.socket(family, kind, protocol)
        except (OSError, UnicodeError) as error:
            self._finish(str(getattr(error, "strerror", None) or error))
            return
        connecting.setblocking(False)
        self._socket = connecting
        self._loop.watch_writable(connecting.fileno(), self._connected)
        problem = connecting.connect_ex(address)
        if problem not in (0, errno.EINPROGRESS):
            self._finish(os.strerror(problem))

    def _connected(self) -> None:
        assert self._socket is not None
        problem = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if problem or self._parts.scheme == "tcp":
            self._finish(os.strerror(problem) if problem else "")
            return
        self._loop.unwatch(self._socket.fileno())
        self._loop.watch(self._socket.fileno(), self._read)
        try:
            self._socket.send(request(self._probe))  # far smaller than an empty socket's buffer
        except OSError as error:
            self._finish(error.strerror or str(error))

    def _read(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(_ANSWER_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._finish(error.strerror or str(error))
            return
        self._answer += data
        whole = is_whole(bytes(self._answer))
        if not data or whole or len(self._answer) >= _ANSWER_SIZE:
            self._finish(problem_of(bytes(self._answer), self._probe.expect))

    def _finish(self, problem: str) -> None:
        self.cancel()
        self._done(problem)


def request(probe: Probe) -> bytes:
    r"""The bytes of an HTTP request.

    >>> request(Probe("http://node01:8000/v1/models")).split(b"\r\n")[:2]
    [b'GET /v1/models HTTP/1.1', b'Host: node01:8000']
    """
    parts = urlsplit(probe.url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    body = probe.body.encode()
    head = [f"{'POST' if body else 'GET'} {path} HTTP/1.1", f"Host: {parts.netloc}"]
    head += ["Connection: close", "Accept: */*"]
    if body:
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + body


def is_whole(answer: bytes) -> bool:
    """Whether an answer has come to its end, where it says how long it is."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    if not separator:
        return False
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return len(body) >= int(value)
    return False


def problem_of(answer: bytes, expect: str) -> str:
    r"""What is wrong with an answer; nothing where its status is 200 and it holds what it should.

    >>> problem_of(b"HTTP/1.1 503 Service Unavailable\r\n\r\nloading", "")
    'answered 503 Service Unavailable: loading'
    >>> problem_of(b"HTTP/1.1 200 OK\r\n\r\n{}", "")
    ''
    """
    head, _, body = answer.partition(b"\r\n\r\n")
    first = head.split(b"\r\n")[0].decode(errors="replace")
    words = first.split(" ", 1)
    if not words[0].startswith("HTTP/") or len(words) < 2:
        return "hung up without an answer" if not answer else "does not speak HTTP"
    shown = " ".join(body.decode(errors="replace").split())[:_SHOWN]
    said = f"answered {words[1]}" + (f": {shown}" if shown else "")
    if not words[1].startswith("200"):
        return said
    return "" if expect.encode() in body else f"{said}, without {expect!r}"


class ReadinessProbe:
    """Asks some probes, one after the other, each again and again until it answers.

    ``on_answer()`` is called once, when the last one has answered; ``trouble`` says what is
    missing until then.
    """

    def __init__(self, loop: Loop, probes: Sequence[Probe], on_answer: Callable[[], None]) -> None:
        self._loop, self._probes, self._on_answer = loop, list(probes), on_answer
        self._attempt: Attempt | None = None
        self._timer: Timer | None = None
        self._pause = _SHORTEST
        self._asked_at = time.monotonic()
        self._problem = ""
        self._ask()

    @property
    def trouble(self) -> str:
        """Which probe has not answered yet, and how the last attempt ended."""
        if not self._probes:
            return ""
        seconds = time.monotonic() - self._asked_at
        hangs = self._attempt is not None and (seconds >= _HANGS or not self._problem)
        return f"{self._probes[0].url}: " + (
            f"no answer for {seconds:.0f} s" if hangs else self._problem
        )

    def stop(self) -> None:
        """Ask no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._attempt is not None:
            self._attempt.cancel()

    def _ask(self) -> None:
        self._asked_at = time.monotonic()
        self._attempt = Attempt(self._loop, self._probes[0], self._answered)

    def _answered(self, problem: str) -> None:
        self._attempt, self._problem = None, problem
        if problem:
            self._timer = self._loop.call_later(self._pause, self._ask)
            self._pause = min(2 * self._pause, _LONGEST)
            return
        self._probes.pop(0)
        self._pause = _SHORTEST
        if self._probes:
            self._ask()
        else:
            self._on_answer()
