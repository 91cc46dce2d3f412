"""What the fault tests look at: phases and processes, seen from outside."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from support.cluster import Cluster
from support.jobs import Running, guard_first
from support.programs import PATIENCE
from testbed.processes import Process


def until(look: Callable[[], list[Process]]) -> list[Process]:
    """Look until there is something; many looks, for a phase is short."""
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline, "the phase never came"
        time.sleep(0.001)
    return found


def matching(cluster: Cluster, host: str, *words: str) -> list[Process]:
    """The processes on a host that have a word in their command line."""
    found = cluster.processes(host)
    return [each for each in found if any(word in each.cmdline for word in words)]


def guard_and_core(found: list[Process]) -> list[Process]:
    """The guard, and the core where it was forked already; not the reaper between them."""
    chain = guard_first(found)
    return [*chain[:1], *chain[2:]]


def agent_processes(cluster: Cluster, node: str) -> list[Process]:
    """The agent's processes on a node; the guard first."""
    return guard_and_core(matching(cluster, node, "madrun.agent"))


def runner_processes(cluster: Cluster) -> list[Process]:
    """The runner's processes; the guard first."""
    return guard_and_core(matching(cluster, "head", "bin/madrun"))


def reach(phase: str, job: Running, node: str) -> None:
    """Wait until a phase has begun: connecting, launching, running, stopping."""
    if phase == "connecting":
        until(lambda: matching(job.cluster, node, "sshd: root"))
    elif phase == "launching":
        until(lambda: agent_processes(job.cluster, node)[1:])
    else:
        job.up(8)
    if phase == "stopping":
        job.signal(signal.SIGTERM)
