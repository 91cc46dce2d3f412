"""Hosts come up, go down, and come back."""

from __future__ import annotations

import os
import pwd
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from testbed import cgroups, files, host, kernel, state, switch
from testbed.kernel import TestbedError
from testbed.state import HEAD_ADDRESS, NETWORK, Cluster, Host

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST = 250
NEEDED = ("ip", "nsenter", "unshare", "sshd", "ssh-keygen")
REPOSITORY = str(Path(__file__).resolve().parents[2])
ALL_NAMESPACES = (
    kernel.NEWNS | kernel.NEWUTS | kernel.NEWIPC | kernel.NEWNET | kernel.NEWPID | kernel.NEWCGROUP
)


def up(
    base: str, count: int, *, gpus: int, sshd: list[str], shared: list[str], root: bool
) -> Cluster:
    """Bring up node01..nodeNN and head; what a run that crashed left under BASE goes first."""
    _check_machine(count)
    base = os.path.realpath(base)
    _claim(base)
    with state.locked(base):
        _clear(base)
        cluster = Cluster(base=base, gpus=gpus, shared=_visible(base, shared))
        cluster.hosts = _name_hosts(count)
        cluster.save()
        try:
            _build(cluster, sshd, root)
        except BaseException:
            _remove(cluster)
            raise
        cluster.ready = True
        cluster.save()
    return cluster


def _check_machine(count: int) -> None:
    if not 1 <= count <= MOST:
        raise TestbedError(f"{count} hosts: it has to be 1 to {MOST}")
    if os.geteuid():
        raise TestbedError("needs root")
    missing = [name for name in NEEDED if not shutil.which(name, path=kernel.SYSTEM_PATH)]
    if missing:
        raise TestbedError(f"not installed: {', '.join(missing)} (scripts/install)")


def _claim(base: str) -> None:
    """Make the folder; `down` will remove it, so it must not be anybody else's."""
    os.makedirs(base, exist_ok=True)
    if not state.state_file(base).exists() and set(os.listdir(base)) - {"lock"}:
        raise TestbedError(f"{base} is not empty, and no cluster's")


def _clear(base: str) -> None:
    """Remove what an earlier cluster left, with or without its state file."""
    try:
        old = state.load(base)
    except (TestbedError, ValueError):
        old = Cluster(base=base, rooted=True)
    if old.ready and any(host.alive() for host in old.hosts.values()):
        raise TestbedError(f"a cluster is up under {base} already (testbed down)")
    _remove(old)
    for entry in Path(base).iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != "lock":
            entry.unlink()


def _visible(base: str, shared: list[str]) -> list[str]:
    """What the hosts have to see even below their private folders: this Python and project too."""
    wanted = [base, REPOSITORY, sys.prefix, sys.base_prefix, *shared]
    return list(dict.fromkeys(os.path.realpath(path) for path in wanted))


def _name_hosts(count: int) -> dict[str, Host]:
    width = max(2, len(str(count)))
    addresses = {"head": HEAD_ADDRESS}
    addresses |= {f"node{i:0{width}}": f"{NETWORK}.1.{i}" for i in range(1, count + 1)}
    return {
        name: Host(name=name, ip=ip, mac=f"02:c6:12:00:00:{i:02x}")
        for i, (name, ip) in enumerate(addresses.items())
    }


def _build(cluster: Cluster, sshd: list[str], root: bool) -> None:
    files.write(cluster, sshd)
    cgroups.create(cluster.cgroup)
    _need_ssh_folder()
    switch.build(cluster)
    if root:
        switch.attach_root(cluster)
    spawn(cluster, list(cluster.hosts))


def _need_ssh_folder() -> None:
    """The hosts' own ~/.ssh is mounted over the machine's, so there has to be one.

    It stays: rmdir(2) would detach the mounts that another cluster's hosts have on it.
    """
    Path(pwd.getpwuid(0).pw_dir, ".ssh").mkdir(mode=0o700, exist_ok=True)


def down(base: str) -> None:
    """Remove the cluster, its folder, and every trace of it."""
    with state.locked(state.load(base).base):
        cluster = state.load(base)
        _remove(cluster)
        shutil.rmtree(cluster.base)


def _remove(cluster: Cluster) -> None:
    """End all processes of the cluster, and with them its networks and mounts."""
    cgroups.kill(cluster.cgroup)
    if cluster.rooted:
        switch.detach_root(cluster)
    cgroups.remove(cluster.cgroup)


def start(base: str, names: Sequence[str]) -> None:
    """Boot dead hosts again: same address and host key, empty /tmp and /run."""
    with state.changing(base) as cluster:
        for name in names:
            dead = cluster.host(name, alive=False)
            cgroups.kill(cluster.host_cgroup(name))
            switch.uncable(cluster, dead)
            dead.cut = False
            cluster.drops = [pair for pair in cluster.drops if pair[0] != name]
        spawn(cluster, names)


def spawn(cluster: Cluster, names: Sequence[str]) -> None:
    """Start hosts: namespaces first, then cables, then process 1; return when sshd listens."""
    hosts = [cluster.hosts[name] for name in names]
    gates = [_fork_host(cluster, each) for each in hosts]
    cluster.save()
    switch.cable(cluster, hosts)
    for gate in gates:
        os.write(gate, b"g")
        os.close(gate)
    end = time.monotonic() + 60
    for each in hosts:
        while not _listening(each.pid, 22):
            if not each.alive() or time.monotonic() > end:
                log = Path(cluster.folder(each.name), "console.log").read_text()
                raise TestbedError(f"{each.name} did not come up: {log.strip()}")
            time.sleep(0.005)


def _fork_host(cluster: Cluster, new: Host) -> int:
    """Start the host's process 1, which waits for a byte at the pipe returned."""
    cgroups.create(cluster.host_cgroup(new.name))
    pid_end, tell = os.pipe()
    wait, gate = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(gate)
        _enter(cluster, new, tell, wait)
    os.close(tell)
    os.close(wait)
    with os.fdopen(pid_end) as stream:
        pid = stream.read()
    os.waitpid(child, 0)
    if not pid:
        raise TestbedError(f"{new.name} did not start: see the message above")
    new.pid = int(pid)
    new.pidns = os.readlink(f"/proc/{pid}/ns/pid")
    return gate


def _enter(cluster: Cluster, new: Host, tell: int, wait: int) -> NoReturn:
    """In a forked process: enter new namespaces, fork process 1 in them, tell its pid, end."""
    try:
        cgroups.join(cluster.host_cgroup(new.name))
        kernel.unshare(ALL_NAMESPACES)
        one = os.fork()
        if one == 0:
            os.close(tell)
            host.become(cluster, new, wait)
        os.write(tell, b"%d" % one)
    except OSError as error:
        print(f"testbed: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(0)


def _listening(pid: int, port: int) -> bool:
    try:
        table = Path(f"/proc/{pid}/net/tcp").read_text()
    except OSError:
        return False
    return f":{port:04X} 00000000:0000 0A" in table
