"""Ports that are held for a launcher: free, and never those of another job."""

from __future__ import annotations

import socket

import pytest

from madrun.agent.master_port import random_port
from madrun.agent.ports import Ports, peers_of
from madrun.launchers.plan import Peer, PortRequest
from madrun.system.errors import ClusterError
from madrun.wire.messages import Go


@pytest.fixture
def number() -> int:
    """A port that is free now."""
    with socket.create_server(("", 0)) as taken:
        found: int = taken.getsockname()[1]
    return found


def can_be_listened_on(number: int) -> bool:
    try:
        socket.create_server(("", number)).close()
    except OSError:
        return False
    return True


def test_the_usual_port_is_held_until_it_is_let_go(number: int) -> None:
    ports = Ports([PortRequest("port", number)])
    assert ports.numbers == (number,)
    assert not can_be_listened_on(number)
    ports.release()
    assert can_be_listened_on(number)
    ports.close()


def test_another_job_finds_another_port_even_before_the_server_listens(number: int) -> None:
    ours = Ports([PortRequest("port", number)])
    ours.release()
    theirs = Ports([PortRequest("port", number), PortRequest("second", number)])
    assert len({number, *theirs.numbers}) == 3
    ours.close()
    theirs.close()
    again = Ports([PortRequest("port", number)])
    assert again.numbers == (number,)
    again.close()


def test_a_given_port_is_had_or_the_job_is_not_started(number: int) -> None:
    with socket.create_server(("", number)), pytest.raises(ClusterError) as error:
        Ports([PortRequest("first", random_port()), PortRequest("port", number, given=True)])
    assert str(error.value) == f"port {number} cannot be used here: Address already in use"


def test_peers_are_known_by_address() -> None:
    found = peers_of(Go("a", 1, ("127.0.0.1", "::1", "localhost"), ((1, 2), (), (3,))))
    assert found[:2] == (Peer("127.0.0.1", (1, 2)), Peer("::1"))
    assert found[2].address in ("127.0.0.1", "::1")


@pytest.mark.parametrize("name", ["no.such.host.invalid", "a" * 70])
def test_an_address_that_nobody_knows(name: str) -> None:
    with pytest.raises(ClusterError, match="of a node cannot be resolved"):
        peers_of(Go("a", 1, (name,), ((),)))
