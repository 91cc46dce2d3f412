"""What the user sees and types while the job runs in pods, and the job's record here."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

import madrun
from madrun.backends.base import WholeJob
from madrun.backends.kubernetes.verdict import Verdict
from madrun.job.job_artifacts import JobArtifacts, artifact_options
from madrun.job.outcome import Outcome, failed
from madrun.output.stdin import StdinForwarder
from madrun.output.writer import Writer
from madrun.record.event import Event, OutcomeKind
from madrun.system.guard import guard_pid
from madrun.system.loop import Loop
from madrun.wire.attachment import Frame, FrameKind

if TYPE_CHECKING:
    from madrun.backends.kubernetes.link import Link

_CLOSE_LIMIT = 3.0  # seconds for a terminal that is slow


class Terminal:
    """Writes what comes, reads stdin, and records the events of a job; from ``with`` on."""

    def __init__(self, whole: WholeJob, loop: Loop) -> None:
        self._whole, self._loop = whole, loop
        self._quiet = whole.request.console.quiet
        self._link: Link | None = None
        self._stdin: StdinForwarder | None = None
        self._taken = 0
        self._has_begun = self._has_ended = False
        self.failed_rank: int | None = None  # the worker that failed first, once it is told

    def __enter__(self) -> Terminal:
        self._writers = {
            kind: Writer(fd, lambda _reason: None)
            for kind, fd in ((FrameKind.OUT, 1), (FrameKind.ERR, 2))
        }
        whole = self._whole
        self._artifacts = JobArtifacts(
            whole.recorded, artifact_options(whole.request), whole.handover
        )
        self._kept = ExitStack()
        self._kept.enter_context(self._artifacts.kept(self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        for name, stream in (("stdout", FrameKind.OUT), ("stderr", FrameKind.ERR)):
            if lost := self._writers[stream].close(_CLOSE_LIMIT):
                fields = {"rank": None, "lines": lost, "stream": name, "reason": "not taken"}
                self._tell(Event("dropped", time.monotonic(), fields))
        self._kept.__exit__(kind, error, trace)

    def attach(self, link: Link) -> None:
        """From now on stdin goes there."""
        self._link = link
        if self._whole.spec.stdin != "none":
            self._stdin = StdinForwarder(self._loop, [0], lambda _rank, data: link.input(data))

    def frame_taker(
        self, on_over: Callable[[int], None], on_state: Callable[[str], None]
    ) -> Callable[[Frame], None]:
        """What a link is to call, on its thread; the callbacks run on the loop."""

        def take(frame: Frame) -> None:
            match frame.kind:
                case FrameKind.OUT | FrameKind.ERR:
                    written = partial(self._written, frame.number)
                    self._writers[frame.kind].put(frame.content, written)
                case FrameKind.EVENT:
                    self._loop.post(lambda: self._event(frame.content, on_state))
                case FrameKind.OVER:
                    self._loop.post(lambda: on_over(int(frame.content)))
                case FrameKind.BEAT:
                    self._loop.post(lambda: self._input_taken(frame.number))

        return take

    def show(self, line: bytes) -> None:
        """A line of the job's own, as it is; from any thread."""
        self._writers[FrameKind.OUT].put(line)

    def say(self, text: str) -> None:
        """Something that the user has to know."""
        self._writers[FrameKind.ERR].put(f"madrun: {text}\n".encode(errors="surrogateescape"))

    def note(self, text: str) -> None:
        """Something that is good to know."""
        if not self._quiet:
            self.say(text)

    def announce(self, text: str) -> None:
        """The one word that a detached job is called by, on stdout."""
        self._writers[FrameKind.OUT].put(f"{text}\n".encode())

    def conclude(self, verdict: Verdict) -> None:
        """Report, and record, what pod 0 could not."""
        if verdict.report:
            report = verdict.report + "\n"
            self._writers[FrameKind.ERR].put(report.encode(errors="surrogateescape"))
        self.end(failed(verdict.kind, verdict.cause, verdict.status, verdict.more))

    def end(self, outcome: Outcome) -> None:
        """Record the end of a job of which no end was told."""
        if self._has_ended:
            return
        now, spec = time.monotonic(), self._whole.spec
        if not self._has_begun:
            fields = {
                "job_id": spec.job_id, "madrun": madrun.__version__, "backend": "kubernetes",
                "runner_host": os.uname().nodename,
                "pids": {"guard": guard_pid(), "core": os.getpid()},
                "hosts": list(spec.world.hosts), "workers": spec.world.world_size,
            }  # fmt: skip
            self._tell(Event("begin", now, fields))
        success = not outcome.status
        fields = {
            "job_id": spec.job_id, "exit_status": outcome.status,
            "kind": (OutcomeKind.SUCCESS if success else outcome.kind).value,
            "cause": outcome.cause, "rank": None, "report": outcome.report if not success else "",
        }  # fmt: skip
        self._tell(Event("end", now, fields))

    def hold(self, held: bool) -> None:
        """Show nothing for a while: the terminal is the shell's."""
        for writer in self._writers.values():
            writer.hold(held)

    def _tell(self, event: Event) -> None:
        for listener in self._artifacts.listeners:
            listener(event)

    def _written(self, number: int) -> None:
        if self._link is not None:
            self._link.taken(number)

    def _event(self, content: bytes, on_state: Callable[[str], None]) -> None:
        said = json.loads(content)
        name, fields = said["name"], said["fields"]
        self._has_begun = self._has_begun or name == "begin"
        if name == "end":
            self._has_ended, self.failed_rank = True, fields["rank"]
        if name == "begin":
            fields["backend"] = "kubernetes"
        self._tell(Event(name, time.monotonic() - said["ago"], fields))
        if name == "state":
            on_state(fields["state"])
            if fields["state"] == "running" and self._stdin is not None:
                self._stdin.start()

    def _input_taken(self, total: int) -> None:
        if self._stdin is not None and total > self._taken:
            self._stdin.taken(0, total - self._taken)
            self._taken = total
