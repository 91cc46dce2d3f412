"""A signal to the tool is the tool's end, one to an agent is told with its host: real tools."""

from __future__ import annotations

import os
import signal

import pytest

from support.cluster import Cluster
from support.jobs import WORKER, Running, agents, nothing_left, of_the_job
from support.ways import WAYS, Way

TOOLS = [way for way in WAYS if way.tool]


def started(cluster: Cluster, way: Way) -> Running:
    job = way.start(cluster, "--grace", "5", WORKER, "hold", "daemons")
    job.up(8)
    return job


@pytest.mark.parametrize("way", TOOLS, ids=str)
def test_a_tool_that_is_told_to_end_is_the_cause(cluster: Cluster, way: Way) -> None:
    job = started(cluster, way)
    os.kill(way.tools(cluster)[0].outer_pid, signal.SIGTERM)
    assert job.wait() == 125, job.stderr
    assert job.stderr.startswith(f"madrun: {way.tool} "), job.stderr
    assert "stopped by" not in job.stderr
    nothing_left(cluster)


@pytest.mark.parametrize("way", [way for way in TOOLS if way.name == "openmpi"], ids=str)
def test_a_daemon_of_the_tool_that_is_told_to_end_is_the_tools_end(
    cluster: Cluster, way: Way
) -> None:
    job = started(cluster, way)
    guard, _ = agents(cluster, "node02")
    daemon = next(each for each in cluster.processes("node02") if each.pid == guard.ppid)
    os.kill(daemon.outer_pid, signal.SIGTERM)
    assert job.wait() == 125, job.stderr
    assert job.stderr.startswith(f"madrun: {way.tool} exited with status "), job.stderr
    assert of_the_job(cluster) == []


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("which", [0, 1], ids=["guard", "core"])
def test_a_signal_to_an_agent_is_told_with_its_host(cluster: Cluster, way: Way, which: int) -> None:
    job = started(cluster, way)
    os.kill(agents(cluster, "node03")[which].outer_pid, signal.SIGTERM)
    assert job.wait() == 143, job.stderr
    assert job.stderr.startswith("madrun: stopped by SIGTERM, sent to the agent on node03\n")
    assert of_the_job(cluster) == []
