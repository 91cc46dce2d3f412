"""The World: rank order, and what is none."""

from __future__ import annotations

import pytest

from madrun.hosts.world import Node, World
from madrun.system.errors import InputError

UNEQUAL = World((Node("big", (0, 1, 2)), Node("small", (5,)), Node("pair", (1, 0))))


def test_sizes_and_first_ranks() -> None:
    assert UNEQUAL.hosts == ("big", "small", "pair")
    assert UNEQUAL.world_size == 6
    assert [UNEQUAL.first_rank(node) for node in range(3)] == [0, 3, 4]


def test_every_rank_has_its_node() -> None:
    assert [UNEQUAL.node_of_rank(rank) for rank in range(6)] == [0, 0, 0, 1, 2, 2]


@pytest.mark.parametrize("rank", [-1, 6, 100])
def test_a_rank_that_is_not_there(rank: int) -> None:
    with pytest.raises(InputError, match="6"):
        UNEQUAL.node_of_rank(rank)


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ((), "no host"),
        ((Node("a", ()),), "host a: no slot"),
        ((Node("a", (1, 1)),), "host a: a slot is named twice"),
        ((Node("a", (0,)), Node("b", (0,)), Node("a", (1,))), "host a is in the world twice"),
    ],
)
def test_what_is_no_world(nodes: tuple[Node, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        World(nodes)


def test_the_order_of_slots_is_kept_and_counts() -> None:
    assert UNEQUAL.nodes[2].devices == (1, 0)
    assert Node("a", (1, 0)) != Node("a", (0, 1))
