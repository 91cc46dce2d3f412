"""Hosts with a real Slurm on them, and an eye on what is left in its queue."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from support.cluster import Cluster, brought_up
from support.programs import PATIENCE


@pytest.fixture(scope="package")
def cluster() -> Iterator[Cluster]:
    """Four nodes and a head with Slurm, which binds tasks to the CPUs that it gives them."""
    with brought_up(4) as hosts:
        cpus = str(max(2, os.cpu_count() or 1))
        hosts.testbed("slurm", "--cpus", cpus, "--conf", "TaskPlugin=task/affinity")
        yield hosts


@pytest.fixture(autouse=True)
def no_jobs_left(cluster: Cluster, no_orphans: None) -> Iterator[None]:
    """No test leaves a job in the queue, and the next one finds all nodes ready."""
    yield
    queue = cluster.run("head", ["squeue", "-h", "-o", "%i %j %T"]).stdout
    left = [line for line in queue.splitlines() if "COMPLETING" not in line]
    if left:
        cluster.run("head", ["scancel", "--user=root"])
    deadline = time.monotonic() + PATIENCE
    while (states := _states(cluster)) != {"idle"} and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left, f"jobs were left in the queue: {left}"
    assert states == {"idle"}, states


def _states(cluster: Cluster) -> set[str]:
    return set(cluster.run("head", ["sinfo", "-h", "-N", "-o", "%T"]).stdout.split())
