"""Signals at jobs over several hosts: impatient ones, and those that come before anything runs."""

from __future__ import annotations

import os
import shutil
import signal
import time

import pytest

from support import jobs
from support.cluster import Cluster
from support.jobs import WORKER, Running
from support.programs import PATIENCE
from support.ways import WAYS, Way

pytestmark = pytest.mark.hosts


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_second_sigterm_kills_at_once_on_all_hosts(cluster: Cluster, way: Way) -> None:
    job = way.start(cluster, "--grace", "3600", WORKER, "hold", "ignore-term")
    job.up(8)
    job.signal(signal.SIGTERM)
    time.sleep(0.7)  # what is closer may be one wish that came by two ways
    job.signal(signal.SIGTERM)
    assert job.wait() == 143
    assert "stopped by SIGTERM" in job.stderr


def test_a_second_signal_at_an_agent_kills_at_once_on_all_hosts(cluster: Cluster) -> None:
    hostfile = cluster.hostfile(slots=2)
    job = Running(
        cluster, ["--hostfile", hostfile, "--grace", "3600", WORKER, "hold", "ignore-term"]
    )
    job.up(8)
    guard, _core = jobs.agents(cluster, "node02")
    os.kill(guard.outer_pid, signal.SIGTERM)
    time.sleep(0.7)
    os.kill(guard.outer_pid, signal.SIGINT)
    assert job.wait() == 143
    assert "node02" in job.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_a_signal_while_hosts_connect_ends_all(cluster: Cluster, number: signal.Signals) -> None:
    cluster.freeze("node03")
    job = Running(cluster, ["--hostfile", cluster.hostfile(slots=2), WORKER, "hold"])
    time.sleep(1.0)  # wherever it stands then: nothing can be up while a host is frozen
    job.signal(number)
    status = job.wait()
    cluster.thaw("node03")
    assert (status, "Traceback" in job.stderr) == (128 + number, False)


def test_a_log_file_that_hangs_on_a_node_keeps_no_job_alive(cluster: Cluster) -> None:
    """A full FIFO, as a file server that does not answer would be."""
    logs = cluster.share / "hung"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir()
    os.mkfifo(logs / "rank0001.out")
    nobody = os.open(logs / "rank0001.out", os.O_RDONLY | os.O_NONBLOCK)
    flood = f"seq 1000000; touch {logs}/up$RANK; sleep 600"
    words = ["--hostfile", str(cluster.hostfile(slots=1)), "--log-dir", str(logs), "--grace", "1"]
    job = Running(cluster, [*words, "--output", "none", "--no-python", "sh", "-c", flood])
    deadline = time.monotonic() + PATIENCE
    while len(list(logs.glob("up*"))) < 4:  # they write on although nobody reads one's log
        assert time.monotonic() < deadline, job.stderr
        time.sleep(0.05)
    job.signal(signal.SIGINT)
    status = job.wait()
    os.close(nobody)
    assert status == 130
    assert f"{logs}/rank0001.out is incomplete: " in job.stderr
