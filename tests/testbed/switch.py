"""The network between the hosts: a bridge in a namespace that one sleeping process holds open.

Nothing is mounted and nothing is named: when that process is gone, so is the network.
"""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from testbed import cgroups
from testbed.kernel import TestbedError, command
from testbed.state import ROOT_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from testbed.state import Cluster, Host

NOBODY = "02:de:ad:00:00:00"  # a MAC address that no host has


def inside(cluster: Cluster, *argv: str) -> list[str]:
    """The argv that runs ARGV in the switch's network namespace."""
    return ["nsenter", "-t", str(cluster.switch), "-n", *argv]


def batch(cluster: Cluster, lines: Iterable[str]) -> None:
    """Run `ip` commands in the switch."""
    command(*inside(cluster, "ip", "-batch", "-"), stdin="".join(f"{line}\n" for line in lines))


def build(cluster: Cluster) -> None:
    """Start the process that holds the switch, and make the bridge."""
    group = cluster.cgroup / "switch"
    cgroups.create(group)
    hold = ["unshare", "--net", "sh", "-c", "echo ready; exec sleep infinity >/dev/null 2>&1"]
    holder = subprocess.Popen(
        cgroups.joining(group, *hold),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert holder.stdout
    with holder.stdout as stdout:
        if stdout.readline() != b"ready\n":
            raise TestbedError("no network namespace for the switch: see the message above")
    cluster.switch = holder.pid
    batch(
        cluster,
        [
            "link set lo up",
            "link add br0 type bridge forward_delay 0 mcast_snooping 0",
            "link set br0 up",
        ],
    )


def cable(cluster: Cluster, hosts: list[Host]) -> None:
    """Give each new host its eth0, and plug the other end in."""
    batch(
        cluster,
        [
            f"link add {host.port} type veth peer name eth0 address {host.mac} netns {host.pid}"
            for host in hosts
        ]
        + [f"link set {host.port} master br0 up" for host in hosts],
    )


def uncable(cluster: Cluster, host: Host) -> None:
    """Remove what is left of a dead host's cable: the kernel does it some time after its death."""
    subprocess.run(
        inside(cluster, "ip", "link", "del", host.port), stderr=subprocess.DEVNULL, check=False
    )


def plug(cluster: Cluster, host: Host, on: bool) -> None:
    """Put the host's port on the bridge, or take it off."""
    batch(cluster, [f"link set {host.plug} {'master br0' if on else 'nomaster'}"])
    host.cut = not on


def drop(cluster: Cluster, sender: Host, receiver: Host) -> None:
    """From now on what SENDER sends to RECEIVER goes to nobody."""
    link = ("lladdr", NOBODY, "nud", "permanent", "dev", "eth0")
    command(*_neighbour(sender), "replace", receiver.ip, *link)
    if [sender.name, receiver.name] not in cluster.drops:
        cluster.drops.append([sender.name, receiver.name])


def undrop(cluster: Cluster, sender: Host, receiver: Host) -> None:
    """End a `drop`."""
    argv = [*_neighbour(sender), "del", receiver.ip, "dev", "eth0"]
    subprocess.run(argv, stderr=subprocess.DEVNULL, check=False)
    cluster.drops.remove([sender.name, receiver.name])


def _neighbour(host: Host) -> list[str]:
    return ["nsenter", "-t", str(host.pid), "-n", "ip", "neigh"]


def attach_root(cluster: Cluster) -> None:
    """Give the machine itself a place in the network, and the hosts' names in /etc/hosts."""
    if f" {ROOT_ADDRESS}/" in command("ip", "-o", "address"):
        raise TestbedError(f"another cluster has {ROOT_ADDRESS} already: use --no-root")
    cluster.rooted = True
    cluster.save()
    peer = ("type", "veth", "peer", "name", "v-root", "netns", str(cluster.switch))
    command("ip", "link", "add", cluster.ident, *peer)
    batch(cluster, ["link set v-root master br0 up"])
    command("ip", "address", "add", f"{ROOT_ADDRESS}/16", "dev", cluster.ident)
    command("ip", "link", "set", cluster.ident, "up")
    names = "".join(f"{host.ip} {host.name}\n" for host in cluster.hosts.values())
    begin, end = _marks(cluster)
    with Path("/etc/hosts").open("a") as file:
        file.write(f"{begin}{names}{end}")


def detach_root(cluster: Cluster) -> None:
    """Undo `attach_root`.

    /etc/hosts is written in place: a rename would undo the hosts' mounts over it.
    """
    subprocess.run(["ip", "link", "del", cluster.ident], stderr=subprocess.DEVNULL, check=False)
    begin, end = _marks(cluster)
    with Path("/etc/hosts").open("r+") as file, contextlib.suppress(ValueError):
        text = file.read()
        first, last = text.index(begin), text.index(end) + len(end)
        file.seek(0)
        file.write(text[:first] + text[last:])
        file.truncate()


def _marks(cluster: Cluster) -> tuple[str, str]:
    return f"# {cluster.ident} begin\n", f"# {cluster.ident} end\n"
