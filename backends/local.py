"""This machine only: the agent runs in the runner's own process: a job costs one interpreter."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from madrun.backends.base import Backend, Situation
from madrun.hosts.local_host import is_here
from madrun.system.loop import Loop

if TYPE_CHECKING:
    from madrun.job.coordinator import Link
    from madrun.wire.messages import Message


def in_process(loop: Loop, on_message: Callable[[int, Message], None], node_rank: int) -> Link:
    """The agent of a node, on the runner's loop."""
    from madrun.agent.local_link import LocalLink

    return LocalLink(loop, on_message, node_rank)


def applies(situation: Situation) -> str:
    """Where this machine is the only host."""
    if situation.log_in_here:
        return ""
    if not situation.named:
        return "no other host is named"
    alone = len(situation.hosts) == 1 and is_here(situation.hosts[0])
    return "the only host is this machine" if alone else ""


def refuses(situation: Situation) -> str:
    """Another machine among the hosts."""
    others = [host.name for host in situation.hosts if situation.named and not is_here(host)]
    return f"{others[0]} is another machine" if others else ""


BACKEND = Backend("local", in_process=in_process, applies=applies, refuses=refuses)
