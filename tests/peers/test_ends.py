"""Processes and ends: all of a job ends with it, nothing else does, and its status is passed up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from support.cluster import BIN, Cluster
from support.here import Words, environment, running
from support.jobs import WORKER, of_the_job
from support.programs import PATIENCE
from testbed import processes

pytestmark = pytest.mark.slow  # many whole jobs; tests/test_signals.py has the quick ones


def test_the_workers_of_a_killed_agent_end() -> None:
    """DeepSpeed #1016, #4003: the agent was killed, its workers kept the GPUs; the exit was 0."""
    with running("--nproc-per-node", "2", WORKER, "hold", "daemons") as job:
        job.until(r"up \d", 2)
        (reaper,) = processes.children(job.process.pid)
        (core,) = processes.children(reaper.outer_pid)
        os.kill(core.outer_pid, signal.SIGKILL)
        assert job.end() == 125
        assert "died of signal 9 (SIGKILL)" in job.said


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_every_wish_to_end_is_obeyed(number: signal.Signals, status: int) -> None:
    """DeepSpeed #4098, #4160: SIGTERM was handled in one mode only; composer had no handler.

    The orphan oracle looks for what is left.
    """
    with running("--nproc-per-node", "2", WORKER, "hold", "daemons") as job:
        job.until(r"up \d", 2)
        assert job.end(number) == status
        assert f"stopped by {number.name}" in job.said


# Each waits in its handler until all have been told; told one by one, none would ever leave.
TOGETHER = """
import os, signal, socket
rank, size, port = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
def told(number, frame):
    if rank == 0:
        peers = [server.accept()[0] for _ in range(size - 1)]
        print("all were told", flush=True)
    else:
        socket.create_connection(("127.0.0.1", port)).recv(1)
    os._exit(0)
signal.signal(signal.SIGTERM, told)
server = socket.create_server(("127.0.0.1", port)) if rank == 0 else None
print("up", rank, flush=True)
while True:
    signal.pause()
"""


def test_all_workers_are_told_at_once() -> None:
    """DeepSpeed #4510: 30 seconds for each worker, one after another."""
    words = ["--nproc-per-node", "3", "--grace", "3600", "--no-python", sys.executable, "-c"]
    with running(*words, TOGETHER) as job:
        job.until(r"up \d", 3)
        assert job.end(signal.SIGTERM) == 143
        assert "all were told" in job.said


def test_a_failure_on_one_node_ends_the_other_too(cluster: Cluster) -> None:
    """DeepSpeed #5005, #1995, #714: one node failed, and the others ran on."""
    done = cluster.madrun("--hosts", "node01,node02", WORKER, "hold", "daemons", "exit=1:3")
    assert done.returncode == 3
    assert "ended because of it: rank 0" in done.stderr
    assert of_the_job(cluster) == []


def test_what_a_dead_worker_left_is_ended() -> None:
    """DeepSpeed: the data loaders of a worker that had crashed were never found again.

    The daemons hold the output open: its end says that they are gone.
    """
    with running("--nproc-per-node", "2", WORKER, "hold", "daemons", "signal=1:9") as job:
        job.until(r"up \d", 2)
        assert job.end() == 137


ENDS = [("exit 7", 7), ("kill -KILL $$", 137), ("kill -SEGV $$", 139), ("exit 255", 255)]


@pytest.mark.parametrize(("script", "status"), ENDS)
@pytest.mark.parametrize("command", ["madrun", "madagent"])
def test_the_workers_status_is_the_launchers(command: str, script: str, status: int) -> None:
    """DeepSpeed #618, #1722, accelerate #4277: a failure, above all a signal, became exit 0."""
    done = subprocess.run(
        [BIN / command, "--hosts", "localhost", "--no-python", "sh", "-c", script],
        env=environment(),
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == status


def test_ctrl_c_on_one_job_spares_the_other() -> None:
    """DeepSpeed #6807: Ctrl-C on one job killed every job of the user, and those exited with 0."""
    words: list[Words] = ["--nproc-per-node", "2", WORKER, "hold"]
    with running(*words) as one, running(*words, "daemons") as other:
        one.until(r"up \d", 2)
        other.until(r"up \d", 2)
        assert one.end(signal.SIGINT) == 130
        other.process.send_signal(signal.SIGUSR1)
        other.until(r"usr1 \d", 2)
        assert other.end(signal.SIGTERM) == 143


def test_a_failure_on_the_last_host_ends_the_job(cluster: Cluster) -> None:
    """ColossalAI read results host by host: a failure on the last one waited for the first."""
    done = cluster.madrun("--hosts", "node[01-04]", WORKER, "hold", "exit=3:5")
    assert done.returncode == 5
    assert "rank 3 on node04 failed first" in done.stderr


NESTED = "(trap 'echo saved; exit' TERM; echo up; sleep 4012) & wait"


def test_a_grandchild_gets_its_sigterm() -> None:
    """composer: SIGTERM went to the direct child only, so that what it ran could never save."""
    with running("--grace", "60", "--no-python", "sh", "-c", NESTED) as job:
        job.until("up")
        assert job.end(signal.SIGTERM) == 143
        assert "saved" in job.said


SAVE = """
trap 'echo saved $RANK; exit 0' USR1
echo up $RANK
while :; do sleep 4011 & wait; done
"""


def test_usr1_goes_to_the_workers_and_their_exit_counts() -> None:
    """pytorch #154849: SIGUSR1, a wish for a checkpoint, killed the agent."""
    with running("--nproc-per-node", "2", "--no-python", "bash", "-c", SAVE) as job:
        job.until(r"up \d", 2)
        job.process.send_signal(signal.SIGUSR1)
        assert sorted(job.until(r"saved \d", 2)) == ["saved 0", "saved 1"]
        assert job.end() == 0


def test_nohup_is_obeyed() -> None:
    """pytorch #67538: SIGHUP ended the job in spite of nohup."""
    with running("--nproc-per-node", "2", WORKER, "hold", before=["nohup"]) as job:
        job.until(r"up \d", 2)
        job.process.send_signal(signal.SIGHUP)
        job.process.send_signal(signal.SIGUSR1)
        job.until(r"usr1 \d", 2)
        assert job.end(signal.SIGTERM) == 143
        assert "stopped by SIGTERM" in job.said


def test_one_may_press_ctrl_c_as_often_as_one_likes() -> None:
    """open-mpi #8925: a second Ctrl-C left orphans.

    The orphan oracle looks for what is left.
    """
    stubborn: list[Words] = [WORKER, "hold", "daemons", "ignore-term"]
    with running("--nproc-per-node", "2", "--grace", "3600", *stubborn) as job:
        job.until(r"up \d", 2)
        for _ in range(50):
            job.process.send_signal(signal.SIGINT)
            try:
                job.process.wait(0.3)
                break
            except subprocess.TimeoutExpired:
                continue
        assert job.end() == 130


def test_the_launcher_outlives_the_kill_of_its_workers() -> None:
    """TensorRT-LLM PR #16404: a kill of the whole tree took its own launcher with it."""
    stubborn: list[Words] = [WORKER, "hold", "daemons", "ignore-term"]
    with running("--nproc-per-node", "2", "--grace", "0.1", *stubborn) as job:
        job.until(r"up \d", 2)
        assert job.end(signal.SIGTERM) == 143
        assert "ended because of it: ranks 0-1\n" in job.said
        assert job.said.endswith("ended by SIGKILL: ranks 0-1 on localhost\n")
