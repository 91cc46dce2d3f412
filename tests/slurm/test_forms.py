"""Each scenario in both forms, ``salloc madrun`` and ``srun madagent``, on a real Slurm."""

from __future__ import annotations

import json
import os
import signal
import sys
import time

import pytest

from support.cluster import Cluster
from support.faults import guard_and_core
from support.jobs import EXAMPLES, WORKER, guard_first, nothing_left, of_the_job
from support.slurm import (
    AGENTS,
    BACKEND,
    FORMS,
    GPUS,
    MADRUN,
    Form,
    own_job,
)

# Into files: srun cuts long lines, and puts those of several nodes among each other.
SHOW = """
import json, os, sys
shown = {"env": dict(os.environ), "cores": len(os.sched_getaffinity(0)),
         "args": [os.fsencode(each).hex() for each in sys.argv[2:]]}
with open(os.path.join(sys.argv[1], os.environ["RANK"]), "w") as file:
    json.dump(shown, file)
"""
HOSTILE = ["a b", "it's", '"', "$(id)", "`id`", "*", "; exit 3", "a\nb", "", "%h", "\\", "\udcff"]
# What describes the agent's own task: frameworks would take it for the worker's place.
TASKS = {
    "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS", "SLURM_NPROCS", "SLURM_NNODES",
    "SLURM_STEP_ID", "SLURM_STEPID", "SLURM_STEP_NODELIST", "SLURM_TASKS_PER_NODE", "SLURM_GTIDS",
    "SLURM_TASK_PID", "SLURM_CPU_BIND", "SLURM_STEP_GPUS", "SLURM_SRUN_COMM_HOST",
}  # fmt: skip

both = pytest.mark.parametrize("form", FORMS, ids=str)


@both
def test_ring_on_three_nodes(cluster: Cluster, form: Form) -> None:
    done = cluster.run("head", form.words(EXAMPLES / "ring.py", slurm=["-N3", "-c2", GPUS]))
    assert done.returncode == 0, done.stderr
    assert "ring of 6 ranks: sum 15" in done.stdout
    assert done.stderr == ""


@both
def test_unequal_gpus(cluster: Cluster, form: Form) -> None:
    """Slurm gives ``-G 4`` on two nodes as three and one, and no variable tells it."""
    folder = cluster.share / f"shown-{form}"
    folder.mkdir()
    show = ("--no-python", sys.executable, "-c", SHOW, folder, *HOSTILE)
    done = cluster.run("head", form.words(*show, slurm=["-N2", "-c2", "-G4"]))
    assert done.returncode == 0, done.stderr
    found = {int(file.name): json.loads(file.read_text()) for file in folder.iterdir()}
    names = ("NODE_RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "WORLD_SIZE", "CUDA_VISIBLE_DEVICES")
    envs = [found[rank]["env"] for rank in range(4)]
    assert [tuple(env[name] for name in names) for env in envs] == [
        ("0", "0", "3", "4", "0,1,2"),
        ("0", "1", "3", "4", "0,1,2"),
        ("0", "2", "3", "4", "0,1,2"),
        ("1", "0", "1", "4", "0"),
    ]
    shared = ("MASTER_ADDR", "MASTER_PORT", "MADRUN_JOB_ID")
    assert len({tuple(env[name] for name in shared) for env in envs}) == 1
    for rank, each in found.items():
        assert each["args"] == [os.fsencode(word).hex() for word in HOSTILE]
        assert each["cores"] == 2, "bound to a part of what the job has"
        assert not TASKS & set(envs[rank])
        assert envs[rank]["SLURM_JOB_NODELIST"] == "node[01-02]"


@both
def test_a_job_without_gpus(cluster: Cluster, form: Form) -> None:
    words = form.words("--nproc-per-node", "2", "--no-python", "sh", "-c", "echo $RANK $WORLD_SIZE",
                       slurm=["-N2", "-c2"])  # fmt: skip
    done = cluster.run("head", words)
    assert sorted(done.stdout.splitlines()) == [
        "[node01:0] 0 4", "[node01:1] 1 4", "[node02:2] 2 4", "[node02:3] 3 4",
    ], done.stderr  # fmt: skip


@both
@pytest.mark.parametrize(
    ("words", "status", "cause"),
    [
        ([WORKER, "hold", "daemons", "exit=5:3"], 3, "rank 5 on node03 failed first: exited with"),
        ([WORKER, "hold", "signal=2:11"], 139, "rank 2 on node02 failed first: died of signal 11"),
        (["--no-python", "no-such-program"], 127, "'no-such-program' is not found on the PATH"),
    ],
    ids=["exit", "signal", "not found"],
)
def test_exit_statuses(
    cluster: Cluster, form: Form, words: list[str], status: int, cause: str
) -> None:
    done = cluster.run("head", form.words(*words))
    assert done.returncode == status, done.stderr
    assert cause in done.stderr
    assert of_the_job(cluster) == []


@both
def test_the_first_failure_ends_stubborn_workers_too(cluster: Cluster, form: Form) -> None:
    started = time.monotonic()
    words = form.words("--grace", "3", WORKER, "hold", "ignore-term", "daemons", "exit=7:9")
    done = cluster.run("head", words)
    assert done.returncode == 9, done.stderr
    assert time.monotonic() - started < 7 * 3, "one grace is shared by all seven"
    assert of_the_job(cluster) == []


@both
def test_scancel_of_a_job_leaves_nothing(cluster: Cluster, form: Form) -> None:
    job = form.start(cluster, "--grace", "2", WORKER, "hold", "daemons")
    job.up(8)
    cluster.run("head", ["scancel", own_job(cluster)])
    assert job.wait() != 0
    nothing_left(cluster)


@both
def test_a_signal_to_the_step_is_the_exit_status(cluster: Cluster, form: Form) -> None:
    job = form.start(cluster, WORKER, "hold", "daemons")
    job.up(8)
    cluster.run("head", ["scancel", "--signal=INT", f"{own_job(cluster)}.0"])
    assert job.wait() == 130, job.stderr
    assert "stopped by SIGINT" in job.stderr
    if form is BACKEND:
        assert "sent to the agents on node[01-04]" in job.stderr
    assert of_the_job(cluster) == []


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signals_to_the_runner(cluster: Cluster, number: int, status: int) -> None:
    job = BACKEND.start(cluster, "--grace", "5", WORKER, "hold", "daemons")
    job.up(8)
    found = cluster.processes("head")
    runners = [each for each in found if MADRUN in each.argv and each.argv[0] != "salloc"]
    first = min(runners, key=lambda each: each.started)
    os.kill(first.outer_pid, number)
    assert job.wait() == status, job.stderr
    assert f"stopped by {signal.Signals(number).name}" in job.stderr
    assert of_the_job(cluster) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_to_srun(cluster: Cluster, number: int) -> None:
    """srun kills its tasks without a TERM then; that is all there is time for."""
    job = AGENTS.start(cluster, WORKER, "hold", "daemons")
    job.up(8)
    sruns = [each for each in cluster.processes("head") if each.argv[0] == "srun"]
    os.kill(min(sruns, key=lambda each: each.started).outer_pid, number)
    assert job.wait() != 0
    nothing_left(cluster)


def test_srun_that_is_told_to_end_is_the_cause(cluster: Cluster) -> None:
    """It ends its tasks as well: nobody has sent them, or madrun, a signal."""
    job = BACKEND.start(cluster, "--grace", "5", WORKER, "hold", "daemons")
    job.up(8)
    sruns = [each for each in cluster.processes("head") if each.argv[0] == "srun"]
    os.kill(min(sruns, key=lambda each: each.started).outer_pid, signal.SIGTERM)
    assert job.wait() == 125, job.stderr
    assert "madrun: srun " in job.stderr
    assert "stopped by" not in job.stderr
    nothing_left(cluster)


@both
def test_sigkill_of_srun(cluster: Cluster, form: Form) -> None:
    job = form.start(cluster, "--grace", "2", WORKER, "hold", "daemons")
    job.up(8)
    sruns = [each for each in cluster.processes("head") if each.argv[0] == "srun"]
    # It has a child, which ends its job when it is gone.
    first = min(sruns, key=lambda each: each.started)
    os.kill(first.outer_pid, signal.SIGKILL)
    job.wait()
    if form is BACKEND:
        assert job.process.returncode == 125
        assert "madrun: srun died of signal 9 (SIGKILL)" in job.stderr
    nothing_left(cluster)


@both
def test_sigkill_of_all_that_is_srun(cluster: Cluster, form: Form) -> None:
    """Its child, which would end its job, is killed too: Slurm itself lets the tasks run on."""
    folder = cluster.share / f"killed-{form}"
    limits = ["--grace", "1", "--heartbeat-timeout", "3", "--job-dir", str(folder)]
    job = form.start(cluster, *limits, WORKER, "hold", "daemons")
    job.up(8)
    sruns = [each for each in cluster.processes("head") if each.argv[0] == "srun"]
    for each in sruns:
        os.kill(each.outer_pid, signal.SIGSTOP)  # else the child is quicker
    for each in sruns:
        os.kill(each.outer_pid, signal.SIGKILL)
    job.process.send_signal(signal.SIGCONT)  # nsenter stops when its program does
    nothing_left(cluster)
    summary = json.loads((folder / "latest" / "summary.json").read_text())
    assert (summary["kind"], summary["exit_status"]) == ("tool", 125)
    assert summary["cause"].startswith("srun ")
    cluster.run("head", ["scancel", "--user=root"])  # an allocation without srun stays
    job.wait()


@both
@pytest.mark.parametrize("which", [0, 1], ids=["guard", "core"])
def test_sigkill_of_an_agent(cluster: Cluster, form: Form, which: int) -> None:
    job = form.start(cluster, "--grace", "2", WORKER, "hold", "daemons")
    job.up(8)
    names = ("madrun.agent",) if form is BACKEND else ("bin/madagent",)
    found = [each for each in cluster.processes("node02") if any(n in each.cmdline for n in names)]
    ordered = guard_and_core(guard_first(found)[-3:])
    os.kill(ordered[which].outer_pid, signal.SIGKILL)
    status = job.wait()
    assert status == 125 or (form is AGENTS and status == 137), job.stderr
    assert "node02" in job.stderr
    assert form is AGENTS or "stopped by" not in job.stderr
    nothing_left(cluster)


@both
def test_the_power_of_a_node_fails(breakable: Cluster, form: Form) -> None:
    """Named long before Slurm notices; Slurm's own limit is that of a real cluster here."""
    job = form.start(breakable, "--grace", "1", WORKER, "hold", "daemons")
    job.up(8)
    breakable.kill("node03")
    job.until("host node03 was lost")
    nothing_left(breakable, but="head")  # where srun waits for Slurm to give the node up
    breakable.start("node03")
    assert job.wait() != 0


def test_the_power_of_the_coordinating_node_fails(breakable: Cluster) -> None:
    """The others end their workers by themselves, by their lease."""
    job = AGENTS.start(breakable, "--grace", "1", WORKER, "hold", "daemons")
    job.up(8)
    breakable.kill("node01")
    nothing_left(breakable, "node02", "node03", "node04")
    breakable.start("node01")
    assert job.wait() != 0
