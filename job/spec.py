"""The job spec of a request: what was asked for, checked, with every path and name in full."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping

from madrun.hosts.world import World
from madrun.launchers.launcher import Launcher, LauncherKind
from madrun.launchers.process_table import process_table
from madrun.launchers.registry import find
from madrun.options.request import NO_LIMIT, NO_LOGS, Request
from madrun.options.spec_groups import Master, Workers
from madrun.output.stdin import stdin_of
from madrun.record.job_folder import LOGS
from madrun.record.retention import retention, size_of
from madrun.system.errors import InputError
from madrun.wire.jobspec import EXEC, MODULE, PYTHON, JobSpec, shown_ranks

_KEEP, _LOG_LIMIT = "MADRUN_KEEP_JOBS", "MADRUN_LOG_LIMIT"
_LEAST_LOG_LIMIT, _USUAL_LOG_LIMIT, _MOST_LOG_LIMIT = 10**3, 10**9, 10**18  # bytes
_PYTHONS = r"python(3(\.[0-9]+)?)?"
_ADDRESS = r"[A-Za-z0-9][A-Za-z0-9._:%-]{0,254}"
_INTERFACES = r"(?a)[A-Za-z0-9][\w.:@-]{0,14}(,[A-Za-z0-9][\w.:@-]{0,14})*"


def working_folder() -> str:
    """The folder in which we were called; raises InputError where it is not there any more."""
    try:
        return os.getcwd()
    except OSError as error:
        raise InputError(f"this working folder is gone ({error.strerror}): cd to another") from None


def job_spec(request: Request, world: World, job_id: str, cwd: str, python: str) -> JobSpec:
    """The job spec of this World; ``python`` is the interpreter where none is asked for.

    No variables travel yet, and logs go only where the request names a folder. Raises InputError
    for what is wrong in itself, and for what the launcher cannot do.
    """
    program, workdir = request.program, os.path.join(cwd, request.program.workdir)
    launcher = find(program.launcher)
    options = {**program.section, **_typed_options(launcher, program.launcher_opts)}
    argv, mode = program.argv, program.mode
    if not argv:
        default = launcher.default_program(options)
        if default is None:
            raise InputError("Missing argument 'PROGRAM'.")
        argv, mode = default.argv, default.mode
        options.pop(default.option, None)
    argv, mode = _without_python(argv, mode, launcher, workdir)
    if not argv[0]:
        raise InputError("PROGRAM is empty")
    _check_workers(request.workers)
    _check_master(request.master)
    return JobSpec(
        job_id=job_id,
        world=world,
        argv=argv,
        mode=mode,
        launcher=launcher.name,
        python=program.interpreter or python,
        workdir=workdir if program.workdir else cwd,
        options=options,
        master=request.master,
        workers=request.workers,
        limits=request.limits,
        log_dir=asked_log_dir(request.record.log_dir, cwd),
        output=request.console.output,
        stdin=request.console.stdin,
        client=_client(request, launcher),
    )


def with_folder(
    spec: JobSpec, request: Request, job_dir: str, environ: Mapping[str, str]
) -> JobSpec:
    """The spec of a job that leaves a folder in ``job_dir``; raises InputError.

    Log files are in it, on every node, unless another folder or none is asked for.
    """
    log_dir = os.path.join(job_dir, spec.job_id, LOGS)
    spec = spec._replace(
        keep_jobs=_keep_jobs(request.record.keep_jobs, environ),
        log_limit=_log_limit(request.record.log_limit, environ),
    )
    if request.record.log_dir:
        return spec
    return spec._replace(log_dir=log_dir, log_dir_optional=True)


def _keep_jobs(given: str, environ: Mapping[str, str]) -> str:
    name, text = _said("--keep-jobs", given, _KEEP, environ)
    retention(text, name)
    return text


def _log_limit(given: str, environ: Mapping[str, str]) -> int:
    name, text = _said("--log-limit", given, _LOG_LIMIT, environ)
    if text.lower() == NO_LIMIT:
        return 0
    limit = size_of(text) if text else _USUAL_LOG_LIMIT
    if limit is None or limit < _LEAST_LOG_LIMIT:
        raise InputError(f"{name}: {text[:60]!r}: 1GB, 500MB, none are allowed; at least 1KB")
    return min(limit, _MOST_LOG_LIMIT)


def _said(option: str, given: str, variable: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """What was said, on the command line or else in the environment, and which of the two it is."""
    return (option, given) if given else (variable, environ.get(variable, ""))


def checked(spec: JobSpec) -> JobSpec:
    """The spec, its ranks counted; raises InputError for what its launcher cannot do, and for
    ranks that are not there."""
    who = process_table(spec)
    shown_ranks(spec.output, who.size, who.noun)
    return spec._replace(stdin=stdin_of(spec.stdin, who.size, who.noun))


def _without_python(
    argv: tuple[str, ...], mode: str, launcher: Launcher, workdir: str
) -> tuple[tuple[str, ...], str]:
    """``madrun python train.py``, as torchrun, mpirun and srun are called: it is what is meant.

    A worker is that Python, unbuffered as always; a launcher that starts the workers by itself
    gets the script or module.
    """
    if mode != PYTHON or len(argv) < 2 or not re.fullmatch(_PYTHONS, os.path.basename(argv[0])):
        return argv, mode
    if "/" not in argv[0] and os.path.isfile(os.path.join(workdir, argv[0])):
        return argv, mode  # a script of that name
    if launcher.kind is LauncherKind.PER_WORKER:
        return (argv[0], "-u", *argv[1:]), EXEC
    rest = argv[2:] if argv[1] == "-u" else argv[1:]
    if rest[:1] == ("-m",):
        return rest[1:], MODULE
    return rest, PYTHON


def asked_log_dir(given: str, cwd: str) -> str:
    """The folder that ``--log-dir`` names, as a full path; empty where it names none.

    >>> asked_log_dir("logs", "/home/me"), asked_log_dir("none", "/home/me")
    ('/home/me/logs', '')
    """
    return os.path.join(cwd, given) if given not in ("", NO_LOGS) else ""


def words(option: str, text: str) -> tuple[str, ...]:
    """The words of an option's value, as a shell would split it; nothing is expanded."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise InputError(f"{option} {text!r}: {error}") from None


def _client(request: Request, launcher: Launcher) -> tuple[str, ...]:
    if request.serving.client and not launcher.serves:
        raise InputError(f"--client: the launcher {launcher.name} starts no server to wait for")
    return words("--client", request.serving.client)


def _typed_options(launcher: Launcher, texts: tuple[str, ...]) -> dict[str, str]:
    if not texts:
        return {}
    from madrun.launchers.options import typed

    return typed(launcher, texts)


def _check_workers(workers: Workers) -> None:
    if workers.core_list is not None:
        from madrun.hosts.core_list import parse_core_list

        try:
            parse_core_list(workers.core_list)
        except InputError as error:
            raise InputError(f"--bind-core-list: {error}") from None


def _check_master(master: Master) -> None:
    if master.addr and not re.fullmatch(_ADDRESS, master.addr):
        raise InputError(f"--master-addr {master.addr!r}: a host name or an address is wanted")
    if master.interface and not re.fullmatch(_INTERFACES, master.interface):
        shown = master.interface[:60]
        raise InputError(f"--interface {shown!r}: names as eth0 or ib0,ib1 are allowed")
