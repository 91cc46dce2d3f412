"""pytorch #75087: the prefix had the local rank only, so that two nodes printed the same one."""

from __future__ import annotations

from support.cluster import Cluster


def test_no_two_workers_have_the_same_prefix(cluster: Cluster) -> None:
    done = cluster.madrun("--hosts", "node01:2,node02:2", "--no-python", "echo")
    assert sorted(done.stdout.split()) == ["[node01:0]", "[node01:1]", "[node02:2]", "[node02:3]"]
