"""Carrying out a plan: the local way in this process, or agents through a backend."""

from __future__ import annotations

import os
from collections.abc import Callable

import madrun
from madrun.backends.base import Backend
from madrun.backends.registry import find
from madrun.job.coordinator import Coordinator
from madrun.job.job_artifacts import ArtifactOptions, JobArtifacts
from madrun.job.outcome import Outcome, failed
from madrun.launchers.process_table import process_table
from madrun.options.request import Request
from madrun.output.console import Console
from madrun.output.look import Look
from madrun.output.progress import Progress
from madrun.record.event import OutcomeKind
from madrun.record.guard_handover import GuardHandover
from madrun.record.recorder import RecordedJob
from madrun.record.retention import retention
from madrun.runner.description import described
from madrun.runner.plan import Plan
from madrun.system.errors import MadrunError
from madrun.system.loop import Loop


def launch(plan: Plan, guard_fd: int, handover: GuardHandover, loop: Loop) -> int:
    """Run the job to its end; returns its exit status. The guard learns what to do after us.

    The loop stays open, and with it the signal handlers: a signal that comes after the verdict
    must not become the exit status. Who lives on closes it.
    """
    request = plan.request
    if request.place.node_rank is not None:
        from madrun.agent.standalone.standalone_job import StandaloneJob

        shown = not request.console.no_prefix, request.console.fold
        return StandaloneJob(plan.spec, request.place.node_rank, guard_fd, *shown).run()
    backend = find(plan.backend)
    if backend.command is not None:
        from madrun.runner.remote import agent_start

        backend.command(agent_start(plan, (0, 0), ""), [])  # raises what the tool cannot do
    artifacts = JobArtifacts(recorded_job(plan), _artifact_options(plan.request), handover)
    job = _job(loop, plan, artifacts)
    job.event_log.begin(plan.backend)

    def guard_gone() -> None:
        loop.unwatch(guard_fd)
        job.guard_gone()

    loop.watch(guard_fd, guard_gone)
    try:
        return _run(loop, job, plan, backend).status
    except BaseException as error:
        if isinstance(error, MadrunError):
            job.event_log.end(failed(OutcomeKind.LAUNCH, str(error), error.exit_status))
        else:  # a bug: the traceback is on its way to stderr
            job.event_log.end(failed(OutcomeKind.CORE, repr(error)))
        raise
    finally:
        artifacts.close()


def recorded_job(plan: Plan) -> RecordedJob:
    """The job as its record wants it; what takes time is done where the record is written."""
    spec = plan.spec
    return RecordedJob(
        folder=os.path.join(plan.job_dir, spec.job_id),
        job_id=spec.job_id,
        hosts=spec.world.hosts,
        log_dir="" if spec.log_dir_optional else spec.log_dir,
        kept=retention(spec.keep_jobs),
        launcher=spec.launcher,
        logs=spec.log_dir,
        describe=lambda: described(plan),
    )


def _artifact_options(request: Request) -> ArtifactOptions:
    console, record = request.console, request.record
    return ArtifactOptions(
        as_json=console.json,
        look=Look(not console.no_prefix, console.color),
        fold=console.fold,
        verbose=console.verbose,
        pid_file=os.path.abspath(record.pid_file) if record.pid_file else "",
        save_pid=record.save_pid,
    )


def _job(loop: Loop, plan: Plan, artifacts: JobArtifacts) -> Coordinator:
    world, request, who = plan.spec.world, plan.request, process_table(plan.spec)
    hosts = [world.nodes[node_rank].host for node_rank in who.node_ranks]

    def console(on_taken: Callable[[int, int], None]) -> Console:
        made = artifacts.console(hosts, who.roles, on_taken, loop)
        if request.console.verbose:
            made.say(f"madrun: backend {plan.backend}: {plan.backend_reason}")
        for note in plan.notes:
            made.say(f"madrun: {note}")
        return made

    connect = request.ssh.connect_timeout
    progress = Progress(len(world.nodes))
    version, listeners = madrun.__version__, artifacts.listeners
    return Coordinator(loop, plan.spec, version, console, connect, progress, listeners)


def _run(loop: Loop, job: Coordinator, plan: Plan, backend: Backend) -> Outcome:
    if backend.in_process is not None:
        return job.run(backend.in_process(loop, job.receive, 0))
    from madrun.runner.remote import run_remote

    return run_remote(loop, job, plan, backend)
