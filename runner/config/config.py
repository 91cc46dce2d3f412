"""What config files and ``--additional-context`` add to a command line, and where it came from.

The command line beats ``--additional-context``, which beats the files, of which the later one wins.
Nothing here is imported unless one of the two options is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from madrun.hosts.devices import own_facts
from madrun.launchers import multi_node_args, registry
from madrun.launchers.launcher import Launcher
from madrun.options.request import Request, changed, fields
from madrun.runner import exports
from madrun.runner.config import file as config_file
from madrun.runner.config import older_forms as older_config
from madrun.runner.config.keys import NOTES, Setting, Settings, check
from madrun.runner.config.origins import origins_of
from madrun.runner.plan import with_backend
from madrun.system.errors import InputError

LOCAL, SLURM, KUBERNETES = "local", "slurm", "k8s"
_INSIDE_SLURM = "SLURM_JOB_ID"

# Where the value of an option may stand, the first one winning. Counts that follow from a
# scheduler's are used where nobody says otherwise.
_PLACES: dict[str, tuple[str, ...]] = {
    "launcher": ("distributed.launcher",),
    "nnodes": ("distributed.nnodes", "slurm.nodes", "multi_node_args.NNODES"),
    "nproc_per_node": (
        "distributed.nproc_per_node",
        "slurm.gpus_per_node",
        "k8s.gpu_count",
        "multi_node_args.MAD_RUNTIME_NGPUS",
        "n_gpus",
    ),
    "master_addr": ("multi_node_args.MASTER_ADDR",),
    "master_port": ("distributed.master_port", "multi_node_args.MASTER_PORT"),
    "interface": ("slurm.network_interface",),
    "hosts": ("hosts",),
    "hostfile": ("hostfile",),
}
# Where a job runs is one decision: who types one of these means none of the file's.
_WHERE = frozenset({"hosts", "hostfile", "backend", "submit"})


def configured(request: Request, environ: Mapping[str, str]) -> Request:
    """The request with what its config says; its origins tell what the user typed.
    Raises InputError for whatever is wrong in the config, by source, section and key.
    """
    typed = frozenset(request.origins)
    settings = read(request.config.files, request.config.texts)
    argv = request.program.argv or _program(settings)
    settings = older_config.from_slurm_args(settings, argv)
    settings = older_config.from_multi_node_args(settings)
    where = deployment(settings)
    found = {name: found for name in _PLACES if (found := _first(settings, _PLACES[name]))}
    if typed & {"hosts", "hostfile"}:
        found = {name: found[name] for name in found.keys() - {"hosts", "hostfile"}}
    request = changed(request, {name: _value(name, found[name]) for name in found.keys() - typed})
    if "launcher" not in typed:  # what was typed may also be a backend's name
        launcher = registry.find(request.program.launcher).name
        request = changed(request, {"launcher": launcher})
    _check_counts(settings, request)
    request = _by_hand(settings, request, typed)
    if where == KUBERNETES and not typed & _WHERE:
        request = changed(request, {"backend": "kubernetes"})
    if where == SLURM and not typed & _WHERE and not environ.get(_INSIDE_SLURM):
        request = changed(request, {"submit": SLURM})
    origins = origins_of(settings, found, typed)
    notes = tuple(
        f"{settings.values[path].origin} is not used: {text}"
        for path, text in NOTES.items()
        if path in settings.values
    )
    return _with_sections(settings, request, argv)._replace(origins=origins, notes=notes)


def _value(name: str, setting: Setting) -> Any:
    """A setting as its option's type has it."""
    kind = fields()[name].kind
    number = int in (kind, *get_args(kind)) and setting.value.isdecimal()
    return int(setting.value) if number else setting.value


def _with_sections(settings: Settings, request: Request, argv: tuple[str, ...]) -> Request:
    """The request with the sections that no option stands for."""
    program, vendor = request.program, settings.get("gpu_vendor")
    slurm = {name: each.value for name, each in settings.under("slurm").items() if each.value}
    kubernetes = {name: each.value for name, each in settings.under("k8s").items() if each.value}
    launcher = registry.find(with_backend(request).program.launcher)
    return request._replace(
        program=program._replace(argv=argv, section=_options(settings, launcher)),
        environment=request.environment._replace(section=_variables(settings)),
        submit=request.submit._replace(section=slurm),
        kubernetes=request.kubernetes._replace(section=kubernetes),
        selection=request.selection._replace(gpu_vendor=vendor.value if vendor else ""),
    )


def read(paths: Sequence[str], texts: Sequence[str]) -> Settings:
    """All settings of these files and texts, the later one winning."""
    settings = Settings({}, {})
    for path in paths:
        settings = check(config_file.read(path), path).over(settings)
    for text in texts:
        settings = check(config_file.inline(text), config_file.INLINE).over(settings)
    return settings


def deployment(settings: Settings) -> str:
    """Where the job is to run: local, slurm or k8s, as ``deploy`` or the sections say."""
    there = [name for name in (KUBERNETES, SLURM) if name in settings.sections]
    source = next(iter(settings.sections.values()), "")
    if len(there) == 2:
        raise InputError(f"{source}: Both 'k8s' and 'slurm' fields present; one place is enough")
    said = settings.get("deploy")
    if said is None:
        where = there[0] if there else LOCAL
    elif said.value == LOCAL and there:
        raise InputError(f"{said.origin}: 'deploy' field is 'local' but k8s/slurm config present")
    elif said.value != LOCAL and said.value not in there:
        raise InputError(
            f"{said.origin}: 'deploy' field is '{said.value}' but no '{said.value}' config present"
        )
    else:
        where = said.value
    for name in ("hosts", "hostfile", "multi_node_args"):
        if where != LOCAL and (name in settings.values or name in settings.sections):
            raise InputError(f"{source}: {name!r} and {where!r} are two places to run; choose one")
    return where


def _first(settings: Settings, places: Sequence[str]) -> Setting | None:
    found = (settings.get(place) for place in places)
    # No GPU says nothing of the workers.
    return next((each for each in found if each is not None and each.value != "0"), None)


def _program(settings: Settings) -> tuple[str, ...]:
    """The program of the section ``model``, with its arguments; empty where there is none."""
    import json

    script, args = settings.get("model.scripts"), settings.get("model.args")
    return (script.value, *json.loads(args.value if args else "[]")) if script else ()


def _check_counts(settings: Settings, request: Request) -> None:
    """Counts have to agree with what a scheduler is asked for."""
    nodes, per_node = settings.get("slurm.nodes"), settings.get("slurm.gpus_per_node")
    nnodes = settings.get("distributed.nnodes")
    if nodes and nnodes and nodes.value != nnodes.value:
        raise InputError(
            f"{nnodes.origin}: {nnodes.value} nodes, but {nodes.origin}: {nodes.value};"
            " they must agree"
        )
    most, want = per_node or settings.get("k8s.gpu_count"), request.selection.workers
    if most and 0 < int(most.value) < (want or 0):
        raise InputError(
            f"nproc_per_node is {want}, but {most.origin} is {most.value};"
            " a node cannot have more workers than GPUs"
        )


def _by_hand(settings: Settings, request: Request, typed: frozenset[str]) -> Request:
    """One node of a job that a person starts on each node; typed hosts and ports win."""
    asked = request.selection
    place = older_config.by_hand(settings, asked.nnodes, asked.workers, _count_devices)
    if place is None:
        return request
    values: dict[str, Any] = {"nnodes": place.nnodes, "node_rank": place.node_rank}
    if "launcher" not in typed and not settings.get("distributed.launcher"):
        values["launcher"] = multi_node_args.LAUNCHER.name
    if not typed & {"hosts", "hostfile"}:
        values |= {"hosts": place.hosts, "hostfile": None}
    runner = settings.get("multi_node_args.RUNNER")
    mpirun = runner is not None and runner.value == "mpirun"
    if place.nnodes > 1 and not request.master.addr and not mpirun:
        source = settings.sections["multi_node_args"]
        raise InputError(
            f"{source}: multi_node_args: MASTER_ADDR is needed: by hand, no node knows the others"
        )
    values["master_port"] = request.master.port or older_config.DEFAULT_PORT
    return changed(request, values)


def _count_devices() -> int:
    return own_facts().devices


def _variables(settings: Settings) -> dict[str, str]:
    """What travels: the backend's name, then ``context.env_vars``, then ``env_vars``."""
    backend = settings.get("distributed.backend")
    found = {"DISTRIBUTED_BACKEND": backend.value} if backend else {}
    for section in ("context.env_vars", "env_vars"):
        for name, setting in settings.under(section).items():
            if reason := exports.refusal(name):
                raise InputError(f"{setting.origin}: it cannot be set there: {reason}")
            found[name] = setting.value
    return found


def _options(settings: Settings, launcher: Launcher) -> dict[str, str]:
    """The launcher's own options, and what launchers take from other sections."""
    section = settings.under(f"distributed.{launcher.name.replace('-', '_')}")
    options = {name: setting.value for name, setting in section.items()}
    if launcher is multi_node_args.LAUNCHER:
        options = {
            name: settings.values[path].value
            for name, path in older_config.OPTIONS.items()
            if path in settings.values
        }
    model = settings.get("model.name")
    if model and "model_name" in launcher.options:
        options["model_name"] = model.value
    return options
