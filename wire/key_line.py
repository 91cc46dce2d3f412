"""The framed lines by which a runner learns of its agents: a public key, and an end.

The agent prints them on stdout, where the backend (ssh, pdsh, mpirun, srun: authenticated paths)
carries them back. Text that a login shell printed before them does no harm.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_PLACE = rb"(?:(\d{1,7})|@([A-Za-z0-9_.:%@+-]{1,320}))"
_LINE = (
    rb"MADRUN-AGENT 1 " + _PLACE + rb" (\S{1,64}) ([0-9a-f]{64})(?: ([0-9a-f.:]{2,45}))?[ \t\r]*\n"
)
_GONE = rb"MADRUN-GONE 1 " + _PLACE + rb" (-?\d{1,3})(?: ([^\r\n]+))?\r*\n"
_WORDS = 300  # of a gone line: it is to be written, and to arrive, in one piece


class KeyLine(NamedTuple):
    """Who speaks: node rank, madrun version there, and CURVE public key (64 hex digits).

    An agent that was told its host's name instead of a rank has node rank -1 and says ``host``.
    ``address`` is its own on the way to the runner, where the backend cannot know it.
    """

    node_rank: int
    version: str
    key: str
    host: str = ""
    address: str = ""

    def encode(self) -> bytes:
        r"""The line as printed; it starts with a newline, to leave a login shell's text behind.

        >>> KeyLine(1, "0.1", "ab" * 32).encode()[:21]
        b'\nMADRUN-AGENT 1 1 0.1'
        """
        words = [place_text(self.node_rank, self.host), self.version, self.key, self.address]
        return f"\nMADRUN-AGENT 1 {' '.join(filter(None, words))}\n".encode()


class GoneLine(NamedTuple):
    """An agent has ended: its place as in its key line, its status as Popen.returncode has it.

    Said where many agents share one way back, whose end says nothing of a single one.
    """

    node_rank: int
    host: str
    status: int
    words: str = ""

    def encode(self) -> bytes:
        r"""The line as printed.

        >>> GoneLine(-1, "node07", -9, "its guard was killed").encode()
        b'\nMADRUN-GONE 1 @node07 -9 its guard was killed\n'
        """
        text = f"{place_text(self.node_rank, self.host)} {self.status}"
        words = " ".join(self.words.split())[:_WORDS]
        return b"\n" + f"MADRUN-GONE 1 {text} {words}".rstrip().encode() + b"\n"


def place_text(node_rank: int, host: str) -> str:
    """A place as the lines have it: the node rank, or the host's name after an @."""
    return f"@{host}" if host else str(node_rank)


def find_key_line(output: bytes) -> KeyLine | None:
    """The first key line in what an agent printed, or None while it is not there."""
    match = re.search(_LINE, output)
    if match is None:
        return None
    node_rank, host = _place(match)
    version, key = match[3].decode(errors="replace"), match[4].decode()
    return KeyLine(node_rank, version, key, host, (match[5] or b"").decode())


def find_gone_line(output: bytes) -> GoneLine | None:
    """The first gone line in what was printed, or None."""
    match = re.search(_GONE, output)
    if match is None:
        return None
    return GoneLine(*_place(match), int(match[3]), (match[4] or b"").decode(errors="replace"))


def _place(match: re.Match[bytes]) -> tuple[int, str]:
    return (int(match[1]) if match[1] else -1), (match[2] or b"").decode()
