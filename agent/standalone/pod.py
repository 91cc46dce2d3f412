"""``madagent --pod``: one agent in each pod of a job that ``madrun --backend kubernetes`` made.

The pods meet as the agents of a Slurm step do, by the key that only they have (see
``rendezvous``); node 0 coordinates the job, and a runner may be attached to it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator

from madrun.agent.standalone.attachment import Attachment
from madrun.agent.standalone.capacity import NodeCapacity
from madrun.agent.standalone.credential import Credential, SharedKey
from madrun.agent.standalone.pod_job import PodJob, read
from madrun.agent.standalone.pod_place import rank_of
from madrun.agent.standalone.rendezvous import Meeting
from madrun.agent.standalone.standalone_job import Setting, meet_and_run, run_here
from madrun.record.guard_handover import GuardHandover
from madrun.record.job_folder import LOGS
from madrun.system.errors import ClusterError, MadrunError
from madrun.wire.jobspec import JobSpec


def run_pod(folder: str, guard_fd: int, handover: GuardHandover) -> int:
    """Run this pod's node of the job whose files are in ``folder``; returns the job's status."""
    try:
        job, key = read(folder)
        node_rank = rank_of(os.environ)
        if not 0 <= node_rank < len(job.spec.world.nodes):
            raise ClusterError(f"this is pod {node_rank} of a job of {len(job.spec.world.nodes)}")
        request = job.request
        request = request._replace(record=request.record._replace(job_dir=job.jobs))
        setting = Setting(request, guard_fd, handover)
        if not (job.attached and node_rank == 0):
            return _run(job, key, node_rank, setting)
        attachment = Attachment(job.attach_port, key, job.spec.job_id, job.lease)
        attachment.begin()
        status = 125
        try:
            listeners = (attachment.event,)
            status = _run(job, key, node_rank, setting._replace(listeners=listeners))
            return status
        except MadrunError as error:
            status = error.exit_status
            raise
        finally:
            attachment.end(status)
    except MadrunError as error:
        sys.stderr.write(f"madagent: {error}\n")
        return error.exit_status


def _run(job: PodJob, key: SharedKey, node_rank: int, setting: Setting) -> int:
    spec = _spec_here(job)
    if len(spec.world.nodes) == 1:
        return run_here(spec, 0, setting)
    meeting = Meeting(
        job=spec.job_id,
        hosts=spec.world.hosts,
        node_rank=node_rank,
        address=job.address,
        ports=(job.meet_port,),
        limit=spec.limits.launch,
    )
    capacity = NodeCapacity(0, spec.world.nodes[node_rank].local_world_size)
    return meet_and_run(meeting, _MountedKey(key), capacity, lambda _brought: spec, setting)


def _spec_here(job: PodJob) -> JobSpec:
    """The spec with the folders of this container; what was shipped lies in its working folder."""
    home = job.work if job.shipped else os.getcwd()
    if job.shipped:
        try:
            shutil.copytree(job.shipped, job.work, dirs_exist_ok=True, ignore=_of_kubernetes)
        except (OSError, shutil.Error) as error:
            raise ClusterError(f"what was shipped cannot be copied: {error}") from None
    spec = job.spec._replace(workdir=os.path.join(home, job.workdir))
    if spec.log_dir_optional:
        spec = spec._replace(log_dir=os.path.join(job.jobs, spec.job_id, LOGS))
    return spec


def _of_kubernetes(_folder: str, names: list[str]) -> set[str]:
    """The links by which a mounted ConfigMap is replaced at once."""
    return {name for name in names if name.startswith("..")}


class _MountedKey:
    """See madrun.agent.standalone.keys: the one key that the pods of this job have."""

    def __init__(self, key: SharedKey) -> None:
        self._key = key

    @contextlib.contextmanager
    def on_node_zero(self) -> Iterator[Credential]:
        """The credential to ask for."""
        yield self._key

    def named(self, name: str) -> Credential:
        """The credential that node 0 asks for; raises ClusterError for another one."""
        if name != self._key.name:
            raise ClusterError(f"it asks for a {name}, and a pod has its mounted key")
        return self._key
