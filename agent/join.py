"""An agent that a runner started: connect back, do the job, leave."""

from __future__ import annotations

import contextlib
import os
import sys

import madrun
from madrun.agent.joined_agent import JoinedAgent, watch_end
from madrun.agent.place import Place, parse_place
from madrun.hosts.reach import own_address_towards
from madrun.system.errors import ClusterError
from madrun.system.exits import FAILED
from madrun.system.guard import guard_pid
from madrun.system.loop import Loop
from madrun.system.process_age import process_age
from madrun.wire.key_line import GoneLine, KeyLine


def run_joined(argv: list[str], guard_fd: int) -> int:
    """Run one node for the runner named in ``argv``; returns the agent's exit status.

    The status only says whether the agent itself worked: what the workers did is told to the
    runner over the channel.
    """
    place = parse_place(argv, os.environ)
    if place.tool:
        # Tools end a process group by SIGKILL. Of the two of us, one has to be left to clean up.
        os.setsid()
    return _run(place, guard_fd)


def _run(place: Place, guard_fd: int) -> int:
    loop = Loop()
    agent = JoinedAgent(loop, place.node_rank, place.patience, place.host)
    # Tools kill what they started a second after they told it to end; the runner may well
    # be there still, and is told when all of ours has ended.
    guard_lost = agent.guard_killed if place.tool else lambda: agent.lost("its guard was killed")
    watch_end(loop, guard_fd, guard_lost)
    if not place.tool:  # tools give no stdin, or keep it open for ever
        watch_end(loop, 0, lambda: agent.lost("the runner hung up"))
    address = own_address_towards(place.addresses[0]) if place.tool else ""
    key = agent.channel.public_key
    line = KeyLine(place.node_rank, madrun.__version__, key, place.host, address)
    age = process_age(guard_pid())  # of the guard: it is what the login has started
    os.write(1, line.encode())
    try:
        status = agent.run(place.addresses, place.ports, place.runner_key, age)
    except ClusterError as error:
        sys.stderr.write(f"madagent: {error}\n")
        _tell_end(place, error.exit_status, str(error))
        return error.exit_status
    for problem in agent.problems[:1]:
        _say(f"madagent: {problem}")
        _tell_end(place, FAILED, problem)
    return status


def _tell_end(place: Place, status: int, words: str) -> None:
    """Say on the common way back that this agent has ended, and why."""
    if not place.tool:
        return
    with contextlib.suppress(OSError):  # nobody is left to read it
        os.write(1, GoneLine(place.node_rank, place.host, status, words).encode())


def _say(text: str) -> None:
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except OSError:
        return  # nobody is left to read it
