"""The agents of a job find each other and believe nobody else: real sockets, a loop for each."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

import madrun
from madrun.agent.standalone import rendezvous
from madrun.agent.standalone.capacity import NodeCapacity
from madrun.agent.standalone.credential import SharedKey
from madrun.agent.standalone.rendezvous import Host, Meeting, RefusedError, Welcome, come
from madrun.hosts.slurm import ports_of_step
from madrun.system.errors import ClusterError, InputError
from madrun.system.loop import Loop

HOSTS = ("a", "b", "c")
OURS, THEIRS = SharedKey("key", b"k" * 32), SharedKey("key", b"x" * 32)
CHANNEL = ("cd" * 32, (1001, 1002))
KEYS = {1: "01" * 32, 2: "02" * 32}


def meeting(node_rank: int, step: str, limit: float = 20.0) -> Meeting:
    ports = ports_of_step("4711", step)
    return Meeting(f"slurm-4711.{step}", HOSTS, node_rank, "127.0.0.1", ports, limit)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(3) as made:
        yield made


def guest(
    pool: ThreadPoolExecutor, where: Meeting, key: SharedKey = OURS, devices: int = 0
) -> Future[Welcome]:
    capacity = NodeCapacity(devices, devices or 1)
    own = KEYS[where.node_rank]
    return pool.submit(come, Loop(), where, lambda _name: key, own, capacity)


def gathered(step: str, limit: float = 20.0) -> Host:
    host = Host(Loop(), meeting(0, step, limit), OURS)
    host.gather()
    return host


def introduction(step: str, greeting: bytes) -> bytes:
    """What node 1 answers to node 0's greeting."""
    fields = {"job": f"slurm-4711.{step}", "nonce": greeting.split()[-1].decode(),
              "own": "ab" * 32, "rank": 1, "version": "1", "key": KEYS[1],
              "devices": 0, "workers": 1}  # fmt: skip
    return OURS.seal(json.dumps(fields).encode()) + b"\n"


def let_in(host: Host, futures: list[Future[Welcome]]) -> list[Welcome]:
    host.welcome(*CHANNEL, lambda _node_rank: None)
    found = [future.result() for future in futures]
    for welcome in found:
        welcome.line.close()
    host.close()
    return found


def connected(port: int) -> socket.socket:
    """A connection to whoever listens there, soon."""
    pause = threading.Event()
    for _ in range(1000):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=20)
        except OSError:
            pause.wait(0.02)
    raise AssertionError("nobody listens")


def test_all_learn_what_they_need(pool: ThreadPoolExecutor) -> None:
    futures = [guest(pool, meeting(rank, "0"), devices=rank) for rank in (2, 1)]
    host = gathered("0")
    assert host.missing == {}
    assert {rank: each.capacity for rank, each in host.guests.items()} == {
        1: NodeCapacity(1, 1), 2: NodeCapacity(2, 2),
    }  # fmt: skip
    for rank, each in host.guests.items():
        assert each.line == (rank, madrun.__version__, KEYS[rank], "", "")
        assert (each.address, each.ours) == ("127.0.0.1", "127.0.0.1")
    for welcome in let_in(host, futures):
        assert (welcome.key, welcome.ports, welcome.address) == (*CHANNEL, "127.0.0.1")


def test_a_taken_port_and_silent_strangers_are_passed_over(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendezvous, "_ANSWER_LIMIT", 0.5)
    first, second = ports_of_step("4711", "1")[:2]
    with socket.create_server(("", first)):
        host = pool.submit(gathered, "1")
        with connected(second) as stranger:
            stranger.sendall(b"GET / HTTP/1.0\n\n")
            futures = [guest(pool, meeting(rank, "1")) for rank in (1, 2)]
            assert len(let_in(host.result(), futures)) == 2


def test_who_speaks_as_node_0_without_the_key_is_not_believed(pool: ThreadPoolExecutor) -> None:
    """Another user's process on node 0's machine took the first port before it came."""
    first = ports_of_step("4711", "2")[0]
    with socket.create_server(("", first)) as listener:
        impostor = threading.Thread(target=_play_node_0, args=(listener,), daemon=True)
        impostor.start()
        host = pool.submit(gathered, "2")
        futures = [guest(pool, meeting(rank, "2")) for rank in (1, 2)]
        found = let_in(host.result(), futures)
    assert [welcome.key for welcome in found] == [CHANNEL[0]] * 2


def _play_node_0(listener: socket.socket) -> None:
    """Answer every guest as node 0 would, sealed with another key."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, connection.makefile("rb") as file:
            connection.sendall(b"MADRUN-MEET 1 key " + b"0" * 64 + b"\n")
            file.readline()
            for what in ({"what": "seen"}, {"what": "welcome", "key": "ee" * 32, "ports": [6, 6]}):
                fields = {"job": "slurm-4711.2", "nonce": "0" * 64, **what}
                connection.sendall(THEIRS.seal(json.dumps(fields).encode()) + b"\n")


def test_who_comes_without_the_key_is_not_let_in(pool: ThreadPoolExecutor) -> None:
    stranger = guest(pool, meeting(1, "3", limit=2), THEIRS)
    future = guest(pool, meeting(2, "3"))
    host = gathered("3", limit=4)
    assert host.missing == {1: "its agent has not come within 4 s"}
    with pytest.raises(ClusterError, match="the agent of a is not reached within 2 s"):
        stranger.result()
    assert len(let_in(host, [future])) == 1


def test_an_introduction_that_was_overheard_is_worth_nothing(pool: ThreadPoolExecutor) -> None:
    host = pool.submit(gathered, "4", 4)
    port = ports_of_step("4711", "4")[0]
    with connected(port) as first, first.makefile("rb") as file:
        sealed = introduction("4", file.readline())
        with connected(port) as second, second.makefile("rb") as other:
            other.readline()
            second.sendall(sealed)
            assert other.readline() == b"", "the nonce is that of another connection"
        first.sendall(sealed)
        assert b'"seen"' in OURS.open(file.readline().rstrip())
        assert {*host.result().guests} == {1}
        host.result().close()


def test_a_node_that_does_not_come_is_named(pool: ThreadPoolExecutor) -> None:
    future = guest(pool, meeting(2, "5"))
    host = gathered("5", limit=1)
    assert host.missing == {1: "its agent has not come within 1 s"}
    let_in(host, [future])


def test_a_node_that_leaves_again_is_named(pool: ThreadPoolExecutor) -> None:
    host = pool.submit(gathered, "6")
    with connected(ports_of_step("4711", "6")[0]) as first, first.makefile("rb") as file:
        first.sendall(introduction("6", file.readline()))
        assert b'"seen"' in OURS.open(file.readline().rstrip())
    future = guest(pool, meeting(2, "6"))
    assert host.result().missing == {1: "its agent left before the start"}
    let_in(host.result(), [future])


def test_what_node_0_refuses_ends_all_with_its_status(pool: ThreadPoolExecutor) -> None:
    futures = [guest(pool, meeting(rank, "7")) for rank in (1, 2)]
    host = gathered("7")
    with pytest.raises(InputError), host.refusing_on_error():
        raise InputError("no such slot")
    for future in futures:
        with pytest.raises(RefusedError) as refused:
            future.result()
        assert refused.value.status == 2
    host.close()


def test_another_version_is_sent_home(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    futures = [guest(pool, meeting(rank, "8")) for rank in (1, 2)]
    host = gathered("8")
    monkeypatch.setattr(madrun, "__version__", "99.0")
    host.welcome(*CHANNEL, lambda _node_rank: None)
    for future in futures:
        with pytest.raises(RefusedError) as refused:
            future.result()
        assert refused.value.status == 125
    host.close()


def test_the_end_of_an_agent_is_seen(pool: ThreadPoolExecutor) -> None:
    loop, gone = Loop(), list[int]()
    host = Host(loop, meeting(0, "9"), OURS)
    futures = [guest(pool, meeting(rank, "9")) for rank in (1, 2)]
    host.gather()

    def left(node_rank: int) -> None:
        gone.append(node_rank)
        if len(gone) == 2:
            loop.stop()

    host.welcome(*CHANNEL, left)
    for future in futures:
        future.result().line.close()
    loop.run()
    assert {*gone} == {1, 2}
    host.close()
