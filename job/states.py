"""What a job's life is made of: its phases, the states of its nodes, problems, and actions."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from madrun.wire.messages import CheckIn, Message


class JobState(enum.Enum):
    """See madrun.job.state_machine; the order is the order of life."""

    CONNECTING = "connecting"
    TRYING = "checking the way to the master"
    STARTING = "starting"
    RUNNING = "running"
    ENDING = "ending"
    OVER = "over"


class NodeState(enum.Enum):
    """How far one node has come."""

    EXPECTED = "has not been reached"
    KNOWN = "was reached, but its agent does not answer"
    GREETED = "has not checked in"
    ABLE = "has not said whether it reaches the master"
    REACHES_MASTER = "reaches the master"
    STARTED = "runs"
    FINISHED = "has finished"
    LEFT = "has left"
    UNABLE = "is not able"
    LOST = "is lost"


# The agents that answer and still have something to end; those that have nothing left.
ALIVE = {
    NodeState.GREETED,
    NodeState.ABLE,
    NodeState.UNABLE,
    NodeState.REACHES_MASTER,
    NodeState.STARTED,
}
DONE = {NodeState.FINISHED, NodeState.LEFT}


class Tell(NamedTuple):
    """Send a message to a node's agent."""

    node_rank: int
    message: Message


class Admit(NamedTuple):
    """Let the agent with this key speak."""

    node_rank: int
    key: str


Action = Tell | Admit


class Problem(NamedTuple):
    """Why a node cannot take part, or no longer does; ``at`` in seconds of the runner's clock."""

    node_rank: int
    reason: str
    status: int
    at: float


class NodeStatus:
    """What is known of one node."""

    def __init__(self) -> None:
        self.state = NodeState.EXPECTED
        self.greeted = False
        self.check_in: CheckIn | None = None
        self.addresses: tuple[str, ...] = ()
        self.master = ""

    @property
    def devices(self) -> int:
        """How many it has, as far as it is known."""
        return self.check_in.devices if self.check_in else 0


def compare_devices(nodes: Mapping[int, NodeStatus]) -> tuple[int, list[int]]:
    """The node with the most devices; and those without any, where it has some."""
    richest = max(nodes, key=lambda node_rank: nodes[node_rank].devices)
    some = nodes[richest].devices > 0
    return richest, [each for each, node in nodes.items() if some and not node.devices]


def places(
    nodes: Sequence[NodeStatus], master: str
) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """The address of every node, as the others reach it, and the ports that it holds.

    ``master`` is the address by which the others reach node 0; a node alone has only its own.
    """
    addresses = [node.addresses[0] if node.addresses else master for node in nodes]
    if len(nodes) > 1:
        addresses[0] = master
    ports = [node.check_in.ports if node.check_in else () for node in nodes]
    return tuple(addresses), tuple(ports)
