"""Which of several addresses of one machine can be reached from here, and by which of ours."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence


def first_reachable(addresses: Sequence[str], port: int, limit: float) -> tuple[str, str]:
    """The first address that takes a TCP connection within ``limit`` seconds for all together.

    Returns the address and no problem, or an empty address and why each one failed.
    """
    problems = []
    deadline = time.monotonic() + limit
    for index, address in enumerate(addresses):
        share = (deadline - time.monotonic()) / (len(addresses) - index)
        try:
            with socket.create_connection((address, port), timeout=max(share, 0.1)):
                return address, ""
        except UnicodeError:
            problems.append(f"{address}:{port}: not a host name")
        except OSError as error:
            problems.append(f"{address}:{port}: {error.strerror or error}")
    return "", "; ".join(problems) or "it has no address"


def own_address_towards(host: str) -> str:
    """Our address on the route to a host, empty where there is none; nothing is sent."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(address)  # of UDP: only the route is looked up
            found: str = probe.getsockname()[0]
    except (OSError, UnicodeError):
        return ""
    return found
