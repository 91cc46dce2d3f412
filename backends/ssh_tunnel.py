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


def tunnel(transport: paramiko.Transport, port: int) -> int:
    """A port on the host's loopback that leads to ``port`` here; raises SSHException if refused."""

    def connected(channel: paramiko.Channel, _origin: object, _server: object) -> None:
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, sink in ((channel, sock), (sock, channel)):
            threading.Thread(target=_pump, args=(source, sink), daemon=True).start()

    return transport.request_port_forward("127.0.0.1", 0, connected)


def _pump(source: Any, sink: Any) -> None:
    with contextlib.suppress(OSError, EOFError):
        while data := source.recv(_PIECE):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError, EOFError):
            end.close()
