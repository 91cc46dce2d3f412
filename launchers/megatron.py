"""Megatron-LM: torchrun, and how the model is split as variables for the user's script.

Megatron-LM itself reads none of these variables: with ``inject_args`` its real flags are added to
the program's arguments.
"""

from __future__ import annotations

from typing import NamedTuple

from madrun.launchers import per_node, torchrun
from madrun.launchers.launcher import Launcher, NodeContext
from madrun.launchers.plan import NodePlan
from madrun.options.option_types import count, flag
from madrun.system.errors import InputError
from madrun.wire.jobspec import JobSpec

# Each variable, and the option that it follows from.
_VARIABLES = {
    "TENSOR_MODEL_PARALLEL_SIZE": "tensor_parallel_size",
    "PIPELINE_MODEL_PARALLEL_SIZE": "pipeline_parallel_size",
    "CONTEXT_PARALLEL_SIZE": "context_parallel_size",
    "EXPERT_MODEL_PARALLEL_SIZE": "expert_parallel_size",
}
_MOST_TENSOR = 8  # on one node; more rarely pays


class Degrees(NamedTuple):
    """How many ways the model is split; ``expert`` 0: not asked for."""

    tensor: int
    pipeline: int
    context: int
    expert: int = 0


def plan(context: NodeContext) -> NodePlan:
    """torchrun with Megatron's variables; raises InputError for degrees that do not divide."""
    spec = context.spec
    split = degrees(spec)
    own = {
        "TENSOR_MODEL_PARALLEL_SIZE": str(split.tensor),
        "PIPELINE_MODEL_PARALLEL_SIZE": str(split.pipeline),
        "CONTEXT_PARALLEL_SIZE": str(split.context),
        **({"EXPERT_MODEL_PARALLEL_SIZE": str(split.expert)} if split.expert else {}),
    }
    runner = torchrun.words(context)
    flags = _flags(spec, split) if spec.options.get("inject_args") == "true" else ()
    said_by = per_node.given_options(spec, _VARIABLES)
    if flags:
        said_by = dict.fromkeys(own, "inject_args, which adds the flags of this split,") | said_by
    return per_node.plan_of(context, runner, per_node.agreed(spec, own, said_by), flags)


def degrees(spec: JobSpec) -> Degrees:
    """The degrees: those given, else one node per pipeline stage and its workers for tensors."""
    workers, nodes = per_node.even_slots(spec), len(spec.world.nodes)
    found = Degrees(
        per_node.degree(spec, "tensor_parallel_size", _tensor(workers, nodes)),
        per_node.degree(spec, "pipeline_parallel_size", nodes),
        per_node.degree(spec, "context_parallel_size", 1),
        per_node.degree(spec, "expert_parallel_size", 0),
    )
    world_size = spec.world.world_size
    if world_size % (found.tensor * found.pipeline * found.context):
        raise InputError(
            f"megatron: tensor_parallel_size ({found.tensor}) x pipeline_parallel_size "
            f"({found.pipeline}) x context_parallel_size ({found.context}) must divide the world "
            f"size ({world_size})"
        )
    return found


def _tensor(workers: int, nodes: int) -> int:
    return min(workers, _MOST_TENSOR) if nodes == 1 else workers


def _flags(spec: JobSpec, split: Degrees) -> tuple[str, ...]:
    if per_node.is_script(spec):
        raise InputError(
            f"megatron: inject_args: {spec.argv[0]} starts Megatron-LM by itself, and has to give "
            "it the flags; their values are in its environment"
        )
    flags = {
        "--tensor-model-parallel-size": split.tensor,
        "--pipeline-model-parallel-size": split.pipeline,
        "--context-parallel-size": split.context,
        **({"--expert-model-parallel-size": split.expert} if split.expert else {}),
    }
    return tuple(word for name, value in flags.items() for word in (name, str(value)))


LAUNCHER = Launcher(
    "megatron",
    plan,
    options={
        **per_node.DEGREES,
        "context_parallel_size": count,
        "expert_parallel_size": count,
        "inject_args": flag,
    },
    aliases=("megatron-lm", "megatronlm"),
)
