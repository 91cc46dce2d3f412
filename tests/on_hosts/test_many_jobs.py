"""What a job has used is given back: descriptors, threads and memory of a runner that lives on."""

from __future__ import annotations

import json
import subprocess
from itertools import pairwise

import pytest

from support.cluster import BIN, Cluster
from support.jobs import TESTS
from support.programs import PATIENCE

PAYLOAD = TESTS / "payloads" / "many_jobs.py"
WARM = 5  # jobs until all is imported and the allocator has what it needs


def used_after(cluster: Cluster, times: int, hosts: str, script: str) -> list[dict[str, int]]:
    """Status, descriptors, threads and memory of one process after each of its jobs."""
    job = cluster.popen(
        "head", [BIN / "python", PAYLOAD, str(times), hosts, script], stdout=subprocess.DEVNULL
    )
    _, said = job.communicate(timeout=PATIENCE)
    assert job.returncode == 0, said
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]


@pytest.mark.parametrize(
    ("hosts", "times", "growth"),
    [("node[01-04]:2", 12, 4096), ("localhost:2", 30, 512)],  # what a job leaves: 110 and 45 KiB
    ids=["remote", "local"],
)
def test_jobs_leave_nothing_in_the_runner(
    cluster: Cluster, hosts: str, times: int, growth: int
) -> None:
    """Every second job fails, by rank 1."""
    found = used_after(cluster, times, hosts, "seq 100; exit $((TURN % 2 * (RANK == 1)))")
    assert [each["status"] for each in found] == [turn % 2 for turn in range(times)]
    assert {each["threads"] for each in found} == {1}
    assert len({each["descriptors"] for each in found[1:]}) == 1, found
    # A module that is first needed late is one step; what leaks, leaks in most jobs.
    sizes = [each["kib"] for each in found[WARM:]]
    steps = sorted(after - before for before, after in pairwise(sizes))
    assert sum(steps[:-2]) < growth, found


def test_much_output_passes_through_and_does_not_stay(cluster: Cluster) -> None:
    """Eight ranks, 50 MB in all; of what waits somewhere at one moment, there is a bound."""
    quiet, *loud = used_after(cluster, 3, "node[01-04]:2", "seq $((TURN * 900000))")
    assert [each["status"] for each in loud] == [0, 0]
    assert loud[-1]["peak"] - quiet["peak"] < 32 * 1024
    assert loud[-1]["kib"] - loud[0]["kib"] < 4 * 1024
