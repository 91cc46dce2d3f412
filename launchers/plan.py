"""A node plan: the processes one node runs, as pure data."""

from __future__ import annotations

from typing import NamedTuple

NVIDIA, AMD, NONE = "nvidia", "amd", ""


class NodeFacts(NamedTuple):
    """What a launcher has to know of the node itself; the defaults serve a dry run.

    ``devices`` is how many devices the node shows us, ``mask`` the tokens of a visible-devices
    variable that was already there (None: no mask), in its order. ``rocr`` is the mask of AMD's
    lower layer, which stays in force: what it leaves is called 0..k-1, and HIP's mask counts that.
    ``cores`` is how many CPU cores the node may use (0: not known).
    """

    vendor: str = NONE
    devices: int = 0
    mask: tuple[str, ...] | None = None
    rocr: str | None = None
    cores: int = 0


class ProcessPlan(NamedTuple):
    """One process: what madrun adds to the node's environment, what it runs, and where.

    ``rank`` is the global rank its failure is reported under; ``device`` the token of its own
    device, for messages.
    """

    role: str
    rank: int
    local_rank: int
    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    device: str = ""


class NodePlan(NamedTuple):
    """The processes of one node, in the order of their local ranks."""

    host: str
    node_rank: int
    processes: tuple[ProcessPlan, ...]
