"""The kubernetes backend, as the registry finds it; loaded without the client of its API."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from madrun.backends.base import Allocation, Backend, WholeJob
from madrun.hosts.hostfile import Host
from madrun.system.errors import InputError

if TYPE_CHECKING:
    from madrun.options.request import Request
    from madrun.wire.jobspec import JobSpec


def hosts(request: Request, job_id: str) -> Allocation:
    """The pods of a job, by their host names, which the job's name gives them."""
    from madrun.backends.kubernetes.names import Names, job_name
    from madrun.backends.kubernetes.request import section_of, workers_of

    asked = request.selection
    for option, value in (("--hosts", asked.hosts), ("--hostfile", asked.hostfile)):
        if value is not None:
            raise InputError(
                f"--backend kubernetes: {option}: Kubernetes chooses the nodes"
                " (k8s: node_selector and tolerations ask it for some)"
            )
    for option, text in (("--include", asked.include), ("--exclude", asked.exclude)):
        if text:
            raise InputError(f"--backend kubernetes: {option}: Kubernetes chooses the nodes")
    section = section_of(request)
    names = Names(job_name(request.program.argv, job_id), section.get("kind") or "job")
    slots = tuple(range(workers_of(request, section)))
    pods = [names.pod_host(node_rank) for node_rank in range(asked.nnodes or 1)]
    made = tuple(Host(pod, slots) for pod in pods)
    from madrun.backends.kubernetes.settings import notes_of

    notes = notes_of(section)
    if not section.get("gpu_count") and asked.workers is None:
        notes = (*notes, "no GPU is asked for: --nproc-per-node N does (k8s: gpu_count)")
    return Allocation("Kubernetes", BACKEND.name, made, notes)


def run(job: WholeJob) -> int:
    """Make the job in the cluster, follow it to its end, and remove it; returns its status."""
    from madrun.backends.kubernetes.run import run_job

    return run_job(job)


def show(request: Request, spec: JobSpec) -> str:
    """The manifests, as ``--dry-run`` prints them."""
    from madrun.backends.kubernetes.request import pod_job
    from madrun.backends.kubernetes.text import shown

    job = pod_job(request, spec, os.getcwd(), attached=False)
    return shown(job, as_json=request.console.json, hide=not request.console.show_values)


# Images of tens of gigabytes are pulled, and nodes are made for pods that wait for some.
_LAUNCH_LIMIT = 600.0
BACKEND = Backend(
    "kubernetes", aliases=("k8s",), hosts=hosts, whole=run, show=show, launch_limit=_LAUNCH_LIMIT
)
