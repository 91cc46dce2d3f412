"""From what the user asked to the job as its manifests need it; all mistakes are found here."""

from __future__ import annotations

import os
from collections.abc import Mapping

from madrun.agent.standalone import pod_job as pod_files
from madrun.backends.kubernetes import keys
from madrun.backends.kubernetes.code import MOST_BYTES, shipped
from madrun.backends.kubernetes.manifests import FOLDERS, INDEX_OF_POD, RESULTS, PodJob
from madrun.backends.kubernetes.names import Names
from madrun.backends.kubernetes.settings import Settings, settings_of
from madrun.launchers import sglang_disagg, vllm
from madrun.options.option_types import nearest
from madrun.options.request import Request
from madrun.options.spec_groups import Master
from madrun.system.errors import InputError
from madrun.wire.jobspec import JobSpec

PYTHON = "python3"  # the image's, by its PATH
_AGENT_PYTHON = "/opt/madrun/bin/python3"
_REFUSED = {
    "backend_args": "no tool is run that could take further words",
    "force_multi": "nobody logs in",
    "ssh_user": "nobody logs in",
    "ssh_port": "nobody logs in",
    "ssh_key": "nobody logs in",
}


def section_of(request: Request) -> dict[str, str]:
    """The section ``k8s``: what was typed wins over the config. Raises InputError."""
    asked, found = request.kubernetes, dict(request.kubernetes.section)
    for text in asked.settings:
        name, equals, value = text.partition("=")
        key = name.strip().replace("-", "_")
        kind = keys.SECTION.get(key)
        if kind is None:
            known = nearest(key, keys.SECTION)
            raise InputError(f"--k8s {name}: there is no such setting; {known}")
        found[key] = kind(f"--k8s {key}", value if equals else "true")
    if asked.image:
        found["image"] = asked.image
    if asked.agent_image:
        found["agent_image"] = asked.agent_image
    if request.selection.workers and "gpu_count" not in found:
        found["gpu_count"] = str(request.selection.workers)
    return found


def workers_of(request: Request, section: Mapping[str, str]) -> int:
    """How many workers a pod has: as many as were asked for, else one for each GPU."""
    asked, devices = request.selection.nproc_per_node, int(section.get("gpu_count") or 0)
    if isinstance(asked, int):
        if 0 < devices < asked:
            raise InputError(
                f"--nproc-per-node {asked}: gpu_count is {devices};"
                " a pod cannot have more workers than GPUs (gpu_count=0: none has one)"
            )
        return asked
    if asked in ("gpu", "cpu", "auto") and (asked != "gpu" or not devices):
        raise InputError(f"--nproc-per-node {asked}: no node is asked before: give a number")
    return devices or 1


def pod_job(request: Request, spec: JobSpec, cwd: str, attached: bool) -> PodJob:
    """The job, with a new key; raises InputError."""
    _check(request)
    section = section_of(request)
    settings = settings_of(section, request.selection.gpu_vendor)
    if settings.kind != keys.JOB and attached:
        raise InputError(
            f"k8s: kind {settings.kind}: only --dry-run writes it, for kubectl apply; madrun itself"
            " runs jobs of kind job"
        )
    # The job's name is that of its pods without their place.
    names = Names(_job_of(spec.world.hosts[0], settings.kind), settings.kind)
    files = shipped(request.kubernetes.ship, cwd)
    secret = pod_files.encode(_told(request, spec, settings, names, attached))
    if (size := sum(map(len, secret.values()))) > MOST_BYTES:
        raise InputError(
            f"the arguments and variables of the job have {size} bytes; a Secret has at most"
            f" {MOST_BYTES}: put them into the image or a volume"
        )
    python = _AGENT_PYTHON if settings.agent_image else request.program.interpreter or PYTHON
    return PodJob(
        names=names,
        settings=settings,
        job_id=spec.job_id,
        nnodes=len(spec.world.nodes),
        grace=spec.limits.grace,
        program=(python, "-m", "madrun.agent", "--pod", FOLDERS.job),
        secret=secret,
        files=files,
        env=_variables(spec),
        ports=_ports(spec),
    )


def _job_of(pod: str, kind: str) -> str:
    suffix = Names("", kind).pod_host(0)
    return pod.removesuffix(suffix)


def _told(
    request: Request, spec: JobSpec, settings: Settings, names: Names, attached: bool
) -> pod_files.PodJob:
    several = len(spec.world.nodes) > 1
    meet, attach = names.ports()
    master = spec.master
    if several and not master.addr:
        master = Master(names.address(0), master.port, master.interface)
    options = dict(spec.options)
    if spec.launcher == vllm.LAUNCHER.name and several:
        options.setdefault("mode", "replicas")
    python = request.program.interpreter or PYTHON
    return pod_files.PodJob(
        spec=spec._replace(master=master, options=options, python=python, workdir=""),
        address=names.address(0),
        meet_port=meet,
        attach_port=attach,
        attached=attached,
        lease=settings.lease,
        workdir=request.program.workdir,
        shipped=FOLDERS.shipped if request.kubernetes.ship else "",
        work=FOLDERS.work,
        jobs=os.path.join(RESULTS, "madrun") if settings.results_pvc else FOLDERS.jobs,
        options=pod_files.options_of(request),
    )


def _variables(spec: JobSpec) -> dict[str, str]:
    """What scripts for Kubernetes read, where their launcher has such."""
    if spec.launcher != sglang_disagg.LAUNCHER.name:
        return {}
    nnodes = len(spec.world.nodes)
    given = (spec.options.get("prefill_nodes"), spec.options.get("decode_nodes"))
    parts = sglang_disagg.split(nnodes, *(int(each) if each else None for each in given))
    size = spec.options.get("tensor_parallel_size") or spec.world.nodes[0].local_world_size
    return {
        "POD_INDEX": INDEX_OF_POD,
        "TOTAL_PODS": str(nnodes),
        "PREFILL_COUNT": str(parts.prefill),
        "DECODE_COUNT": str(parts.decode),
        "TP_SIZE": str(size),
    }


def _ports(spec: JobSpec) -> dict[str, int]:
    """The port of servers that others than the job itself look for, by the Service's name."""
    if spec.launcher != vllm.LAUNCHER.name:
        return {}
    return {"http": int(spec.options.get("port") or vllm.PORT)}


def _check(request: Request) -> None:
    from madrun.options.request import fields, value_of

    for key, reason in _REFUSED.items():
        if value_of(request, key) != fields()[key].default:
            option = key.replace("_", "-")
            raise InputError(f"--backend kubernetes: --{option}: {reason}")
