"""The agents of a step find each other: real sockets, a loop and a thread for each."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from madrun.agent.standalone import rendezvous
from madrun.agent.standalone.coordinator import FAILURE, PeerMessage
from madrun.agent.standalone.peers import Peers
from madrun.agent.standalone.rendezvous import Met, NodeCapacity, meet
from madrun.hosts.slurm import Place, ports_of_step
from madrun.system.errors import ClusterError
from madrun.system.loop import Loop

HOSTS = ("a", "b", "c")


def place(node_rank: int, step: str) -> Place:
    return Place("4711", step, HOSTS, node_rank, None)


def start(
    pool: ThreadPoolExecutor, node_rank: int, step: str, own: NodeCapacity, limit: float = 10
) -> Future[Met]:
    loop = Loop()
    return pool.submit(meet, loop, place(node_rank, step), own, "127.0.0.1", 0, limit)


def close(found: list[Met]) -> None:
    for met in found:
        for line in met.lines.values():
            line.close()


def test_all_learn_the_same() -> None:
    with ThreadPoolExecutor(3) as pool:
        counts = {0: NodeCapacity(3, 3), 1: NodeCapacity(1, 1), 2: NodeCapacity(8, 8)}
        futures = [start(pool, rank, "0", counts[rank]) for rank in (2, 1, 0)]
        found = [future.result() for future in futures]
    close(found)
    assert {met.strengths for met in found} == {tuple(counts[rank] for rank in range(3))}
    assert len({met.master_port for met in found}) == 1
    assert found[0].master_port in ports_of_step("4711", "0")
    assert set(found[2].lines) == {1, 2}


def test_a_taken_port_and_a_silent_stranger_are_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rendezvous, "_ANSWER_LIMIT", 0.3)
    first, second = ports_of_step("4711", "1")[:2]
    with socket.create_server(("", first)), ThreadPoolExecutor(3) as pool:
        futures = [start(pool, rank, "1", NodeCapacity(0, 1)) for rank in range(2)]
        stranger = _connected(second)
        stranger.sendall(b'["madrun agent", "0", "4711", "1", 99, 0, 1]\n{}\n')
        futures.append(start(pool, 2, "1", NodeCapacity(0, 1)))
        found = [future.result() for future in futures]
        stranger.close()
    close(found)
    assert found[0].strengths == (NodeCapacity(0, 1),) * 3


def _connected(port: int) -> socket.socket:
    pause = threading.Event()
    for _ in range(200):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=5)
        except OSError:
            pause.wait(0.02)
    raise AssertionError("nobody listens")


def test_a_node_that_does_not_come_is_named_by_all() -> None:
    with ThreadPoolExecutor(2) as pool:
        futures = [start(pool, rank, "2", NodeCapacity(0, 1), limit=0.5) for rank in (0, 2)]
        for future in futures:
            with pytest.raises(ClusterError, match=r"no agent has come from b within 0\.5 s"):
                future.result()


def test_a_node_without_gpus_among_others_is_named_by_all() -> None:
    with ThreadPoolExecutor(3) as pool:
        futures = [start(pool, rank, "3", NodeCapacity(rank, rank or 1)) for rank in range(3)]
        for future in futures:
            with pytest.raises(ClusterError, match="none is there on a, but c has 2"):
                future.result()


def test_another_version_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadPoolExecutor(2) as pool:
        host = start(pool, 0, "4", NodeCapacity(0, 1))
        port = ports_of_step("4711", "4")[0]
        with _connected(port) as old:
            old.sendall(b'["madrun agent", "0.0.1", "4711", "4", 1, 0, 1]\n')
            with pytest.raises(ClusterError, match=r"madrun 0\.0\.1 is installed on b"):
                host.result()


def test_a_word_that_follows_at_once_is_not_lost() -> None:
    """A node that fails while another still reads who has come."""
    heard: list[PeerMessage] = []
    loop = Loop()

    def hear(word: PeerMessage) -> None:
        heard.append(word)
        loop.stop()

    with ThreadPoolExecutor(1) as pool, _listening(ports_of_step("4711", "5")[0]) as listener:
        future = pool.submit(meet, loop, place(1, "5"), NodeCapacity(0, 1), "127.0.0.1", 0, 10)
        connection, _ = listener.accept()
        connection.recv(4096)
        connection.sendall(b'["welcome"]\n')
        words = b'["met", 2000, [0, 1], [0, 1], [0, 1]]\n["failed", 7, 2, "it failed"]\n'
        connection.sendall(words)
        met = future.result()
        peers = Peers(loop, 1, HOSTS, met.lines, hear)
        loop.call_later(10, loop.stop)
        loop.run()
        connection.close()
    assert heard == [PeerMessage(FAILURE, 7, 2, "it failed")]
    assert not peers.silent
    close([met])


def _listening(port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port))
