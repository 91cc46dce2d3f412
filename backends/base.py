"""What a backend is: it starts one agent per host and says what becomes of them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from madrun.hosts.hostfile import Host
from madrun.options.request import Ssh
from madrun.system.loop import Loop

if TYPE_CHECKING:
    # Not needed, and so not loaded, to choose a backend.
    from madrun.job.coordinator import Link
    from madrun.options.request import Request
    from madrun.record.guard_handover import GuardHandover
    from madrun.record.recorder import RecordedJob
    from madrun.wire.jobspec import JobSpec
    from madrun.wire.key_line import KeyLine
    from madrun.wire.messages import Message

# The whole remote command is one argument of at most 128 KiB; larger world info travels in the
# job spec over the channel.
_WORLD_INFO_LIMIT = 64 * 1024


class AgentStart(NamedTuple):
    """What a backend starts: the hosts in rank order and the parts of the agent's command."""

    hosts: tuple[Host, ...]
    python: str
    isolated: bool
    ports: tuple[int, int]
    runner_key: str
    world_info: str
    patience: float
    ssh: Ssh = Ssh()
    backend_args: tuple[str, ...] = ()

    def command(
        self,
        node_rank: int | str,
        addresses: Sequence[str],
        ports: tuple[int, int] | None = None,
    ) -> list[str]:
        """The agent's argv: constant, short, and nothing of the user's in it.

        ``addresses`` and ``ports`` are those of the runner as seen from the host. Where one
        command serves all hosts, ``node_rank`` says how an agent finds its own: ``env:NAME``, a
        variable that has it, ``host:NAME``, the host's name in the World, or ``name:NAME``, a
        variable that has this name.
        """
        argv = [self.python, *(["-I"] if self.isolated else []), "-m", "madrun.agent"]
        argv += ["--runner", ",".join(addresses)]
        argv += ["--ports", ",".join(str(port) for port in ports or self.ports)]
        argv += ["--runner-key", self.runner_key]
        argv += ["--node-rank", str(node_rank)]
        argv += ["--patience", f"{self.patience:g}"]
        if len(self.world_info) <= _WORLD_INFO_LIMIT:
            argv += ["--world-info", self.world_info]
        return argv


class Listener(Protocol):
    """Whom a backend tells; it may call from any thread."""

    def agent_step(self, node_rank: int, step: str, at: float) -> None:
        """How far the way to a host has come, and when (seconds of the monotonic clock).

        The steps: connecting, connected, logged_in, asked (the agent was asked to start).
        """

    def agent_key(self, node_rank: int, line: KeyLine, addresses: Sequence[str]) -> None:
        """An agent printed its key line; others reach its host at ``addresses``."""

    def agent_failed(self, node_rank: int, reason: str) -> None:
        """No agent could be started on the host, for this reason."""

    def agent_gone(self, node_rank: int, reason: str) -> None:
        """The agent, or the way to it, has ended; expected only after it said Finished."""

    def tool_says(self, text: str) -> None:
        """What the user should know at once, from the one tool that a backend runs."""

    def tool_started(self, carries_signals: bool) -> None:
        """The one tool that a backend runs has started: its end will be told.

        ``carries_signals``: its users can have it signal the agents (scancel --signal).
        """

    def tool_ended(self, reason: str, at: float, well: bool) -> None:
        """The one tool that a backend runs has ended, after its agents or before; it tells
        nothing more of them. ``at`` in seconds of the monotonic clock; ``well``: with status 0."""


def tell_step(listener: Listener, node_rank: int, step: str) -> None:
    """Tell of a step that was taken just now."""
    listener.agent_step(node_rank, step, time.monotonic())


class Session(Protocol):
    """The agents of one job, as a backend holds them."""

    def start(self) -> None:
        """Start an agent on every host; returns at once."""

    def close(self) -> None:
        """Let go of the hosts; an agent that still runs sees its lease end."""


FOLDER = "{folder}"


class ToolCommand(NamedTuple):
    """How a tool is started: its words, the variables it needs, and files by name.

    In the words and in the variables, FOLDER stands for the private folder that holds the files.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = MappingProxyType({})
    files: Mapping[str, str] = MappingProxyType({})


class Situation(NamedTuple):
    """What a backend judges by: the hosts, whether the user has named any at all, and whether
    this machine is to be logged in to like any other."""

    hosts: Sequence[Host]
    named: bool
    log_in_here: bool = False


class Allocation(NamedTuple):
    """Hosts that a scheduler has given us: what its job is called, which backend starts agents
    there, and notes for the user."""

    name: str
    backend: str
    hosts: tuple[Host, ...]
    notes: tuple[str, ...] = ()


def no_allocation(environ: Mapping[str, str], nproc_per_node: int | None) -> Allocation | None:
    """For a backend that belongs to no scheduler."""
    return None


def never(situation: Situation) -> str:
    """For a backend that is used only where it is asked for, and for any hosts."""
    return ""


class WholeJob(NamedTuple):
    """A job for a backend that carries it out from the first object to the last.

    The record, the guard and the loop are those of every job: see madrun.runner.launch.
    """

    request: Request
    spec: JobSpec
    recorded: RecordedJob
    guard_fd: int
    handover: GuardHandover
    loop: Loop
    notes: tuple[str, ...] = ()


InProcess = Callable[[Loop, Callable[[int, "Message"], None], int], "Link"]


class Backend(NamedTuple):
    """One way onto the nodes.

    It has a ``session``, which starts agents that come back over the channel, or ``in_process``,
    which makes the agent of a node in the runner itself. ``takes_args``: ``--backend-args`` mean
    something to it. ``command`` is the one command that starts all agents, where there is one, for
    an agent that finds the runner at these addresses; it raises InputError for hosts and options
    that cannot be.

    ``auto`` takes the first backend inside an ``allocation`` of its scheduler, else the first that
    ``applies``, which says why; the registry has the order. ``refuses`` says why this backend
    cannot do a job; empty where it can.

    A backend may make the ``hosts`` itself, for a request and a job id; then it carries out the
    ``whole`` job, returns its exit status, and ``show`` is what ``--dry-run`` prints of it.
    ``launch_limit`` are the seconds for a launch of which nobody says how long it may take, where
    the usual ones are too few.
    """

    name: str
    session: Callable[[AgentStart, Listener], Session] | None = None
    in_process: InProcess | None = None
    aliases: tuple[str, ...] = ()
    takes_args: bool = False
    command: Callable[[AgentStart, Sequence[str]], ToolCommand] | None = None
    allocation: Callable[[Mapping[str, str], int | None], Allocation | None] = no_allocation
    applies: Callable[[Situation], str] = never
    refuses: Callable[[Situation], str] = never
    hosts: Callable[[Request, str], Allocation] | None = None
    whole: Callable[[WholeJob], int] | None = None
    show: Callable[[Request, JobSpec], str] | None = None
    launch_limit: float | None = None


def runs_isolated(environ: Mapping[str, str]) -> bool:
    """Whether ``python -I`` finds this madrun: not where it comes from PYTHONPATH or user site.

    -I keeps the user's modules out of the agent whatever PYTHONPATH a login shell sets.
    """
    import madrun

    home = os.path.dirname(os.path.dirname(os.path.abspath(madrun.__file__)))
    paths = environ.get("PYTHONPATH", "").split(os.pathsep)
    if home in [os.path.abspath(path) for path in paths if path]:
        return False
    user = os.path.join(os.path.expanduser("~"), ".local")
    return not home.startswith(user + os.sep) or sys.prefix.startswith(user)
