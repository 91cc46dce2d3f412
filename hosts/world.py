"""The World: the ordered hosts of one job and the device ids used on each."""

from __future__ import annotations

from typing import NamedTuple

from madrun.system.errors import InputError

# The devices of a host of which nobody said how many it has: all that are there.
ALL = (-1,)


class Node(NamedTuple):
    """One host of the job with its device ids (slot numbers), one worker each.

    ``ALL`` are as many as the host has, which nobody knows before it is asked.

    >>> Node("node01", (0, 2)).local_world_size
    2
    """

    host: str
    devices: tuple[int, ...]

    @property
    def local_world_size(self) -> int:
        """How many workers run on this host."""
        return len(self.devices)


class _Nodes(NamedTuple):
    nodes: tuple[Node, ...]


class World(_Nodes):
    """The hosts of this job in rank order; valid once constructed.

    Raises InputError where there is no host, a host without devices, or one named twice.

    >>> world = World((Node("a", (0, 1)), Node("b", (3,))))
    >>> world.world_size, world.first_rank(1)
    (3, 2)
    """

    __slots__ = ()

    def __new__(cls, nodes: tuple[Node, ...]) -> World:
        """See the class."""
        if not nodes:
            raise InputError("nothing to run on: the selection holds no host")
        seen: set[str] = set()
        for node in nodes:
            if not node.devices:
                raise InputError(f"host {node.host}: no slot is selected")
            if len(set(node.devices)) != len(node.devices):
                raise InputError(f"host {node.host}: a slot is named twice: {node.devices}")
            if node.host in seen:
                raise InputError(f"host {node.host} is in the world twice")
            seen.add(node.host)
        return super().__new__(cls, nodes)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Host names in rank order."""
        return tuple(node.host for node in self.nodes)

    @property
    def world_size(self) -> int:
        """How many workers the job has."""
        return sum(node.local_world_size for node in self.nodes)

    def first_rank(self, node_rank: int) -> int:
        """The global rank of local rank 0 on a node."""
        return sum(node.local_world_size for node in self.nodes[:node_rank])
