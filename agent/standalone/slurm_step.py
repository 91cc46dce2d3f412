"""``srun madagent``: one agent on each node of a Slurm step, and no runner.

Slurm says where the node stands; the agents tell each other the rest when they meet (see
``rendezvous``), and node 0 coordinates the job (see ``standalone_job``).
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from madrun.agent.standalone.capacity import NodeCapacity
from madrun.agent.standalone.srun_watch import SrunWatch, srun_of
from madrun.agent.standalone.standalone_job import Setting, meet_and_run, run_here, spec_of_request
from madrun.hosts import filters, hostlist, slurm
from madrun.hosts.devices import NodeFacts, own_facts
from madrun.hosts.hostfile import Host
from madrun.hosts.resources import first_devices, names_hosts, workers_of
from madrun.hosts.slurm import Place, ports_of_step
from madrun.hosts.world import World
from madrun.options.request import Place as ByHand
from madrun.options.request import Request, Selection
from madrun.system.errors import InputError
from madrun.system.words import counted
from madrun.wire.jobspec import JobSpec

if TYPE_CHECKING:
    from madrun.agent.standalone.keys import Keys

_KILL_WAIT = 30.0  # seconds from TERM to KILL at a scancel; Slurm's default
_TO_END = 5.0  # seconds of it that the agent needs for itself


def place_of(request: Request, environ: Mapping[str, str]) -> Place | None:
    """This node's place in a Slurm step; None where it is started by hand. Raises InputError."""
    # Who names the hosts by hand does not want Slurm's.
    if names_hosts(request.selection, environ) or request.place._replace(key_file="") != ByHand():
        return None
    try:
        return slurm.place(environ, socket.gethostname())
    except InputError:
        if environ.get("SLURM_PROCID", "0") == "0":
            raise
        sys.exit(InputError.exit_status)  # the first task says it for all


def run(request: Request, place: Place, setting: Setting) -> int:
    """Run this node's part of the step; returns the exit status, the same on all nodes."""
    from madrun.agent.standalone.keys import Keys

    srun = srun_of(os.environ) if place.node_rank == 0 else None
    setting = setting._replace(srun=SrunWatch(srun) if srun else None)
    keys = Keys(request.place.key_file, job_id_of(place, os.environ))
    try:
        return _run(request, place, setting, keys)
    except InputError:
        if place.node_rank == 0:
            raise
        sys.exit(InputError.exit_status)  # the same everywhere: the first node says it for all


def job_id_of(place: Place, environ: Mapping[str, str]) -> str:
    """What the step is called, on all its nodes; a job that was queued again is another one.

    >>> job_id_of(Place("17", "0", ("a",), 0, None), {"SLURM_RESTART_COUNT": "2"})
    'slurm-17.0-r2'
    """
    restarts = environ.get("SLURM_RESTART_COUNT", "0")
    again = f"-r{restarts}" if restarts.isdecimal() and int(restarts) else ""
    return f"slurm-{place.job_id}.{place.step_id}{again}"


def _run(request: Request, place: Place, setting: Setting, keys: Keys) -> int:
    _check(request, place)
    asked, job_id = request.selection, job_id_of(place, os.environ)
    own = node_capacity(place, own_facts(), asked.nproc_per_node)

    def spec_of(brought: Mapping[int, NodeCapacity]) -> JobSpec:
        strengths = [brought.get(node_rank, own) for node_rank in range(len(place.hosts))]
        world = world_of(place, strengths, asked)
        spec = spec_of_request(request, world, job_id)
        _warn(place, own, spec.limits.grace)
        return spec

    if len(place.hosts) == 1:
        return run_here(spec_of({0: own}), 0, setting)
    from madrun.agent.standalone.rendezvous import Meeting

    meeting = Meeting(
        job=job_id,
        hosts=place.hosts,
        node_rank=place.node_rank,
        address=request.master.addr or place.hosts[0],
        ports=ports_of_step(place.job_id, place.step_id),
        limit=request.limits.launch,
    )
    setting = setting._replace(on_silence=lambda: _cancel(place))
    return meet_and_run(meeting, keys, own, spec_of, setting)


def node_capacity(place: Place, facts: NodeFacts, want: int | str | None) -> NodeCapacity:
    """What this node brings. A mask in the environment is Slurm's; where there is none, what Slurm
    says counts, and where it says nothing (it does not know of GPUs), what the node has.

    Whether that is what was wanted is for node 0 to say, of all nodes: see ``world_of``.
    """
    known = facts.mask is None and place.gpus is not None
    devices = place.gpus or 0 if known else facts.devices
    want = "auto" if isinstance(want, str) else want
    return NodeCapacity(devices, workers_of(want, devices, facts.cores, place.hosts[0]))


def world_of(place: Place, strengths: Sequence[NodeCapacity], asked: Selection) -> World:
    """The World of the step; filters choose slots, not hosts. Raises InputError."""
    pairs = list(zip(place.hosts, strengths, strict=True))
    want = asked.workers or 0
    for name, each in pairs:
        workers_of(asked.nproc_per_node, each.devices, each.workers, name)  # may refuse the node
        if want > each.workers:
            given = counted(each.devices, "GPU")
            raise InputError(
                f"--nproc-per-node {want}: Slurm gave the task on {name} {given}"
                " (--gpus-per-node asks for more; --gpus-per-task and --gpu-bind split them)"
            )
    hosts = [Host(name, tuple(range(each.workers))) for name, each in pairs]
    nodes = filters.apply(hosts, asked.include, asked.exclude)
    gone = set(place.hosts) - {node.host for node in nodes}
    if gone:
        raise InputError(
            f"--include, --exclude: srun has started madagent on {hostlist.fold(gone)} too; "
            "srun's own --nodelist and --exclude choose nodes"
        )
    return World(first_devices(nodes, asked.workers, "Slurm"))


def _check(request: Request, place: Place) -> None:
    want = request.selection.nnodes
    if want is not None and want != len(place.hosts):
        raise InputError(
            f"--nnodes {want}: srun has started madagent on {len(place.hosts)} nodes;"
            " srun's own --nodes chooses how many"
        )


def _warn(place: Place, own: NodeCapacity, grace: float) -> None:
    """Say what will hurt, before anything starts; the first node says it for all."""
    if place.node_rank == 0:
        left = slurm.seconds_left(os.environ, time.time())
        for text in warnings(place, own, grace, len(os.sched_getaffinity(0)), left):
            sys.stderr.write(f"madagent: {text}\n")


def warnings(
    place: Place, own: NodeCapacity, grace: float, cores: int, left: float | None
) -> list[str]:
    """What will hurt, in plain words; ``left`` are the seconds until Slurm ends the job."""
    found = []
    if cores == 1 and (os.cpu_count() or 1) > 1:
        found.append(
            f"Slurm gives {place.hosts[0]} one CPU core of {os.cpu_count()} for "
            f"{counted(own.workers, 'worker')}: srun --cpus-per-task=N or --exclusive gives more"
        )
    if own.devices < (place.gpus or 0):
        found.append(
            f"Slurm shows this task {own.devices} of the step's {place.gpus} GPUs on"
            f" {place.hosts[0]}: without --gpu-bind and --gpus-per-task it shows all"
        )
    if grace > _KILL_WAIT - _TO_END:
        found.append(
            f"--grace {grace:g}: at a scancel Slurm waits for its KillWait only, "
            f"{_KILL_WAIT:g} s unless configured otherwise"
        )
    if left is not None and left < slurm.NEARLY_OVER:
        found.append(
            f"Slurm ends this job in {max(0, round(left))} s: its time limit is reached then"
        )
    return found


def _cancel(place: Place) -> None:
    """A node that does not answer may still run: Slurm ends the step there, and here as well."""
    command = ["scancel", f"{place.job_id}.{place.step_id}"]
    try:
        subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        sys.stderr.write(f"madagent: {' '.join(command)}: {error.strerror}\n")
