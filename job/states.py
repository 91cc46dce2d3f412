"""What a job's life is made of: its phases, the states of its nodes, problems, and actions."""

from __future__ import annotations

import enum
from typing import NamedTuple

from madrun.wire.messages import Message


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
