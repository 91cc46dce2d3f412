"""Whoever dies, the rest goes down: after each test no process of the job is on any host.

The orphan oracle looks after every test; these tests look at once as well, because the oracle's
patience would hide a slow end.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from support.cluster import Cluster
from support.faults import runner_processes
from support.jobs import Running, agents, nothing_left, of_the_job, workers


def hold(cluster: Cluster, *words: str, options: tuple[str, ...] = ()) -> Running:
    """A job of 8 workers on four hosts that runs until something happens."""
    from support.jobs import WORKER

    hostfile = cluster.hostfile(slots=2)
    job = Running(cluster, ["--hostfile", hostfile, *options, WORKER, "hold", *words])
    job.up(8)
    return job


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
def test_signals_at_the_runner_end_everything(cluster: Cluster, number: int, status: int) -> None:
    job = hold(cluster, "daemons")
    job.signal(number)
    assert job.wait() == status, job.stderr
    assert of_the_job(cluster) == []
    assert f"stopped by {signal.Signals(number).name}" in job.stderr


def test_workers_that_ignore_term_are_killed_after_one_shared_grace(cluster: Cluster) -> None:
    job = hold(cluster, "ignore-term", "daemons", options=("--grace", "3"))
    started = time.monotonic()
    job.signal(signal.SIGTERM)
    assert job.wait() == 143
    assert of_the_job(cluster) == []
    assert time.monotonic() - started < 8 * 3, "one grace is shared by all eight"


def test_a_second_sigint_ends_at_once(cluster: Cluster) -> None:
    job = hold(cluster, "ignore-int", "ignore-term", options=("--grace", "3600"))
    job.signal(signal.SIGINT)
    job.until("again kills")
    job.signal(signal.SIGINT)
    assert job.wait() == 130
    assert of_the_job(cluster) == []


def test_usr1_goes_to_every_worker_and_ends_nothing(cluster: Cluster) -> None:
    job = hold(cluster)
    job.signal(signal.SIGUSR1)
    assert sorted(job.until(r"usr1 (\d)", 8)) == [str(rank) for rank in range(8)]
    job.signal(signal.SIGTERM)
    assert job.wait() == 143


def victim_worker(job: Running) -> int:
    return workers(job.cluster, "node02")[0].outer_pid


def victim_agent(job: Running) -> int:
    return agents(job.cluster, "node02")[1].outer_pid


def victim_agents_guard(job: Running) -> int:
    return agents(job.cluster, "node02")[0].outer_pid


def victim_runner(job: Running) -> int:
    return job.cluster.outer_pid(job.process)


def victim_runners_core(job: Running) -> int:
    _guard, core = runner_processes(job.cluster)
    return core.outer_pid


def victim_sshd_session(job: Running) -> int:
    guard, _ = agents(job.cluster, "node02")
    by_pid = {each.pid: each for each in job.cluster.processes("node02")}
    session = by_pid[guard.ppid]
    assert "sshd" in session.cmdline
    return session.outer_pid


@pytest.mark.parametrize("words", [(), ("daemons", "ignore-term")], ids=["plain", "stubborn"])
@pytest.mark.parametrize(
    ("victim", "status", "cause"),
    [
        (victim_worker, 137, "on node02 failed first: died of signal 9 (SIGKILL)"),
        (victim_agent, 125, "host node02 was lost"),
        (victim_agents_guard, 125, "host node02 was lost"),
        (victim_sshd_session, 125, "host node02 was lost"),
        (victim_runner, None, ""),
        (victim_runners_core, 125, "died of signal 9 (SIGKILL); everything it had started"),
    ],
)
def test_sigkill_of_any_one_process(
    cluster: Cluster,
    victim: Callable[[Running], int],
    status: int | None,
    cause: str,
    words: tuple[str, ...],
) -> None:
    job = hold(cluster, *words, options=("--grace", "1"))
    os.kill(victim(job), signal.SIGKILL)
    ended = job.wait()
    assert ended == status or (status is None and ended != 0), job.stderr
    assert cause in job.stderr
    nothing_left(cluster)


def test_an_agent_told_to_stop_ends_the_job_everywhere(cluster: Cluster) -> None:
    job = hold(cluster, "daemons")
    os.kill(agents(cluster, "node03")[0].outer_pid, signal.SIGTERM)
    assert job.wait() == 143, job.stderr
    assert of_the_job(cluster) == []


def test_two_jobs_of_one_user_never_meet(cluster: Cluster) -> None:
    one, other = hold(cluster, "daemons"), hold(cluster, "daemons")
    one.signal(signal.SIGINT)
    assert one.wait() == 130
    other.signal(signal.SIGUSR1)
    other.until(r"usr1 \d", 8)
    assert len([each for each in cluster.processes() if each.argv[:1] == ("sleep",)]) >= 24
    other.signal(signal.SIGTERM)
    assert other.wait() == 143


def test_a_lost_node_is_noticed_and_ends_its_own_workers(breakable: Cluster) -> None:
    job = hold(breakable, "daemons", options=("--heartbeat-timeout", "1", "--grace", "1"))
    breakable.partition("node02")
    assert job.wait() == 125, job.stderr
    assert "host node02 was lost" in job.stderr
    assert "no word from its agent for 1 s" in job.stderr
    nothing_left(breakable)
