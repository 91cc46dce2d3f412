"""Secrets stay secret: looked for wherever another user of a host could read them."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import BIN, Cluster
from support.jobs import WORKER
from support.programs import PATIENCE

MARK = f"s3cr3t-{os.urandom(8).hex()}"  # of this run: no other file has it
EXPORTED, IN_A_FILE = f"{MARK}-exported", f"{MARK}-in-a-file"
PLACES = ("/tmp", "/var/tmp", "/dev/shm", "/run")


@pytest.fixture
def env_file(cluster: Cluster) -> Iterator[Path]:
    """The one place where the secret may stand: a file of the user's own."""
    path = cluster.base / "my-secrets.env"
    path.touch(0o600)
    path.write_text(f"FROM_FILE={IN_A_FILE}\n")
    yield path
    path.unlink()


def command_lines(cluster: Cluster) -> list[str]:
    """Processes that show the secret to everybody."""
    return [each.cmdline for each in cluster.processes() if MARK in each.cmdline]


def readable_environments(cluster: Cluster) -> list[str]:
    """Processes whose environment has the secret and can be read by others."""
    found = []
    for each in cluster.processes():
        if any(MARK in value for value in (each.environ or {}).values()):
            mode = os.stat(f"/proc/{each.outer_pid}/environ").st_mode
            found += [each.cmdline] if mode & (stat.S_IRGRP | stat.S_IROTH) else []
    return found


def holders(cluster: Cluster) -> set[str]:
    """The program of every process that has the secret in its environment, by host."""
    return {
        f"{each.host}: {'worker' if str(WORKER) in each.argv else each.cmdline}"
        for each in cluster.processes()
        if any(MARK in value for value in (each.environ or {}).values())
    }


def files(cluster: Cluster, host: str, *more: str | Path) -> list[str]:
    """Files with the secret in the places of a host that everybody reads; asked through stdin."""
    words = ["grep", "-rlasF", "-D", "skip", "--exclude=my-secrets.env", "-f", "-"]
    done = cluster.run(host, [*words, *PLACES, cluster.base, *more], input=f"{MARK}\n")
    assert done.returncode in (0, 1, 2), done.stderr
    return done.stdout.splitlines()


def test_a_secret_is_nowhere_but_with_the_workers(cluster: Cluster, env_file: Path) -> None:
    logs = cluster.share / "logs-of-secrets"
    job = cluster.popen(
        "head",
        [BIN / "madrun", "--hosts", "head,node01,node02", "--env-file", env_file,
         "--log-dir", logs, WORKER, "hold"],
        env={"WANDB_API_KEY": EXPORTED},
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert job.stdout is not None
    said = ""
    while said.count("up ") < 3:
        line = job.stdout.readline()
        assert line, said
        said += line
    assert command_lines(cluster) == []
    assert readable_environments(cluster) == []
    assert {each for each in holders(cluster) if "bin/madrun" not in each} == {
        f"{host}: worker" for host in ("head", "node01", "node02")
    }
    for host in ("head", "node01", "node02"):
        assert files(cluster, host) == []
    cluster.signal(job, signal.SIGTERM)
    said += job.stdout.read()
    job.stdout.close()
    assert job.wait(PATIENCE) == 143
    assert MARK not in said
    assert holders(cluster) == set()
    for host in ("head", "node01", "node02"):
        assert files(cluster, host) == []


def test_nor_does_a_failure_show_it(cluster: Cluster, env_file: Path) -> None:
    done = cluster.madrun(
        *("--hosts", "node01,nowhere", "--env-file", env_file, WORKER),
        env={"WANDB_API_KEY": EXPORTED},
    )
    assert done.returncode == 125
    assert MARK not in done.stdout + done.stderr
    done = cluster.madrun(
        *("--hosts", "node01,node02", "--env-file", env_file, WORKER, "hold", "exit=1:3"),
        env={"WANDB_API_KEY": EXPORTED},
    )
    assert done.returncode == 3
    assert MARK not in done.stdout + done.stderr
