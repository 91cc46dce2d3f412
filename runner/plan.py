"""From what the user asked to everything a launch needs; all mistakes are found here."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from typing import NamedTuple

from madrun.backends import registry as backends
from madrun.launchers.registry import planner
from madrun.runner import env_file, exports
from madrun.wire.errors import InputError
from madrun.wire.input import stdin_of
from madrun.wire.jobspec import PYTHON, JobSpec, shown_ranks
from madrun.wire.resources import Resources, Selection, resolve

_ADDRESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:%-]{0,254}")


class Request(NamedTuple):
    """A madrun command line, option by option."""

    argv: tuple[str, ...]
    mode: str = PYTHON
    hostfile: str | None = None
    hosts: str | None = None
    include: str = ""
    exclude: str = ""
    nnodes: int | None = None
    nproc_per_node: int | None = None
    local_rank_arg: bool = False
    master_addr: str = ""
    master_port: int = 0
    backend: str = "auto"
    backend_args: str = ""
    launcher: str = "native"
    ssh_user: str = ""
    ssh_port: int | None = None
    ssh_key: str = ""
    ssh_accept_new: bool = False
    fan_out: int = 64
    connect_timeout: float = 10.0
    launch_timeout: float = 60.0
    heartbeat_timeout: float = 5.0
    remote_python: str = ""
    workdir: str = ""
    exports: tuple[str, ...] = ()
    export_all: bool = False
    env_files: tuple[str, ...] = ()
    device_binding: str = "node"
    bind_cores: bool = False
    core_list: str = ""
    grace: float = 15.0
    output: str = "all"
    stdin: str = "0"
    no_prefix: bool = False
    fold: bool = False
    log_dir: str = ""
    dry_run: bool = False
    as_json: bool = False
    job_dir: str = ""
    pid_file: str = ""
    save_pid: bool = False
    verbose: bool = False


class Plan(NamedTuple):
    """One launch, ready to be described or done."""

    request: Request
    resources: Resources
    backend: str
    spec: JobSpec
    job_dir: str = ""  # the folder in which this job's own one is made


def make_plan(request: Request, environ: Mapping[str, str], cwd: str, python: str) -> Plan:
    """The plan; ``python`` is the runner's own interpreter. Raises InputError."""
    launcher, backend_name = _launcher_and_backend(request)
    planner(launcher)  # an unknown name is found before anything else is done
    selection = Selection(
        hostfile=request.hostfile,
        hosts=request.hosts,
        include=request.include,
        exclude=request.exclude,
        nnodes=request.nnodes,
        nproc_per_node=request.nproc_per_node,
    )
    resources = resolve(selection, environ, _count_devices)
    backend = backends.choose(backend_name, resources.hosts, local=resources.local)
    if not request.dry_run:
        backends.check_is_here(backend)
    exported = _exported(request, environ, cwd)
    spec = JobSpec(
        job_id=time.strftime("%Y%m%d-%H%M%S-") + os.urandom(3).hex(),
        world=resources.world,
        argv=request.argv,
        mode=request.mode,
        launcher=launcher,
        python=request.remote_python or python,
        workdir=os.path.join(cwd, request.workdir) if request.workdir else cwd,
        env=exported,
        master_addr=_checked_address(request.master_addr),
        master_port=request.master_port,
        device_binding=request.device_binding,
        bind_cores=request.bind_cores or bool(request.core_list),
        core_list=request.core_list,
        local_rank_arg=request.local_rank_arg,
        log_dir=os.path.join(cwd, request.log_dir) if request.log_dir else "",
        output=request.output,
        stdin=stdin_of(request.stdin, resources.world.world_size),
        grace=request.grace,
        heartbeat_timeout=request.heartbeat_timeout,
    )
    _check(spec, request)
    job_dir = _job_dir(request.job_dir, environ, cwd)
    return Plan(request, resources, backend, spec, job_dir)


def _launcher_and_backend(request: Request) -> tuple[str, str]:
    """DeepSpeed's ``--launcher pdsh`` means what is called a backend here."""
    if request.launcher.lower() in backends.NAMES and request.backend == "auto":
        return "native", request.launcher
    return request.launcher, request.backend


def _check(spec: JobSpec, request: Request) -> None:
    shown_ranks(spec.output, spec.world.world_size)
    if spec.core_list:
        from madrun.wire.core_list import parse_core_list

        parse_core_list(spec.core_list)
    if not spec.argv[0]:
        raise InputError("PROGRAM is empty")
    if request.fold and request.as_json:
        raise InputError("--fold and --json exclude each other: events are one rank's")
    if request.backend_args:
        raise InputError("--backend-args: this backend runs no tool that could take them")
    if request.ssh_key and not os.path.isfile(request.ssh_key):
        raise InputError(f"--ssh-key {request.ssh_key}: there is no such file")


def _job_dir(given: str, environ: Mapping[str, str], cwd: str) -> str:
    home = environ.get("HOME") or os.path.expanduser("~")
    default = os.path.join(home, ".madrun", "jobs")
    return os.path.join(cwd, given or environ.get("MADRUN_JOB_DIR") or default)


def _checked_address(address: str) -> str:
    if address and not _ADDRESS.fullmatch(address):
        raise InputError(f"--master-addr {address!r}: a host name or an address is wanted")
    return address


def _exported(request: Request, environ: Mapping[str, str], cwd: str) -> dict[str, str]:
    """The variables that travel: defaults, then the environment files, then --export."""
    everything = request.export_all
    defaults = exports.select(environ, (), everything=everything)
    home = environ.get("HOME", os.path.expanduser("~"))
    files = env_file.load(request.env_files, home, cwd, environ)
    chosen = exports.asked(environ, request.exports)
    return {**defaults, **files, **chosen}


def _count_devices() -> int:
    from madrun.backends.local import visible_devices

    return visible_devices()
