"""Probes against real sockets: what each says of a server that is not ready."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from madrun.agent.probe import Attempt, ReadinessProbe, is_whole
from madrun.launchers.plan import Probe
from madrun.system.loop import Loop

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@contextmanager
def server(*answers: bytes | None, keep_open: bool = False) -> Iterator[tuple[int, list[bytes]]]:
    """A server that gives each connection the next answer (None: none at all); its port and what
    it was asked."""
    asked: list[bytes] = []
    kept: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            for answer in answers:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                kept.append(connection)
                if answer is not None:
                    asked.append(connection.recv(65536))
                    connection.sendall(answer)
                    if not keep_open:
                        connection.close()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield listener.getsockname()[1], asked
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in kept:
                connection.close()


def outcome(loop: Loop, probe: Probe, limit: float = 10.0) -> str:
    """What one attempt comes to."""
    problems: list[str] = []

    def done(problem: str) -> None:
        problems.append(problem)
        loop.stop()

    Attempt(loop, probe, done, limit)
    loop.run()
    return problems[0]


def test_a_server_that_is_ready(loop: Loop) -> None:
    with server(OK) as (port, asked):
        assert outcome(loop, Probe(f"http://127.0.0.1:{port}/v1/models?x=1")) == ""
    assert asked[0].startswith(b"GET /v1/models?x=1 HTTP/1.1\r\nHost: 127.0.0.1:")


def test_an_answer_that_is_whole_need_not_end_the_connection(loop: Loop) -> None:
    with server(OK, keep_open=True) as (port, _):
        assert outcome(loop, Probe(f"http://127.0.0.1:{port}/")) == ""


def test_a_text_is_posted_and_one_is_expected(loop: Loop) -> None:
    with server(OK, OK) as (port, asked):
        probe = Probe(f"http://127.0.0.1:{port}/generate", body='{"text": "a"}')
        assert outcome(loop, probe) == ""
        problem = outcome(loop, probe._replace(expect="world"))
    assert problem == "answered 200 OK: {}, without 'world'"
    assert asked[0].startswith(b"POST /generate ")
    assert asked[0].endswith(b'Content-Length: 13\r\n\r\n{"text": "a"}')


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\nstill\nloading", "still loading"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "answered 204 No Content"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP"),
        (b"", "hung up without an answer"),
    ],
)
def test_answers_that_are_none(loop: Loop, answer: bytes, problem: str) -> None:
    with server(answer) as (port, _):
        assert problem in outcome(loop, Probe(f"http://127.0.0.1:{port}/health"))


def test_nobody_listens(loop: Loop) -> None:
    with server() as (port, _):
        pass
    for scheme in ("http", "tcp"):
        assert outcome(loop, Probe(f"{scheme}://127.0.0.1:{port}")) == "Connection refused"


def test_a_port_that_takes_a_connection_is_enough_for_tcp(loop: Loop) -> None:
    with server(None) as (port, _):
        assert outcome(loop, Probe(f"tcp://127.0.0.1:{port}")) == ""


def test_a_server_that_hangs(loop: Loop) -> None:
    with server(None) as (port, _):
        problem = outcome(loop, Probe(f"http://127.0.0.1:{port}/health"), limit=0.1)
    assert problem == "no answer within 0.1 s"


@pytest.mark.parametrize("name", ["no.such.host.invalid", "a" * 70, "..", ""])
def test_a_name_that_is_none(loop: Loop, name: str) -> None:
    assert outcome(loop, Probe(f"http://{name}:80/")) != ""


def test_proxies_of_the_environment_have_no_say(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    with server(OK) as (port, _):
        assert outcome(loop, Probe(f"http://127.0.0.1:{port}/")) == ""


def test_it_is_asked_again_until_it_answers_and_then_the_next_one(loop: Loop) -> None:
    with server(b"HTTP/1.1 503 No\r\n\r\n", OK, None) as (port, asked):
        probes = [Probe(f"http://127.0.0.1:{port}/{n}") for n in (1, 2)]
        asking = ReadinessProbe(loop, [probes[0], Probe(f"tcp://127.0.0.1:{port}")], loop.stop)
        assert asking.trouble.startswith(f"http://127.0.0.1:{port}/1: no answer for 0 s")
        loop.run()
        assert asking.trouble == ""
    assert [each.split()[1] for each in asked] == [b"/1", b"/1"]


def test_who_stops_asking_hears_nothing_more(loop: Loop) -> None:
    answered: list[bool] = []
    with server(OK) as (port, _):
        asking = ReadinessProbe(
            loop, [Probe(f"http://127.0.0.1:{port}/")], lambda: answered.append(True)
        )
        asking.stop()
        loop.call_later(0.1, loop.stop)
        loop.run()
    assert not answered


def test_what_has_come_is_whole() -> None:
    assert not is_whole(OK[:-1])
    assert is_whole(OK)
    assert not is_whole(b"HTTP/1.1 200 OK\r\n\r\nno length: it ends with the connection")
