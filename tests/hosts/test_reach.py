"""Which address of a machine can be reached."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from madrun.hosts.reach import first_reachable

LIMIT = 20.0


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number: int = listener.getsockname()[1]
    return number


def test_the_first_that_answers(port: int) -> None:
    assert first_reachable(["127.0.0.1"], port, LIMIT) == ("127.0.0.1", "")


def test_others_are_passed_over(port: int) -> None:
    """The listener has one address of the loopback network; the others refuse."""
    addresses = ["127.0.0.2", "127.0.0.3", "127.0.0.1", "127.0.0.4"]
    assert first_reachable(addresses, port, LIMIT) == ("127.0.0.1", "")


def test_why_none_was(closed_port: int) -> None:
    address, problem = first_reachable(["127.0.0.1", "127.0.0.2"], closed_port, LIMIT)
    assert address == ""
    assert problem == (
        f"127.0.0.1:{closed_port}: Connection refused; 127.0.0.2:{closed_port}: Connection refused"
    )


def test_no_address() -> None:
    assert first_reachable([], 1, LIMIT) == ("", "it has no address")


@pytest.mark.parametrize("name", ["no such host.invalid", "a..b", "x" * 64 + ".example"])
def test_a_name_that_means_nothing_is_a_problem_not_an_exception(port: int, name: str) -> None:
    address, problem = first_reachable([name], port, 1.0)
    assert address == ""
    assert problem.startswith(f"{name}:{port}: ")


def test_a_machine_that_never_answers_leaves_time_for_the_next() -> None:
    """A listener whose queue is full drops what comes: it looks like a host behind a firewall."""
    with socket.socket() as full, socket.create_server(("127.0.0.1", 0)) as good:
        number = good.getsockname()[1]
        full.bind(("127.0.0.2", number))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.2", number))
        assert first_reachable(["127.0.0.2", "127.0.0.1"], number, 2.0) == ("127.0.0.1", "")
        for each in waiting:
            each.close()
