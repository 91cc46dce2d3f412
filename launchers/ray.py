"""A Ray cluster of a job's own, beneath a server that wants one.

Its session has a folder and ports of its own, so that other sessions on the same machines are not
touched, and it is never ended by Ray's own ``stop``, which ends all of a user's: ``--block`` keeps
it below the agent, which ends it with the rest.
"""

from __future__ import annotations

from madrun.launchers import serving
from madrun.launchers.environment import endpoint
from madrun.launchers.plan import (
    FILES,
    GATE,
    NodePlan,
    Peer,
    PlannedFile,
    PortRequest,
    Probe,
    ProcessPlan,
)
from madrun.wire.jobspec import JobSpec

PORT = 6379
WISH = PortRequest("ray port", PORT)  # of the head
_DRAIN = "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"
_GATE_FILE = "wait_for_ray.py"

# What runs on node 0 until the cluster is whole. Ray tells nobody when a node has joined: it has
# to be asked again and again. The deadline is the agent's.
_GATE = '''\
"""Ends once so many Ray nodes with so many GPUs are alive: wait_for_ray.py ADDRESS NODES GPUS"""

import sys
import time

import ray

address, nodes, gpus = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
ray.init(address=address, log_to_driver=False, logging_level="ERROR")
seen = None
while True:
    alive = [node for node in ray.nodes() if node["Alive"]]
    found = (len(alive), int(sum(node["Resources"].get("GPU", 0) for node in alive)))
    if found != seen:
        seen = found
        print(f"ray: {found[0]} of {nodes} nodes, {found[1]} of {gpus} GPUs", flush=True)
    if found[0] >= nodes and found[1] >= gpus:
        break
    time.sleep(0.2)
'''


def environment(spec: JobSpec, peers: tuple[Peer, ...], port: int) -> dict[str, str]:
    """Where every process of this node finds this Ray session, and no other one.

    By the time that Ray is told to end its users are gone: it has nothing to drain, for which it
    would take 30 seconds.
    """
    return {
        "RAY_USAGE_STATS_ENABLED": "0",
        _DRAIN: spec.env.get(_DRAIN, "0"),
        "RAY_ADDRESS": endpoint(peers[0].address, port),
        "RAY_TMPDIR": FILES,
    }


def head(spec: JobSpec, peers: tuple[Peer, ...], port: int, env: dict[str, str]) -> ProcessPlan:
    """The head, on node 0."""
    own = peers[0].address
    argv = ["ray", "start", "--head", f"--port={port}", *_common(spec, 0, own)]
    argv += ["--include-dashboard=false", "--disable-usage-stats"]
    ready = (Probe(f"tcp://{endpoint(own, port)}"),)
    return serving.server(spec, "ray-head", 0, argv, env, ready, serving.RAY_ENDS)


def gate(spec: JobSpec, peers: tuple[Peer, ...], port: int, env: dict[str, str]) -> ProcessPlan:
    """Node 0 goes on when all nodes and all GPUs are there."""
    address = endpoint(peers[0].address, port)
    counts = (len(spec.world.nodes), spec.world.world_size)
    return ProcessPlan(
        role="ray-wait",
        rank=1,
        local_rank=1,
        argv=(spec.python, "-u", f"{FILES}/{_GATE_FILE}", address, *map(str, counts)),
        env=env,
        cwd=spec.workdir,
        kind=GATE,
        after=(Probe(f"tcp://{address}"),),
    )


def gate_file() -> PlannedFile:
    """The program of the gate."""
    return PlannedFile(_GATE_FILE, _GATE)


def worker(
    spec: JobSpec,
    node_rank: int,
    rank: int,
    peers: tuple[Peer, ...],
    port: int,
    env: dict[str, str],
) -> NodePlan:
    """A node that only lends its GPUs; it comes as soon as the head answers."""
    address = endpoint(peers[0].address, port)
    argv = ["ray", "start", f"--address={address}"]
    argv += _common(spec, node_rank, peers[node_rank].address)
    process = serving.server(spec, "ray-worker", rank, argv, env, stop_order=serving.RAY_ENDS)
    process = process._replace(after=(Probe(f"tcp://{address}"),))
    return NodePlan(spec.world.nodes[node_rank].host, node_rank, (process,))


def _common(spec: JobSpec, node_rank: int, address: str) -> list[str]:
    gpus = spec.world.nodes[node_rank].local_world_size
    # The ports of its workers are left to the system: a fixed range would meet another session's.
    return [
        f"--num-gpus={gpus}", "--block", f"--node-ip-address={address}", f"--temp-dir={FILES}",
        "--min-worker-port=0", "--max-worker-port=0",
    ]  # fmt: skip
