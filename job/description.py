"""A job as its record tells it (``job.json``)."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import madrun
from madrun.hosts.hostfile import Host
from madrun.launchers.process_table import process_table
from madrun.options.request import Request, asked_for
from madrun.wire.jobspec import JobSpec

# Said elsewhere in the record, or what may hold the values of variables.
_NOT_OPTIONS = ("additional_context",)


def describe_job(
    spec: JobSpec, request: Request, backend: str, hosts: Sequence[Host]
) -> dict[str, Any]:
    """The job as plain data. Of variables that travel, the names only: values may be secrets."""
    return {
        "v": 1,
        "job_id": spec.job_id,
        "madrun": madrun.__version__,
        "made": round(time.time(), 6),
        "runner_host": os.uname().nodename,
        "backend": backend,
        "launcher": spec.launcher,
        "argv": list(spec.argv),
        "mode": spec.mode,
        "python": spec.python,
        "workdir": spec.workdir,
        "world_size": spec.world.world_size,
        "roles": list(process_table(spec).roles),
        "world": {node.host: list(node.devices) for node in spec.world.nodes},
        "hosts": [
            {"name": each.name, "address": each.address, "user": each.user, "port": each.port}
            for each in hosts
        ],
        "exported": sorted(spec.env),
        "log_dir": spec.log_dir,
        "options": _options(request),
        "origins": dict(request.origins),
    }


def _options(request: Request) -> dict[str, Any]:
    """What the user asked for besides the defaults, without the values of variables."""
    options = {
        name: value for name, value in asked_for(request).items() if name not in _NOT_OPTIONS
    }
    if "export" in options:
        options["export"] = [text.partition("=")[0] for text in options["export"]]
    return options
