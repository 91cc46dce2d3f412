"""What the tools do on real hosts, each in its own way; what is the same is in test_table.py."""

from __future__ import annotations

import os
import signal

import pytest

from support.cluster import BIN, Cluster
from support.jobs import WORKER, agents
from support.ways import WAYS, Way, program_names
from testbed.processes import Process

WAY = {way.name: way for way in WAYS}


def ancestors(cluster: Cluster, host: str) -> list[Process]:
    """What the agent on a host was started by, from its parent upwards."""
    by_pid = {each.pid: each for each in cluster.processes(host)}
    found = [by_pid[agents(cluster, host)[0].ppid]]
    while (parent := by_pid.get(found[-1].ppid)) and parent.pid != 1:
        found.append(parent)
    return found


def on_the_way_to(cluster: Cluster, way: Way, what: str) -> Process:
    """One of the processes that hold the way to node02 open."""
    if what == "ssh client":
        clients = [p for p in cluster.processes("head") if "ssh" in program_names(p)]
        return next(each for each in clients if "node02" in each.argv)
    above = [each for each in ancestors(cluster, "node02") if what in each.argv[0]]
    return above[0]


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("pdsh", "ssh client"),
        ("mpich", "ssh client"),
        ("mpich", "sshd"),
        ("mpich", "hydra_pmi_proxy"),
    ],
)
def test_a_job_outlives_a_link_of_its_tool_and_is_ended_cleanly(
    cluster: Cluster, name: str, what: str
) -> None:
    """The agents are held by madrun's own channel."""
    way = WAY[name]
    job = way.start(cluster, "--grace", "2", WORKER, "hold", "daemons")
    job.up(8)
    os.kill(on_the_way_to(cluster, way, what).outer_pid, signal.SIGKILL)
    job.signal(signal.SIGTERM)
    assert job.wait() == 143, job.stderr
    assert "stopped by SIGTERM" in job.stderr
    assert way.tools(cluster) == []


def test_a_killed_session_of_pdsh_ends_the_job_and_names_the_host(cluster: Cluster) -> None:
    way = WAY["pdsh"]
    job = way.start(cluster, "--grace", "2", WORKER, "hold", "daemons")
    job.up(8)
    os.kill(on_the_way_to(cluster, way, "sshd").outer_pid, signal.SIGKILL)
    assert job.wait() == 125, job.stderr
    assert "host node02 was lost" in job.stderr


def ours(cluster: Cluster, host: str) -> set[str]:
    """What tools and madrun have in a host's /tmp."""
    names = cluster.run(host, ["ls", "/tmp"]).stdout.split()
    return {n for n in names if n.startswith(("ompi.", "madrun-")) and "testbed" not in n}


def test_a_killed_mpirun_leaves_no_files_here(cluster: Cluster) -> None:
    way = WAY["openmpi"]
    before = ours(cluster, "head")
    job = way.start(cluster, "--grace", "2", WORKER, "hold")
    job.up(8)
    (folder,) = {each for each in ours(cluster, "head") - before if each.startswith("madrun-")}
    modes = cluster.run("head", ["stat", "-c", "%a", f"/tmp/{folder}", f"/tmp/{folder}/hosts"])
    assert modes.stdout.split() == ["700", "600"]
    (mpirun,) = way.tools(cluster)
    os.kill(mpirun.outer_pid, signal.SIGKILL)
    assert job.wait() == 125, job.stderr
    assert ours(cluster, "head") == before


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_open_mpi_takes_this_machine_by_any_name(cluster: Cluster, name: str) -> None:
    words = ("--backend", "openmpi", "--hosts", f"{name}:2", "--no-prefix")
    done = cluster.run("head", [BIN / "madrun", *words, "--no-python", "hostname"])
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.split()) == ["head", "head"]


@pytest.mark.parametrize("names", ["localhost:1,node01:1", "node01:1,localhost:1"])
def test_open_mpi_takes_this_machine_beside_others(cluster: Cluster, names: str) -> None:
    words = ("--backend", "openmpi", "--hosts", names, "--no-prefix")
    done = cluster.run("head", [BIN / "madrun", *words, "--no-python", "hostname"])
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.split()) == ["head", "node01"]


def test_the_tools_message_is_shown_from_its_first_line_on(cluster: Cluster) -> None:
    words = ("--backend", "openmpi", "--hosts", "node01", "--backend-args", "--no-such-option")
    done = cluster.run("head", [BIN / "madrun", *words, "--no-python", "hostname"])
    assert done.returncode == 125
    assert "mpirun exited with status 1: mpirun: Error: unknown option" in done.stderr
