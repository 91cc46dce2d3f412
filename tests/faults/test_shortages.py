"""No space on the disk, no memory for a process: in each phase, and never a job that hangs."""

from __future__ import annotations

import contextlib
import json
import resource
import signal
from collections.abc import Callable, Iterator

import pytest

from support.cluster import Cluster
from support.faults import agent_processes, reach, runner_processes, until
from support.jobs import WORKER, Running, nothing_left
from testbed.processes import Process

NODE = "node02"
SMALL = "/run/small"
PHASES = ("connecting", "launching", "running", "stopping")


def job_of_eight(cluster: Cluster, phase: str, *options: str) -> Running:
    """Two workers on each host; in the phase of stopping it takes its time."""
    hosts = ",".join(f"{host}:2" for host in cluster.hosts)
    stubborn = ["ignore-term"] if phase == "stopping" else []
    words = ["--grace", "1", *options, "--hosts", hosts, str(WORKER), "hold", *stubborn]
    return Running(cluster, words)


@pytest.fixture
def small_disks(cluster: Cluster) -> Iterator[Callable[[], None]]:
    """A small file system on the head and on a node; called, it fills both."""
    mount = f"mkdir -p {SMALL} && mount -t tmpfs -o size=256k tmpfs {SMALL}"
    for host in ("head", NODE):
        cluster.run(host, ["sh", "-c", mount], check=True)

    def fill() -> None:
        for host in ("head", NODE):
            full = f"cat /dev/zero >{SMALL}/fill"
            assert cluster.run(host, ["sh", "-c", full]).returncode == 1

    yield fill
    for host in ("head", NODE):
        cluster.run(host, ["umount", SMALL], check=True)


@pytest.mark.parametrize("phase", PHASES)
def test_full_disks_under_the_record_end_nothing(
    cluster: Cluster, small_disks: Callable[[], None], phase: str
) -> None:
    job = job_of_eight(cluster, phase, "--job-dir", SMALL)
    reach(phase, job, NODE)
    small_disks()
    if phase != "stopping":
        job.up(8)
        job.signal(signal.SIGUSR1)
        job.until(r"usr1 \d", 8)
        job.signal(signal.SIGTERM)
    assert job.wait() == 143, job.stderr
    assert job.stderr.count("No space left") <= 2  # of the record, and of logs
    assert "Traceback" not in job.stderr
    events = cluster.run("head", ["sh", "-c", f"cat {SMALL}/2*/events.jsonl"]).stdout
    assert all(json.loads(line)["v"] == 1 for line in events.splitlines())


VICTIMS: dict[str, Callable[[Cluster], list[Process]]] = {
    "agent": lambda cluster: agent_processes(cluster, NODE)[1:],
    "runner": lambda cluster: runner_processes(cluster)[1:],
}


@pytest.mark.parametrize("phase", PHASES[1:])
@pytest.mark.parametrize("victim", VICTIMS)
def test_a_process_that_gets_no_more_memory(cluster: Cluster, phase: str, victim: str) -> None:
    """It may break, or get along with what it has until it is told to end; nothing is left."""
    job = job_of_eight(cluster, phase, "--heartbeat-timeout", "1.5")
    reach(phase, job, NODE)
    for target in until(lambda: VICTIMS[victim](cluster))[:1]:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(target.outer_pid, resource.RLIMIT_AS, (0, 0))
    job.lives_for(1.0)
    with contextlib.suppress(ProcessLookupError):
        job.signal(signal.SIGTERM)
    assert job.wait() in (143, 125), job.stderr
    nothing_left(cluster)
