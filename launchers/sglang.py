"""SGLang: one server over all nodes, by its own multi-node mode."""

from __future__ import annotations

from madrun.launchers import per_node, serving
from madrun.launchers.environment import endpoint
from madrun.launchers.launcher import Launcher, LauncherKind, NodeContext
from madrun.launchers.plan import NodePlan, PortRequest, Probe
from madrun.system.errors import InputError
from madrun.wire.jobspec import JobSpec

PORT = 30000
# Each variable, and the option that it follows from.
_VARIABLES = {
    "SGLANG_TENSOR_PARALLEL_SIZE": "tensor_parallel_size",
    "SGLANG_PIPELINE_PARALLEL_SIZE": "pipeline_parallel_size",
}


def plan(context: NodeContext) -> NodePlan:
    """One process per node. The tensor-parallel size counts the GPUs of all nodes."""
    spec, node_rank = context.spec, context.node_rank
    nodes, host = spec.world.nodes, context.node.host
    rendezvous = endpoint(context.master_addr, context.master_port)
    beside = per_node.degree(spec, "tensor_parallel_size", context.node.local_world_size)
    model = serving.model_of(spec)
    own = {
        "SGLANG_TENSOR_PARALLEL_SIZE": str(beside),
        "SGLANG_PIPELINE_PARALLEL_SIZE": str(per_node.degree(spec, "pipeline_parallel_size", 1)),
    }
    served = dict.fromkeys(own, "the command line of the server") if model else {}
    own = per_node.agreed(spec, own, served | per_node.given_options(spec, _VARIABLES))
    own["NCCL_INIT_ADDR"] = rendezvous
    if not model:
        serving.client_of(spec)  # raises where there is one
        return per_node.plan_of(context, (), own)
    env = per_node.environment(context, (), own)
    everybody = serving.peers(context, ports)
    first = everybody[0]
    argv = [*launch_server(spec, model), *_degrees(spec)]
    if len(nodes) > 1:
        argv += ["--nnodes", str(len(nodes)), "--node-rank", str(node_rank)]
        argv += ["--dist-init-addr", rendezvous]
    argv += ["--host", "0.0.0.0", "--port", str(first.ports[0]), *serving.server_words(spec)]
    # The other ranks answer that they are well before they are: only rank 0 is asked.
    ready = (Probe(serving.url(first, "/health_generate")),) if node_rank == 0 else ()
    rank = serving.rank_of(spec, node_rank, on_first=1)
    server = serving.server(spec, "sglang", rank, argv, env, ready)
    if node_rank:
        return NodePlan(host, node_rank, (server,))
    address = serving.url(first)
    processes = serving.with_client(spec, (server,), [address], ())
    return NodePlan(host, 0, processes, announce=address)


def ports(spec: JobSpec, node_rank: int) -> tuple[PortRequest, ...]:
    """Node 0 listens for requests."""
    if node_rank or not serving.model_of(spec):
        return ()
    return (serving.wish(spec, "port", PORT),)


def launch_server(spec: JobSpec, model: str) -> list[str]:
    """The beginning of every SGLang server's command."""
    return [spec.python, "-u", "-m", "sglang.launch_server", "--model-path", model]


def _degrees(spec: JobSpec) -> list[str]:
    """Tensor- and pipeline-parallel size; all GPUs of all nodes have to be used."""
    total = per_node.even_slots(spec) * len(spec.world.nodes)
    pipeline = per_node.degree(spec, "pipeline_parallel_size", 1)
    tensor = per_node.degree(spec, "tensor_parallel_size", max(1, total // pipeline))
    if tensor * pipeline != total:
        raise InputError(
            f"sglang: tensor_parallel_size ({tensor}) x pipeline_parallel_size ({pipeline}) must "
            f"be the number of all GPUs ({total}): it counts those of all nodes"
        )
    pipelines = ["--pp-size", str(pipeline)] if pipeline > 1 else []
    return ["--tp-size", str(tensor), *pipelines]


LAUNCHER = Launcher(
    "sglang",
    plan,
    LauncherKind.SERVING,
    options=serving.OPTIONS,
    ports=ports,
    default_program=serving.default_program,
)
