"""The record of a job, written beside it: ``job.json``, ``events.jsonl``, ``summary.json``.

A thread of its own writes, so that a disk which is slow, full or gone holds up nobody. It begins
when the workers run, or when the launch takes long: a quick start does not even share its
processor with it, and what takes time to import is imported there. A runner that is killed before
has its guard to write the record. Where nothing can be written, that is said once.
"""

from __future__ import annotations

import os
import threading
import time
from queue import SimpleQueue
from typing import Any

import madrun
from madrun.launchers.process_table import process_table
from madrun.record.event import Event
from madrun.record.job_folder import PLAN, SUMMARY, JobFolder
from madrun.runner.plan import Plan, Request

_CLOSE_LIMIT = 2.0  # seconds that the end of a job waits for the disk
_QUICK = 0.2  # seconds; a launch that takes longer is written down from its beginning on
# Said elsewhere in the record, or what may hold the values of variables.
_NOT_OPTIONS = ("argv", "origins", "env", "additional_context")
_EARLY = ("connecting", "trying", "starting")


class Record:
    """The job folder's writer; ``take`` never waits."""

    def __init__(self, plan: Plan, path: str) -> None:
        self._plan = plan
        self._folder = JobFolder(path)
        self._queue: SimpleQueue[Event | None] = SimpleQueue()
        self._events: list[dict[str, Any]] = []
        self._begin = threading.Event()
        self._thread = threading.Thread(target=self._run, name="record", daemon=True)
        self._thread.start()

    def take(self, event: Event) -> None:
        """Write an event down, soon."""
        self._queue.put(event)
        if event.name == "state" and event.fields["state"] not in _EARLY:
            self._begin.set()

    def close(self) -> None:
        """Write the rest and the summary, as far as the disk is quick enough."""
        self._queue.put(None)
        self._begin.set()
        self._thread.join(_CLOSE_LIMIT)

    def _run(self) -> None:
        self._begin.wait(_QUICK)
        from madrun.record.start_times import StartTimes

        startup = StartTimes(self._plan.spec.world.hosts, self._append)
        try:
            self._open()
            while (event := self._queue.get()) is not None:
                self._append(event)
                startup.take(event)
            self._summarize()
        except OSError as error:
            where = f"{self._folder.path}: {error.strerror}"
            _say(f"madrun: the record of this job is not complete: {where}")
        finally:
            self._folder.close()

    def _open(self) -> None:
        import json

        self._folder.make()
        self._folder.write(PLAN, json.dumps(described(self._plan), indent=2) + "\n")
        if self._plan.spec.log_dir and not self._plan.spec.log_dir_optional:
            self._folder.link_logs(self._plan.spec.log_dir)
        try:
            self._folder.point_latest()
        except OSError:
            return  # a convenience, and another job may be doing the same

    def _append(self, event: Event) -> None:
        import json

        from madrun.record.summary import make_event

        fields = make_event(event.name, event.at, event.fields)
        self._folder.append(json.dumps(fields))
        self._events.append(fields)

    def _summarize(self) -> None:
        import json

        from madrun.record.summary import summarize

        summary = summarize(self._events, "core")
        self._folder.write(SUMMARY, json.dumps(summary, indent=2) + "\n")


def _say(text: str) -> None:
    try:
        os.write(2, text.encode(errors="surrogateescape") + b"\n")
    except OSError:
        return  # nobody is left to read it


def described(plan: Plan) -> dict[str, Any]:
    """The plan as plain data. Of variables that travel, the names only: values may be secrets."""
    spec = plan.spec
    return {
        "v": 1,
        "job_id": spec.job_id,
        "madrun": madrun.__version__,
        "made": round(time.time(), 6),
        "runner_host": os.uname().nodename,
        "backend": plan.backend,
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
            for each in plan.resources.hosts
        ],
        "exported": sorted(spec.env),
        "log_dir": spec.log_dir,
        "options": _options(plan.request),
        "origins": dict(plan.request.origins),
    }


def _options(request: Request) -> dict[str, Any]:
    """What the user asked for besides the defaults, without the values of variables."""
    defaults = Request(argv=())
    options = {
        name: value
        for name, value in request._asdict().items()
        if name not in _NOT_OPTIONS and value != getattr(defaults, name)
    }
    for name in ("options", "slurm"):
        if name in options:
            options[name] = dict(options[name])
    if request.exports:
        options["exports"] = [text.partition("=")[0] for text in request.exports]
    return options
