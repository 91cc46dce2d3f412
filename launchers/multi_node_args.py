"""The runner of the older ``multi_node_args``: one node of a job that a person starts by hand.

Its words are apart, ``--nnodes 2``, as scripts of that time expect them; mpirun reaches the other
nodes by itself.
"""

from __future__ import annotations

from madrun.launchers import per_node
from madrun.launchers.plan import NodeFacts, NodePlan
from madrun.wire.jobspec import JobSpec


def plan(
    spec: JobSpec, node_rank: int, master_addr: str, master_port: int, facts: NodeFacts
) -> NodePlan:
    """The runner with the program, or the program with the runner's words."""
    runner = words(spec, node_rank, master_addr, master_port)
    if runner[0] == "mpirun" and not per_node.is_script(spec):
        runner = (*runner, spec.python, "-u")
    return per_node.plan_of(spec, node_rank, (master_addr, master_port), facts, runner)


def words(spec: JobSpec, node_rank: int, master_addr: str, master_port: int) -> tuple[str, ...]:
    """The words that start the workers: torchrun's for this node, mpirun's for all."""
    if spec.options.get("runner") == "mpirun":
        hosts = spec.options.get("host_list", "")
        return ("mpirun", "-np", str(spec.world.world_size), *(["--host", hosts] if hosts else []))
    return (
        *("torchrun", "--nproc_per_node", str(spec.world.nodes[node_rank].local_world_size)),
        *("--nnodes", str(len(spec.world.nodes)), "--node_rank", str(node_rank)),
        *("--master_addr", master_addr, "--master_port", str(master_port)),
    )
