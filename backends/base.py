"""What a backend is: it starts one agent per host and says what becomes of them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from madrun.hosts.hostfile import Host
from madrun.options.request import Ssh
from madrun.wire.key_line import KeyLine

# The whole remote command is one argument of at most 128 KiB; larger world info travels in the
# job spec over the channel.
_WORLD_INFO_LIMIT = 64 * 1024


@dataclass(frozen=True, slots=True)
class Launch:
    """What every backend starts: the hosts in rank order and the parts of the agent's command."""

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

    def agent_key(self, node_rank: int, line: KeyLine, addresses: Sequence[str]) -> None:
        """An agent printed its key line; others reach its host at ``addresses``."""

    def agent_failed(self, node_rank: int, reason: str) -> None:
        """No agent could be started on the host, for this reason."""

    def agent_gone(self, node_rank: int, reason: str) -> None:
        """The agent, or the way to it, has ended; expected only after it said Finished."""


def tell_step(listener: Listener, node_rank: int, step: str) -> None:
    """Tell a listener that wants to know how far the way to a host has come, and when.

    The steps: connecting, connected, logged_in, asked (the agent was asked to start).
    """
    tell = getattr(listener, "agent_step", None)
    if tell is not None:
        tell(node_rank, step, time.monotonic())


class ToolListener(Listener, Protocol):
    """Whom a backend tells that runs one tool for all hosts."""

    def tool_ended(self, reason: str, at: float) -> None:
        """The tool has ended, after its agents or before; it tells nothing more of them.

        ``at`` in seconds of the monotonic clock.
        """


class Backend(Protocol):
    """One way onto the nodes."""

    def start(self) -> None:
        """Start an agent on every host; returns at once."""

    def close(self) -> None:
        """Let go of the hosts; an agent that still runs sees its lease end."""


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
