"""How the agents of a Slurm step meet before anything starts: all come to node 0's.

Slurm tells each of them who the others are, but not how many GPUs those have. Here they tell
each other, so that all have the same World, and nobody starts before everybody is there.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from functools import partial
from typing import Any, NamedTuple

import madrun
from madrun.agent.master_port import bound
from madrun.agent.standalone.json_socket import JsonSocket
from madrun.hosts import hostlist
from madrun.hosts.slurm import Place, ports_of_step
from madrun.system.errors import ClusterError
from madrun.system.loop import Loop

LIMIT = 60.0  # seconds for all agents to come; srun starts its tasks within a few
_ANSWER_LIMIT = 2.0  # seconds: a port that is a stranger's says nothing
_PAUSE = 0.1  # seconds between two looks whether node 0 is there
_COME, _WELCOME, _MET, _NO = "madrun agent", "welcome", "met", "no"


class NodeCapacity(NamedTuple):
    """What a node brings: how many devices it shows, and how many workers it is to run."""

    devices: int
    workers: int


class Met(NamedTuple):
    """Everybody is there: their strengths by node rank, the master port that node 0 found free.

    ``lines`` lead to the others: on node 0 to each by node rank, elsewhere to node 0.
    """

    strengths: tuple[NodeCapacity, ...]
    master_port: int
    lines: dict[int, JsonSocket]


def meet(
    loop: Loop,
    place: Place,
    own: NodeCapacity,
    address: str,
    master_port: int,
    limit: float = LIMIT,
) -> Met:
    """Come together; ``address`` is node 0's. Returns on every node or raises ClusterError there.

    ``master_port`` 0: node 0 chooses a free one.
    """
    meeting: _Host | _Guest
    if len(place.hosts) == 1:
        return Met((own,), master_port or _free_port(place, ()), {})
    if place.node_rank == 0:
        meeting = _Host(loop, place, own, master_port, limit)
    else:
        meeting = _Guest(loop, place, own, address, limit)
    loop.run()
    if isinstance(meeting.result, str):
        raise ClusterError(meeting.result)
    return meeting.result


class _Host:
    """Node 0: listens until everybody has come."""

    def __init__(
        self, loop: Loop, place: Place, own: NodeCapacity, master_port: int, limit: float
    ) -> None:
        self.result: Met | str = ""
        self._loop, self._place, self._limit = loop, place, limit
        self._come: dict[int, NodeCapacity] = {0: own}
        self._lines: dict[int, JsonSocket] = {}
        self._strangers: set[JsonSocket] = set()  # who has not said who he is
        self._listener = _listen(place)
        own_port = self._listener.getsockname()[1]
        self._master_port = master_port or _free_port(place, (own_port,))
        loop.watch(self._listener.fileno(), self._accept)
        self._timer = loop.call_later(limit, self._late)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # who knocked has gone
            return
        line = JsonSocket(self._loop, connection)
        line.on_message = partial(self._heard, line)
        self._strangers.add(line)

    def _heard(self, line: JsonSocket, message: list[Any]) -> None:
        match message:
            case [str(word), str(version), str(job), str(step), int(rank), int(devices), int(own)]:
                mine = (_COME, self._place.job_id, self._place.step_id)
                known = 0 < rank < len(self._place.hosts) and rank not in self._come
                if (word, job, step) != mine or not known or devices < 0 or own < 1:
                    line.close()
                    return
            case _:
                line.close()
                return
        line.send(_WELCOME)
        self._strangers.discard(line)
        self._lines[rank] = line
        self._come[rank] = NodeCapacity(devices, own)
        host = self._place.hosts[rank]
        line.on_end = lambda reason: self._end(f"{host} left before the start: {reason}")
        if version != madrun.__version__:
            first = self._place.hosts[0]
            self._end(f"madrun {version} is installed on {host}, {madrun.__version__} on {first}")
        elif len(self._come) == len(self._place.hosts):
            self._complete()

    def _complete(self) -> None:
        strengths = tuple(self._come[rank] for rank in range(len(self._come)))
        counts = [each.devices for each in strengths]
        if any(counts) and not all(counts):
            poor = self._place.hosts[counts.index(0)]
            rich = self._place.hosts[counts.index(max(counts))]
            self._end(f"too few GPUs: none is there on {poor}, but {rich} has {max(counts)}")
            return
        for line in self._lines.values():
            line.send(_MET, self._master_port, *strengths)
        self._end(Met(strengths, self._master_port, self._lines))

    def _late(self) -> None:
        hosts = self._place.hosts
        missing = [host for rank, host in enumerate(hosts) if rank not in self._come]
        self._end(f"no agent has come from {hostlist.fold(missing)} within {self._limit:g} s")

    def _end(self, result: Met | str) -> None:
        if self.result:
            return
        self.result = result
        self._timer.cancel()
        self._loop.unwatch(self._listener.fileno())
        self._listener.close()
        for line in self._strangers:
            line.close()
        if isinstance(result, str):
            for line in self._lines.values():
                line.send(_NO, result)
                line.finish()
                line.close()
        self._loop.stop()


class _Guest:
    """Every other node: looks for node 0 until it is there, then waits for the rest."""

    def __init__(
        self, loop: Loop, place: Place, own: NodeCapacity, address: str, limit: float
    ) -> None:
        self.result: Met | str = ""
        self._loop, self._host, self._limit = loop, place.hosts[0], limit
        ports = ports_of_step(place.job_id, place.step_id)
        hello = [_COME, madrun.__version__, place.job_id, place.step_id, place.node_rank, *own]
        # A thread, because connecting can block; nothing is forked while it runs.
        threading.Thread(
            target=self._look, args=(address, ports, hello), name="meeting", daemon=True
        ).start()
        # Node 0 may have waited just as long for another.
        loop.call_later(limit + _ANSWER_LIMIT, lambda: self._end(f"{self._host} does not start"))

    def _look(self, address: str, ports: tuple[int, ...], hello: list[object]) -> None:
        found = _find(address, ports, hello, time.monotonic() + self._limit)
        if isinstance(found, socket.socket):
            self._loop.post(partial(self._found, found))
            return
        text = f"the agent of {self._host} is not reached within {self._limit:g} s: {found}"
        self._loop.post(lambda: self._end(text))

    def _found(self, connection: socket.socket) -> None:
        line = JsonSocket(self._loop, connection)
        line.on_message = partial(self._heard, line)
        line.on_end = lambda reason: self._end(f"{self._host} left before the start: {reason}")

    def _heard(self, line: JsonSocket, message: list[Any]) -> None:
        match message:
            case [str(word), int(port), *rest] if word == _MET:
                strengths = tuple(NodeCapacity(int(each[0]), int(each[1])) for each in rest)
                line.hold()  # another node's failure may be the next word already
                self._end(Met(strengths, port, {0: line}))
            case [str(word), str(reason)] if word == _NO:
                line.close()
                self._end(reason)

    def _end(self, result: Met | str) -> None:
        if not self.result:
            self.result = result
            self._loop.stop()


def _find(
    address: str, ports: tuple[int, ...], hello: list[object], deadline: float
) -> socket.socket | str:
    """A connection to node 0's agent, which has answered; else why there is none."""
    problem = "nobody listens"
    pause = threading.Event()
    while time.monotonic() < deadline:
        for port in ports:
            try:
                return _ask(address, port, hello)
            except ConnectionRefusedError:
                continue
            except (OSError, UnicodeError) as error:
                problem = getattr(error, "strerror", None) or str(error)
        pause.wait(_PAUSE)
    return problem


def _ask(address: str, port: int, hello: list[object]) -> socket.socket:
    connection = socket.create_connection((address, port), timeout=_ANSWER_LIMIT)
    try:
        connection.sendall(json.dumps(hello).encode() + b"\n")
        wanted = json.dumps([_WELCOME]).encode() + b"\n"
        if connection.recv(len(wanted), socket.MSG_WAITALL) != wanted:
            raise OSError(f"port {port} is somebody else's")
    except OSError:
        connection.close()
        raise
    return connection


def _listen(place: Place) -> socket.socket:
    for port in ports_of_step(place.job_id, place.step_id):
        try:
            listener = bound(port)
        except OSError:
            continue
        listener.setblocking(False)
        return listener
    raise ClusterError("none of the ports on which the step's agents could meet is free")


def _free_port(place: Place, taken: tuple[int, ...]) -> int:
    for port in ports_of_step(place.job_id, place.step_id):
        if port not in taken:
            try:
                bound(port).close()
            except OSError:
                continue
            return port
    raise ClusterError("none of the ports that the step's workers could use is free")
