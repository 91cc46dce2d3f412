"""``madagent train.py`` in the pods of somebody's own manifest, and no runner.

The controller says where the pod stands; the pods tell each other the rest when they meet (see
``rendezvous``), and node 0 coordinates the job.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

from madrun.agent.standalone.capacity import NodeCapacity
from madrun.agent.standalone.keys import Keys
from madrun.agent.standalone.pod_place import PodPlace
from madrun.agent.standalone.pod_place import place_of as place_in
from madrun.agent.standalone.rendezvous import Meeting
from madrun.agent.standalone.standalone_job import Setting, meet_and_run, run_here, spec_of_request
from madrun.hosts.devices import own_facts
from madrun.hosts.resources import names_hosts, workers_of
from madrun.hosts.world import Node, World
from madrun.options.request import Place, Request
from madrun.system.errors import InputError
from madrun.wire.jobspec import JobSpec

_PORT = 29500  # where nobody names one: free until the workers start


def place_of(request: Request, environ: Mapping[str, str]) -> PodPlace | None:
    """This pod's place; None where it is no pod's, or where the user says the place."""
    if names_hosts(request.selection, environ) or request.place._replace(key_file="") != Place():
        return None
    return place_in(environ)


def run(request: Request, place: PodPlace, setting: Setting) -> int:
    """Run this pod's node; returns the exit status, the same in all pods."""
    hosts = hosts_of(place, request.selection.nnodes, socket.gethostname())
    facts, want = own_facts(), request.selection.nproc_per_node
    name = hosts[place.node_rank]
    workers = workers_of(want, facts.devices, facts.cores, name)
    if isinstance(want, int):
        if facts.devices and want > facts.devices:
            raise InputError(f"--nproc-per-node {want}: {name} has {facts.devices} GPUs")
        workers = want
    own = NodeCapacity(facts.devices, workers)
    if len(hosts) > 1 and not request.master.addr:
        address = place.address or first_address(place, socket.getfqdn())
        request = request._replace(master=request.master._replace(addr=address))

    def spec_of(brought: Mapping[int, NodeCapacity]) -> JobSpec:
        nodes = [brought.get(rank, own) for rank in range(len(hosts))]
        pairs = zip(hosts, nodes, strict=True)
        world = World(tuple(Node(host, tuple(range(node.workers))) for host, node in pairs))
        job_id = time.strftime("%Y%m%d-%H%M%S-") + os.urandom(3).hex()
        return spec_of_request(request, world, job_id)

    if len(hosts) == 1:
        return run_here(spec_of({0: own}), 0, setting)
    if not request.place.key_file:
        raise InputError(
            "--key-file is needed: by a key in a Secret that all its pods mount, the pods of this"
            " job know each other"
        )
    meeting = Meeting(
        job=",".join(hosts),
        hosts=hosts,
        node_rank=place.node_rank,
        address=request.master.addr,
        ports=(request.master.port or place.port or _PORT,),
        limit=request.limits.launch,
    )
    return meet_and_run(meeting, Keys(request.place.key_file, "pods"), own, spec_of, setting)


def hosts_of(place: PodPlace, nnodes: int | None, hostname: str) -> tuple[str, ...]:
    """The pods' names as messages have them; raises InputError where their number is not known.

    >>> hosts_of(PodPlace("Indexed Job", 1), 2, "train-1")
    ('train-0', 'train-1')
    >>> hosts_of(PodPlace("Kubeflow Trainer", 1, 2), None, "other")
    ('pod-0', 'pod-1')
    """
    if place.nnodes and nnodes not in (None, place.nnodes):
        raise InputError(f"--nnodes {nnodes}: the {place.controller} has {place.nnodes} pods")
    count = place.nnodes or nnodes
    if not count:
        raise InputError(
            f"--nnodes is needed: the {place.controller} does not tell a pod how many there are"
        )
    if place.node_rank >= count:
        raise InputError(f"--nnodes {count}: this is pod {place.node_rank}, counted from 0")
    begin, dash, last = hostname.rpartition("-")
    if not dash or last != str(place.node_rank):
        begin = "pod"
    return tuple(f"{begin}-{rank}" for rank in range(count))


def first_address(place: PodPlace, fqdn: str) -> str:
    """Pod 0's name, from our own in the same Service; raises InputError without one.

    >>> first_address(PodPlace("Indexed Job", 1), "train-1.train.team.svc.cluster.local")
    'train-0.train.team.svc.cluster.local'
    """
    host, dot, domain = fqdn.partition(".")
    begin, dash, last = host.rpartition("-")
    if not dot or not dash or last != str(place.node_rank):
        raise InputError(
            "--master-addr is needed: this pod has no name in a Service (subdomain) from which"
            " pod 0's would follow"
        )
    return f"{begin}-0.{domain}"
