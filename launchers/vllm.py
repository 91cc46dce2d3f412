"""vLLM: one server on one node, over several, or one on each of them.

single    one node
ray       several nodes, as a Ray cluster (the default there)
mp        several nodes, by vLLM's own multi-node mode
dp        data parallel: engines on every node behind one server on node 0
replicas  an independent server on every node
"""

from __future__ import annotations

from typing import NamedTuple

from madrun.launchers import per_node, ray, serving
from madrun.launchers.environment import shown_port
from madrun.launchers.launcher import Launcher, LauncherKind, NodeContext
from madrun.launchers.plan import NodePlan, Peer, PortRequest, Probe, ProcessPlan
from madrun.options.option_types import choice, count, line, port
from madrun.system.errors import InputError
from madrun.wire.jobspec import JobSpec

PORT = 8000
RPC_PORT = 13345
# Each variable, and the option that it follows from.
_FROM_OPTIONS = {
    "VLLM_TENSOR_PARALLEL_SIZE": "tensor_parallel_size",
    "VLLM_PIPELINE_PARALLEL_SIZE": "pipeline_parallel_size",
    "VLLM_DISTRIBUTED_BACKEND": "mode",
}
_RPC, _EXECUTOR = "data_parallel_rpc_port", "distributed_executor_backend"


class Shape(NamedTuple):
    """How the GPUs are used: the mode, and the three degrees of parallelism."""

    mode: str
    tensor: int
    pipeline: int
    data: int


def mode_of(spec: JobSpec) -> str:
    """The mode that the options ask for, or the default for so many nodes."""
    mode = spec.options.get("mode", "auto")
    return mode if mode != "auto" else "ray" if len(spec.world.nodes) > 1 else "single"


def shape_of(spec: JobSpec) -> Shape:
    """The shape that the options ask for; raises InputError for one that cannot be."""
    nodes, options, mode = spec.world.nodes, spec.options, mode_of(spec)
    if mode == "single" and len(nodes) > 1:
        raise InputError(f"vllm: mode single is for one node, this job has {len(nodes)}")
    if mode != "ray" and options.get(_EXECUTOR) == "ray":
        raise InputError(
            f"vllm: mode {mode} and {_EXECUTOR} ray exclude each other: vLLM's "
            "own multi-node mode (nnodes > 1) runs without Ray (mode ray runs with it)"
        )
    if mode == "ray" and options.get(_EXECUTOR, "ray") != "ray":
        raise InputError(f"vllm: mode ray and {_EXECUTOR} {options[_EXECUTOR]} exclude each other")
    if mode == "replicas":
        slots = min(node.local_world_size for node in nodes)
        return Shape(mode, *_degrees(spec, slots, 1, slots), 1)
    slots = per_node.even_slots(spec)
    if mode == "dp":
        return _data_parallel(spec, slots)
    total = slots * len(nodes)
    tensor, pipeline = _degrees(spec, slots, len(nodes), total)
    if mode == "mp" and len(nodes) > 1 and tensor * pipeline != total:
        raise InputError(
            f"vllm: tensor_parallel_size ({tensor}) x pipeline_parallel_size ({pipeline}) must be "
            f"the number of all GPUs ({total}) in mode mp"
        )
    return Shape(mode, tensor, pipeline, 1)


def plan(context: NodeContext) -> NodePlan:
    """The processes of a node: see the modes above."""
    spec, node_rank, host = context.spec, context.node_rank, context.node.host
    shape, everybody = shape_of(spec), serving.peers(context, ports)
    own = _variables(spec, shape, everybody, node_rank)
    if not serving.model_of(spec):
        serving.client_of(spec)  # raises where there is one
        return per_node.plan_of(context, (), own)
    env = per_node.environment(context, (), own)
    if shape.mode == "ray":
        return _over_ray(context, everybody, shape, env)
    serves = node_rank == 0 or shape.mode == "replicas"
    argv = _serve(spec, shape, everybody[node_rank].ports if serves else ())
    argv += _place(context, shape, everybody)
    rank = serving.rank_of(spec, node_rank, on_first=1)
    server = _server(spec, rank, argv, env, everybody[node_rank] if serves else None)
    if not serves:
        return NodePlan(host, node_rank, (server,))
    address = serving.url(everybody[node_rank])
    processes: tuple[ProcessPlan, ...] = (server,)
    if node_rank == 0:
        answering = everybody if shape.mode == "replicas" else everybody[:1]
        urls = [serving.url(peer) for peer in answering]
        processes = serving.with_client(
            spec, processes, urls, [_is_ready(peer) for peer in answering[1:]]
        )
    return NodePlan(host, node_rank, processes, announce=address)


def ports(spec: JobSpec, node_rank: int) -> tuple[PortRequest, ...]:
    """Who serves listens for requests; node 0 also for Ray, or for the other engines."""
    mode = mode_of(spec)
    if not serving.model_of(spec) or (node_rank and mode != "replicas"):
        return ()
    own = serving.wish(spec, "port", PORT)
    if mode == "ray":
        return own, ray.WISH
    return (own, serving.wish(spec, _RPC, RPC_PORT)) if mode == "dp" else (own,)


def _degrees(spec: JobSpec, slots: int, nodes: int, total: int) -> tuple[int, int]:
    """Tensor- and pipeline-parallel size; the one that is not given makes up for the other."""
    options = spec.options
    tensor, pipeline = "tensor_parallel_size", "pipeline_parallel_size"
    degrees = (per_node.degree(spec, tensor, slots), per_node.degree(spec, pipeline, nodes))
    if tensor in options and pipeline not in options:
        degrees = (degrees[0], max(1, min(nodes, total // degrees[0])))
    elif pipeline in options and tensor not in options:
        degrees = (max(1, total // degrees[1]), degrees[1])
    if degrees[0] * degrees[1] > total:
        raise InputError(
            f"vllm: {tensor} ({degrees[0]}) x {pipeline} ({degrees[1]}) is more than the GPUs "
            f"there are for a server ({total})"
        )
    return degrees


def _data_parallel(spec: JobSpec, slots: int) -> Shape:
    nodes = len(spec.world.nodes)
    tensor = per_node.degree(spec, "tensor_parallel_size", slots)
    data = per_node.degree(spec, "data_parallel_size", max(1, slots // tensor) * nodes)
    if data % nodes or data // nodes * tensor > slots:
        raise InputError(
            f"vllm: data_parallel_size ({data}) x tensor_parallel_size ({tensor}) does not fit on "
            f"{nodes} nodes with {slots} GPUs each"
        )
    return Shape("dp", tensor, 1, data)


def _variables(
    spec: JobSpec, shape: Shape, everybody: tuple[Peer, ...], node_rank: int
) -> dict[str, str]:
    single = len(everybody) == 1
    own = {
        "VLLM_TENSOR_PARALLEL_SIZE": str(shape.tensor),
        "VLLM_PIPELINE_PARALLEL_SIZE": str(shape.pipeline),
        "VLLM_DISTRIBUTED_BACKEND": "auto" if single else shape.mode,
    }
    said_by = per_node.given_options(spec, _FROM_OPTIONS)
    if serving.model_of(spec):
        served = own if not single else [*own][:2]
        said_by = dict.fromkeys(served, "the command line of vllm serve") | said_by
    # Each node has an address of its own: one that is given for all cannot be meant.
    address = {} if single else {"VLLM_HOST_IP": everybody[node_rank].address}
    return per_node.agreed(spec, own, said_by) | address


def _serve(spec: JobSpec, shape: Shape, own: tuple[int, ...]) -> list[str]:
    argv = ["vllm", "serve", serving.model_of(spec)]
    argv += ["--tensor-parallel-size", str(shape.tensor)]
    if shape.pipeline > 1:
        argv += ["--pipeline-parallel-size", str(shape.pipeline)]
    if shape.mode == "ray" or _EXECUTOR in spec.options:
        argv += ["--distributed-executor-backend", spec.options.get(_EXECUTOR, "ray")]
    return argv + (["--port", str(own[0])] if own else [])


def _place(context: NodeContext, shape: Shape, everybody: tuple[Peer, ...]) -> list[str]:
    """What a server over several nodes has to know of its place among them."""
    nodes, node_rank = len(everybody), context.node_rank
    if shape.mode == "mp" and nodes > 1:
        where = ["--nnodes", str(nodes), "--node-rank", str(node_rank)]
        where += ["--master-addr", context.master_addr]
        where += ["--master-port", str(shown_port(context.master_port))]
        return where + (["--headless"] if node_rank else [])
    if shape.mode != "dp":
        return []
    local = shape.data // nodes
    where = ["--data-parallel-size", str(shape.data), "--data-parallel-size-local", str(local)]
    where += ["--data-parallel-address", everybody[0].address]
    where += ["--data-parallel-rpc-port", str(everybody[0].ports[1])]
    start = ["--headless", "--data-parallel-start-rank", str(node_rank * local)]
    return where + (start if node_rank else [])


def _over_ray(
    context: NodeContext, everybody: tuple[Peer, ...], shape: Shape, env: dict[str, str]
) -> NodePlan:
    spec, node_rank, own = context.spec, context.node_rank, everybody[0]
    port = own.ports[1]
    env = {**env, **ray.environment(spec, everybody, port)}
    if node_rank:
        rank = serving.rank_of(spec, node_rank, on_first=3)
        return ray.worker(spec, node_rank, rank, everybody, port, env)
    server = _server(spec, 2, _serve(spec, shape, own.ports), env, own)._replace(local_rank=2)
    before = (ray.head(spec, everybody, port, env), ray.gate(spec, everybody, port, env))
    address = serving.url(own)
    processes = serving.with_client(spec, (*before, server), [address], ())
    return NodePlan(spec.world.nodes[0].host, 0, processes, (ray.gate_file(),), address)


def _server(
    spec: JobSpec, rank: int, argv: list[str], env: dict[str, str], own: Peer | None
) -> ProcessPlan:
    """A server that answers on its node, or (no ``own``) only works for the one that does."""
    ready = () if own is None else (_is_ready(own),)
    return serving.server(spec, "vllm", rank, [*argv, *serving.server_words(spec)], env, ready)


def _is_ready(peer: Peer) -> Probe:
    """The list of models comes with the first one: /health is answered before."""
    return Probe(serving.url(peer, "/v1/models"))


LAUNCHER = Launcher(
    "vllm",
    plan,
    LauncherKind.SERVING,
    options={
        **serving.OPTIONS,
        "mode": choice("auto", "single", "ray", "mp", "dp", "replicas"),
        "data_parallel_size": count,
        _RPC: port,
        _EXECUTOR: line,
    },
    ports=ports,
    default_program=serving.default_program,
)
