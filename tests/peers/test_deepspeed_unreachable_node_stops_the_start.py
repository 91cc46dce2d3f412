"""DeepSpeed: with one node unreachable the others started, and hung."""

from __future__ import annotations

from support.cluster import Cluster


def test_nobody_starts_before_everybody_is_there(cluster: Cluster) -> None:
    mark = cluster.share / "started-without-all"
    done = cluster.madrun("--hosts", "node01,nowhere", "--no-python", "touch", mark)
    assert done.returncode == 125
    assert "nowhere  unreachable: the name nowhere cannot be resolved" in done.stderr
    assert not mark.exists()
