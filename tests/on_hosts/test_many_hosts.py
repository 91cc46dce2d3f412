"""Many hosts and few descriptors: what fits starts, and what does not is said beforehand."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from support.cluster import BIN, REPOSITORY, Cluster

HOSTS = 64
LOGINS = REPOSITORY / "tests" / "payloads" / "many_logins.py"


def config(cluster: Cluster) -> str:
    """64 names for the cluster's hosts."""
    blocks = []
    for number, host in enumerate(cluster.hosts):
        names = " ".join(f"alias{each:02}" for each in range(number, HOSTS, len(cluster.hosts)))
        blocks.append(f"Host {names}\n  HostName {host}\n")
    return "".join(blocks)


@pytest.mark.timeout(600)
def test_64_logins_start_at_a_soft_limit_of_96_files(cluster: Cluster) -> None:
    path = cluster.base / "ssh" / "config"
    path.write_text(config(cluster))
    argv = ["prlimit", "--nofile=96:4096", str(BIN / "madrun"), "--hosts", f"alias[00-{HOSTS - 1}]"]
    limits = ["--launch-timeout", "400", "--connect-timeout", "100", "--heartbeat-timeout", "60"]
    program = ["--no-prefix", "--no-python", "sh", "-c", "ulimit -Sn"]
    try:
        done = cluster.run("head", [*argv, *limits, *program], timeout=500)
    finally:
        path.unlink()
    assert done.returncode == 0, done.stderr
    # A worker has the limit of its own host, as a login there has it.
    own = cluster.run("head", ["ssh", "node01", "ulimit -Sn"]).stdout.split()
    assert done.stdout.split() == own * HOSTS


@pytest.mark.timeout(400)
def test_340_agents_come_in_at_a_soft_limit_of_1024_files() -> None:
    """The channel is real, and so are its 340 agents; a login is a connection that stays open."""
    limit = f"--nofile=1024:{resource.getrlimit(resource.RLIMIT_NOFILE)[1]}"
    argv = ["prlimit", limit, sys.executable, str(LOGINS), "340"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout == "340 agents are there\n", done.stderr


def test_hosts_that_need_more_files_than_there_may_be_are_an_error_beforehand(
    cluster: Cluster,
) -> None:
    argv = ["prlimit", "--nofile=100:100", str(BIN / "madrun"), "--hosts", "none[01-64]"]
    done = cluster.run("head", [*argv, "--backend", "ssh", "--no-python", "true"])
    assert done.returncode == 2
    assert "64 hosts need some " in done.stderr
    assert "this machine allows 100 (ulimit -Hn)" in done.stderr
