"""How far the nodes have come in ending their processes one after the other; a pure decision.

A job whose processes have an order is ended in steps: those with the lowest stop order on all
nodes, and once they are gone the next ones. Every agent says when it is done with a step and what
comes next on its node.
"""

from __future__ import annotations

from collections.abc import Collection

from madrun.wire.messages import LAST


class StopOrder:
    """The steps of one job; ``upto`` is the highest stop order that was told to end (-1: none)."""

    def __init__(self) -> None:
        self.upto = -1
        self._next: dict[int, int] = {}

    def begin(self, upto: int) -> None:
        """All agents are told to end what has at most this stop order."""
        self.upto = upto
        self._next.clear()

    def heard(self, node_rank: int, following: int) -> None:
        """A node is done with this step."""
        self._next[node_rank] = following

    def step(self, alive: Collection[int]) -> int | None:
        """The next step, once all nodes that are alive are done with this one.

        >>> order = StopOrder()
        >>> order.begin(0)
        >>> order.heard(0, 3), order.step([0, 1])
        (None, None)
        >>> order.heard(1, 2), order.step([0, 1])
        (None, 2)
        """
        if self.upto >= LAST or not alive or not all(each in self._next for each in alive):
            return None
        return min(self._next[each] for each in alive)
