"""What goes wrong with hosts and networks, and how it is made good again."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from testbed import cgroups, relay, state, switch
from testbed.kernel import TestbedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testbed.state import Cluster, Host

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "": 1e-3}


def kill(base: str, names: Sequence[str], *, crash: bool) -> None:
    """Power loss: nothing leaves the host any more, then everything on it dies.

    With CRASH the network outlives the processes for a moment: peers see their connections end.
    """
    with state.changing(base) as cluster:
        for name in names:
            host = cluster.host(name)
            if not crash:
                switch.plug(cluster, host, on=False)
            cgroups.kill(cluster.host_cgroup(name))
            cgroups.kill(cluster.relay_cgroup(name))
            host.delay = ""


def freeze(base: str, names: Sequence[str], *, on: bool) -> None:
    """Stop all processes of hosts, or let them go on: the kernel still accepts connections."""
    with state.changing(base) as cluster:
        for name in names:
            cluster.host(name)
            cgroups.freeze(cluster.host_cgroup(name), on)


def partition(base: str, name: str, peer: str | None, *, oneway: bool) -> None:
    """Let nothing through between a host and all others, or one other; nobody is told.

    With ONEWAY only what NAME sends to PEER is lost.
    """
    with state.changing(base) as cluster:
        host = cluster.host(name)
        if peer is None:
            if oneway:
                raise TestbedError("--oneway needs a PEER")
            switch.plug(cluster, host, on=False)
            return
        other = cluster.host(peer)
        switch.drop(cluster, host, other)
        if not oneway:
            switch.drop(cluster, other, host)


def heal(base: str, name: str, peer: str | None) -> None:
    """End the partitions between a host and one other, or all of them."""
    with state.changing(base) as cluster:
        host = cluster.host(name)
        for pair in list(cluster.drops):
            if name in pair and (peer is None or peer in pair):
                switch.undrop(cluster, *(cluster.host(each) for each in pair))
        if peer is None:
            switch.plug(cluster, host, on=True)


def delay(base: str, name: str, time: str, *, jitter: str, loss: float) -> None:
    """Add TIME to the round trip of every packet of a host, and lose some; 0 ends it."""
    late, more = seconds(time), seconds(jitter)
    with state.changing(base) as cluster:
        host = cluster.host(name)
        if host.delay:
            cgroups.kill(cluster.relay_cgroup(name))
            host.delay = ""
        if late or more or loss:
            _start_relay(cluster, host, [late / 2, more / 2, loss / 100])
            switch.batch(cluster, [f"link set {host.port} nomaster", f"link set {host.tap} up"])
            host.delay = time
        switch.plug(cluster, host, on=not host.cut)


def _start_relay(cluster: Cluster, host: Host, numbers: list[float]) -> None:
    group = cluster.relay_cgroup(host.name)
    cgroups.create(group)
    program = [sys.executable, "-I", "-S", relay.__file__, host.port, host.tap]
    argv = switch.inside(cluster, *program, *map(str, numbers))
    log = Path(cluster.folder(host.name), "relay.log")
    with log.open("w") as stderr:
        started = subprocess.Popen(
            cgroups.joining(group, *argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )
    assert started.stdout
    with started.stdout as stdout:
        if stdout.readline() != b"ready\n":
            raise TestbedError(f"the relay failed: {log.read_text().strip()}")


def seconds(text: str) -> float:
    """A time with its unit; milliseconds if it has none.

    >>> seconds("50ms"), seconds("2s"), seconds("7")
    (0.05, 2.0, 0.007)
    """
    match = re.fullmatch(r"([0-9.]+)(us|ms|s|)", text)
    if not match:
        raise TestbedError(f"{text}: not a time such as 50ms, 2s or 300us")
    return float(match[1]) * UNITS[match[2]]
