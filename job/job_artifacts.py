"""What is kept of a job while it runs: its record, its pid files, and who listens to its events."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from madrun.job.outcome import Outcome, failed
from madrun.options.request import Request
from madrun.output.console import Console
from madrun.output.job_lines import JobLines, are_wanted
from madrun.output.log_troubles import LogTroubles
from madrun.output.look import Look
from madrun.record.event import Listener, OutcomeKind
from madrun.record.guard_handover import GuardHandover
from madrun.record.job_folder import PID, JobFolder
from madrun.record.recorder import RecordedJob, Recorder
from madrun.record.retention import retention
from madrun.system.errors import InputError, MadrunError
from madrun.system.guard import guard_pid
from madrun.system.loop import Loop
from madrun.wire.jobspec import JobSpec

if TYPE_CHECKING:
    from madrun.system.pid_file import PidFile


_QUIET = 0.5  # seconds after the start: then nobody waits for us, and short jobs are over


class EndTaker(Protocol):
    """What is told of the job's end."""

    def end(self, outcome: Outcome) -> None:
        """The job is over, for this reason."""


class ArtifactOptions(NamedTuple):
    """How the console looks, and which pid files are wanted (``pid_file`` is a full path)."""

    as_json: bool = False
    look: Look = Look()
    fold: bool = False
    verbose: bool = False
    quiet: bool = False
    pid_file: str = ""
    save_pid: bool = False


def artifact_options(request: Request) -> ArtifactOptions:
    """What a request says of them."""
    console, record = request.console, request.record
    return ArtifactOptions(
        as_json=console.json,
        look=Look(not console.no_prefix, console.color),
        fold=console.fold,
        verbose=console.verbose,
        quiet=console.quiet or console.json,
        pid_file=os.path.abspath(record.pid_file) if record.pid_file else "",
        save_pid=record.save_pid,
    )


def recorded_job(
    spec: JobSpec, job_dir: str, describe: Callable[[], dict[str, Any]]
) -> RecordedJob:
    """The job as its record wants it; its folder is made in ``job_dir``."""
    return RecordedJob(
        folder=os.path.join(job_dir, spec.job_id),
        job_id=spec.job_id,
        hosts=spec.world.hosts,
        log_dir="" if spec.log_dir_optional else spec.log_dir,
        kept=retention(spec.keep_jobs),
        launcher=spec.launcher,
        logs=spec.log_dir,
        describe=describe,
    )


class JobArtifacts:
    """Begins with the job and is closed with it. Raises InputError for a pid file not to be had.

    The guard knows from the first moment on where the record is: see madrun.record.guard_handover.
    """

    def __init__(self, job: RecordedJob, options: ArtifactOptions, handover: GuardHandover) -> None:
        self._job, self._options, self._handover = job, options, handover
        self._pid_files: list[PidFile] = []
        try:
            self._write_pid_files(job.folder)
        except InputError:
            self._remove_pid_files()
            raise
        handover.register(folder=job.folder, job_id=job.job_id, core=str(os.getpid()))
        self._record = Recorder(job)
        self.listeners: list[Listener] = [self._record.take]

    def console(
        self,
        hosts: list[str],
        roles: Sequence[str],
        on_taken: Callable[[int, int], None],
        loop: Loop,
    ) -> Console:
        """The console that the options ask for; the job's events begin with it."""
        loop.call_later(_QUIET, self._record.prune)
        if self._options.as_json:
            from madrun.output.json_console import JsonConsole

            json_console = JsonConsole(hosts, on_taken, roles)
            self.listeners.insert(0, json_console.take)
            made: Console = json_console
            self._report_start(json_console.take, made)
        else:
            made = self._text_console(hosts, roles, on_taken, loop)
            if self._options.verbose:
                self._report_start(lambda event: None, made)
        self.listeners.append(LogTroubles(made.say).take)
        if are_wanted(self._options.verbose, self._options.quiet):
            lines = JobLines(self._job.launcher, self._job.logs, made.say, made.say_last)
            self.listeners.append(lines.take)
        return made

    def _text_console(
        self,
        hosts: list[str],
        roles: Sequence[str],
        on_taken: Callable[[int, int], None],
        loop: Loop,
    ) -> Console:
        look = self._options.look
        if not self._options.fold:
            return Console(hosts, look, on_taken, roles)
        from madrun.output.coalescing_console import CoalescingConsole

        return CoalescingConsole(hosts, look, on_taken, loop, roles)

    @contextlib.contextmanager
    def kept(self, event_log: EndTaker) -> Iterator[None]:
        """While the job runs; an error on the way is the last thing that the record says."""
        try:
            yield
        except BaseException as error:
            if isinstance(error, MadrunError):
                event_log.end(failed(OutcomeKind.LAUNCH, str(error), error.exit_status))
            else:  # a bug: the traceback is on its way to stderr
                event_log.end(failed(OutcomeKind.CORE, repr(error)))
            raise
        finally:
            self._close()

    def _close(self) -> None:
        """The job is over: the rest of the record, and no pid file any more."""
        self._record.close()
        self._remove_pid_files()
        self._handover.done()

    def _report_start(self, tell: Listener, console: Console) -> None:
        from madrun.record.start_times import StartTimes

        show = console.say if self._options.verbose else lambda text: None
        self.listeners.append(StartTimes(self._job.hosts, tell, show).take)

    def _write_pid_files(self, folder: str) -> None:
        paths = [self._options.pid_file] if self._options.pid_file else []
        if self._options.save_pid:
            try:
                JobFolder(folder).make()
            except OSError as error:
                raise InputError(f"--save-pid: {folder}: {error.strerror}") from None
            paths.append(os.path.join(folder, PID))
        for path in paths:
            from madrun.system.pid_file import PidFile

            # The guard: the process that the user's shell knows.
            self._pid_files.append(PidFile(path, guard_pid()))
            self._handover.register(pid_file=path)

    def _remove_pid_files(self) -> None:
        for pid_file in self._pid_files:
            pid_file.remove()
