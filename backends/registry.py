"""Backends by name, and which one a job gets when it names none."""

from __future__ import annotations

from collections.abc import Sequence

from madrun.backends.base import Backend, Launch, Listener
from madrun.backends.own_machine import is_own
from madrun.wire.errors import InputError
from madrun.wire.hostfile import Host

LOCAL = "local"
NAMES = (LOCAL, "ssh")


def choose(name: str, hosts: Sequence[Host], local: bool) -> str:
    """The backend of a job, by its name in any case, or for ``auto`` by its hosts.

    ``local`` is true where no host was named at all. auto: the local backend where the only host
    is this machine, else ssh. Raises InputError for an unknown name, and for ``local`` where
    another machine is among the hosts.
    """
    name = name.lower()
    if name not in ("auto", *NAMES):
        raise InputError(f"unknown backend {name!r}; known are auto, {', '.join(NAMES)}")
    if name == LOCAL:
        others = [host.name for host in hosts if not local and not is_own(host)]
        if others:
            raise InputError(f"--backend local: {others[0]} is another machine")
    if name != "auto":
        return name
    return LOCAL if local or (len(hosts) == 1 and is_own(hosts[0])) else "ssh"


def make(name: str, launch: Launch, listener: Listener) -> Backend:
    """The backend that carries out a launch."""
    assert name == "ssh", name
    from madrun.backends.ssh import SshBackend

    return SshBackend(launch, listener)
