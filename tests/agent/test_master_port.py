"""The master port: held until it is needed, then free."""

from __future__ import annotations

import socket

import pytest

from madrun.agent.master_port import MasterPort
from madrun.system.errors import ClusterError


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("", 0)) as listener:
        number: int = listener.getsockname()[1]
    return number


def test_a_free_port_below_those_of_outgoing_connections() -> None:
    masters = [MasterPort(0) for _ in range(20)]
    ports = {master.port for master in masters}
    assert len(ports) == 20
    assert all(1024 < port < 32768 for port in ports)
    for master in masters:
        master.release()


ADDRESSES = ["127.0.0.1", *(["::1"] if socket.has_dualstack_ipv6() else [])]


@pytest.mark.parametrize("address", ADDRESSES)
def test_others_can_try_it_by_either_family(address: str) -> None:
    master = MasterPort(0)
    for _ in range(50):
        socket.create_connection((address, master.port), timeout=100).close()
    master.release()


def test_a_given_port(free_port: int) -> None:
    master = MasterPort(free_port)
    assert master.port == free_port
    master.release()


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ClusterError, match=rf"master port {port} cannot be used here: "):
            MasterPort(port)


def test_after_trials_and_release_the_worker_gets_it_at_once() -> None:
    """Without SO_REUSEADDR, as a worker may well open it."""
    master = MasterPort(0)
    for _ in range(3):
        socket.create_connection(("127.0.0.1", master.port), timeout=100).close()
    master.release()
    with socket.socket() as worker:
        worker.bind(("", master.port))
        worker.listen()


def test_to_release_twice_is_to_release() -> None:
    master = MasterPort(0)
    master.release()
    with socket.create_server(("", master.port)) as worker:
        master.release()
        socket.create_connection(("127.0.0.1", master.port), timeout=100).close()
        worker.accept()[0].close()  # it was not the worker's that the second one closed
