"""From what the user asked to everything a launch needs; all mistakes are found here."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from typing import NamedTuple

from madrun.backends import registry as backends
from madrun.backends.base import Allocation, Backend, Situation
from madrun.hosts import hostlist
from madrun.hosts.devices import own_facts
from madrun.hosts.hostfile import Host, checked_user
from madrun.hosts.resources import Resources, closed, names_hosts, resolve, workers_of
from madrun.job.spec import checked, job_spec, with_folder, words
from madrun.launchers import registry as launchers
from madrun.options.command_line import TYPED
from madrun.options.request import Request
from madrun.record.job_folder import jobs_folder
from madrun.runner import env_file, exports
from madrun.system.errors import InputError
from madrun.wire.jobspec import JobSpec

_SUBMITS = rb"(?m)^[ \t]*(?:exec[ \t]+)?(sbatch|salloc)[ \t]"
_SCRIPT_HEAD = 64 * 1024  # bytes of a script that are looked at


class Plan(NamedTuple):
    """One launch, ready to be described or done; ``hosts`` are those of the spec's World."""

    request: Request
    spec: JobSpec
    hosts: tuple[Host, ...]
    backend: str
    backend_reason: str = ""  # why it is this backend
    job_dir: str = ""  # the folder in which this job's own one is made
    notes: tuple[str, ...] = ()  # what the user should know before the start
    open: tuple[str, ...] = ()  # hosts that have to be asked how many slots they have


def make_plan(request: Request, environ: Mapping[str, str], cwd: str, python: str) -> Plan:
    """The plan; ``python`` is the runner's own interpreter. Raises InputError."""
    request = with_backend(request)
    job_id = time.strftime("%Y%m%d-%H%M%S-") + os.urandom(3).hex()
    job = _made(request, job_id) or _scheduled(request, environ)
    resources = _resources(request, environ, job)
    choice = _choice(request, resources, job)
    request = _with_patience(request, choice.backend)
    if choice.backend.in_process is not None:
        resources = _with_own_slots(request, resources)
    job_dir = jobs_folder(request.record.job_dir, environ, cwd)
    spec = job_spec(request, resources.world, job_id, cwd, python)
    spec = spec._replace(
        env=exported(request, environ, cwd, in_images=choice.backend.hosts is not None),
        options=_options(spec),
    )
    spec = with_folder(spec, request, job_dir, environ)
    _check(request, choice.backend)
    notes = (
        *request.notes,
        *_cpu_only(resources),
        *_submits_itself(spec),
        *(job.notes if job else ()),
    )
    return Plan(
        request=request,
        spec=spec if resources.open else checked(spec),
        hosts=resources.hosts,
        backend=choice.backend.name,
        backend_reason=choice.reason,
        job_dir=job_dir,
        notes=(*notes, *_asked_later(resources)) if request.dry_run else notes,
        open=resources.open,
    )


def with_backend(request: Request) -> Request:
    """DeepSpeed's ``--launcher pdsh`` means what is called a backend here."""
    name = request.program.launcher
    if request.nodes.backend != backends.AUTO or launchers.is_known(name):
        return request
    if not backends.is_known(name):
        return request
    return request._replace(
        program=request.program._replace(launcher=launchers.DEFAULT),
        nodes=request.nodes._replace(backend=name),
    )


def _with_patience(request: Request, backend: Backend) -> Request:
    if backend.launch_limit is None or "launch_timeout" in request.origins:
        return request
    return request._replace(limits=request.limits._replace(launch=backend.launch_limit))


def _made(request: Request, job_id: str) -> Allocation | None:
    """The hosts of a backend that makes them itself, whatever hostfile there is."""
    if request.nodes.backend == backends.AUTO:
        return None
    backend = backends.find(request.nodes.backend)
    return backend.hosts(request, job_id) if backend.hosts is not None else None


def _scheduled(request: Request, environ: Mapping[str, str]) -> Allocation | None:
    """The scheduler's job whose nodes are meant where nobody names any."""
    if request.place.node_rank is not None or names_hosts(request.selection, environ):
        return None
    return backends.allocation(request.nodes.backend, environ, request.selection.workers)


def _resources(request: Request, environ: Mapping[str, str], job: Allocation | None) -> Resources:
    scheduled = (job.hosts, job.name) if job else None
    if job is not None:
        environ = {}  # no hostfile of the environment is meant
    read = {key: origin for key, origin in request.origins.items() if TYPED not in origin}
    return resolve(request.selection, environ, _count_devices, scheduled=scheduled, said_by=read)


def _choice(request: Request, resources: Resources, job: Allocation | None) -> backends.Choice:
    named = not resources.local and request.place.node_rank is None
    situation = Situation(resources.hosts, named, log_in_here=request.nodes.force_multi)
    return backends.choose(request.nodes.backend, situation, job)


def _check(request: Request, backend: Backend) -> None:
    """What goes wrong only together; raises InputError."""
    backend_args(request, backend)
    if request.console.fold and request.console.json:
        raise InputError("--fold and --json exclude each other: events are one rank's")
    if request.ssh.user:
        try:
            checked_user(request.ssh.user)
        except InputError as error:
            raise InputError(f"--ssh-user {error}") from None
    if request.ssh.key and not os.path.isfile(request.ssh.key):
        raise InputError(f"--ssh-key {request.ssh.key}: there is no such file")


def backend_args(request: Request, backend: Backend) -> tuple[str, ...]:
    """The further words for the backend's tool; raises InputError."""
    if request.nodes.backend_args and not backend.takes_args:
        raise InputError(
            f"--backend-args: the backend {backend.name} runs no tool that could take them"
        )
    return words("--backend-args", request.nodes.backend_args)


def _options(spec: JobSpec) -> dict[str, str]:
    """The launcher's own options, and the files that it takes where they lie beside the program."""
    folder = os.path.join(spec.workdir, os.path.dirname(spec.argv[0]))
    beside = {
        name: file
        for name, file in launchers.find(spec.launcher).beside_program.items()
        if not spec.options.get(name) and os.path.isfile(os.path.join(folder, file))
    }
    return {**spec.options, **beside}


def exported(
    request: Request, environ: Mapping[str, str], cwd: str, in_images: bool = False
) -> dict[str, str]:
    """The variables that travel: defaults, environment files, the config's, what was typed.

    Workers that run ``in_images`` have software of their own, and other paths to it.
    """
    asked = request.environment
    defaults = exports.select(environ, (), everything=asked.export_all)
    if in_images:
        defaults = exports.without_software(defaults)
    home = environ.get("HOME", os.path.expanduser("~"))
    files = env_file.load((), home, cwd, environ)
    named = env_file.load_named(asked.env_files, cwd)
    chosen = exports.asked(environ, asked.exports)
    return {**defaults, **files, **asked.section, **named, **chosen}


def _with_own_slots(request: Request, resources: Resources) -> Resources:
    """This machine is asked now."""
    facts, want = own_facts(), request.selection.nproc_per_node
    counts = {host: workers_of(want, facts.devices, facts.cores, host) for host in resources.open}
    return resources._replace(world=closed(resources.world, counts), open=())


def _asked_later(resources: Resources) -> tuple[str, ...]:
    if not resources.open:
        return ()
    names = hostlist.fold(resources.open)
    return (f"{names}: all of its GPUs, which are counted at the start; one is shown here",)


def _cpu_only(resources: Resources) -> tuple[str, ...]:
    if not resources.cpu_only:
        return ()
    count = resources.world.world_size
    workers = "one worker" if count == 1 else f"{count} workers"
    return (f"no GPU was found on this machine: {workers} on the CPU",)


def _submits_itself(spec: JobSpec) -> tuple[str, ...]:
    """Scripts of older tools run on the login node and call sbatch; here each node would do it."""
    program = spec.argv[0]
    if not program.endswith(".sh"):
        return ()
    try:
        with open(os.path.join(spec.workdir, program), "rb") as file:
            found = re.search(_SUBMITS, file.read(_SCRIPT_HEAD))
    except OSError:
        return ()  # it need not be here, only on the nodes
    if found is None:
        return ()
    word = found[1].decode()
    return (f"{program} calls {word}, and every node runs it: call it without madrun",)


def _count_devices() -> int:
    return own_facts().devices
