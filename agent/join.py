"""An agent that a runner started: connect back, do the job, leave."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from typing import NamedTuple

import madrun
from madrun.agent.agent import Agent
from madrun.wire import world_info
from madrun.wire.agent_channel import AgentChannel
from madrun.wire.errors import ClusterError, InputError
from madrun.wire.exits import FAILED
from madrun.wire.hello import KeyLine
from madrun.wire.loop import Loop
from madrun.wire.messages import Hello
from madrun.wire.process_age import process_age
from madrun.wire.signals import PASSED_ON, ending_signals


class Place(NamedTuple):
    """The agent's place in the job, as its command line gives it."""

    addresses: tuple[str, ...]
    ports: tuple[int, int]
    runner_key: str
    node_rank: int
    patience: float


def parse_place(argv: list[str]) -> Place:
    """The options that a backend gives; only our own runner writes them."""
    values = dict(zip(argv[::2], argv[1::2], strict=False))
    try:
        control, output = values["--ports"].split(",")
        if "--world-info" in values:
            world_info.decode(values["--world-info"])
        return Place(
            addresses=tuple(values["--runner"].split(",")),
            ports=(int(control), int(output)),
            runner_key=values["--runner-key"],
            node_rank=int(values["--node-rank"]),
            patience=float(values["--patience"]),
        )
    except (KeyError, ValueError) as error:
        raise InputError(f"not a command line of a madrun runner: {error}") from None


def run_joined(argv: list[str], guard_fd: int) -> int:
    """Run one node for the runner named in ``argv``; returns the agent's exit status.

    The status only says whether the agent itself worked: what the workers did is told to the
    runner over the channel.
    """
    place = parse_place(argv)
    loop = Loop()
    problems: list[str] = []

    def lost(reason: str) -> None:
        problems.append(reason)
        agent.abandon()

    channel = AgentChannel(loop.post, lambda message: agent.receive(message), lost, place.patience)
    agent = Agent(loop, place.node_rank, channel.send, loop.stop, os.environ)
    _watch_end(loop, guard_fd, lambda: lost("its guard was killed"))
    _watch_end(loop, 0, lambda: lost("the runner hung up"))
    for number in ending_signals():
        loop.on_signal(number, agent.interrupt)
    for number in PASSED_ON:
        loop.on_signal(number, agent.signal_workers)
    line = KeyLine(place.node_rank, madrun.__version__, channel.public_key)
    age = process_age(os.getppid())  # of the guard: it is what the login has started
    os.write(1, line.encode())
    try:
        channel.connect(place.addresses, place.ports, place.runner_key)
    except ClusterError as error:
        sys.stderr.write(f"madagent: {error}\n")
        return error.exit_status
    channel.send(Hello(place.node_rank, socket.gethostname(), os.getpid(), os.getppid(), age))
    loop.run()
    channel.close()
    for problem in problems[:1]:
        _say(f"madagent: {problem}")
    return FAILED if problems else 0


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
