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
