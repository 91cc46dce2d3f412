"""The ports that a launcher wishes for on this node: free ones, kept apart from other jobs'.

A port is listened on until the workers start, and claimed until the job ends: a server may take
minutes before it binds its port, and another job must not choose the same one meanwhile. The claim
is the name of an abstract Unix socket (unix(7)): it lives in the network namespace, as a port
does, and goes with the process.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from madrun.agent.master_port import bound, random_port
from madrun.launchers.plan import Peer, PortRequest
from madrun.system.errors import ClusterError
from madrun.wire.messages import Go

_ATTEMPTS = 200


def peers_of(go: Go) -> tuple[Peer, ...]:
    """All nodes of the job, by address: frameworks ask for numbers, and probes must not wait.

    Raises ClusterError for a name that this node cannot resolve.
    """
    return tuple(
        Peer(_resolved(address), ports)
        for address, ports in zip(go.addresses, go.ports, strict=True)
    )


def _resolved(name: str) -> str:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ClusterError(f"the address {name!r} of a node cannot be resolved: {reason}") from None
    return str(found[0][4][0])


class Ports:
    """Holds a port for each wish; raises ClusterError where a given one cannot be had."""

    def __init__(self, wishes: Sequence[PortRequest]) -> None:
        self._claims: list[socket.socket] = []
        self._listeners: list[socket.socket] = []
        self.numbers = tuple(self._hold(wish) for wish in wishes)

    def release(self) -> None:
        """Let the workers have the ports; they stay claimed."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    def close(self) -> None:
        """Give everything back."""
        self.release()
        for claim in self._claims:
            claim.close()
        self._claims.clear()

    def _hold(self, wish: PortRequest) -> int:
        try:
            return self._take(wish.number)
        except OSError as error:
            if wish.given:
                self.close()
                raise ClusterError(
                    f"{wish.name} {wish.number} cannot be used here: {error.strerror}"
                ) from None
        for _ in range(_ATTEMPTS):
            try:
                return self._take(random_port())
            except OSError:
                continue
        self.close()
        raise ClusterError(f"no free port for {wish.name}")

    def _take(self, number: int) -> int:
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            claim.bind(f"\0madrun-port-{number}")
            self._listeners.append(bound(number))
        except OSError:
            claim.close()
            raise
        self._claims.append(claim)
        return number
