"""The nodes of a job: how far each has come, what it has, and where they meet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from madrun.hosts.world import World
from madrun.job.states import ALIVE, DONE, JobState, NodeState
from madrun.wire.messages import CheckIn

_SETTLED = {NodeState.UNABLE, NodeState.LOST, *DONE}


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

    def has_answered(self, state: JobState) -> bool:
        """Whether the launch, which is in this state, waits for it no more."""
        if self.state in _SETTLED:
            return True
        if state is JobState.TRYING:
            return self.state is NodeState.REACHES_MASTER
        return self.check_in is not None


class Nodes:
    """The nodes whose job this is, by node rank; ``ranks`` is empty where that is all of them."""

    def __init__(self, world: World, ranks: Sequence[int] = ()) -> None:
        self.ranks = tuple(ranks or range(len(world.nodes)))
        self._world = world
        self._nodes = {rank: NodeStatus() for rank in self.ranks}

    def __getitem__(self, rank: int) -> NodeStatus:
        return self._nodes[rank]

    def __iter__(self) -> Iterator[NodeStatus]:
        return iter(self._nodes.values())

    def __len__(self) -> int:
        return len(self._nodes)

    @property
    def first(self) -> NodeStatus:
        """The one whose port the workers meet at."""
        return self._nodes[self.ranks[0]]

    @property
    def alive(self) -> list[int]:
        """Those that answer and still have something to end."""
        return [rank for rank, node in self._nodes.items() if node.state in ALIVE]

    def host(self, rank: int) -> str:
        """The name of a node."""
        return self._world.nodes[rank].host

    def unanswered(self, state: JobState) -> list[int]:
        """Those that the launch, which is in this state, still waits for."""
        return [rank for rank, node in self._nodes.items() if not node.has_answered(state)]

    def unfinished(self) -> list[str]:
        """The hosts whose agent took part and has not said Finished, lost ones included."""
        nodes = self._nodes.items()
        return [self.host(r) for r, node in nodes if node.greeted and node.state not in DONE]

    def without_devices(self) -> tuple[list[int], str]:
        """Those without any device where others have some, and what is wrong with them."""
        richest = max(self._nodes, key=lambda rank: self._nodes[rank].devices)
        most = self._nodes[richest].devices
        lacking = [rank for rank, node in self._nodes.items() if most and not node.devices]
        return lacking, f"too few GPUs: none is there, but {self.host(richest)} has {most}"

    def master_candidates(self, given: str) -> tuple[str, ...]:
        """The addresses at which the others may reach node 0: the one ``given``, or its own."""
        return (given,) if given else self.first.addresses or (self.host(self.ranks[0]),)

    def agree_on_master(self, given: str) -> str:
        """One address for all; where some node does not reach it, that one has what it uses."""
        self.first.master = (
            self._nodes[self.ranks[1]].master if len(self) > 1 else given or "127.0.0.1"
        )
        return self.first.master

    def places(self) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
        """The address of every node, as the others reach it, and the ports that it holds.

        Empty where nodes of the job are not known; a node alone has only its own address.
        """
        if len(self) < len(self._world.nodes):
            return (), ()
        addresses = [node.addresses[0] if node.addresses else self.first.master for node in self]
        if len(self) > 1:
            addresses[0] = self.first.master
        return tuple(addresses), tuple(
            node.check_in.ports if node.check_in else () for node in self
        )
