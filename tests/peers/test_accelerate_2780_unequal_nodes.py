"""accelerate #2780, #327: different numbers of GPUs per node were not possible."""

from __future__ import annotations

from support.cluster import Cluster
from support.jobs import EXAMPLES


def test_nodes_of_different_sizes_are_one_ring(cluster: Cluster) -> None:
    done = cluster.madrun("--hosts", "node01:3,node02:1", EXAMPLES / "ring.py")
    assert (done.returncode, done.stdout) == (0, "[node01:0] ring of 4 ranks: sum 6\n")
