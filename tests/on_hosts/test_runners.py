"""The training launchers on real hosts: real torchrun and deepspeed, one per node."""

from __future__ import annotations

import json
import os
import re
import signal

import pytest

from support.cluster import Cluster
from support.jobs import EXAMPLES, TESTS, WORKER, Running

pytestmark = pytest.mark.torch

PATIENCE = 250  # seconds: processes of PyTorch take long to import where the machine is busy
BELOW = TESTS / "payloads" / "below.py"
SCRIPT = TESTS / "payloads" / "run.sh"
HOSTS = ("--hosts", "node[01-02]:1")
VALUE = "a$(echo pwned)b \"q\" 'r' \\ *"  # arrives as it is


def said(stdout: str) -> list[dict[str, object]]:
    """What the workers said, by rank; processes that write at once may share a line."""
    found = [json.loads(text) for text in re.findall(r"\{\"RANK.*?\]\}", stdout)]
    return sorted(found, key=lambda each: int(str(each["RANK"])))


@pytest.mark.parametrize("launcher", ["torchrun", "deepspeed"])
def test_it_trains_over_two_hosts(cluster: Cluster, launcher: str) -> None:
    done = cluster.madrun(
        "--launcher", launcher, *HOSTS, EXAMPLES / "train_ddp.py", timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    assert "on 2 ranks" in done.stdout


@pytest.mark.parametrize("launcher", ["torchrun", "deepspeed", "megatron", "torchtitan"])
def test_a_script_starts_its_workers_with_the_runner_unquoted(
    cluster: Cluster, launcher: str
) -> None:
    done = cluster.madrun(
        *("--launcher", launcher, *HOSTS, "--export", f"MAD_X={VALUE}"),
        *(SCRIPT, BELOW, "hello", "two words", VALUE),
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    workers = said(done.stdout)
    assert [each["RANK"] for each in workers] == ["0", "1"]
    assert len({each["MASTER_ADDR"] for each in workers}) == 1
    for each in workers:
        assert each["WORLD_SIZE"] == "2"
        assert each["LOCAL_RANK"] == "0"
        assert each["MAD_X"] == VALUE
        assert each["words"] == ["two words", VALUE]


@pytest.mark.parametrize(("launcher", "status"), [("torchrun", 1), ("deepspeed", 247)])
def test_a_worker_killed_below_the_runner_ends_the_job(
    cluster: Cluster, launcher: str, status: int
) -> None:
    done = cluster.madrun("--launcher", launcher, *HOSTS, BELOW, "die", timeout=PATIENCE)
    assert done.returncode == status, done.stderr
    assert f"madrun: {launcher} on node02 failed first: exited with status {status}" in done.stderr
    assert f"ended because of it: {launcher} on node01" in done.stderr
    if launcher == "torchrun":
        assert "cause: rank 1, local rank 0, below torchrun: killed by SIGKILL" in done.stderr


def test_a_runner_that_takes_a_kill_for_success(cluster: Cluster) -> None:
    """deepspeed exits with 0 when the process that started its workers was killed."""
    job = Running(cluster, ["--launcher", "deepspeed", "--grace", "2", *HOSTS, WORKER, "hold"])
    job.up(2)
    found = cluster.processes("node02")
    middle = [each for each in found if "deepspeed.launcher.launch" in each.argv]
    os.kill(middle[0].outer_pid, signal.SIGKILL)
    assert job.wait() == 1, job.stderr
    assert "madrun: deepspeed on node02 failed first: exited with status 0 while" in job.stderr
    assert "exited with status 0 while 1 worker of it still ran" in job.stderr


def test_torchrun_restarts_its_workers_where_it_is_elastic(cluster: Cluster) -> None:
    options = ("--launcher-opt", "min_nodes=2", "--launcher-opt", "max-restarts=1")
    done = cluster.madrun(
        "--launcher", "torchrun", *options, *HOSTS, BELOW, "once", timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    assert "[node02:torchrun] restart 1" in done.stdout
    assert done.stdout.count("all are here") == 2
