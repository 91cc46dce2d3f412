"""The way to other machines: channel and backend. A job on this machine never loads it."""

from __future__ import annotations

import os

from madrun.backends.base import Launch, runs_isolated
from madrun.backends.registry import make, tool_command
from madrun.hosts import world_info
from madrun.job.coordinator import Coordinator
from madrun.job.outcome import Outcome
from madrun.runner.plan import Plan, backend_args
from madrun.system.loop import Loop


def run_remote(loop: Loop, job: Coordinator, plan: Plan) -> Outcome:
    """Start agents through the plan's backend and run the job to its end."""
    from madrun.wire.runner_channel import RunnerChannel

    timeout = plan.spec.limits.heartbeat
    channel = RunnerChannel(
        loop.post, job.receive, lambda node_rank: job.silent(node_rank, timeout), timeout
    )
    backend = make(plan.backend, launch_of(plan, channel.ports, channel.public_key), job)
    try:
        backend.start()
        return job.run(channel, channel, lambda rank, at: channel.clock_of(rank).to_ours(at))
    finally:
        channel.close()
        backend.close()


def check_tool(plan: Plan) -> None:
    """Raises InputError for hosts and options that the backend's tool cannot do."""
    tool_command(plan.backend, launch_of(plan, (0, 0), ""), [])


def launch_of(plan: Plan, ports: tuple[int, int], runner_key: str) -> Launch:
    """What the backend needs to know."""
    request = plan.request
    return Launch(
        hosts=plan.hosts,
        python=plan.spec.python,
        isolated=not request.program.python and runs_isolated(os.environ),
        ports=ports,
        runner_key=runner_key,
        world_info=world_info.encode(plan.spec.world),
        patience=request.limits.launch,
        ssh=request.ssh,
        backend_args=backend_args(request, plan.backend),
    )
