"""The cluster as data: one JSON file in its folder, changed under a lock."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from testbed import cgroups, processes
from testbed.kernel import TestbedError

if TYPE_CHECKING:
    from collections.abc import Iterator

NETWORK = "198.18"  # RFC 2544: for tests, never routed
HEAD_ADDRESS, ROOT_ADDRESS = f"{NETWORK}.0.1", f"{NETWORK}.0.254"
PF_EXITING = 4  # linux/sched.h


@dataclass
class Host:
    """One host: who it is, its process 1 as seen from outside, and what was done to it."""

    name: str
    ip: str
    mac: str
    pid: int = 0
    pidns: str = ""
    cut: bool = False
    delay: str = ""

    @property
    def port(self) -> str:
        """The switch's end of the host's cable."""
        return f"v-{self.name}"

    @property
    def tap(self) -> str:
        """The port that stands in for the cable while packets are delayed."""
        return f"t-{self.name}"

    @property
    def plug(self) -> str:
        """The port that is on the bridge unless the host is cut off."""
        return self.tap if self.delay else self.port

    def alive(self) -> bool:
        """Whether process 1 is the one that was started, and not about to go.

        It may be long about it: it waits for the parents outside to reap their children in here.
        """
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text()
            namespace = os.readlink(f"/proc/{self.pid}/ns/pid")
        except OSError:
            return False
        status, *numbers = stat.rpartition(") ")[2].split()
        leaving = status == "Z" or int(numbers[5]) & PF_EXITING
        return namespace == self.pidns and not leaving


@dataclass
class Cluster:
    """The hosts under one folder. `ready` says that `up` came to its end."""

    base: str
    gpus: int = 8
    shared: list[str] = field(default_factory=list)
    switch: int = 0
    ready: bool = False
    rooted: bool = False
    drops: list[list[str]] = field(default_factory=list)
    hosts: dict[str, Host] = field(default_factory=dict)

    @property
    def ident(self) -> str:
        """The name of all that stands outside the folder: the same for the same folder."""
        return cgroups.PREFIX + hashlib.sha256(self.base.encode()).hexdigest()[:6]

    @property
    def cgroup(self) -> Path:
        """The cgroup that holds every process of the cluster."""
        return cgroups.ROOT / self.ident

    def host_cgroup(self, name: str) -> Path:
        """The cgroup of one host."""
        return self.cgroup / name

    def relay_cgroup(self, name: str) -> Path:
        """The cgroup of the process that delays the host's packets."""
        return self.cgroup / f"relay-{name}"

    def folder(self, name: str) -> str:
        """Where the host's own files are."""
        return f"{self.base}/hosts/{name}"

    def host(self, name: str, alive: bool | None = True) -> Host:
        """The host of that name, which has to be running or, with alive=False, dead."""
        host = self.hosts.get(name)
        if host is None:
            raise TestbedError(f"no host {name}; there are {', '.join(self.hosts)}")
        if alive is not None and host.alive() != alive:
            raise TestbedError(f"{name} is {'not running' if alive else 'running'}")
        return host

    def nodes(self) -> list[str]:
        """All hosts but the head."""
        return [name for name in self.hosts if name != "head"]

    def processes(self, host: Host) -> list[processes.Process]:
        """What runs in a host."""
        return processes.of_host(host.name, self.host_cgroup(host.name), host.pidns)

    def save(self) -> None:
        """Write the state file, whole or not at all."""
        file = state_file(self.base)
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self), indent=1))
        fresh.replace(file)


def state_file(base: str) -> Path:
    """Where the cluster under BASE is written down."""
    return Path(base, "state.json")


def load(base: str) -> Cluster:
    """The cluster under BASE as last written; no lock is taken."""
    base = os.path.realpath(base)
    try:
        data = json.loads(state_file(base).read_text())
    except FileNotFoundError:
        raise TestbedError(f"no cluster under {base} (testbed up)") from None
    hosts = {name: Host(**host) for name, host in data.pop("hosts").items()}
    return Cluster(**data, hosts=hosts)


@contextlib.contextmanager
def locked(base: str) -> Iterator[None]:
    """Hold the lock of the cluster's folder, which has to exist."""
    file = _current_lock(Path(base, "lock"))
    try:
        yield
    finally:
        file.close()


def _current_lock(path: Path) -> IO[str]:
    """The lock file, locked; not one that `down` removed while we waited for it."""
    while True:
        file = path.open("w")
        fcntl.flock(file, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                return file
        file.close()


@contextlib.contextmanager
def changing(base: str) -> Iterator[Cluster]:
    """The cluster under its lock; what was changed is saved, also after an error."""
    load(base)  # says so if there is none
    with locked(os.path.realpath(base)):
        cluster = load(base)
        try:
            yield cluster
        finally:
            cluster.save()
