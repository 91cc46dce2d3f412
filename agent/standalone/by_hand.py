"""``madagent`` without a runner: as a task of srun, in a pod, or by hand on each node."""

from __future__ import annotations

import os
import socket
import time

from madrun.agent.standalone import slurm_step
from madrun.agent.standalone.capacity import NodeCapacity
from madrun.agent.standalone.standalone_job import Setting, meet_and_run, run_here, spec_of_request
from madrun.hosts import hostlist, world_info
from madrun.hosts.devices import own_facts
from madrun.hosts.resources import Resources, closed, resolve, workers_of
from madrun.hosts.world import World
from madrun.options.request import Request, asked_for, fields
from madrun.record.guard_handover import GuardHandover
from madrun.system.errors import InputError
from madrun.wire.jobspec import JobSpec

_DEFAULT_PORT = 29500  # torchrun's and DeepSpeed's: by hand, nobody can agree on a free one


def run_node(request: Request, guard_fd: int, handover: GuardHandover) -> int:
    """Run this node's part of the job; returns the exit status. Raises MadrunError."""
    setting = Setting(request, guard_fd, handover)
    place = slurm_step.place_of(request, os.environ)
    if place is not None:
        return slurm_step.run(request, place, setting)
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        from madrun.agent.standalone import pod_step

        if (pod := pod_step.place_of(request, os.environ)) is not None:
            return pod_step.run(request, pod, setting)
    spec, node_rank = job_of(request)
    if request.place.key_file and len(spec.world.nodes) > 1:
        return _meet_by_hand(spec, node_rank, setting)
    return run_here(spec, node_rank, setting)


def job_of(request: Request) -> tuple[JobSpec, int]:
    """The job spec and this node's rank; raises InputError."""
    world = _world(request)
    node_rank = place_in(world, request.place.node_rank, socket.gethostname())
    several = len(world.nodes) > 1
    if several and not request.master.addr:
        raise InputError(
            "--master-addr is needed: by hand, nobody can tell the nodes of each other"
        )
    port = request.master.port or (_DEFAULT_PORT if several else 0)
    request = request._replace(master=request.master._replace(port=port))
    job_id = time.strftime("%Y%m%d-%H%M%S-") + os.urandom(3).hex()
    return spec_of_request(request, world, job_id), node_rank


def _meet_by_hand(spec: JobSpec, node_rank: int, setting: Setting) -> int:
    """The nodes meet where the master port will be: it is free until the workers start."""
    from madrun.agent.standalone.keys import Keys
    from madrun.agent.standalone.rendezvous import Meeting

    hosts, master, limit = spec.world.hosts, spec.master, spec.limits.launch
    meeting = Meeting(",".join(hosts), hosts, node_rank, master.addr, (master.port,), limit)
    keys = Keys(setting.request.place.key_file, spec.job_id)
    capacity = NodeCapacity(0, len(spec.world.nodes[node_rank].devices))
    return meet_and_run(meeting, keys, capacity, lambda _brought: spec, setting)


def place_in(world: World, node_rank: int | None, hostname: str) -> int:
    """The node rank: as given, else where this machine's name stands; raises InputError."""
    if node_rank is not None:
        if not 0 <= node_rank < len(world.nodes):
            raise InputError(
                f"--node-rank {node_rank}: this job has nodes 0-{len(world.nodes) - 1}"
            )
        return node_rank
    if len(world.nodes) == 1:
        return 0
    short = hostname.partition(".")[0]
    for name in (hostname, short):
        if name in world.hosts:
            return world.hosts.index(name)
    raise InputError(
        f"--node-rank is needed: {hostname} is not among the hosts {', '.join(world.hosts)}"
    )


def _world(request: Request) -> World:
    if not request.place.world_info:
        return _with_own_slots(request, resolve(request.selection, os.environ, _count_devices))
    for key in asked_for(request):
        if fields()[key].group == "selection":
            option = key.replace("_", "-")
            raise InputError(f"--world-info names the hosts already: --{option} cannot be added")
    return world_info.decode(request.place.world_info)


def _with_own_slots(request: Request, resources: Resources) -> World:
    """By hand, a node can be asked for its own slots only."""
    if resources.open and len(resources.hosts) > 1:
        raise InputError(
            f"how many slots {hostlist.fold(resources.open)} has is not said, and by hand nobody"
            " can ask; write NAME:SLOTS, or --nproc-per-node N"
        )
    facts, want = own_facts(), request.selection.nproc_per_node
    counts = {name: workers_of(want, facts.devices, facts.cores, name) for name in resources.open}
    return closed(resources.world, counts)


def _count_devices() -> int:
    return own_facts().devices
