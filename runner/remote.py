"""The way to other machines: channel and backend. A job on this machine never loads it."""

from __future__ import annotations

import os

from madrun.backends.base import AgentStart, Backend, runs_isolated
from madrun.backends.registry import find
from madrun.hosts import world_info
from madrun.job.coordinator import Coordinator, Leaving
from madrun.job.outcome import Outcome
from madrun.runner.plan import Plan, backend_args
from madrun.system.errors import InputError
from madrun.system.loop import Loop
from madrun.system.open_files import raise_limit

# A login (or a tunnel's ends), and two connections of the channel.
_FILES_PER_HOST = 3
_OWN_FILES = 80  # the record, the channel, and what logins under way need for a moment


def run_remote(loop: Loop, job: Coordinator, plan: Plan, backend: Backend) -> Outcome:
    """Start agents through a backend and run the job to its end."""
    from madrun.wire.runner_channel import RunnerChannel

    timeout = plan.spec.limits.heartbeat
    channel = RunnerChannel(loop.post, job.receive, job.agent_lost, timeout)
    assert backend.session is not None
    session = backend.session(agent_start(plan, channel.ports, channel.public_key), job)
    try:
        session.start()
        return job.run(channel, Leaving.TOLD)
    finally:
        channel.close()
        session.close()


def check_remote(plan: Plan, backend: Backend) -> None:
    """Raises InputError for what this machine or the backend's tool cannot do."""
    allowed, needed = raise_limit(), _OWN_FILES + _FILES_PER_HOST * len(plan.hosts)
    if needed > allowed:
        raise InputError(
            f"{len(plan.hosts)} hosts need some {needed} open files here, and this machine allows"
            f" {allowed} (ulimit -Hn): raise that limit, or take at most"
            f" {max(0, allowed - _OWN_FILES) // _FILES_PER_HOST} hosts"
        )
    if backend.command is not None:
        backend.command(agent_start(plan, (0, 0), ""), [])


def agent_start(plan: Plan, ports: tuple[int, int], runner_key: str) -> AgentStart:
    """What the backend needs to know."""
    request = plan.request
    return AgentStart(
        hosts=plan.hosts,
        python=plan.spec.python,
        isolated=not request.program.interpreter and runs_isolated(os.environ),
        ports=ports,
        runner_key=runner_key,
        world_info=world_info.encode(plan.spec.world),
        patience=request.limits.launch,
        ssh=request.ssh,
        backend_args=backend_args(request, find(plan.backend)),
    )
