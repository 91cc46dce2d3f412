"""From what the user asked to everything a launch needs; all mistakes are found here."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from madrun.backends import registry as backends
from madrun.hosts.devices import own_facts
from madrun.hosts.resources import Resources, Selection, names_hosts, resolve
from madrun.launchers import registry as launchers
from madrun.launchers.launcher import Launcher
from madrun.launchers.process_table import process_table
from madrun.options.job_options import asked_log_dir, checked_interface
from madrun.output.stdin import stdin_of
from madrun.record.job_folder import LOGS
from madrun.runner import env_file, exports
from madrun.system.errors import InputError
from madrun.wire.jobspec import PYTHON, JobSpec, shown_ranks

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
    launcher_opts: tuple[str, ...] = ()
    interface: str = ""
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
    color: str = "auto"
    log_dir: str = ""
    dry_run: bool = False
    show_values: bool = False
    as_json: bool = False
    client: str = ""
    ready_timeout: float = 1800.0
    job_dir: str = ""
    pid_file: str = ""
    save_pid: bool = False
    verbose: bool = False
    config: tuple[str, ...] = ()
    additional_context: tuple[str, ...] = ()
    # What the two say that no option does; the variables may hold secrets.
    env: Mapping[str, str] = MappingProxyType({})
    options: Mapping[str, str] = MappingProxyType({})
    gpu_vendor: str = ""  # of nodes that a dry run does not ask
    slurm: Mapping[str, str] = MappingProxyType({})
    submit: str = ""
    slurm_settings: tuple[str, ...] = ()  # as typed, NAME=VALUE
    wait: bool = False
    node_rank: int | None = None  # of a job whose nodes are started one by one, by hand
    origins: Mapping[str, str] = MappingProxyType({})  # where each value came from


class Plan(NamedTuple):
    """One launch, ready to be described or done."""

    request: Request
    resources: Resources
    backend: str
    spec: JobSpec
    job_dir: str = ""  # the folder in which this job's own one is made
    backend_reason: str = ""  # why it is this backend
    notes: tuple[str, ...] = ()  # what the user should know before the start


def make_plan(request: Request, environ: Mapping[str, str], cwd: str, python: str) -> Plan:
    """The plan; ``python`` is the runner's own interpreter. Raises InputError."""
    launcher, backend_name = launcher_and_backend(request)
    selection = Selection(
        hostfile=request.hostfile,
        hosts=request.hosts,
        include=request.include,
        exclude=request.exclude,
        nnodes=request.nnodes,
        nproc_per_node=request.nproc_per_node,
    )
    by_hand = request.node_rank is not None
    job = None
    if not by_hand and not names_hosts(selection, environ):
        job = backends.slurm_job(backend_name, environ, request.nproc_per_node)
    scheduled = (job.hosts, f"Slurm job {job.job_id}") if job else None
    resources = resolve(selection, environ, _count_devices, scheduled=scheduled)
    in_slurm = job.job_id if job else ""
    choice = backends.choose(
        backend_name, resources.hosts, local=resources.local or by_hand, slurm_job=in_slurm
    )
    backend = choice.name
    if not request.dry_run:
        backends.check_is_here(backend)
    variables = exported(request, environ, cwd)
    job_id = time.strftime("%Y%m%d-%H%M%S-") + os.urandom(3).hex()
    job_dir = _job_dir(request.job_dir, environ, cwd)
    spec = JobSpec(
        job_id=job_id,
        world=resources.world,
        argv=request.argv,
        mode=request.mode,
        launcher=launcher.name,
        python=request.remote_python or python,
        workdir=os.path.join(cwd, request.workdir) if request.workdir else cwd,
        env=variables,
        interface=checked_interface(request.interface),
        options=_options(request, launcher, cwd),
        master_addr=_checked_address(request.master_addr),
        master_port=request.master_port,
        device_binding=request.device_binding,
        bind_cores=request.bind_cores or bool(request.core_list),
        core_list=request.core_list,
        local_rank_arg=request.local_rank_arg,
        log_dir=_log_dir(request.log_dir, cwd, os.path.join(job_dir, job_id)),
        log_dir_optional=not request.log_dir,
        output=request.output,
        grace=request.grace,
        heartbeat_timeout=request.heartbeat_timeout,
        client=_words("--client", request.client),
        ready_timeout=request.ready_timeout,
    )
    _check(spec, request)
    who = process_table(spec)  # raises what the launcher cannot do
    shown_ranks(spec.output, who.size, who.noun)
    spec = replace(spec, stdin=stdin_of(request.stdin, who.size, who.noun))
    backend_args(request, backend)
    notes = job.notes if job else ()
    return Plan(request, resources, backend, spec, job_dir, choice.reason, notes)


def launcher_and_backend(request: Request) -> tuple[Launcher, str]:
    """DeepSpeed's ``--launcher pdsh`` means what is called a backend here."""
    if backends.is_known(request.launcher) and request.backend == "auto":
        return launchers.find(launchers.DEFAULT), request.launcher
    return launchers.find(request.launcher), request.backend


def _check(spec: JobSpec, request: Request) -> None:
    if spec.core_list:
        from madrun.hosts.core_list import parse_core_list

        parse_core_list(spec.core_list)
    if not spec.argv[0]:
        raise InputError("PROGRAM is empty")
    if spec.client and not launchers.find(spec.launcher).serves:
        raise InputError(f"--client: the launcher {spec.launcher} starts no server to wait for")
    if request.fold and request.as_json:
        raise InputError("--fold and --json exclude each other: events are one rank's")
    if request.ssh_key and not os.path.isfile(request.ssh_key):
        raise InputError(f"--ssh-key {request.ssh_key}: there is no such file")


def backend_args(request: Request, backend: str) -> tuple[str, ...]:
    """The further words for the backend's tool; raises InputError."""
    if request.backend_args and backend not in backends.TOOLS:
        raise InputError(f"--backend-args: the backend {backend} runs no tool that could take them")
    return _words("--backend-args", request.backend_args)


def _words(option: str, text: str) -> tuple[str, ...]:
    """The words of an option's value, as a shell would split it; nothing is expanded."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise InputError(f"{option} {text!r}: {error}") from None


def _options(request: Request, launcher: Launcher, cwd: str) -> dict[str, str]:
    """The launcher's own options, and the files that it takes where they lie beside the program."""
    options = dict(request.options)
    if request.launcher_opts:  # typed, so they win
        from madrun.launchers.options import typed

        options |= typed(launcher, request.launcher_opts)
    folder = os.path.join(cwd, request.workdir, os.path.dirname(request.argv[0]))
    for name, file in launcher.beside_program.items():
        if not options.get(name) and os.path.isfile(os.path.join(folder, file)):
            options[name] = file
    return options


def _job_dir(given: str, environ: Mapping[str, str], cwd: str) -> str:
    home = environ.get("HOME") or os.path.expanduser("~")
    default = os.path.join(home, ".madrun", "jobs")
    return os.path.join(cwd, given or environ.get("MADRUN_JOB_DIR") or default)


def _log_dir(given: str, cwd: str, folder: str) -> str:
    """The same path on every node: in the job's own folder, unless another or none is asked for."""
    return asked_log_dir(given, cwd) if given else os.path.join(folder, LOGS)


def _checked_address(address: str) -> str:
    if address and not _ADDRESS.fullmatch(address):
        raise InputError(f"--master-addr {address!r}: a host name or an address is wanted")
    return address


def exported(request: Request, environ: Mapping[str, str], cwd: str) -> dict[str, str]:
    """The variables that travel: defaults, environment files, the config's, what was typed."""
    everything = request.export_all
    defaults = exports.select(environ, (), everything=everything)
    home = environ.get("HOME", os.path.expanduser("~"))
    files = env_file.load((), home, cwd, environ)
    named = env_file.load_named(request.env_files, cwd)
    chosen = exports.asked(environ, request.exports)
    return {**defaults, **files, **request.env, **named, **chosen}


def _count_devices() -> int:
    return own_facts().devices
