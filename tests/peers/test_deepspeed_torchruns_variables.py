"""DeepSpeed: LOCAL_WORLD_SIZE, NODE_RANK and GROUP_RANK were missing for torchrun's scripts."""

from __future__ import annotations

from support.here import shown

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK",
         "NNODES", "NPROC_PER_NODE", "LOCAL_SIZE", "CROSS_RANK", "CROSS_SIZE")  # fmt: skip


def test_all_of_them_are_there() -> None:
    words = ["--hosts", "localhost:2", "--output", "1", "--no-python", "sh", "-c"]
    (line,) = shown(*words, f"echo {' '.join('$' + name for name in NAMES)}; test $MASTER_PORT")
    assert line == "1 2 1 2 0 0 1 2 2 0 1"
