"""Is this node able to run its part of the job? Found out before anything runs anywhere."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from madrun.agent.devices import inventory, node_facts
from madrun.agent.inherited import inherited
from madrun.agent.spawn import find_program
from madrun.launchers.environment import device_tokens
from madrun.launchers.plan import NodeFacts
from madrun.launchers.registry import planner
from madrun.wire.errors import ClusterError, InputError, ProgramNotFound
from madrun.wire.jobspec import PYTHON, JobSpec


class Ready(NamedTuple):
    """What the node brings: facts for the launcher, the workers' base environment, their cores."""

    facts: NodeFacts
    base_env: dict[str, str]
    cores: tuple[tuple[int, ...], ...]


def make_ready(spec: JobSpec, node_rank: int, environ: Mapping[str, str]) -> Ready:
    """Check folder, program, devices, log folder and cores; raises the MadrunError that tells why.

    Device counts are compared with the World only where the node has devices at all: whether a
    node without any may take part is for the runner to say, who knows the other nodes.
    """
    _check_folder(spec.workdir)
    allowed = os.sched_getaffinity(0)
    found = inventory()
    facts = node_facts(found, environ, len(allowed))
    _check_devices(spec, node_rank, facts)
    base = inherited(environ)
    _check_programs(spec, node_rank, facts, base)
    if spec.log_dir:
        _make_log_dir(spec.log_dir)
    if not spec.bind_cores:
        return Ready(facts, base, ())
    from madrun.agent.binding import worker_cores

    try:
        cores = worker_cores(spec, node_rank, facts, found.bus_ids, allowed)
    except InputError as error:
        raise ClusterError(f"cores: {error}") from None
    usable = len({core for share in cores for core in share})
    return Ready(facts._replace(cores=usable), base, cores)


def worker_environment(
    base: Mapping[str, str],
    planned: Mapping[str, str],
    exported: Mapping[str, str],
    workdir: str = "",
) -> dict[str, str]:
    """A worker's whole environment: the node's, then what was exported and what madrun sets.

    PWD follows the working directory, as a shell's would.
    A thread count of the node's own environment is the user's: ours does not replace it.
    """
    env = {**base, **planned}
    if workdir:
        env["PWD"] = workdir
    if "OMP_NUM_THREADS" in base and "OMP_NUM_THREADS" not in exported:
        env["OMP_NUM_THREADS"] = base["OMP_NUM_THREADS"]
    return env


def _check_folder(path: str) -> None:
    if not os.path.isdir(path):
        raise ClusterError(f"working directory {path} is not there (--workdir names another)")
    if not os.access(path, os.X_OK):
        raise ClusterError(f"working directory {path} may not be entered")


def _check_devices(spec: JobSpec, node_rank: int, facts: NodeFacts) -> None:
    slots = spec.world.nodes[node_rank].devices
    if facts.devices and max(slots) >= facts.devices:
        what = f"{facts.vendor or 'visible'} device{'s' if facts.devices > 1 else ''}"
        raise ClusterError(
            f"too few GPUs: slot {max(slots)} is wanted, there are {facts.devices} {what}"
        )
    try:
        device_tokens(slots, facts)
    except InputError as error:
        raise ClusterError(str(error)) from None


def _check_programs(
    spec: JobSpec, node_rank: int, facts: NodeFacts, base: Mapping[str, str]
) -> None:
    plan = planner(spec.launcher)(spec, node_rank, "", 0, facts)
    for name in {process.argv[0] for process in plan.processes}:
        find_program(name, {**base, **spec.env}, spec.workdir)
    if spec.mode == PYTHON and not os.path.exists(os.path.join(spec.workdir, spec.argv[0])):
        raise ProgramNotFound(f"script {os.path.join(spec.workdir, spec.argv[0])} is not found")


def _make_log_dir(path: str) -> None:
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as error:
        raise ClusterError(f"log directory {path}: {error.strerror}") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise ClusterError(f"log directory {path} may not be written to")
