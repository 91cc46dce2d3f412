"""A real training over real hosts: PyTorch on the CPU, gloo between the nodes."""

from __future__ import annotations

import pytest

from support.cluster import Cluster
from support.jobs import EXAMPLES


@pytest.mark.torch
def test_ddp_trains_over_two_hosts(cluster: Cluster) -> None:
    done = cluster.madrun("--hosts", "node[01-02]:1", EXAMPLES / "train_ddp.py", timeout=110)
    assert done.returncode == 0, done.stderr
    assert "on 2 ranks" in done.stdout


def test_jax_counts_the_processes_of_two_hosts(cluster: Cluster) -> None:
    done = cluster.madrun("--hosts", "node[01-02]:2", EXAMPLES / "jax_sum.py", timeout=110)
    assert done.returncode == 0, done.stderr
    for rank in range(4):
        assert f"process {rank} of 4: sum 6" in done.stdout
