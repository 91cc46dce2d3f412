"""Carrying out a plan: the local way in this process, or agents through a backend."""

from __future__ import annotations

import signal
from collections.abc import Callable

import madrun
from madrun.backends.registry import LOCAL
from madrun.runner.job import Job, Limits
from madrun.runner.plan import Plan
from madrun.runner.progress import Progress
from madrun.runner.verdict import Verdict
from madrun.wire.console import Console
from madrun.wire.loop import Loop


def launch(plan: Plan, guard_fd: int) -> int:
    """Run the job to its end; returns its exit status."""
    loop = Loop()
    job = _job(loop, plan)

    # Our guard was killed: that is how a SIGKILL of what the user started looks from here.
    def guard_gone() -> None:
        loop.unwatch(guard_fd)
        job.stop(signal.SIGTERM)

    loop.watch(guard_fd, guard_gone)
    verdict = _run_local(loop, job, plan) if plan.backend == LOCAL else _run_remote(loop, job, plan)
    return verdict.status


def _job(loop: Loop, plan: Plan) -> Job:
    world, request = plan.spec.world, plan.request
    names = [node.host for node in world.nodes for _ in node.devices]

    def console(on_taken: Callable[[int, int], None]) -> Console:
        made = Console(names, prefix=not request.no_prefix, on_taken=on_taken)
        if plan.resources.cpu_only:
            workers = "one worker" if world.world_size == 1 else f"{world.world_size} workers"
            made.say(f"madrun: no GPU was found on this machine: {workers} on the CPU")
        return made

    limits = Limits(request.launch_timeout, request.connect_timeout)
    return Job(loop, plan.spec, madrun.__version__, console, limits, Progress(len(world.nodes)))


def _run_local(loop: Loop, job: Job, plan: Plan) -> Verdict:
    from madrun.backends.local import LocalLink

    return job.run(LocalLink(loop, job.receive))


def _run_remote(loop: Loop, job: Job, plan: Plan) -> Verdict:
    from madrun.runner.remote import run_remote

    return run_remote(loop, job, plan)
