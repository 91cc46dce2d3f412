"""torchrun once per node: all nodes from the start, or elastic where an option asks for that."""

from __future__ import annotations

from madrun.launchers import per_node
from madrun.launchers.environment import endpoint, shown_port
from madrun.launchers.launcher import Launcher, NodeContext
from madrun.launchers.plan import NodePlan
from madrun.options.option_types import count, number
from madrun.system.errors import InputError
from madrun.wire.jobspec import JobSpec

_ELASTIC = ("min_nodes", "max_nodes", "max_restarts")


def plan(context: NodeContext) -> NodePlan:
    """torchrun with the program, or the program with torchrun's words."""
    return per_node.plan_of(context, words(context))


def words(context: NodeContext) -> tuple[str, ...]:
    """The words that start this node's workers; raises InputError for options that cannot be."""
    spec = context.spec
    nodes = len(spec.world.nodes)
    workers = f"--nproc_per_node={context.node.local_world_size}"
    elastic = [name for name in _ELASTIC if name in spec.options]
    low, restarts = _elastic(spec, nodes)
    if nodes == 1:
        return ("torchrun", "--standalone", workers, *([restarts] if elastic else []))
    if not elastic:
        return (
            *("torchrun", f"--nnodes={nodes}", workers, f"--node_rank={context.node_rank}"),
            f"--master_addr={context.master_addr}",
            f"--master_port={shown_port(context.master_port)}",
        )
    return (
        *("torchrun", f"--nnodes={low}:{nodes}", workers, "--rdzv_backend=c10d"),
        f"--rdzv_endpoint={endpoint(context.master_addr, context.master_port)}",
        *(f"--rdzv_id={spec.job_id}", restarts),
        # It would compare host names, and where a machine calls itself 127.0.1.1 nobody listens.
        f"--rdzv_conf=is_host={'true' if context.node_rank == 0 else 'false'}",
    )


def _elastic(spec: JobSpec, nodes: int) -> tuple[int, str]:
    """The fewest nodes, and the word for restarts."""
    low = per_node.degree(spec, "min_nodes", nodes)
    high = per_node.degree(spec, "max_nodes", nodes)
    if high != nodes:
        raise InputError(
            f"torchrun: max_nodes is {high}, but the job has {nodes} hosts: "
            "one torchrun is started on each"
        )
    if low > nodes:
        raise InputError(f"torchrun: min_nodes is {low}, but the job has {nodes} hosts")
    return low, f"--max_restarts={spec.options.get('max_restarts', '0')}"


LAUNCHER = Launcher(
    "torchrun",
    plan,
    options={"min_nodes": count, "max_nodes": count, "max_restarts": number},
    aliases=("torch", "pytorch"),
)
