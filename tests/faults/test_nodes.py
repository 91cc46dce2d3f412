"""Whole nodes: power loss, a cut cable, a hang, in each phase; what stays reachable is emptied."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from support.cluster import Cluster
from support.faults import reach
from support.jobs import WORKER, Running, nothing_left

NODE = "node02"
Fault = Callable[[Cluster], None]

FAULTS: dict[str, Fault] = {
    "power-loss": lambda cluster: cluster.kill(NODE),
    "crash": lambda cluster: cluster.kill(NODE, crash=True),
    "cut": lambda cluster: cluster.partition(NODE),
    "freeze": lambda cluster: cluster.freeze(NODE),
}


@pytest.mark.parametrize("phase", ["connecting", "launching", "running", "stopping"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_node_goes(breakable: Cluster, phase: str, fault: str) -> None:
    hosts = ",".join(f"{host}:2" for host in breakable.hosts)
    options = [
        "--grace",
        "1",
        "--heartbeat-timeout",
        "1.5",
        "--connect-timeout",
        "2",
        "--launch-timeout",
        "6",
    ]
    stubborn = ["ignore-term"] if phase == "stopping" else []
    job = Running(breakable, [*options, "--hosts", hosts, str(WORKER), "hold", *stubborn])
    reach(phase, job, NODE)
    FAULTS[fault](breakable)
    status = job.wait()
    assert status in ((143, 125) if phase == "stopping" else (125,)), job.stderr
    if status == 125:
        assert NODE in job.stderr
    nothing_left(breakable, "head", "node01", "node03", "node04")
    if fault == "cut":  # it ends its own workers, alone
        nothing_left(breakable, NODE)
    if fault == "freeze":  # what wakes up finds its lease expired
        breakable.thaw(NODE)
        nothing_left(breakable, NODE)


@pytest.mark.parametrize("phase", ["connecting", "launching", "stopping"])
def test_a_cut_that_heals(breakable: Cluster, phase: str) -> None:
    """Shorter than the timeout: it comes up, or ends, as if nothing had been."""
    hosts = ",".join(f"{host}:2" for host in breakable.hosts)
    stubborn = ["ignore-term"] if phase == "stopping" else []
    words = ["--grace", "2", "--hosts", hosts, str(WORKER), "hold", *stubborn]
    job = Running(breakable, words)
    reach(phase, job, NODE)
    breakable.partition(NODE)
    time.sleep(1.0)  # the fault itself
    breakable.heal(NODE)
    if phase != "stopping":
        job.up(8)
        job.signal(signal.SIGTERM)
    assert job.wait() == 143, job.stderr
    assert "lost" not in job.stderr
    nothing_left(breakable, "head", *breakable.hosts)


def test_a_short_cut_ends_nothing(breakable: Cluster) -> None:
    """Shorter than the timeout: the job goes on as if nothing had been."""
    hosts = ",".join(f"{host}:2" for host in breakable.hosts)
    job = Running(breakable, ["--hosts", hosts, str(WORKER), "hold"])
    job.up(8)
    breakable.partition(NODE)
    time.sleep(1.0)  # the fault itself
    breakable.heal(NODE)
    job.signal(signal.SIGUSR1)
    job.until(r"usr1 \d", 8)
    job.signal(signal.SIGTERM)
    assert job.wait() == 143


def test_a_lossy_slow_network_raises_no_false_alarm(breakable: Cluster) -> None:
    """20 % loss and 300 ms on two of the four nodes.

    Their connections alone would be silent for five seconds now and then: UDP heartbeats count.
    """
    hosts = ",".join(f"{host}:2" for host in breakable.hosts)
    job = Running(breakable, ["--hosts", hosts, str(WORKER), "hold"])
    job.up(8)
    for host in (NODE, "node03"):
        breakable.delay(host, "300ms", loss=20)
    assert job.lives_for(20)
    for host in (NODE, "node03"):
        breakable.delay(host, "0")
    job.signal(signal.SIGTERM)
    assert job.wait() == 143
    assert "lost" not in job.stderr


def test_a_full_disk_under_the_logs_ends_nothing(cluster: Cluster) -> None:
    """Training goes on; that a log is incomplete is said."""
    logs = "/run/small"
    mount = f"mkdir -p {logs} && mount -t tmpfs -o size=64k tmpfs {logs}"
    cluster.run("node01", ["sh", "-c", mount], check=True)
    try:
        done = cluster.madrun(
            *("--hosts", "node01", "--log-dir", logs, "--output", "none"),
            *("--no-python", "sh", "-c", "seq 100000; exit 3"),
        )
    finally:
        cluster.run("node01", ["umount", logs], check=True)
    assert done.returncode == 3
    assert f"{logs}/rank0000.out is incomplete: No space left on device" in done.stderr
