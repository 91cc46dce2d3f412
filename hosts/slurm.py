"""What Slurm says of a job and of a step, in its environment variables. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from madrun.hosts import hostlist
from madrun.system.errors import InputError

_REPEATED = re.compile(r"([0-9]{1,9})(?:\(x([0-9]{1,7})\))?")
_ONE_NODE = re.compile(r"Nodes=(\S+) CPU_IDs=\S* Mem=\S*(?: GRES=(\S*))?")
_GPUS = re.compile(r"(?:^|,)gpu(?::[^,:()]+)?:([0-9]{1,4})(?=[(,]|$)")

NEARLY_OVER = 300.0  # seconds before the job's time limit at which the user is told

# Where the agents of a step meet: below the ephemeral range (32768 on Linux), where no outgoing
# connection takes it meanwhile.
_LOW_PORT, _PORTS = 20000, 12000
_PORTS_OF_A_STEP = 8


class Allocation(NamedTuple):
    """A job that somebody is in: its nodes in Slurm's order, and the CPUs it has on each."""

    job_id: str
    hosts: tuple[str, ...]
    cpus: tuple[int, ...]


class Place(NamedTuple):
    """A task's place in its step: the nodes in rank order, and which of them this one is.

    ``gpus`` is how many GPUs Slurm gave the step on this node; None where it says nothing.
    """

    job_id: str
    step_id: str
    hosts: tuple[str, ...]
    node_rank: int
    gpus: int | None


def nodes_of(text: str) -> tuple[str, ...]:
    """The names a Slurm host list stands for, in its order; raises InputError.

    >>> nodes_of("node[08-10,12],gpu-a1,r[1-2]n[0-1]")
    ('node08', 'node09', 'node10', 'node12', 'gpu-a1', 'r1n0', 'r1n1', 'r2n0', 'r2n1')
    """
    names: list[str] = []
    try:
        for item in hostlist.split(text, ","):
            names += hostlist.expand(item) if item else ()
            if len(names) > hostlist.MAX_HOSTS:
                raise InputError(f"it stands for more than {hostlist.MAX_HOSTS} hosts")
    except InputError as error:
        raise InputError(f"Slurm's host list {text[:200]!r}: {error}") from None
    if not names:
        raise InputError("Slurm's host list is empty")
    return tuple(names)


def counts_of(text: str) -> tuple[int, ...]:
    """Slurm's counts per node, as in SLURM_TASKS_PER_NODE; raises InputError.

    >>> counts_of("2(x3),1")
    (2, 2, 2, 1)
    """
    counts: list[int] = []
    for item in text.split(","):
        found = _REPEATED.fullmatch(item)
        if found is None or len(counts) + int(found[2] or 1) > hostlist.MAX_HOSTS:
            raise InputError(f"Slurm's counts {text[:200]!r} are not understood: 2(x3),1 would be")
        counts += [int(found[1])] * int(found[2] or 1)
    return tuple(counts)


def gpus_of(text: str) -> dict[str, int]:
    """The GPUs of a job on each of its nodes, from what ``scontrol show job -d -o`` prints.

    >>> gpus_of("JobId=2 Nodes=n[1-2] CPU_IDs=0 Mem=0 GRES=gpu:a100:3(IDX:0-2) Nodes=n3 CPU_IDs=0"
    ...         " Mem=0 GRES=gpu:1(IDX:0)   Nodes=n4 CPU_IDs=0-3 Mem=0 GRES=")
    {'n1': 3, 'n2': 3, 'n3': 1, 'n4': 0}
    """
    gpus: dict[str, int] = {}
    named = 0
    for nodes, gres in _ONE_NODE.findall(text):
        names = nodes_of(nodes)
        named += len(names)
        if named > hostlist.MAX_HOSTS:
            raise InputError(f"scontrol names more than {hostlist.MAX_HOSTS} nodes of one job")
        gpus.update(dict.fromkeys(names, sum(map(int, _GPUS.findall(gres)))))
    return gpus


def allocation(environ: Mapping[str, str]) -> Allocation | None:
    """The job that this environment is in; None outside of one. Raises InputError."""
    job_id, nodes = environ.get("SLURM_JOB_ID"), environ.get("SLURM_JOB_NODELIST")
    if job_id and not nodes:
        refuse_components(job_id, environ)
    if not job_id or not nodes:
        return None
    hosts = nodes_of(nodes)
    cpus = counts_of(environ.get("SLURM_JOB_CPUS_PER_NODE") or f"0(x{len(hosts)})")
    return Allocation(job_id, hosts, cpus if len(cpus) == len(hosts) else (0,) * len(hosts))


def refuse_components(job_id: str, environ: Mapping[str, str]) -> None:
    """Raises InputError in a job of several components, each of which is a job by itself."""
    if environ.get("SLURM_HET_SIZE", "1") not in ("", "1"):
        raise InputError(
            f"Slurm job {job_id} is heterogeneous, and no step of madrun's can span its components:"
            " 'srun --het-group=0-1 madagent ...' does, and so does --hosts over ssh"
        )


def place(environ: Mapping[str, str], hostname: str) -> Place | None:
    """The place of a task that srun started; None where nobody of the sort did.

    Raises InputError where the step has several tasks on a node, where this is a job of several
    nodes but no step, and where the variables contradict each other.
    """
    job = allocation(environ)
    if job is None:
        return None
    if "SLURM_STEP_ID" not in environ:
        if len(job.hosts) > 1 or "SLURM_NODEID" not in environ:
            raise InputError(
                f"inside Slurm job {job.job_id}, but not started by srun: "
                f"'srun --ntasks-per-node=1 madagent ...' starts it on each of the job's nodes"
                " (--hosts names others)"
            )
        return None  # the batch script of a job with one node: this one
    hosts = nodes_of(environ.get("SLURM_STEP_NODELIST") or ",".join(job.hosts))
    _check_tasks(environ, len(hosts))
    node_rank = _number(environ, "SLURM_NODEID")
    own = environ.get("SLURMD_NODENAME") or hostname.partition(".")[0]
    named = "SLURMD_NODENAME" in environ or own in hosts
    if node_rank >= len(hosts) or (named and hosts[node_rank] != own):
        raise InputError(
            f"Slurm's variables contradict each other: SLURM_NODEID is {node_rank}, "
            f"this is {own}, and the step's nodes are {hostlist.fold(hosts)}"
        )
    gpus = environ.get("SLURM_GPUS_ON_NODE", "")
    return Place(
        job_id=job.job_id,
        step_id=environ["SLURM_STEP_ID"],
        hosts=hosts,
        node_rank=node_rank,
        gpus=int(gpus) if gpus.isascii() and gpus.isdecimal() else None,
    )


def seconds_left(environ: Mapping[str, str], now: float) -> float | None:
    """Until Slurm ends the job, ``now`` in seconds since the epoch; None where it does not say.

    >>> seconds_left({"SLURM_JOB_END_TIME": "1700000060"}, 1700000000.0), seconds_left({}, 0.0)
    (60.0, None)
    """
    end = environ.get("SLURM_JOB_END_TIME", "")
    return int(end) - now if end.isascii() and end.isdecimal() else None


def ports_of_step(job_id: str, step_id: str) -> tuple[int, ...]:
    """The ports that a step's agents try in turn: the same on every node, others than its
    neighbours' as far as that goes.

    >>> ports_of_step("17", "0")[:2], ports_of_step("17", "1")[0]
    ((21088, 21089), 21096)
    """
    numbers = [int(text) if text.isdecimal() else 0 for text in (job_id, step_id)]
    # Eight ports for each step, eight steps for each job, then the numbers come round again.
    first = (numbers[0] * 64 + numbers[1] * _PORTS_OF_A_STEP) % (_PORTS - _PORTS_OF_A_STEP)
    return tuple(range(_LOW_PORT + first, _LOW_PORT + first + _PORTS_OF_A_STEP))


def _check_tasks(environ: Mapping[str, str], nodes: int) -> None:
    tasks = counts_of(environ.get("SLURM_STEP_TASKS_PER_NODE") or f"1(x{nodes})")
    if max(tasks) > 1:
        raise InputError(
            f"srun starts {max(tasks)} tasks on a node, and madagent is one for each node: it "
            f"starts the workers. Use: srun --nodes={nodes} --ntasks={nodes} --ntasks-per-node=1"
            " madagent ..."
        )


def _number(environ: Mapping[str, str], name: str) -> int:
    text = environ.get(name, "")
    if not text.isascii() or not text.isdecimal():
        raise InputError(f"${name} is {text[:40]!r}: Slurm sets a number there")
    return int(text)
