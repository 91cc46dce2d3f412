"""madrun inside an allocation, and what srun and madagent say where something is wrong."""

from __future__ import annotations

import pytest

from madrun.hosts.slurm import nodes_of
from support.cluster import Cluster
from support.jobs import WORKER, nothing_left
from support.slurm import AGENTS, BACKEND, GPUS, MADAGENT, MADRUN


@pytest.mark.parametrize(
    "text",
    ["node01", "node[01-04,07]", "a[1-3],b,c[08-11]", "r[1-2]n[09-10]", "n[001,003]", "x[9-11]"],
)
def test_host_lists_mean_what_slurm_says(cluster: Cluster, text: str) -> None:
    said = cluster.run("head", ["scontrol", "show", "hostnames", text], check=True).stdout
    assert list(nodes_of(text)) == said.split()


@pytest.mark.parametrize(
    ("options", "places"),
    [
        (["--exclude", "node02@node03:0"], ["node01:0", "node01:1", "node03:2"]),
        (["--include", "node03:1@node01:0"], ["node01:0", "node03:1"]),
        (["--nnodes", "2", "--nproc-per-node", "1"], ["node01:0", "node02:1"]),
        (["--hosts", "node03:1,node01:1"], ["node03:0", "node01:1"]),
    ],
)
def test_filters(cluster: Cluster, options: list[str], places: list[str]) -> None:
    """Hosts that are named are taken in their order, whatever Slurm's is."""
    words = ["--backend", "srun", *options, "--no-python", "sh", "-c", 'echo "$SLURMD_NODENAME"']
    done = cluster.run("head", BACKEND.words(*words, slurm=["-N3", "-c2", GPUS]))
    assert done.returncode == 0, done.stderr
    shown = [f"[{place}] {place.partition(':')[0]}" for place in places]
    assert sorted(done.stdout.splitlines()) == sorted(shown)


def test_slots_of_agents_can_be_chosen(cluster: Cluster) -> None:
    words = ["--exclude", "node02:0", "--no-python", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES"]
    done = cluster.run("head", AGENTS.words(*words, slurm=["-N2", "-c2", GPUS]))
    assert sorted(done.stdout.splitlines()) == [
        "[node01:0] 0,1", "[node01:1] 0,1", "[node02:2] 1",
    ], done.stderr  # fmt: skip


def test_a_runner_that_is_in_a_step_itself(cluster: Cluster) -> None:
    srun = ["srun", "-N1", "-n1", "--overlap"]
    words = ["salloc", "--quiet", "-N2", "-c2", GPUS, *srun, MADRUN, "--no-python", "hostname"]
    done = cluster.run("head", words)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()[1::2]) == ["node01", "node01", "node02", "node02"]


def test_why_it_is_srun_is_said(cluster: Cluster) -> None:
    done = cluster.run("head", BACKEND.words("--dry-run", "--no-python", "x", slurm=["-N2"]))
    assert done.returncode == 0, done.stderr
    assert "backend srun: inside Slurm job " in done.stdout
    assert "--nodelist=node01,node02" in done.stdout


def test_a_step_that_has_to_wait_says_so(cluster: Cluster) -> None:
    """Unequal GPUs: the one case in which our own step cannot overlap others."""
    script = f"srun -c2 sleep 2 & sleep 0.7; {MADRUN} --no-python hostname; wait"
    words = ["salloc", "--quiet", "-N2", "-c2", "-G4", "sh", "-c", script]
    done = cluster.run("head", words)
    assert done.stdout.count("node01\n") == 3, done.stderr
    assert "Slurm does not start the step yet: another one without --overlap" in done.stderr


def test_one_core_is_said_before_the_start(cluster: Cluster) -> None:
    done = cluster.run("head", BACKEND.words("--no-python", "true", slurm=["-N1", GPUS]))
    assert "Slurm gave this job 1 CPU on node01 for 2 workers: --cpus-per-task" in done.stderr
    done = cluster.run("head", AGENTS.words("--no-python", "true", slurm=["-N1", GPUS]))
    assert "Slurm gives node01 one CPU core of " in done.stderr


def test_gpus_that_are_split_by_task_are_said(cluster: Cluster) -> None:
    """The mask that --gpu-bind would leave, which this Slurm has nothing to bind by."""
    words = ["srun", "-N1", "-c2", GPUS, "env", "CUDA_VISIBLE_DEVICES=0", MADAGENT]
    done = cluster.run("head", [*words, "--no-python", "true"])
    assert done.returncode == 0
    assert "Slurm shows this task 1 of the step's 2 GPUs on node01" in done.stderr


def test_a_time_limit_that_is_near_is_said(cluster: Cluster) -> None:
    slurm = ["-N1", "-c2", GPUS, "--time=1"]
    done = cluster.run("head", BACKEND.words("--no-python", "true", slurm=slurm))
    assert (done.returncode, done.stderr.count("its time limit is reached then")) == (0, 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["srun", "-N2", "-n4", "-O", MADAGENT, "x.py"], "and madagent is one for each node"),
        (["salloc", "--quiet", "-N2", MADAGENT, "x.py"], "not started by srun"),
        (["srun", "-N2", MADAGENT, "--nnodes", "1", "x.py"], "--nnodes 1: srun has started"),
        (["srun", "-N2", MADAGENT, "--exclude", "node01", "x.py"], "srun's own --nodelist"),
        (
            ["srun", "-N1", GPUS, MADAGENT, "--nproc-per-node", "3", "x.py"],
            "--nproc-per-node 3: Slurm gave the task on node01 2 GPUs",
        ),
        ([MADRUN, "--backend", "srun", "x.py"], "--backend srun: this is no Slurm allocation"),
        (
            ["salloc", "--quiet", "-N1", MADRUN, "--backend", "srun", "--hosts", "head", "x.py"],
            "host head is not in Slurm job",
        ),
        (["salloc", "--quiet", "-N1", ":", "-N1", MADRUN, "x.py"], "is heterogeneous"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_is_said_once_with_status_2(
    cluster: Cluster, words: list[str], said: str
) -> None:
    done = cluster.run("head", words)
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith(("madrun:", "madagent:"))]
    assert [line for line in lines if said in line], done.stderr
    assert "Traceback" not in done.stderr


def test_agents_of_a_heterogeneous_job(cluster: Cluster) -> None:
    words = ["srun", "-N1", "-c2", "--gpus-per-node=2", MADAGENT, "--no-python", "sh", "-c",
             "echo $RANK of $WORLD_SIZE"]  # fmt: skip
    second = [":", "-N1", "-c2", "--gpus-per-node=1", *words[4:]]
    done = cluster.run("head", [*words, *second])
    assert done.returncode == 0, done.stderr
    assert sorted(line.partition(" ")[2] for line in done.stdout.splitlines()) == [
        "0 of 3", "1 of 3", "2 of 3",
    ]  # fmt: skip


def test_an_interpreter_that_is_not_there(cluster: Cluster) -> None:
    words = ["--remote-python", "/no/python", "--no-python", "true"]
    done = cluster.run("head", BACKEND.words(*words, slurm=["-N2", "-c2"]))
    assert done.returncode == 125
    assert "/no/python" in done.stderr, done.stderr
    assert "node02" in done.stderr


def test_slurm_says_that_a_node_is_down(breakable: Cluster) -> None:
    """Slurm then ends the whole job; the node is named."""
    job = BACKEND.start(breakable, "--grace", "1", WORKER, "hold", "daemons")
    job.up(8)
    change = ["scontrol", "update", "NodeName=node03", "State=DOWN", "Reason=test"]
    breakable.run("head", change, check=True)
    assert job.wait() != 0, job.stderr
    # It comes back by itself, with slurmd's next word.
    assert "madrun: Slurm says that node node03 has failed" in job.stderr, job.stderr
    nothing_left(breakable)
