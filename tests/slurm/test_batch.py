"""Batch scripts: written by hand in both forms, in an array, and by ``--submit slurm``."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from support.cluster import Cluster
from support.jobs import EXAMPLES, WORKER, Running, nothing_left
from support.programs import PATIENCE
from support.slurm import FORMS, GPUS, MADAGENT, MADRUN, Form, own_job

SUBMIT = ("--submit", "slurm", "--nnodes", "2", "--slurm", "gpus-per-node=2",
          "--slurm", "cpus-per-task=2")  # fmt: skip


def batch(cluster: Cluster, name: str, line: str) -> Path:
    """A batch script on the shared folder."""
    path = cluster.share / f"{name}.sh"
    path.write_text(f"#!/bin/sh\n#SBATCH --nodes=2\n#SBATCH {GPUS}\n#SBATCH -c2\n{line}\n")
    return path


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize(
    ("words", "status", "shown"),
    [
        ([EXAMPLES / "ring.py"], 0, "ring of 4 ranks: sum 6"),
        ([WORKER, "hold", "exit=3:6"], 6, "rank 3 on node02 failed first: exited with status 6"),
    ],
    ids=["success", "failure"],
)
def test_by_hand(
    cluster: Cluster, form: Form, words: list[object], status: int, shown: str
) -> None:
    log = cluster.share / f"{form}-{status}.out"
    script = batch(cluster, f"{form}-{status}", form.step(*words))
    done = cluster.run("head", ["sbatch", "--wait", f"--output={log}", script])
    assert done.returncode == status, log.read_text()
    assert shown in log.read_text()


def test_a_job_array(cluster: Cluster) -> None:
    """Two of its jobs at a time, each with its own World, name and port."""
    shell = "echo $MADRUN_JOB_ID $WORLD_SIZE $SLURM_ARRAY_TASK_ID"
    line = f"srun {MADAGENT} --no-python sh -c '{shell}'"
    script = batch(cluster, "array", line)
    output = f"--output={cluster.share}/array-%a.out"
    done = cluster.run("head", ["sbatch", "--wait", "--array=0-1", output, script])
    assert done.returncode == 0, done.stderr
    names = set()
    for index in range(2):
        lines = (cluster.share / f"array-{index}.out").read_text().splitlines()
        found = {tuple(line.split()[1:]) for line in lines if line.startswith("[")}
        assert len(found) == 1, lines
        name, size, task = found.pop()
        assert (size, task, len(lines)) == ("4", str(index), 4)
        names.add(name)
    assert len(names) == 2


def test_submit_prints_the_job_and_waits_with_its_output_and_status(cluster: Cluster) -> None:
    folder = cluster.share / "my logs #1"
    shell = 'printf \'%s|\' "$A" "$@"; echo; exit 4'
    done = cluster.run(
        "head",
        [MADRUN, *SUBMIT, "--wait", "--slurm", f"output_dir={folder}", "--export", "A=a $(id) 'b'",
         "--no-python", "sh", "-c", shell, "sh", "it's", "$HOME", 'x"y'],
        timeout=PATIENCE,
    )  # fmt: skip
    job, _, shown = done.stdout.partition("\n")
    assert done.returncode == 4, done.stderr
    assert f"Slurm job {job} is submitted; its output: {folder}/slurm-{job}.out" in done.stderr
    assert "] a $(id) 'b'|it's|$HOME|x\"y|\n" in shown
    assert "failed first: exited with status 4" in shown
    assert shown == (folder / f"slurm-{job}.out").read_text()


def test_a_signal_while_it_waits_ends_the_job(cluster: Cluster) -> None:
    output = f"output_dir={cluster.share}"
    job = Running(cluster, [*SUBMIT, "--wait", "--slurm", output, WORKER, "hold", "daemons"])
    job.up(4)
    job.signal(signal.SIGINT)
    assert job.wait() == 130, job.stderr
    nothing_left(cluster)


def test_submit_without_waiting(cluster: Cluster) -> None:
    words = [*SUBMIT, "--slurm", f"output_dir={cluster.share}", str(WORKER), "hold"]
    done = cluster.run("head", [MADRUN, *words])
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"[0-9]+\n", done.stdout)
    assert own_job(cluster) == done.stdout.strip()
    cluster.run("head", ["scancel", own_job(cluster)], check=True)
    nothing_left(cluster)


def test_what_sbatch_refuses_is_an_error(cluster: Cluster) -> None:
    done = cluster.run("head", [MADRUN, *SUBMIT, "--slurm", "partition=nowhere", "x.py"])
    assert (done.returncode, done.stdout) == (125, "")
    assert "sbatch has taken no job" in done.stderr
    assert "invalid partition" in done.stderr


def test_dry_run_submits_nothing(cluster: Cluster) -> None:
    done = cluster.run("head", [MADRUN, *SUBMIT, "--dry-run", "train.py"])
    assert done.returncode == 0
    assert "#SBATCH --nodes=2\n" in done.stdout
    assert cluster.run("head", ["squeue", "-h"]).stdout == ""
