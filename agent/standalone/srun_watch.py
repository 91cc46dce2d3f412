"""Whether the srun of our step still lives: Slurm itself tells nobody when it was killed.

Tasks keep running then, their stdin stays open and their output is thrown away. What can be seen is
the end of the connection between this node's slurmstepd and srun, in the kernel's table. Whose
connection has ended is not to be seen there, so srun is asked: only when one has ended, because an
srun that lives prints an error about who connects and says nothing.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

from madrun.system.loop import Loop

_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_ESTABLISHED = "01"
_ASK_LIMIT = 1.0  # seconds


class Srun(NamedTuple):
    """Where the srun of this step listens for its tasks' slurmstepd."""

    address: str
    port: int


def srun_of(environ: Mapping[str, str]) -> Srun | None:
    """The srun that started this task; None where Slurm does not say."""
    host, port = environ.get("SLURM_SRUN_COMM_HOST", ""), environ.get("SLURM_SRUN_COMM_PORT", "")
    if not (host and port.isascii() and port.isdecimal()):
        return None
    try:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return None
    return Srun(str(found[0][4][0]), int(port))


class SrunWatch:
    """Looks at the connections that there were to srun's host when this was made.

    So it has to be made before we connect to anybody: those that are there now are slurmstepd's.
    """

    def __init__(self, srun: Srun) -> None:
        self._srun, self._known = srun, connections_to(srun.address)

    def begin(self, loop: Loop, interval: float, on_gone: Callable[[], None]) -> None:
        """Look every ``interval`` seconds; ``on_gone`` is called once, on the loop."""

        def look() -> None:
            left = self._known & connections_to(self._srun.address)
            ended, self._known = left != self._known, left
            if ended and self._has_gone():
                on_gone()
            else:
                self.begin(loop, interval, on_gone)

        if self._known:
            loop.call_later(interval, look)

    def _has_gone(self) -> bool:
        try:
            with socket.create_connection(self._srun, timeout=_ASK_LIMIT):
                return False
        except ConnectionRefusedError:
            return True
        except OSError:
            return False  # the network's trouble, or a host that is down: Slurm sees to that


def connections_to(address: str, tables: tuple[str, ...] = _TABLES) -> frozenset[str]:
    """The established connections from this machine to an address, as the kernel has them."""
    remote = as_in_table(address)
    found = set()
    for path in tables:
        with contextlib.suppress(OSError), open(path, encoding="ascii") as table:
            for line in table:
                local, other, state = line.split()[1:4]
                if state == _ESTABLISHED and other.partition(":")[0] in remote:
                    found.add(f"{local} {other}")
    return frozenset(found)


def as_in_table(address: str) -> tuple[str, ...]:
    """An address as the kernel's tables have it: words of four bytes in the machine's own order.

    >>> as_in_table("127.0.0.1")[0] in ("0100007F", "7F000001")
    True
    """
    with contextlib.suppress(OSError):
        word = _words(socket.inet_pton(socket.AF_INET, address))
        return (word, _words(bytes(10) + b"\xff\xff") + word)
    with contextlib.suppress(OSError):
        return (_words(socket.inet_pton(socket.AF_INET6, address)),)
    return ()


def _words(data: bytes) -> str:
    return "".join(f"{word:08X}" for word in struct.unpack(f"={len(data) // 4}I", data))
