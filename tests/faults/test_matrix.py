"""Each victim x each fault x each phase: the job ends, and nothing of it is left on any host.

The phases are told apart by what is seen from outside: an ssh session, an agent, a worker, and a
grace that has begun. What was stopped is continued at the end; it must not go on.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Sequence

import pytest

from support.cluster import Cluster
from support.ends import gone
from support.faults import agent_processes, matching, reach, runner_processes, until
from support.jobs import WORKER, Running, nothing_left, of_the_job
from testbed.processes import Process

NODE = "node02"
KILL, TERM, STOP = signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP


VICTIMS: dict[str, Callable[[Cluster], list[Process]]] = {
    "worker": lambda cluster: matching(cluster, NODE, str(WORKER)),
    "daemon": lambda cluster: matching(cluster, NODE, "sleep 4003"),
    "agent": lambda cluster: agent_processes(cluster, NODE)[1:],
    "agents-guard": lambda cluster: agent_processes(cluster, NODE)[:1],
    "sshd-session": lambda cluster: matching(cluster, NODE, "sshd: root"),
    "runner": lambda cluster: runner_processes(cluster)[1:],
    "runners-guard": lambda cluster: runner_processes(cluster)[:1],
}

# When a victim can be met at the earliest.
PHASES: dict[str, Sequence[str]] = {
    "connecting": ("sshd-session", "runner", "runners-guard"),
    "launching": ("agent", "agents-guard", "sshd-session", "runner", "runners-guard"),
    "running": tuple(VICTIMS),
    "stopping": tuple(VICTIMS),
}
CASES = [
    pytest.param(phase, victim, fault, id=f"{phase}-{victim}-{fault.name}")
    for phase, victims in PHASES.items()
    for victim in victims
    for fault in (KILL, TERM, STOP)
]


@pytest.mark.parametrize(("phase", "victim", "fault"), CASES)
def test_nothing_is_left(cluster: Cluster, phase: str, victim: str, fault: signal.Signals) -> None:
    hosts = ",".join(f"{host}:2" for host in cluster.hosts)
    options = ["--grace", "1", "--heartbeat-timeout", "1.5", "--hosts", hosts]
    stubborn = ["ignore-term"] if phase == "stopping" else []
    job = Running(cluster, [*options, str(WORKER), "hold", "daemons", *stubborn])
    reach(phase, job, NODE)
    for target in until(lambda: VICTIMS[victim](cluster))[:1]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(target.outer_pid, fault)
    if fault is STOP or victim == "daemon":
        # Nobody has to die of this: the job is told to end, and does.
        with contextlib.suppress(ProcessLookupError):
            job.signal(TERM)
            if victim == "runners-guard":  # a stopped process hears nothing: so for any program
                job.signal(signal.SIGCONT)
    status = job.wait_however_stopped()
    assert status != 0
    assert "Traceback" not in job.stderr
    leave(cluster)


def leave(cluster: Cluster) -> None:
    """All but what is stopped goes by itself; that goes once it is continued."""
    assert gone(lambda: [each for each in of_the_job(cluster) if each.state != "T"]) == []
    for each in of_the_job(cluster):
        os.kill(each.outer_pid, signal.SIGCONT)
    for each in matching(cluster, NODE, "sshd: root"):
        os.kill(each.outer_pid, signal.SIGCONT)
    nothing_left(cluster)
