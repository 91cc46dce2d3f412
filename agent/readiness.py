"""Is this node able to run its part of the job? Found out before anything runs anywhere."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import NamedTuple

from madrun.agent.inherited import inherited
from madrun.hosts.devices import NodeFacts, inventory, node_facts
from madrun.launchers.environment import RUNNER, device_tokens
from madrun.launchers.launcher import Launcher, NodeContext
from madrun.launchers.plan import SERVER
from madrun.launchers.registry import find
from madrun.record.job_folder import make_private
from madrun.system.errors import ClusterError, InputError, ProgramNotFound
from madrun.system.programs import find_program
from madrun.wire.jobspec import PYTHON, JobSpec


class Ready(NamedTuple):
    """What the node brings: facts for the launcher, the workers' base environment, their cores.

    ``log_dir`` is where log files go; where it is empty, ``log_trouble`` says why.
    """

    facts: NodeFacts
    base_env: dict[str, str]
    cores: tuple[tuple[int, ...], ...]
    log_dir: str = ""
    log_trouble: str = ""


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
    log_dir, trouble = _log_dir(spec)
    if not spec.workers.binds_cores:
        return Ready(facts, base, (), log_dir, trouble)
    from madrun.agent.binding import worker_cores

    try:
        cores = worker_cores(spec, node_rank, facts, found.bus_ids, allowed)
    except InputError as error:
        raise ClusterError(f"cores: {error}") from None
    usable = len({core for share in cores for core in share})
    return Ready(facts._replace(cores=usable), base, cores, log_dir, trouble)


def worker_environment(
    base: Mapping[str, str],
    planned: Mapping[str, str],
    workdir: str = "",
    python: str = "",
) -> dict[str, str]:
    """A worker's whole environment: the node's, then what was exported and what madrun sets.

    PWD follows the working directory, as a shell's would. Where the job's ``python`` has the
    runner (torchrun, deepspeed) beside it, that folder comes first on PATH, as in its venv.
    """
    env = {**base, **planned}
    if workdir:
        env["PWD"] = workdir
    word, folder = planned.get(RUNNER, "").partition(" ")[0], os.path.dirname(python)
    if word and folder and os.access(os.path.join(folder, word), os.X_OK):
        env["PATH"] = f"{folder}{os.pathsep}{env.get('PATH', os.defpath)}"
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


def _launcher(name: str) -> Launcher:
    try:
        return find(name)
    except InputError as error:  # the runner knows it
        raise ClusterError(f"{error} (install the plug-in that brings it here too)") from None


def _check_programs(
    spec: JobSpec, node_rank: int, facts: NodeFacts, base: Mapping[str, str]
) -> None:
    plan = _launcher(spec.launcher).plan(NodeContext(spec, node_rank, facts=facts))
    for process in plan.processes:
        env = worker_environment(base, process.env, python=spec.python)
        find_program(process.argv[0], env, spec.workdir)
    # A server's first argument is no file of ours: the name of a model.
    runs_it = any(spec.argv[0] in each.argv for each in plan.processes if each.kind != SERVER)
    path = os.path.join(spec.workdir, spec.argv[0])
    if spec.mode == PYTHON and runs_it and not os.path.exists(path):
        raise ProgramNotFound(f"script {path} is not found")


def _log_dir(spec: JobSpec) -> tuple[str, str]:
    """The log folder, made where it is missing, and why there is none.

    Raises ClusterError for one that was asked for.
    """
    if not spec.log_dir:
        return "", ""
    try:
        make_private(spec.log_dir)
        if not os.access(spec.log_dir, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        if spec.log_dir_optional:
            return "", f"{spec.log_dir}: {error.strerror}"
        raise ClusterError(f"log directory {spec.log_dir}: {error.strerror}") from None
    return spec.log_dir, ""
