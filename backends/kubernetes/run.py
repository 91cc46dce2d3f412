"""From a request to a job in pods: settings, permissions, the life of the job."""

from __future__ import annotations

import os
import sys

from madrun.backends.base import WholeJob
from madrun.backends.kubernetes.api import connect
from madrun.backends.kubernetes.attached import JobInPods
from madrun.backends.kubernetes.cluster_job import check_permissions
from madrun.backends.kubernetes.keys import LOG
from madrun.backends.kubernetes.request import pod_job, section_of
from madrun.job.spec import working_folder
from madrun.options.request import Request


def run_job(whole: WholeJob) -> int:
    """See madrun.backends.kubernetes.entry; raises InputError and ClusterError."""
    asked = whole.request.kubernetes
    attached = not asked.detach and section_of(whole.request).get("channel") != LOG
    job = pod_job(_with_color(whole.request), whole.spec, working_folder(), attached)
    api = connect(job.settings, os.environ)
    check_permissions(api, bool(job.files), attached)
    return JobInPods(whole, job, api).run()


def _with_color(request: Request) -> Request:
    """The pod cannot see whether we are a terminal."""
    if request.console.color != "auto":
        return request
    shown = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    color = "always" if shown else "never"
    return request._replace(console=request.console._replace(color=color))
