"""What a pod is told of its job: two files, in a Secret that only the job's pods have."""

from __future__ import annotations

import base64
import json
import os
from typing import Any, NamedTuple

from madrun.agent.standalone.credential import SharedKey
from madrun.options.option import BOTH
from madrun.options.request import Request, asked_for, changed, fields
from madrun.system.errors import ClusterError, WireError
from madrun.wire.codec import pack, unpack
from madrun.wire.jobspec import JobSpec
from madrun.wire.messages import Begin

JOB_FILE, KEY_FILE = "job.json", "key"
_VERSION = 1
_KEY_BYTES = 32
# What the runner alone does, and what the pod does for it.
_HERE = frozenset({"job_dir", "pid_file", "save_pid", "keep_jobs", "log_dir", "workdir"})
_FOR_RUNNER = frozenset({"json", "quiet"})


class PodJob(NamedTuple):
    """The job of a pod.

    ``address`` is node 0's, where the agents meet on ``meet_port``; a runner is attached to it on
    ``attach_port`` of its loopback if the job is ``attached``, and then the job ends where the
    runner is not heard of for ``lease`` seconds. ``options`` are those of madagent and of the
    console that were asked for. ``workdir`` is below the container's own where it is relative;
    ``shipped`` is a folder whose content is copied to ``work`` first. Records are in ``jobs``.
    """

    spec: JobSpec
    address: str
    meet_port: int
    attach_port: int
    attached: bool
    lease: float
    workdir: str = ""
    shipped: str = ""
    work: str = ""
    jobs: str = ""
    options: dict[str, Any] = {}  # noqa: RUF012 (a named tuple's default; nobody changes it)

    @property
    def request(self) -> Request:
        """The options, as a request has them."""
        return changed(
            Request(),
            {
                key: tuple(value) if isinstance(value, list) else value
                for key, value in self.options.items()
                if key in fields()
            },
        )


def options_of(request: Request) -> dict[str, Any]:
    """What of a request counts in a pod."""
    asked = asked_for(request)
    if request.dry_run:
        asked.pop("json", None)  # it is the form of the dry run
    return {
        key: value
        for key, value in asked.items()
        if key in _FOR_RUNNER or (fields()[key].option.of == BOTH and key not in _HERE)
    }


def encode(job: PodJob) -> dict[str, bytes]:
    """The two files, with a new key."""
    content = job._asdict() | {
        "version": _VERSION,
        "spec": base64.b64encode(pack(Begin(job.spec))).decode(),
    }
    # A key is read as text by those who look at it; its bytes are what counts.
    key = base64.b64encode(os.urandom(_KEY_BYTES))
    return {JOB_FILE: json.dumps(content).encode(), KEY_FILE: key}


def decode(text: bytes) -> PodJob:
    """The job in a file; raises ClusterError for what no madrun of this version wrote."""
    try:
        content = json.loads(text)
        if content.pop("version") != _VERSION:
            raise ClusterError("the job was made by another version of madrun than the image has")
        message = unpack(base64.b64decode(content.pop("spec")))
        if not isinstance(message, Begin):
            raise ClusterError("the job's spec is none")
        return PodJob(message.spec, **content)
    except (ValueError, KeyError, TypeError, AttributeError, WireError) as error:
        raise ClusterError(f"the job cannot be read: {error}") from None


def read(folder: str) -> tuple[PodJob, SharedKey]:
    """The job and its key, as they are mounted; raises ClusterError.

    Whose files they are says nothing: the mount is the proof, and it is in no other pod.
    """
    try:
        with open(os.path.join(folder, JOB_FILE), "rb") as file:
            text = file.read()
        with open(os.path.join(folder, KEY_FILE), "rb") as file:
            key = file.read()
    except OSError as error:
        raise ClusterError(f"{folder}: {error.strerror}") from None
    return decode(text), SharedKey("pod", key)
