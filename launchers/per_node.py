"""One process on each node: a runner that starts the node's workers itself, or the user's script.

A script, or any program that is not run by Python, gets the runner's words in a variable: what
``$MAD_MULTI_NODE_RUNNER train.py`` comes to, unquoted, is the runner's whole command.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from madrun.launchers.environment import (
    RUNNER,
    device_environment,
    node_environment,
    thread_environment,
)
from madrun.launchers.launcher import NodeContext
from madrun.launchers.plan import NodePlan, PlannedFile, ProcessPlan
from madrun.options.option_types import Kind, count
from madrun.system.errors import InputError
from madrun.wire.jobspec import EXEC, MODULE, PYTHON, JobSpec

# The options of launchers that split a model.
DEGREES: dict[str, Kind] = {"tensor_parallel_size": count, "pipeline_parallel_size": count}


def is_script(spec: JobSpec) -> bool:
    """Whether the program runs once per node as it is, and calls the runner if it wants one."""
    return spec.mode == EXEC or (spec.mode == PYTHON and not spec.argv[0].endswith(".py"))


def is_shell_script(spec: JobSpec) -> bool:
    """Whether the program is one that Python cannot run, and that starts the workers itself."""
    return spec.mode == PYTHON and spec.argv[0].endswith(".sh")


def script_command(spec: JobSpec) -> tuple[str, ...]:
    """How a script is started: by its own first line, from the working directory."""
    first = spec.argv[0]
    if spec.mode == PYTHON and "/" not in first:
        first = f"./{first}"
    return (first, *spec.argv[1:])


def plan_of(
    context: NodeContext,
    runner: Sequence[str],
    own: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
    files: Sequence[PlannedFile] = (),
) -> NodePlan:
    """The plan of one node.

    ``runner`` are the words that start the workers, without blanks in any of them (none: there is
    no runner), ``own`` the launcher's variables, ``arguments`` what it adds to the program's.
    """
    spec = context.spec
    env = environment(context, runner, own)
    if is_script(spec):
        argv, role = script_command(spec), os.path.basename(spec.argv[0])
    elif runner:
        argv, role = (*runner, *_program(spec), *arguments), runner[0]
    else:
        argv, role = (spec.python, "-u", *_program(spec), *arguments), spec.launcher
    process = ProcessPlan(role, context.node_rank, 0, argv, env, spec.workdir)
    return NodePlan(context.node.host, context.node_rank, (process,), tuple(files))


def environment(
    context: NodeContext,
    runner: Sequence[str] = (),
    own: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """What a process of the node sees that is no single worker; arguments as in ``plan_of``."""
    spec, node, facts = context.spec, context.node, context.facts
    return {
        **spec.env,
        **node_environment(context),
        **device_environment(node.devices, 0, "node", facts),
        **thread_environment(spec, node.local_world_size, facts),
        **(own or {}),
        RUNNER: " ".join(runner),
    }


def agreed(
    spec: JobSpec, own: Mapping[str, str], said_by: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The launcher's own variables; of those that the user has set too, the user's value.

    ``said_by`` tells for some of them what else says the value: an option, or words on the command
    line. There the user's has to be the same. Raises InputError that names both.
    """
    for name, other in (said_by or {}).items():
        given = spec.env.get(name)
        if given is not None and name in own and given != own[name]:
            raise InputError(
                f"{spec.launcher}: the variable {name} is {given!r}, but {other} makes it "
                f"{own[name]!r}; give one of them, or the same value"
            )
    return {name: spec.env.get(name, value) for name, value in own.items()}


def given_options(spec: JobSpec, options: Mapping[str, str]) -> dict[str, str]:
    """For ``agreed``: of variables and the options they follow from, those that are given."""
    return {name: f"the option {each}" for name, each in options.items() if spec.options.get(each)}


def even_slots(spec: JobSpec) -> int:
    """The workers of each node; raises InputError where they are not equally many."""
    sizes = [node.local_world_size for node in spec.world.nodes]
    if len(set(sizes)) > 1:
        counts = ", ".join(str(size) for size in sizes[:8]) + (", ..." if len(sizes) > 8 else "")
        raise InputError(f"{spec.launcher} needs equally many workers on every node, got {counts}")
    return sizes[0]


def degree(spec: JobSpec, name: str, default: int) -> int:
    """How many ways something is split, as an option says."""
    return int(spec.options.get(name) or default)


def _program(spec: JobSpec) -> tuple[str, ...]:
    return (*(("-m",) if spec.mode == MODULE else ()), *spec.argv)
