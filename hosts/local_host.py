"""Whether a host is the runner's own machine; loaded at each start, and so without the rest."""

from __future__ import annotations

import socket

from madrun.hosts.hostfile import Host


def is_here(host: Host) -> bool:
    """True where the host is this machine: an address of it is one of ours.

    A host with a user or a port of its own is meant to be logged in to.
    """
    if host.user or host.port:
        return False
    if host.address in ("localhost", socket.gethostname()):
        return True
    try:
        found = socket.getaddrinfo(host.address, 0, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return any(_can_bind(family, address) for family, _, _, _, address in found)


def _can_bind(family: int, address: tuple[object, ...]) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind(address)
    except OSError:
        return False
    return True
