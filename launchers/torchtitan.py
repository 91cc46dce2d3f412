"""TorchTitan: torchrun, its variables, and its own flags where options ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from madrun.launchers import per_node, torchrun
from madrun.launchers.launcher import Launcher, NodeContext, Program
from madrun.launchers.plan import NodePlan
from madrun.options.option_types import count, text
from madrun.system.errors import InputError
from madrun.wire.jobspec import MODULE, JobSpec

# Each variable, and the option that it follows from.
_VARIABLES = {
    "TORCHTITAN_TENSOR_PARALLEL_SIZE": "tensor_parallel_size",
    "TORCHTITAN_PIPELINE_PARALLEL_SIZE": "pipeline_parallel_size",
    "TORCHTITAN_CONTEXT_PARALLEL_SIZE": "context_parallel_size",
}
# Each option, and the flag of torchtitan.train that it stands for.
_FLAGS = {"module": "--module", "config": "--config"}
_DEGREES = {
    "dp_replicate": "--parallelism.data_parallel_replicate_degree",
    "dp_shard": "--parallelism.data_parallel_shard_degree",
    "context_parallel_size": "--parallelism.context_parallel_degree",
    "tensor_parallel_size": "--parallelism.tensor_parallel_degree",
    "pipeline_parallel_size": "--parallelism.pipeline_parallel_degree",
}


def plan(context: NodeContext) -> NodePlan:
    """torchrun with TorchTitan's variables; raises InputError for degrees that do not fit."""
    spec = context.spec
    workers, nodes = per_node.even_slots(spec), len(spec.world.nodes)
    _check(spec)
    sizes = {
        "TORCHTITAN_TENSOR_PARALLEL_SIZE": per_node.degree(spec, "tensor_parallel_size", workers),
        "TORCHTITAN_PIPELINE_PARALLEL_SIZE": per_node.degree(spec, "pipeline_parallel_size", nodes),
        "TORCHTITAN_FSDP_ENABLED": int(nodes > 1),
        "TORCHTITAN_CONTEXT_PARALLEL_SIZE": per_node.degree(spec, "context_parallel_size", 1),
    }
    own = {name: str(size) for name, size in sizes.items()}
    own = per_node.agreed(spec, own, per_node.given_options(spec, _VARIABLES))
    return per_node.plan_of(context, torchrun.words(context), own, _flags(spec))


def default_program(options: Mapping[str, str]) -> Program | None:
    """TorchTitan's own trainer, where an option names the module with the model."""
    return Program(("torchtitan.train",), MODULE) if "module" in options else None


def _flags(spec: JobSpec) -> tuple[str, ...]:
    """For a program that is torchtitan.train or takes its flags; a script sees the variables."""
    given = {name: flag for name, flag in {**_FLAGS, **_DEGREES}.items() if spec.options.get(name)}
    if not per_node.is_script(spec):
        return tuple(word for name, flag in given.items() for word in (flag, spec.options[name]))
    lost = [name for name in given if name in _FLAGS]
    if lost:
        raise InputError(
            f"torchtitan: {lost[0]}: {spec.argv[0]} starts torchtitan.train by itself, and has to "
            f"give it {_FLAGS[lost[0]]}"
        )
    return ()


def _check(spec: JobSpec) -> None:
    """TorchTitan wants the product of all degrees to be the world size; what is not given is 1,
    but the shards, which are whatever is left."""
    given = {name: int(spec.options[name]) for name in _DEGREES if spec.options.get(name)}
    product, world_size = prod(given.values()), spec.world.world_size
    fits = product == world_size if "dp_shard" in given else world_size % product == 0
    if not fits:
        factors = " x ".join(f"{name} ({value})" for name, value in given.items())
        must = "be" if "dp_shard" in given else "divide"
        raise InputError(f"torchtitan: {factors} must {must} the world size ({world_size})")


LAUNCHER = Launcher(
    "torchtitan",
    plan,
    options=dict.fromkeys(_FLAGS, text) | dict.fromkeys(_DEGREES, count),
    default_program=default_program,
)
