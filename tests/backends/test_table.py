"""Each scenario by each way onto the nodes, on real hosts with the real tools: all cells alike."""

from __future__ import annotations

import json
import os
import signal
import sys
from functools import cache
from typing import Any

import pytest

from support.cluster import Cluster
from support.ends import gone
from support.jobs import WORKER, agents, of_the_job
from support.ways import WAYS, Way, program_names
from testbed.processes import Process

SHOW = """
import json, os, sys
shown = {
    "env": dict(os.environ), "cwd": os.getcwd(), "cores": sorted(os.sched_getaffinity(0)),
    "args": [os.fsencode(each).hex() for each in sys.argv[1:]],
    "input": sys.stdin.read() if os.environ["RANK"] == "0" else None,
}
print("SHOWN", json.dumps(shown))
"""
HOSTILE = [
    "a b", "it's", 'say "hi"', "$(touch /tmp/no)", "`id`", "*", "; exit 3", "a\nb", "", "%h %n %u",
    "\\", "ünïcødé", "--flag=x y", "{a,b}", "~", "\udcff\udcfe",
]  # fmt: skip
TASKS = ("OMPI_", "PMIX_", "PMI_", "PRTE_", "HYDRA_", "HYDI_", "MPIR_", "PDSH_", "SLURM_")
# What belongs to the one job, or to the one login; LC_CTYPE is Python's where there is no LANG.
OWN = {"MADRUN_JOB_ID", "MASTER_PORT", "JAX_COORDINATOR_ADDRESS", "TORCHELASTIC_RUN_ID",
       "TORCHELASTIC_ERROR_FILE", "SSH_CONNECTION", "SSH_CLIENT",
       "MOTD_SHOWN", "LC_CTYPE", "_", "SHLVL", "OLDPWD"}  # fmt: skip

every_way = pytest.mark.parametrize("way", WAYS, ids=str)


def shown_by(cluster: Cluster, way: Way) -> dict[int, dict[str, Any]]:
    """What each rank of a job with unequal slots sees; one run for several tests."""
    return _shown(cluster, way)


@cache
def _shown(cluster: Cluster, way: Way) -> dict[int, dict[str, Any]]:
    done = way.run(
        cluster,
        *(
            "--hosts",
            "node03:3,node01:1,head:1,node02:2",
            "--export",
            "MINE",
            "--export",
            "SEED=4=2",
        ),
        *("--workdir", cluster.share),
        *("--no-python", sys.executable, "-c", SHOW, *HOSTILE),
        env={"NCCL_DEBUG": "a b'c\"$d", "MINE": "line\nbreak", "NOT_ASKED": "x", "DISPLAY": ":0"},
        input="for rank 0\n",
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = [line.partition("SHOWN ")[2] for line in done.stdout.splitlines() if "SHOWN" in line]
    found = [json.loads(line) for line in lines]
    return {int(each["env"]["RANK"]): each for each in found}


@every_way
def test_places_with_unequal_slots(cluster: Cluster, way: Way) -> None:
    """Node rank is the place in the list, also where the tool's own machine is not the first."""
    found = shown_by(cluster, way)
    names = ("NODE_RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "WORLD_SIZE")
    assert [tuple(found[rank]["env"][name] for name in names) for rank in range(7)] == [
        ("0", "0", "3", "7"),
        ("0", "1", "3", "7"),
        ("0", "2", "3", "7"),
        ("1", "0", "1", "7"),
        ("2", "0", "1", "7"),
        ("3", "0", "2", "7"),
        ("3", "1", "2", "7"),
    ]
    assert found[0]["input"] == "for rank 0\n"


@every_way
def test_arguments_and_environment(cluster: Cluster, way: Way) -> None:
    found = shown_by(cluster, way)
    for each in found.values():
        assert each["args"] == [os.fsencode(word).hex() for word in HOSTILE]
        assert each["cwd"] == str(cluster.share)
        assert each["cores"] == sorted(os.sched_getaffinity(0)), "bound to a part of the node"
        env = each["env"]
        assert (env["NCCL_DEBUG"], env["MINE"], env["SEED"]) == ("a b'c\"$d", "line\nbreak", "4=2")
        assert not {"NOT_ASKED", "DISPLAY", "PYTHONSAFEPATH"} & set(env)
        assert [name for name in env if name.startswith(TASKS)] == []


@every_way
def test_the_environment_is_the_one_that_ssh_gives(cluster: Cluster, way: Way) -> None:
    ours, by_ssh = shown_by(cluster, way), shown_by(cluster, WAYS[0])
    for rank, each in ours.items():
        env, wanted = (
            {name: value for name, value in seen["env"].items() if name not in OWN}
            for seen in (each, by_ssh[rank])
        )
        env["PATH"] = env["PATH"].removeprefix(f"{way.stand_in}:")  # which travels with the rest
        assert env == wanted


@every_way
def test_filters(cluster: Cluster, way: Way) -> None:
    hostfile = cluster.hostfile(slots=2)
    done = way.run(
        cluster,
        *("--hostfile", hostfile, "--exclude", "node01@node03:0", "--nnodes", "2"),
        *("--no-python", "hostname"),
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [
        "[node02:0] node02", "[node02:1] node02", "[node03:2] node03",
    ]  # fmt: skip


@every_way
def test_one_host(cluster: Cluster, way: Way) -> None:
    done = way.run(cluster, "--hosts", "node02", "--no-python", "hostname")
    assert (done.returncode, done.stdout, done.stderr) == (0, "[node02:0] node02\n", "")


@every_way
@pytest.mark.parametrize(
    ("words", "status", "cause"),
    [
        ([WORKER, "hold", "daemons", "exit=5:3"], 3, "rank 5 on node03 failed first: exited with"),
        ([WORKER, "hold", "signal=2:11"], 139, "rank 2 on node02 failed first: died of signal 11"),
        (["--no-python", "no-such-program"], 127, "is not found on the PATH"),
    ],
    ids=["exit", "signal", "not found"],
)
def test_exit_statuses(
    cluster: Cluster, way: Way, words: list[str], status: int, cause: str
) -> None:
    job = way.start(cluster, *words)
    assert job.wait() == status, job.stderr
    assert cause in job.stderr
    assert of_the_job(cluster) == []


@every_way
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signals(cluster: Cluster, way: Way, number: int, status: int) -> None:
    job = way.start(cluster, "--grace", "3600", WORKER, "hold", "daemons")
    job.up(8)
    job.signal(number)
    assert job.wait() == status, job.stderr
    assert f"stopped by {signal.Signals(number).name}" in job.stderr
    assert of_the_job(cluster) == []
    assert way.tools(cluster) == []
    left = cluster.run("head", ["ls", "/tmp"]).stdout.split()
    assert [name for name in left if name.startswith("madrun-") and "testbed" not in name] == []


@every_way
def test_sigkill_of_the_tool(cluster: Cluster, way: Way) -> None:
    job = way.start(cluster, "--grace", "2", WORKER, "hold", "daemons")
    job.up(8)
    if way.tool:
        killed = way.tools(cluster)
        assert len(killed) == 1, killed
        cause = f"madrun: {way.tool} died of signal 9 (SIGKILL)"
    else:
        guard, _ = agents(cluster, "node02")
        killed = [each for each in cluster.processes("node02") if each.pid == guard.ppid]
        cause = "host node02 was lost"
    os.kill(killed[0].outer_pid, signal.SIGKILL)
    assert job.wait() == 125, job.stderr
    assert cause in job.stderr
    assert gone(lambda: left_over(cluster)) == []


@every_way
@pytest.mark.parametrize("which", [0, 1], ids=["guard", "core"])
def test_sigkill_of_an_agent(cluster: Cluster, way: Way, which: int) -> None:
    """The end of its connection says so; nobody waits for a silence."""
    options = ("--grace", "2", "--heartbeat-timeout", "300")
    job = way.start(cluster, *options, WORKER, "hold", "daemons")
    job.up(8)
    os.kill(agents(cluster, "node02")[which].outer_pid, signal.SIGKILL)
    assert job.wait() == 125, job.stderr
    assert "host node02 was lost" in job.stderr, job.stderr
    assert gone(lambda: left_over(cluster)) == []


@every_way
def test_a_host_that_is_down_is_named_and_nobody_starts(breakable: Cluster, way: Way) -> None:
    breakable.kill("node03")
    mark = breakable.share / f"ran-{way}"
    job = way.start(breakable, "--connect-timeout", "2", "--no-python", "touch", mark)
    assert job.wait() == 125, job.stderr
    lines = [line.split(None, 1) for line in job.stderr.splitlines() if line.startswith("    ")]
    assert [line[0] for line in lines] == ["node03"], job.stderr
    assert lines[0][1].startswith("unreachable: ")
    assert not mark.exists()
    assert gone(lambda: left_over(breakable)) == []


@pytest.mark.parametrize("way", [each for each in WAYS if each.logs_in], ids=str)
def test_options_of_ssh_reach_it(cluster: Cluster, way: Way) -> None:
    """The user's ssh_config leads astray; what is asked of madrun beats it."""
    config = cluster.base / "ssh" / "config"
    config.write_text("Host *\n  Port 1\n  User nobody\n")
    try:
        done = way.run(
            cluster,
            *("--hosts", "node01,node02", "--ssh-port", "22", "--ssh-user", "root"),
            *("--no-python", "true"),
        )
    finally:
        config.unlink()
    assert (done.returncode, done.stderr) == (0, "")


@every_way
def test_a_node_without_network_is_noticed(breakable: Cluster, way: Way) -> None:
    job = way.start(
        breakable, "--heartbeat-timeout", "1", "--grace", "1", WORKER, "hold", "daemons"
    )
    job.up(8)
    breakable.partition("node02")
    assert job.wait() == 125, job.stderr
    assert "host node02 was lost" in job.stderr
    assert "no word from its agent for 1 s" in job.stderr
    assert way.tools(breakable) == []
    breakable.heal("node02")
    assert gone(lambda: left_over(breakable)) == []


@every_way
def test_sigkill_of_the_runner(cluster: Cluster, way: Way) -> None:
    job = way.start(cluster, "--grace", "1", WORKER, "hold", "daemons")
    job.up(8)
    os.kill(cluster.outer_pid(job.process), signal.SIGKILL)
    assert job.wait() != 0
    assert gone(lambda: left_over(cluster)) == []


@pytest.mark.parametrize("way", WAYS[1:], ids=str)
def test_a_tool_that_hangs_and_one_that_is_missing(cluster: Cluster, way: Way) -> None:
    """A stand-in for the tool: a test double, which hangs with a child as the tools may."""
    folder = cluster.share / f"hanging-{way}"
    folder.mkdir(exist_ok=True)
    for name in (way.tool, "orterun"):
        (folder / name).write_text("#!/bin/sh\ntrap '' TERM\nsetsid sleep 60 &\nexec sleep 60\n")
        (folder / name).chmod(0o755)
    words = ("--hosts", "node[01-02]", "--launch-timeout", "1.5", "--no-python", "true")
    done = cluster.run("head", way.words(*words, path=f"{folder}:/usr/bin:/bin"))
    assert done.returncode == 125
    for host in ("node01", "node02"):
        assert f"    {host}  has not been reached within 1.5 s\n" in f"{done.stderr}\n"
    assert left_over(cluster) == []
    done = cluster.run("head", way.words(*words, path=str(cluster.share)))
    assert done.returncode == 125
    assert done.stderr.startswith(f"madrun: --backend {way.name}: {way.tool}")
    assert "is not found here" in done.stderr
    assert "--backend ssh" in done.stderr


def left_over(cluster: Cluster) -> list[Process]:
    """What there is of a job on any host, the tools and ssh clients included."""
    tools = {way.tool for way in WAYS if way.tool} | {"ssh", "orted", "hydra_pmi_proxy"}
    found = [
        each for each in cluster.processes() if each.state != "Z" and tools & {*program_names(each)}
    ]
    return [*of_the_job(cluster), *found]
