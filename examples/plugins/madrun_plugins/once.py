"""PROGRAM once on each node, without ranks: to look at nodes, or to prepare them."""

from __future__ import annotations

from madrun.launchers import native, per_node
from madrun.launchers.launcher import Launcher, NodeContext
from madrun.launchers.plan import NodePlan, ProcessPlan
from madrun.options.option_types import count
from madrun.system.errors import InputError


def plan(context: NodeContext) -> NodePlan:
    """One process, which learns its NODE_RANK; and its share of the ``items``."""
    spec, nodes = context.spec, len(context.spec.world.nodes)
    items = int(spec.options.get("items", nodes))
    if items < nodes:
        raise InputError(f"once: items ({items}) must be at least the number of nodes ({nodes})")
    own = range(context.node_rank, items, nodes)
    env = per_node.environment(context, own={"ITEMS": " ".join(map(str, own))})
    argv = native.command(spec, 0)
    process = ProcessPlan("once", context.node_rank, 0, argv, env, spec.workdir)
    return NodePlan(context.node.host, context.node_rank, (process,))


LAUNCHER = Launcher("once", plan, options={"items": count})
