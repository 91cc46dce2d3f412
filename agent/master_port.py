"""The master port: chosen and held by the agent of node 0 until its workers start."""

from __future__ import annotations

import os
import socket

from madrun.system.errors import ClusterError

# Below the ephemeral range (32768-60999 on Linux): no outgoing connection takes it meanwhile.
_LOW, _HIGH = 20000, 32767
_ATTEMPTS = 200


class MasterPort:
    """Holds a port by listening on it, so that the other nodes can try to reach it.

    ``port`` 0 = choose a free one. Raises ClusterError where a given port is taken.
    """

    def __init__(self, port: int) -> None:
        self._socket = _listen(port) if port else _listen_anywhere()
        self.port: int = self._socket.getsockname()[1]

    def release(self) -> None:
        """Let the workers have it. Those who tried it hung up first: no TIME_WAIT stays here."""
        self._socket.close()


def _listen(port: int) -> socket.socket:
    try:
        return bound(port)
    except OSError as error:
        raise ClusterError(
            f"master port {port} cannot be used here: {error.strerror} "
            "(--master-port 0 chooses a free one)"
        ) from None


def _listen_anywhere() -> socket.socket:
    for _ in range(_ATTEMPTS):
        try:
            return bound(random_port())
        except OSError:
            continue
    raise ClusterError(f"no free port between {_LOW} and {_HIGH} for the master")


def random_port() -> int:
    """A port that may be free, out of those that no outgoing connection takes."""
    return _LOW + int.from_bytes(os.urandom(2), "big") % (_HIGH - _LOW)


def bound(port: int) -> socket.socket:
    """A socket that listens on this port; raises OSError where it is taken."""
    # Both families where the machine has both, as the master of torch's store does.
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Connections of an earlier job in TIME_WAIT do not count as taken.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("", port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener
