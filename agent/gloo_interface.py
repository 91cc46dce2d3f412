"""Which network interface gloo has to use where this host's own name misleads it.

Gloo, and torch's RPC, look up the host's own name and tell the other ranks the address that they
find. On Debian that is 127.0.1.1, elsewhere it may be an address that the other nodes cannot
reach. GLOO_SOCKET_IFNAME and TP_SOCKET_IFNAME name an interface instead.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping

from madrun.hosts.reach import own_address_towards

_LIMIT = 2.0  # seconds that a start waits for a name server
NAMES = ("GLOO_SOCKET_IFNAME", "TP_SOCKET_IFNAME")


class GlooInterface:
    """Looks up our own name from its making on, in a thread: a name server can be slow."""

    def __init__(self) -> None:
        self._own: set[str] | None = None
        self._thread = threading.Thread(target=self._look_up, name="own-name", daemon=True)
        self._thread.start()

    def environment(self, master_addr: str, known: Mapping[str, str]) -> dict[str, str]:
        """The variables to set, so that the interface on the way to the master is used.

        None where our name leads to that interface already, is not found in time, or where
        ``known``, the variables that a worker has anyway, say something themselves.
        """
        self._thread.join(_LIMIT)
        own = own_address_towards(master_addr)
        if not own or self._own is None or own in self._own or any(n in known for n in NAMES):
            return {}
        interface = interface_of(own)
        return dict.fromkeys(NAMES, interface) if interface else {}

    def _look_up(self) -> None:
        try:
            found = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            found = []  # a host without a name: gloo fails, too
        self._own = {str(address[0]) for *_, address in found}


def interface_of(address: str) -> str:
    """The interface that has this address; empty where none has.

    >>> interface_of("127.0.0.1")
    'lo'
    """
    import psutil  # 30 ms, and hardly ever needed

    for name, addresses in psutil.net_if_addrs().items():
        if any(each.address.partition("%")[0] == address for each in addresses):
            return str(name)
    return ""
