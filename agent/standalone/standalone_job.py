"""A job without a runner: node 0 coordinates it as a runner would, and the others join it.

By hand, without a key by which they could believe each other, nodes do not meet: each coordinates
its own part, and what happens on the others is not its business.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import madrun
from madrun.agent.local_link import LocalLink
from madrun.agent.standalone.capacity import NodeCapacity
from madrun.hosts.world import World
from madrun.job.coordinator import Assignment, Coordinator, Leaving
from madrun.job.description import describe_job
from madrun.job.job_artifacts import JobArtifacts, artifact_options, recorded_job
from madrun.job.spec import checked, job_spec, with_folder, working_folder
from madrun.launchers.process_table import process_table
from madrun.options.request import Request
from madrun.output.console import Console
from madrun.output.progress import Progress
from madrun.record.event import Listener
from madrun.record.guard_handover import GuardHandover
from madrun.record.job_folder import jobs_folder
from madrun.record.recorder import RecordedJob
from madrun.system.exits import FAILED
from madrun.system.loop import Loop
from madrun.wire.jobspec import JobSpec
from madrun.wire.key_line import KeyLine
from madrun.wire.messages import Message

if TYPE_CHECKING:
    # Not needed, and so not loaded, where a node is alone.
    from madrun.agent.standalone.keys import KeySource
    from madrun.agent.standalone.rendezvous import Host, Meeting
    from madrun.agent.standalone.srun_watch import SrunWatch
    from madrun.wire.runner_channel import RunnerChannel

_LOOKS_PER_TIMEOUT = 5
_NAME = "madagent"  # in the record, where a backend's name would stand


class Setting(NamedTuple):
    """What a node needs to coordinate a job, besides the job spec.

    ``on_silence`` is called at the end where a node fell silent: it may still run. ``srun`` is
    watched where one has started us. ``listeners`` are told of the job's events.
    """

    request: Request
    guard_fd: int
    handover: GuardHandover
    on_silence: Callable[[], None] = lambda: None
    srun: SrunWatch | None = None
    listeners: Sequence[Listener] = ()


def spec_of_request(request: Request, world: World, job_id: str) -> JobSpec:
    """The job spec of this World, with logs in the job's own folder; raises InputError."""
    spec = job_spec(request, world, job_id, working_folder(), sys.executable)
    return checked(with_folder(spec, request, _job_dir(request), os.environ))


def _job_dir(request: Request) -> str:
    return jobs_folder(request.record.job_dir, os.environ, working_folder())


def run_here(spec: JobSpec, node_rank: int, setting: Setting) -> int:
    """Run one node of a job, and let nobody else in; returns the exit status."""
    return _Coordinated(Loop(), spec, setting, (node_rank,)).run()


def meet_and_run(
    meeting: Meeting,
    keys: KeySource,
    capacity: NodeCapacity,
    spec_of: Callable[[Mapping[int, NodeCapacity]], JobSpec],
    setting: Setting,
) -> int:
    """Run this node of a job whose agents meet; returns the job's exit status, on all nodes.

    On node 0 ``spec_of`` makes the job spec, from what the nodes bring that have come. Raises
    MadrunError.
    """
    if meeting.node_rank:
        return _follow(meeting, keys, capacity, setting.guard_fd)
    from madrun.agent.standalone.rendezvous import Host

    loop = Loop()
    with keys.on_node_zero() as credential, _until_coordinated(loop, setting.guard_fd):
        host = Host(loop, meeting, credential)
        host.gather()
    others = {node_rank: guest.capacity for node_rank, guest in host.guests.items()}
    with host.refusing_on_error():
        spec = spec_of({0: capacity, **others})
    nodes = range(len(meeting.hosts))
    return _Coordinated(loop, spec, setting, nodes, host).run()


def _follow(meeting: Meeting, keys: KeySource, capacity: NodeCapacity, guard_fd: int) -> int:
    """Every other node: come to node 0, do what it says, end with its exit status."""
    from madrun.agent.joined_agent import JoinedAgent, watch_end
    from madrun.agent.standalone.rendezvous import RefusedError, come

    loop = Loop()
    agent = JoinedAgent(loop, meeting.node_rank, meeting.limit, stays=True)
    try:
        with _until_coordinated(loop, guard_fd):
            key = agent.channel.public_key
            found = come(loop, meeting, keys.named, key, capacity)
    except RefusedError as refused:
        return refused.status  # node 0 says why
    watch_end(loop, guard_fd, agent.guard_killed)
    watch_end(loop, found.line.fileno(), lambda: agent.lost(f"{meeting.hosts[0]} hung up"))
    status = agent.run([found.address], found.ports, found.key)
    for problem in agent.problems[:1]:
        sys.stderr.write(f"madagent: {meeting.hosts[meeting.node_rank]}: {problem}\n")
    return status


@contextlib.contextmanager
def _until_coordinated(loop: Loop, guard_fd: int) -> Iterator[None]:
    """Nothing was started yet: without our guard there is nothing to end but ourselves."""
    loop.watch(guard_fd, lambda: os._exit(FAILED))
    try:
        yield
    finally:
        loop.unwatch(guard_fd)


class _Coordinated:
    """A job that this process coordinates, with its own agent and those that have come."""

    def __init__(
        self,
        loop: Loop,
        spec: JobSpec,
        setting: Setting,
        node_ranks: Sequence[int],
        host: Host | None = None,
    ) -> None:
        self._loop, self._spec, self._setting, self._host = loop, spec, setting, host
        self._node_rank = node_ranks[0]
        self._somebody_is_silent = False
        self._artifacts = JobArtifacts(
            self._recorded(), artifact_options(setting.request), setting.handover
        )
        self._artifacts.listeners += setting.listeners
        self._coordinator = Coordinator(
            loop,
            Assignment(spec, madrun.__version__, setting.request.ssh.connect_timeout, node_ranks),
            self._console,
            Progress(len(node_ranks)),
            self._artifacts.listeners,
        )

    def run(self) -> int:
        """Until the job is over; returns its exit status."""
        coordinator, setting = self._coordinator, self._setting
        coordinator.event_log.begin(_NAME)
        coordinator.watch_guard(setting.guard_fd)
        if setting.srun is not None:
            interval = self._spec.limits.heartbeat / _LOOKS_PER_TIMEOUT
            setting.srun.begin(self._loop, interval, self._srun_gone)
        own = LocalLink(self._loop, coordinator.receive, self._node_rank, self._own_gone)
        with self._artifacts.kept(coordinator.event_log), self._channel() as channel:
            link = _NodesLink(self._node_rank, own, channel)
            status = coordinator.run(link, Leaving.TOGETHER).status
        if self._somebody_is_silent:
            setting.on_silence()
        return status

    @contextlib.contextmanager
    def _channel(self) -> Iterator[RunnerChannel | None]:
        """The way to the other nodes, where they have come."""
        if self._host is None:
            yield None
            return
        from madrun.wire.runner_channel import RunnerChannel

        timeout = self._spec.limits.heartbeat
        channel = RunnerChannel(self._loop.post, self._coordinator.receive, self._lost, timeout)
        try:
            self._let_in(self._host, channel)
            yield channel
        finally:
            channel.close()
            self._host.close()

    def _let_in(self, host: Host, channel: RunnerChannel) -> None:
        coordinator = self._coordinator
        host.welcome(
            channel.public_key,
            channel.ports,
            lambda node_rank: coordinator.agent_gone(node_rank, "its agent ended"),
        )
        ours = dict.fromkeys(guest.ours for guest in host.guests.values())
        coordinator.agent_key(0, KeyLine(0, madrun.__version__, ""), tuple(ours))
        for node_rank, guest in host.guests.items():
            coordinator.agent_key(node_rank, guest.line, (guest.address,))
        for node_rank, reason in host.missing.items():
            coordinator.agent_failed(node_rank, reason)

    def _srun_gone(self) -> None:
        self._coordinator.tool_ended("srun was killed", time.monotonic(), well=False)

    def _own_gone(self) -> None:
        self._coordinator.agent_gone(self._node_rank, "it has ended")

    def _lost(self, node_rank: int, reason: str, at: float) -> None:
        self._somebody_is_silent = True
        self._coordinator.agent_lost(node_rank, reason, at)

    def _recorded(self) -> RecordedJob:
        spec, request = self._spec, self._setting.request
        describe = partial(describe_job, spec, request, _NAME, ())
        return recorded_job(spec, _job_dir(request), describe)

    def _console(self, on_taken: Callable[[int, int], None]) -> Console:
        who = process_table(self._spec)
        hosts = [self._spec.world.nodes[node_rank].host for node_rank in who.node_ranks]
        made = self._artifacts.console(hosts, who.roles, on_taken, self._loop)
        if self._host is None and len(self._spec.world.nodes) > 1:
            from madrun.job.usual_ports import UsualPorts

            usual = UsualPorts(self._spec, self._node_rank, made.say)
            self._artifacts.listeners.append(usual.take)
        return made


class _NodesLink:
    """The way to our own agent, and through the channel to all others."""

    def __init__(self, own_rank: int, own: LocalLink, channel: RunnerChannel | None) -> None:
        self._own_rank, self._own, self._channel = own_rank, own, channel

    def send(self, node_rank: int, message: Message) -> None:
        """See madrun.job.coordinator.Link."""
        self._to(node_rank).send(node_rank, message)

    def admit(self, node_rank: int, key: str) -> None:
        """See madrun.job.coordinator.Link."""
        self._to(node_rank).admit(node_rank, key)

    def to_ours(self, node_rank: int, at: float) -> float:
        """See madrun.job.coordinator.Link."""
        return self._to(node_rank).to_ours(node_rank, at)

    def clock_error(self, node_rank: int) -> float:
        """See madrun.job.coordinator.Link."""
        return self._to(node_rank).clock_error(node_rank)

    def _to(self, node_rank: int) -> LocalLink | RunnerChannel:
        if self._channel is None or node_rank == self._own_rank:
            return self._own
        return self._channel
