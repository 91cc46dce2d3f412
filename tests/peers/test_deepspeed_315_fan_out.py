"""DeepSpeed #315: more nodes than the fan-out never started."""

from __future__ import annotations

from support.cluster import Cluster


def test_more_hosts_than_logins_at_a_time(cluster: Cluster) -> None:
    done = cluster.madrun("--hosts", "node[01-04]", "--fan-out", "2", "--no-python", "hostname")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()[1::2]) == ["node01", "node02", "node03", "node04"]
