"""What a node brings to a job whose nodes tell each other."""

from __future__ import annotations

from typing import NamedTuple


class NodeCapacity(NamedTuple):
    """What a node brings: how many devices it shows, and how many workers it is to run."""

    devices: int
    workers: int
