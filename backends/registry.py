"""Backends by name, and which one a job gets when it names none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from madrun.wire.errors import InputError
from madrun.wire.hostfile import Host

if TYPE_CHECKING:
    # Not needed, and so not loaded, for a job on this machine.
    from madrun.backends.base import Backend, Launch, Listener

LOCAL = "local"
HERE = (LOCAL, "ssh")
# Named in hostfiles, habits and DeepSpeed command lines; a launch by one of them is refused.
TO_COME = ("pdsh", "openmpi", "mpich", "srun")
NAMES = (*HERE, *TO_COME)


def choose(name: str, hosts: Sequence[Host], local: bool) -> str:
    """The backend of a job: the one named, in any case; for ``auto`` what its hosts ask for.

    ``local`` is true where no host was named at all. auto: the local backend where the only host
    is this machine, else ssh. Raises InputError for an unknown name, and for ``local`` where
    another machine is among the hosts.
    """
    name = name.lower()
    if name not in ("auto", *NAMES):
        raise InputError(f"unknown backend {name!r}; known are auto, {', '.join(HERE)}")
    if name == LOCAL:
        others = [host.name for host in hosts if not local and not _is_own(host)]
        if others:
            raise InputError(f"--backend local: {others[0]} is another machine")
    if name != "auto":
        return name
    return LOCAL if local or (len(hosts) == 1 and _is_own(hosts[0])) else "ssh"


def check_is_here(name: str) -> None:
    """Raises InputError for a backend that is known but yet to come."""
    if name not in HERE:
        raise InputError(f"--backend {name} is not in this version; there are {', '.join(HERE)}")


def make(name: str, launch: Launch, listener: Listener) -> Backend:
    """The backend that carries out a launch."""
    check_is_here(name)
    from madrun.backends.ssh import SshBackend

    return SshBackend(launch, listener)


def _is_own(host: Host) -> bool:
    from madrun.backends.own_machine import is_own

    return is_own(host)
