"""``srun madagent``: one agent on each node of a Slurm step, and no runner.

Slurm says where the node stands; the agents tell each other the rest (see ``meeting``) and stay
in touch (see ``peers``), so that a failure on one node ends the job on all of them.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from madrun.hosts import filters, hostlist, slurm
from madrun.hosts.devices import NodeFacts, own_facts
from madrun.hosts.hostfile import Host
from madrun.hosts.resources import first_devices, names_hosts
from madrun.hosts.slurm import Place
from madrun.hosts.world import World
from madrun.job.spec import checked, job_spec
from madrun.options.request import Place as ByHand
from madrun.options.request import Request
from madrun.system.errors import InputError
from madrun.system.exits import FAILED
from madrun.system.words import counted

if TYPE_CHECKING:
    from madrun.agent.standalone.rendezvous import NodeCapacity

_KILL_WAIT = 30.0  # seconds from TERM to KILL at a scancel; Slurm's default
_TO_END = 5.0  # seconds of it that the agent needs for itself


def place_of(request: Request, environ: Mapping[str, str]) -> Place | None:
    """This node's place in a Slurm step; None where it is started by hand. Raises InputError."""
    # Who names the hosts by hand does not want Slurm's.
    if names_hosts(request.selection, environ) or request.place != ByHand():
        return None
    try:
        return slurm.place(environ, socket.gethostname())
    except InputError:
        if environ.get("SLURM_PROCID", "0") == "0":
            raise
        sys.exit(InputError.exit_status)  # the first task says it for all


def run(request: Request, place: Place, guard_fd: int) -> int:
    """Run this node's part of the step; returns the exit status, the same on all nodes."""
    try:
        return _run(request, place, guard_fd)
    except InputError:
        if place.node_rank == 0:
            raise
        sys.exit(InputError.exit_status)  # the same everywhere: the first node says it for all


def _run(request: Request, place: Place, guard_fd: int) -> int:
    from madrun.agent.standalone.rendezvous import meet
    from madrun.agent.standalone.standalone_job import StandaloneJob
    from madrun.system.loop import Loop

    _check(request, place)
    asked = request.selection
    own = node_capacity(place, own_facts(), asked.nproc_per_node)
    address = request.master.addr or place.hosts[0]
    loop = Loop()
    loop.watch(guard_fd, lambda: os._exit(FAILED))  # nothing was started yet
    met = meet(loop, place, own, address, request.master.port)
    loop.unwatch(guard_fd)
    world = world_of(place, met.strengths, asked.include, asked.exclude, asked.nproc_per_node)
    master = request.master._replace(port=met.master_port)
    if len(place.hosts) > 1:
        master = master._replace(addr=address)
    job_id = f"slurm-{place.job_id}.{place.step_id}"
    request = request._replace(master=master)
    spec = checked(job_spec(request, world, job_id, os.getcwd(), sys.executable))
    _warn(place, own, spec.limits.grace)
    prefix, fold = not request.console.no_prefix, request.console.fold
    solo = StandaloneJob(spec, place.node_rank, guard_fd, prefix, fold, loop, met.lines)
    status = solo.run()
    if solo.somebody_is_silent:
        _cancel(place)
    return status


def node_capacity(place: Place, facts: NodeFacts, want: int | None) -> NodeCapacity:
    """What this node brings. A mask in the environment is Slurm's; where there is none, what Slurm
    says counts, and where it says nothing (it does not know of GPUs), what the node has.
    """
    from madrun.agent.standalone.rendezvous import NodeCapacity

    known = facts.mask is None and place.gpus is not None
    devices = place.gpus or 0 if known else facts.devices
    return NodeCapacity(devices, devices or want or 1)


def world_of(
    place: Place,
    strengths: Sequence[NodeCapacity],
    include: str,
    exclude: str,
    nproc_per_node: int | None,
) -> World:
    """The World of the step; filters choose slots, not hosts. Raises InputError."""
    pairs = list(zip(place.hosts, strengths, strict=True))
    want = nproc_per_node or 0
    for name, each in pairs:
        if want > each.workers:
            given = counted(each.devices, "GPU")
            raise InputError(
                f"--nproc-per-node {want}: Slurm gave the task on {name} {given}"
                " (--gpus-per-node asks for more; --gpus-per-task and --gpu-bind split them)"
            )
    hosts = [Host(name, tuple(range(each.workers))) for name, each in pairs]
    nodes = filters.apply(hosts, include, exclude)
    gone = set(place.hosts) - {node.host for node in nodes}
    if gone:
        raise InputError(
            f"--include, --exclude: srun has started madagent on {hostlist.fold(gone)} too; "
            "srun's own --nodelist and --exclude choose nodes"
        )
    return World(first_devices(nodes, nproc_per_node, "Slurm"))


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
