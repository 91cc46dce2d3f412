"""Carrying out a plan: the local way in this process, or agents through a backend."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import madrun
from madrun.backends.base import Launch, SshOptions, runs_isolated
from madrun.backends.registry import LOCAL
from madrun.runner.job import Job, Limits
from madrun.runner.plan import Plan
from madrun.runner.progress import Progress
from madrun.runner.verdict import Verdict
from madrun.wire import world_info
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
    from madrun.backends.registry import make
    from madrun.wire.runner_channel import RunnerChannel

    timeout = plan.spec.heartbeat_timeout
    channel = RunnerChannel(
        loop.post, job.receive, lambda node_rank: job.silent(node_rank, timeout), timeout
    )
    backend = make(plan.backend, launch_of(plan, channel.ports, channel.public_key), job)
    backend.start()
    try:
        return job.run(channel, channel, lambda rank, at: channel.clock_of(rank).to_ours(at))
    finally:
        channel.close()
        backend.close()


def launch_of(plan: Plan, ports: tuple[int, int], runner_key: str) -> Launch:
    """What the backend needs to know."""
    request = plan.request
    return Launch(
        hosts=plan.resources.hosts,
        python=plan.spec.python,
        isolated=not request.remote_python and runs_isolated(os.environ),
        ports=ports,
        runner_key=runner_key,
        world_info=world_info.encode(plan.spec.world),
        patience=request.launch_timeout,
        ssh=SshOptions(
            user=request.ssh_user,
            port=request.ssh_port,
            key=request.ssh_key,
            accept_new=request.ssh_accept_new,
            connect_timeout=request.connect_timeout,
            fan_out=request.fan_out,
        ),
    )
