"""Carrying out a plan: the local way in this process, or agents through a backend."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import madrun
from madrun.backends.base import Backend, WholeJob
from madrun.backends.registry import find
from madrun.job.coordinator import Assignment, Coordinator
from madrun.job.job_artifacts import JobArtifacts, artifact_options, recorded_job
from madrun.job.outcome import Outcome
from madrun.launchers.process_table import process_table
from madrun.output.console import Console
from madrun.output.progress import Progress
from madrun.record.event import Event
from madrun.record.guard_handover import GuardHandover
from madrun.record.recorder import RecordedJob
from madrun.runner.description import described
from madrun.runner.plan import Plan
from madrun.system.loop import Loop


def launch(plan: Plan, guard_fd: int, handover: GuardHandover, loop: Loop) -> int:
    """Run the job to its end; returns its exit status. The guard learns what to do after us.

    The loop stays open, and with it the signal handlers: a signal that comes after the verdict
    must not become the exit status. Who lives on closes it.
    """
    backend = find(plan.backend)
    if backend.whole is not None:
        recorded = recorded_plan(plan)
        whole = WholeJob(plan.request, plan.spec, recorded, guard_fd, handover, loop, plan.notes)
        return backend.whole(whole)
    if backend.session is not None:
        from madrun.runner.remote import check_remote

        check_remote(plan, backend)
    if plan.open:
        outcome, plan = _with_slots(plan, backend, guard_fd, handover, loop)
        if outcome.status:
            return outcome.status
    artifacts = JobArtifacts(recorded_plan(plan), artifact_options(plan.request), handover)
    job = _job(loop, plan, artifacts)
    job.event_log.begin(plan.backend)
    job.watch_guard(guard_fd)
    with artifacts.kept(job.event_log):
        return _run(loop, job, plan, backend).status


def _with_slots(
    plan: Plan, backend: Backend, guard_fd: int, handover: GuardHandover, loop: Loop
) -> tuple[Outcome, Plan]:
    """The plan with the slots that the hosts have told; where they cannot, a failed launch."""
    from madrun.runner.slots import answered, question

    events: list[Event] = []
    asking = question(plan)
    job = Coordinator(
        loop,
        Assignment(asking.spec, madrun.__version__, plan.request.ssh.connect_timeout),
        lambda on_taken: Console(asking.spec.world.hosts),
        Progress(len(plan.hosts), quiet=plan.request.console.quiet),
        [events.append],
    )
    job.event_log.begin(plan.backend)
    job.watch_guard(guard_fd)
    outcome = _run(loop, job, asking, backend)
    if not outcome.status:
        with suppress(KeyError):  # the guard has just gone, which the next job will see as well
            loop.unwatch(guard_fd)
        return outcome, answered(plan, events)
    artifacts = JobArtifacts(recorded_plan(plan), artifact_options(plan.request), handover)
    with artifacts.kept(job.event_log):
        for event in events:
            for listener in artifacts.listeners:
                listener(event)
    return outcome, plan


def recorded_plan(plan: Plan) -> RecordedJob:
    """The job as its record wants it; what takes time is done where the record is written."""
    return recorded_job(plan.spec, plan.job_dir, partial(described, plan))


def _job(loop: Loop, plan: Plan, artifacts: JobArtifacts) -> Coordinator:
    world, request, who = plan.spec.world, plan.request, process_table(plan.spec)
    hosts = [world.nodes[node_rank].host for node_rank in who.node_ranks]
    own_rank = request.place.node_rank

    def console(on_taken: Callable[[int, int], None]) -> Console:
        made = artifacts.console(hosts, who.roles, on_taken, loop)
        if request.console.verbose:
            made.say(f"madrun: backend {plan.backend}: {plan.backend_reason}")
        for note in () if request.console.quiet else plan.notes:
            made.say(f"madrun: {note}")
        if own_rank is not None:
            from madrun.job.usual_ports import UsualPorts

            artifacts.listeners.append(UsualPorts(plan.spec, own_rank, made.say).take)
        return made

    node_ranks = range(len(world.nodes)) if own_rank is None else (own_rank,)
    return Coordinator(
        loop,
        Assignment(plan.spec, madrun.__version__, request.ssh.connect_timeout, node_ranks),
        console,
        Progress(len(node_ranks), quiet=request.console.quiet),
        artifacts.listeners,
    )


def _run(loop: Loop, job: Coordinator, plan: Plan, backend: Backend) -> Outcome:
    if backend.in_process is not None:
        node_rank = plan.request.place.node_rank or 0
        return job.run(backend.in_process(loop, job.receive, node_rank))
    from madrun.runner.remote import run_remote

    return run_remote(loop, job, plan, backend)
