"""ColossalAI read results host by host: a failure on the last one waited for the first."""

from __future__ import annotations

from support.cluster import Cluster
from support.jobs import WORKER


def test_a_failure_on_the_last_host_ends_the_job(cluster: Cluster) -> None:
    done = cluster.madrun("--hosts", "node[01-04]", WORKER, "hold", "exit=3:5")
    assert done.returncode == 5
    assert "rank 3 on node04 failed first" in done.stderr
