"""The native launcher: one worker per slot, with torchrun's environment and no torchrun."""

from __future__ import annotations

from madrun.launchers.environment import (
    device_environment,
    device_tokens,
    jax_environment,
    node_environment,
    rank_environment,
    thread_environment,
    torchrun_environment,
)
from madrun.launchers.launcher import Launcher, LauncherKind, NodeContext
from madrun.launchers.per_node import is_shell_script
from madrun.launchers.plan import NodePlan, ProcessPlan
from madrun.wire.jobspec import EXEC, MODULE, JobSpec


def plan(context: NodeContext) -> NodePlan:
    """One process per device id of the node, in their order.

    A shell script runs once per node, as torchrun would have it.
    """
    spec, node_rank, node, facts = context.spec, context.node_rank, context.node, context.facts
    if is_shell_script(spec):
        from madrun.launchers import torchrun

        return torchrun.plan(context)
    shared = {
        **node_environment(context),
        **jax_environment(spec, context.master_addr, context.master_port),
    }
    tokens = device_tokens(node.devices, facts)
    processes = []
    for local_rank in range(node.local_world_size):
        ranks = {
            **rank_environment(spec, node_rank, local_rank),
            **torchrun_environment(spec, node_rank, local_rank),
        }
        devices = device_environment(node.devices, local_rank, spec.workers.device_binding, facts)
        threads = thread_environment(spec, node.local_world_size, facts)
        processes.append(
            ProcessPlan(
                role="worker",
                rank=int(ranks["RANK"]),
                local_rank=local_rank,
                argv=command(spec, local_rank),
                env={**spec.env, **shared, **ranks, **devices, **threads},
                cwd=spec.workdir,
                device=tokens[local_rank],
            )
        )
    return NodePlan(node.host, node_rank, tuple(processes))


def command(spec: JobSpec, local_rank: int) -> tuple[str, ...]:
    """A worker's argv. Python's output is not buffered: a pipe would hold it back."""
    start: tuple[str, ...]
    if spec.mode == EXEC:
        start = ()
    elif spec.mode == MODULE:
        start = (spec.python, "-u", "-m")
    else:
        start = (spec.python, "-u")
    rank = (f"--local_rank={local_rank}",) if spec.workers.local_rank_arg else ()
    return (*start, spec.argv[0], *rank, *spec.argv[1:])


LAUNCHER = Launcher("native", plan, LauncherKind.PER_WORKER)
