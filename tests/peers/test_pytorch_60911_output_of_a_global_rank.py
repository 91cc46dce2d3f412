"""pytorch #60911, #117383: the output filter meant local ranks."""

from __future__ import annotations

from support.cluster import Cluster


def test_a_rank_is_a_global_rank(cluster: Cluster) -> None:
    hosts = ("--hosts", "node01:2,node02:2")
    done = cluster.madrun(*hosts, "--output", "3", "--no-python", "hostname")
    assert done.stdout == "[node02:3] node02\n"
