"""An agent whose coordinator is elsewhere: a runner, or node 0 of a job without one."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Sequence
from functools import partial

from madrun.agent.agent import Agent
from madrun.hosts.world import World
from madrun.system.exits import FAILED
from madrun.system.guard import guard_pid
from madrun.system.loop import Loop
from madrun.system.signals import follow_signals
from madrun.wire.agent_channel import AgentChannel
from madrun.wire.messages import Begin, Hello, JobOver, Message


class JoinedAgent:
    """An agent and its channel; what ends either of them.

    ``host`` is the name by which the job spec tells it its place, where the node rank does not.
    With ``stays``, it stays until the job is over on all nodes.
    """

    def __init__(
        self, loop: Loop, node_rank: int, patience: float, host: str = "", stays: bool = False
    ) -> None:
        self._loop, self._node_rank, self._host, self._stays = loop, node_rank, host, stays
        self.problems: list[str] = []
        self._status = FAILED if stays else 0
        self.channel = AgentChannel(loop.post, self._receive, self.lost, patience)
        self._agent = Agent(loop, node_rank, self.channel.send, self._gone, os.environ)

    def run(
        self, addresses: Sequence[str], ports: tuple[int, int], key: str, age: float = 0.0
    ) -> int:
        """Connect to the coordinator, and stay until the end; returns the exit status.

        That is the job's where the agent ``stays``, else only says whether the agent itself worked.
        Raises ClusterError where the coordinator cannot be reached.
        """
        self.channel.connect(addresses, ports, key)
        hello = Hello(self._node_rank, socket.gethostname(), os.getpid(), guard_pid(), age)
        self.channel.send(hello)
        agent, by_parent = self._agent, partial(self._agent.interrupt, by_parent=True)
        follow_signals(self._loop, agent.interrupt, agent.signal_workers, by_parent)
        self._loop.run()
        self.channel.close()
        return FAILED if self.problems else self._status

    def lost(self, reason: str) -> None:
        """The coordinator is gone: end the workers, wait for nobody."""
        self.problems.append(reason)
        self._agent.abandon()

    def guard_killed(self) -> None:
        """End the workers; the coordinator may well be there still, and is told."""
        self.problems.append("its guard was killed")
        self._agent.interrupt(signal.SIGKILL)

    def _receive(self, message: Message) -> None:
        if isinstance(message, JobOver):
            self._status = message.status
            self._loop.stop()
            return
        if isinstance(message, Begin) and self._host:
            self._agent.take_place(rank_of_host(message.spec.world, self._host))
        self._agent.receive(message)

    def _gone(self) -> None:
        if self.problems or not self._stays:
            self._loop.stop()


def rank_of_host(world: World, host: str) -> int:
    """The node rank of the host that a tool has reached by this name; -1 for a stranger.

    >>> from madrun.hosts.world import Node
    >>> rank_of_host(World((Node("a", (0,)), Node("root@b", (0,)))), "b")
    1
    """
    addresses = [name.rpartition("@")[2] for name in world.hosts]
    return addresses.index(host) if host in addresses else -1


def watch_end(loop: Loop, fd: int, at_end: Callable[[], None]) -> None:
    """Call back once when the other end of a pipe is closed; what comes through it is dropped."""

    def readable() -> None:
        try:
            data = os.read(fd, 4096)
        except OSError:
            data = b""
        if not data:
            loop.unwatch(fd)
            at_end()

    try:
        loop.watch(fd, readable)
    except (PermissionError, ValueError, OSError):
        return  # /dev/null or a file: the backend keeps no stdin open to us
