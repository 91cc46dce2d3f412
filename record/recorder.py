"""The record of a job, written beside it: ``job.json``, ``events.jsonl``, ``summary.json``.

A thread of its own writes, so that a disk which is slow, full or gone holds up nobody. It begins
when the workers run, or when the launch takes long: a quick start does not even share its
processor with it, and what takes time to import is imported there. A runner that is killed before
has its guard to write the record. Where nothing can be written, that is said once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, NamedTuple

from madrun.record.event import Event
from madrun.record.job_folder import PLAN, SUMMARY, JobFolder, hold
from madrun.record.retention import Retention, is_due

_CLOSE_LIMIT = 2.0  # seconds that the end of a job waits for the disk
_PRUNE_LIMIT = 0.2  # seconds that a job waits which is over before old records are removed
_QUICK = 0.2  # seconds; a launch that takes longer is written down from its beginning on
_EARLY = ("connecting", "trying", "starting")


class RecordedJob(NamedTuple):
    """A job as plain data, for its record.

    ``log_dir`` is the folder that the user named for log files; empty where they are in the record.
    ``logs`` is where they are in either case; empty where there are none.
    ``describe`` makes what ``job.json`` says; it is called on the writer's thread.
    """

    folder: str
    job_id: str
    hosts: Sequence[str]
    log_dir: str
    describe: Callable[[], dict[str, Any]]
    kept: Retention = Retention()
    launcher: str = ""
    logs: str = ""


class Recorder:
    """The job folder's writer; ``take`` never waits."""

    def __init__(self, job: RecordedJob) -> None:
        self._job = job
        self._folder = JobFolder(job.folder)
        self._queue: SimpleQueue[Event | None] = SimpleQueue()
        self._events: list[dict[str, Any]] = []
        self._begin = threading.Event()
        self._lock = -1
        self._pruning: threading.Thread | None = None
        self._thread = threading.Thread(target=self._run, name="record", daemon=True)
        self._thread.start()

    def take(self, event: Event) -> None:
        """Write an event down, soon."""
        self._queue.put(event)
        if event.name == "state" and event.fields["state"] not in _EARLY:
            self._begin.set()

    def prune(self) -> None:
        """Remove old records, on a thread of its own; a job that is over before does so if due."""
        from madrun.record.pruning import prune_beside

        self._pruning = prune_beside(self._folder.path, self._job.kept)

    def close(self) -> None:
        """Write the rest and the summary, as far as the disk is quick enough."""
        self._queue.put(None)
        self._begin.set()
        self._thread.join(_CLOSE_LIMIT)

    def _run(self) -> None:
        self._begin.wait(_QUICK)
        from madrun.record.start_times import StartTimes

        startup = StartTimes(self._job.hosts, self._append)
        try:
            self._open()
            while (event := self._queue.get()) is not None:
                self._append(event)
                startup.take(event)
            self._summarize()
            if self._pruning is None and is_due(self._folder.neighbours(), self._job.kept):
                self.prune()
            if self._pruning is not None:
                self._pruning.join(_PRUNE_LIMIT)
        except OSError as error:
            where = f"{self._folder.path}: {error.strerror}"
            _say(f"madrun: the record of this job is not complete: {where}")
        finally:
            self._folder.close()
            if self._lock >= 0:
                os.close(self._lock)

    def _open(self) -> None:
        import json

        self._folder.make()
        self._lock = hold(self._folder.path)
        self._folder.write(PLAN, json.dumps(self._job.describe(), indent=2) + "\n")
        if self._job.log_dir:
            self._folder.link_logs(self._job.log_dir)
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
