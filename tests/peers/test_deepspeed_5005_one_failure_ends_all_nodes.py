"""DeepSpeed #5005, #1995, #714: one node failed, and the others ran on."""

from __future__ import annotations

from support.cluster import Cluster
from support.jobs import WORKER, of_the_job


def test_the_other_node_ends_too(cluster: Cluster) -> None:
    done = cluster.madrun("--hosts", "node01,node02", WORKER, "hold", "daemons", "exit=1:3")
    assert done.returncode == 3
    assert "ended because of it: rank 0" in done.stderr
    assert of_the_job(cluster) == []
