"""The Slurm job that madrun is in: its nodes, and the GPUs it has on each."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Mapping

from madrun.backends.base import Allocation
from madrun.hosts import slurm
from madrun.hosts.hostfile import Host
from madrun.system.errors import ClusterError, InputError
from madrun.system.words import counted

_ASK_LIMIT = 20.0  # seconds: a controller that is busy takes its time
_END_TIME = re.compile(r"\bEndTime=(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)")


def own_job(environ: Mapping[str, str], nproc_per_node: int | None) -> Allocation | None:
    """The job of this environment, its hosts in Slurm's order; None outside of one.

    Slurm itself is asked for the GPUs, which may differ from node to node; a job without any has
    ``nproc_per_node`` workers on each node, or one. Raises InputError and ClusterError.
    """
    job = slurm.allocation(environ)
    if job is None:
        return None
    slurm.refuse_components(job.job_id, environ)
    told = _ask(job.job_id, environ)
    gpus = slurm.gpus_of(told)
    counts = [gpus.get(name, 0) for name in job.hosts]
    if any(counts) and not all(counts):
        without = job.hosts[counts.index(0)]
        raise InputError(
            f"Slurm job {job.job_id} has no GPU on {without} and {max(counts)} elsewhere:"
            " --hosts names those that are meant"
        )
    slots = [count or nproc_per_node or 1 for count in counts]
    hosts = tuple(
        Host(name, tuple(range(count))) for name, count in zip(job.hosts, slots, strict=True)
    )
    notes = (*_few_cores(job, slots), *_little_time(told, environ, time.time()))
    return Allocation(f"Slurm job {job.job_id}", "srun", hosts, notes)


def _ask(job_id: str, environ: Mapping[str, str]) -> str:
    command = ["scontrol", "show", "job", "--details", "--oneliner", job_id]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ASK_LIMIT,
            env=dict(environ),
            text=True,
            errors="replace",
        )
    except OSError as error:
        reason = error.strerror
    except subprocess.TimeoutExpired:
        reason = f"no answer within {_ASK_LIMIT:g} s"
    else:
        if done.returncode == 0:
            return done.stdout
        reason = done.stderr.strip().rpartition("\n")[2] or f"exit status {done.returncode}"
    raise ClusterError(
        f"inside Slurm job {job_id}, but '{' '.join(command[:3])}' fails: {reason}"
        " (--hosts or --hostfile names the hosts without Slurm)"
    )


def _few_cores(job: slurm.Allocation, slots: list[int]) -> list[str]:
    """srun and salloc give a task one CPU unless they are asked for more."""
    for name, cpus, workers in zip(job.hosts, job.cpus, slots, strict=True):
        if 0 < cpus < workers or (cpus == 1 and (os.cpu_count() or 1) > 1):
            return [
                f"Slurm gave this job {counted(cpus, 'CPU')} on {name} for "
                f"{counted(workers, 'worker')}: --cpus-per-task=N or --exclusive asks for more"
            ]
    return []


def _little_time(told: str, environ: Mapping[str, str], now: float) -> list[str]:
    """Where the job's time limit is near."""
    left, found = slurm.seconds_left(environ, now), _END_TIME.search(told)
    if left is None and found is not None:
        left = time.mktime(time.strptime(found[1], "%Y-%m-%dT%H:%M:%S")) - now
    if left is None or left > slurm.NEARLY_OVER:
        return []
    return [f"Slurm ends this job in {max(0, round(left))} s: its time limit is reached then"]
