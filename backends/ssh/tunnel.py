"""The control channel through a login: for hosts behind a jump host, which cannot reach us.

The host's sshd listens on a port of its own loopback (ssh -R); what connects there is carried
back here and on to the runner's port. It stays encrypted and authenticated from end to end by
the channel itself.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import paramiko

_PIECE = 64 * 1024


def tunnel(transport: paramiko.Transport, ports: tuple[int, int]) -> tuple[int, int]:
    """Ports on the host's loopback that lead to ``ports`` here; SSHException where refused.

    paramiko knows one handler per connection: the port that was reached tells where it leads.
    """
    leads_to: dict[int, int] = {}

    def connected(channel: paramiko.Channel, _origin: object, server: tuple[str, int]) -> None:
        sock = socket.create_connection(("127.0.0.1", leads_to[server[1]]))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, sink in ((channel, sock), (sock, channel)):
            threading.Thread(target=_pump, args=(source, sink), daemon=True).start()

    there = [transport.request_port_forward("127.0.0.1", 0, connected) for _ in ports]
    leads_to.update(zip(there, ports, strict=True))
    return there[0], there[1]


def _pump(source: Any, sink: Any) -> None:
    with contextlib.suppress(OSError, EOFError):
        while data := source.recv(_PIECE):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError, EOFError):
            end.close()
