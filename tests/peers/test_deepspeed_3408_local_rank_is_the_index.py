"""DeepSpeed #3408: LOCAL_RANK was rotated on nodes with different numbers of GPUs."""

from __future__ import annotations

from support.here import planned


def test_local_rank_is_the_index_on_the_node() -> None:
    nodes = planned("--hosts", "a:2,b:3,c:1")["nodes"]
    local = [[each["env"]["LOCAL_RANK"] for each in node["processes"]] for node in nodes]
    assert local == [["0", "1"], ["0", "1", "2"], ["0"]]
    ranks = [each["env"]["RANK"] for node in nodes for each in node["processes"]]
    assert ranks == ["0", "1", "2", "3", "4", "5"]
