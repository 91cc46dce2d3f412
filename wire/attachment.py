"""The frames between a runner and the pod to which it is attached, over one connection.

    pod     greeting: MADRUN-ATTACH 1 NONCE
    runner  its own nonce and the number of the last frame that it has, sealed with the pod's nonce
    pod     the runner's nonce, sealed; then frames, those first that the runner has not got

A connection may break and be made anew: what the pod says is numbered, and kept until the runner
has said that it has it. Each frame is its kind, its number, its length, its content.
"""

from __future__ import annotations

import enum
import re
import struct
from typing import NamedTuple

from madrun.system.errors import WireError

GREETING = re.compile(rb"MADRUN-ATTACH 1 ([0-9a-f]{64})\n")
LONGEST_LINE = 16 * 1024  # bytes, before anything is proven
MOST_CONTENT = 1024 * 1024  # bytes of a frame
_HEAD = struct.Struct(">BQI")


class FrameKind(enum.IntEnum):
    """What a frame says. The pod: OUT to OVER; the runner: INPUT to HAVE; both: BEAT."""

    OUT = 1  # bytes for stdout
    ERR = 2  # bytes for stderr
    EVENT = 3  # an event of the job, as JSON
    OVER = 4  # the job's exit status, as text; the last frame
    BEAT = 5  # the pod's: its number, the bytes of stdin it has taken; its content, the last signal
    INPUT = 6  # bytes of stdin; none: its end
    SIGNAL = 7  # its number, as text
    HAVE = 8  # up to its own number, everything has come
    LEAVE = 9  # the runner goes, and the job goes on


class Frame(NamedTuple):
    """One frame; ``number`` is 0 where frames of a kind are not numbered."""

    kind: FrameKind
    content: bytes = b""
    number: int = 0

    def encode(self) -> bytes:
        """The frame as bytes."""
        return _HEAD.pack(self.kind, self.number, len(self.content)) + self.content


class FrameReader:
    """Makes frames of what comes; raises WireError for what no madrun sends.

    >>> reader = FrameReader()
    >>> data = Frame(FrameKind.OUT, b"hello", 1).encode()
    >>> list(reader.put(data[:7])), [frame.content for frame in reader.put(data[7:])]
    ([], [b'hello'])
    """

    def __init__(self) -> None:
        self._rest = b""

    def put(self, data: bytes) -> list[Frame]:
        """The frames that are complete now."""
        self._rest += data
        found = []
        while len(self._rest) >= _HEAD.size:
            kind, number, length = _HEAD.unpack_from(self._rest)
            if length > MOST_CONTENT:
                raise WireError(f"a frame of {length} bytes")
            end = _HEAD.size + length
            if len(self._rest) < end:
                break
            try:
                found.append(Frame(FrameKind(kind), self._rest[_HEAD.size : end], number))
            except ValueError:
                raise WireError(f"a frame of kind {kind}") from None
            self._rest = self._rest[end:]
        return found
