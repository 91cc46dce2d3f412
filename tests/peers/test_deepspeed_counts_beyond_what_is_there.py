"""DeepSpeed: num_gpus above the slots, num_nodes above the hosts, and 0 were all accepted."""

from __future__ import annotations

import pytest

from support.here import refused


@pytest.mark.parametrize(
    ("option", "count", "said"),
    [
        ("--num_gpus", "5", "host node1 has 4 slots"),
        ("--num_nodes", "3", "only 2 hosts to choose from"),
        ("--num_gpus", "0", "must be a whole number of at least 1"),
        ("--num_nodes", "0", "must be a whole number of at least 1"),
        ("--num_gpus", "-1", "must be a whole number of at least 1"),
    ],
)
def test_a_count_that_cannot_be(option: str, count: str, said: str) -> None:
    assert said in refused("--hosts", "node[1-2]:4", option, count)
