"""The runner of the older ``multi_node_args``: one node of a job that a person starts by hand.

Its words are apart, ``--nnodes 2``, as scripts of that time expect them; mpirun reaches the other
nodes by itself.
"""

from __future__ import annotations

from madrun.launchers import per_node
from madrun.launchers.launcher import Launcher, NodeContext
from madrun.launchers.plan import NodePlan


def plan(context: NodeContext) -> NodePlan:
    """The runner with the program, or the program with the runner's words."""
    runner = words(context)
    if runner[0] == "mpirun" and not per_node.is_script(context.spec):
        runner = (*runner, context.spec.python, "-u")
    return per_node.plan_of(context, runner)


def words(context: NodeContext) -> tuple[str, ...]:
    """The words that start the workers: torchrun's for this node, mpirun's for all."""
    spec = context.spec
    if spec.options.get("runner") == "mpirun":
        hosts = spec.options.get("host_list", "")
        return ("mpirun", "-np", str(spec.world.world_size), *(["--host", hosts] if hosts else []))
    return (
        *("torchrun", "--nproc_per_node", str(context.node.local_world_size)),
        *("--nnodes", str(len(spec.world.nodes)), "--node_rank", str(context.node_rank)),
        *("--master_addr", context.master_addr, "--master_port", str(context.master_port)),
    )


LAUNCHER = Launcher("multi-node-args", plan, listed=False)
