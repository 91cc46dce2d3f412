"""The one framed line by which an agent's public key reaches the runner.

The agent prints it on stdout, where the backend (ssh, pdsh, mpirun, srun: authenticated paths)
carries it back. Text that a login shell printed before it does no harm.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_LINE = re.compile(rb"MADRUN-AGENT 1 (\d{1,7}) (\S{1,64}) ([0-9a-f]{64})[ \t\r]*\n")


class KeyLine(NamedTuple):
    """Who speaks: node rank, madrun version there, and CURVE public key (64 hex digits)."""

    node_rank: int
    version: str
    key: str

    def encode(self) -> bytes:
        r"""The line as printed; it starts with a newline, to leave a login shell's text behind.

        >>> KeyLine(1, "0.1", "ab" * 32).encode()[:21]
        b'\nMADRUN-AGENT 1 1 0.1'
        """
        return b"\nMADRUN-AGENT 1 %d %s %s\n" % (
            self.node_rank,
            self.version.encode(),
            self.key.encode(),
        )


def find_key_line(output: bytes) -> KeyLine | None:
    """The first key line in what an agent printed, or None while it is not there."""
    match = _LINE.search(output)
    if match is None:
        return None
    return KeyLine(int(match[1]), match[2].decode(errors="replace"), match[3].decode())
