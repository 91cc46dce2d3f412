"""An agent that a runner started: connect back, do the job, leave."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable

import madrun
from madrun.agent.agent import Agent
from madrun.agent.place import Place, parse_place
from madrun.hosts.reach import own_address_towards
from madrun.hosts.world import World
from madrun.system.errors import ClusterError
from madrun.system.exits import FAILED
from madrun.system.loop import Loop
from madrun.system.process_age import process_age
from madrun.system.signals import follow_signals
from madrun.wire.agent_channel import AgentChannel
from madrun.wire.key_line import GoneLine, KeyLine
from madrun.wire.messages import Begin, Hello, Message


def run_joined(argv: list[str], guard_fd: int) -> int:
    """Run one node for the runner named in ``argv``; returns the agent's exit status.

    The status only says whether the agent itself worked: what the workers did is told to the
    runner over the channel.
    """
    place = parse_place(argv, os.environ)
    if place.tool:
        # Tools end a process group by SIGKILL. Of the two of us, one has to be left to clean up.
        os.setsid()
    return _Joined(place, guard_fd).run()


class _Joined:
    """An agent and its channel; what ends either of them."""

    def __init__(self, place: Place, guard_fd: int) -> None:
        self._place = place
        self._problems: list[str] = []
        self._loop = loop = Loop()
        self._channel = AgentChannel(loop.post, self._receive, self._lost, place.patience)
        self._agent = Agent(loop, place.node_rank, self._channel.send, loop.stop, os.environ)
        _watch_end(loop, guard_fd, self._guard_lost)
        if not place.tool:  # tools give no stdin, or keep it open for ever
            _watch_end(loop, 0, lambda: self._lost("the runner hung up"))

    def run(self) -> int:
        """Say who is here, connect back, and stay until the end."""
        place, channel = self._place, self._channel
        address = own_address_towards(place.addresses[0]) if place.tool else ""
        line = KeyLine(place.node_rank, madrun.__version__, channel.public_key, place.host, address)
        age = process_age(os.getppid())  # of the guard: it is what the login has started
        os.write(1, line.encode())
        try:
            channel.connect(place.addresses, place.ports, place.runner_key)
        except ClusterError as error:
            sys.stderr.write(f"madagent: {error}\n")
            _tell_end(place, error.exit_status, str(error))
            return error.exit_status
        channel.send(Hello(place.node_rank, socket.gethostname(), os.getpid(), os.getppid(), age))
        follow_signals(self._loop, self._agent.interrupt, self._agent.signal_workers)
        self._loop.run()
        channel.close()
        for problem in self._problems[:1]:
            _say(f"madagent: {problem}")
            _tell_end(place, FAILED, problem)
        return FAILED if self._problems else 0

    def _receive(self, message: Message) -> None:
        if isinstance(message, Begin) and self._place.host:
            self._agent.take_place(rank_of_host(message.spec.world, self._place.host))
        self._agent.receive(message)

    def _lost(self, reason: str) -> None:
        self._problems.append(reason)
        self._agent.abandon()

    def _guard_lost(self) -> None:
        if not self._place.tool:
            self._lost("its guard was killed")
            return
        # Tools kill what they started a second after they told it to end; the runner may well
        # be there still, and is told when all of ours has ended.
        self._problems.append("its guard was killed")
        self._agent.interrupt(signal.SIGKILL)


def rank_of_host(world: World, host: str) -> int:
    """The node rank of the host that a tool has reached by this name; -1 for a stranger.

    >>> from madrun.hosts.world import Node
    >>> rank_of_host(World((Node("a", (0,)), Node("root@b", (0,)))), "b")
    1
    """
    addresses = [name.rpartition("@")[2] for name in world.hosts]
    return addresses.index(host) if host in addresses else -1


def _tell_end(place: Place, status: int, words: str) -> None:
    """Say on the common way back that this agent has ended, and why."""
    if not place.tool:
        return
    with contextlib.suppress(OSError):  # nobody is left to read it
        os.write(1, GoneLine(place.node_rank, place.host, status, words).encode())


def _watch_end(loop: Loop, fd: int, at_end: Callable[[], None]) -> None:
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


def _say(text: str) -> None:
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except OSError:
        return  # nobody is left to read it
