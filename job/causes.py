"""What would have ended a job by itself: who told of it, and when; workers' failures apart.

A signal that an agent was sent needs care. Whoever sent it meant the job to end; but a tool that is
killed, or that has lost one of its agents, signals the others as well, before its own end is seen.
So the cause is a lost host, or the tool, where there is one of them; else it is the signal. Some
tools (Slurm's) also signal agents because somebody asked them to, and then end well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from madrun.job.states import Problem
from madrun.output.failure_report import WorkerEnd

NEVER = float("inf")


class ToolEnd(NamedTuple):
    """The tool that had started all agents ended before they had, or badly."""

    reason: str
    at: float


class Interruption(NamedTuple):
    """An agent was told by a signal to stop."""

    number: int
    at: float
    by_parent: bool = False


class Causes:
    """Times are monotonic seconds of the runner's clock."""

    def __init__(self) -> None:
        self.losses: list[Problem] = []
        self.tool_runs = False  # one tool has started all agents, and its end will be told
        self.tool_carries = False  # it signals them for others
        self.tool_end: ToolEnd | None = None
        self.interruptions: dict[int, Interruption] = {}  # the first of each node
        self.stopped_by, self.stopped_at = 0, NEVER  # a signal that reached ourselves
        self.stopped_in_launch = False  # before it was known whether the hosts can run it
        self.own_guard_gone = False  # and it was no signal that somebody sent
        self.concluded_at = NEVER  # when the client of a server has succeeded

    @property
    def await_tool(self) -> bool:
        """True where only the tool's end will say whose wish a signal to an agent was."""
        return self.tool_runs and bool(self.interruptions) and not self.stopped_by

    @property
    def first_signal(self) -> int:
        """The first signal that asked the job to end, here or at an agent; 0: none."""
        told = [(each.at, each.number) for each in self.interruptions.values()]
        return min([(self.stopped_at, self.stopped_by), *told])[1]

    def known(self, ends: Sequence[WorkerEnd]) -> bool:
        """Whether anything is known to have ended the job; that workers were ended is nothing."""
        own = self.losses or self.tool_end or self.interruptions or self.stopped_by
        failed = any(end.exited.status and not end.exited.ended for end in ends)
        return bool(own) or failed or self.concluded_at < NEVER

    @property
    def interrupted_at(self) -> float:
        """When the first agent was sent a signal."""
        return min((each.at for each in self.interruptions.values()), default=NEVER)

    def lost(self, node_rank: int, reason: str, status: int, at: float) -> None:
        """A node is lost, for whatever reason."""
        if self.tool_end is not None:  # before which it may have been heard last
            at = max(at, math.nextafter(self.tool_end.at, NEVER))
        elif self.tool_runs and node_rank not in self.interruptions:
            # What the others were sent came of it.
            at = min(at, self.interrupted_at)
        self.losses.append(Problem(node_rank, reason, status, at))

    def tool_ended(self, reason: str, at: float, well: bool, cut_off: bool) -> bool:
        """True where that is a cause: agents were ``cut_off``, or it had signalled them before."""
        took_along = any(loss.at >= at for loss in self.losses)
        own = not self.tool_carries and any(each.by_parent for each in self.interruptions.values())
        signalled = bool(self.interruptions) and (own or not well)
        if self.tool_end is not None or not (cut_off or took_along or signalled):
            return False
        self.tool_end = ToolEnd(reason, min(at, self.interrupted_at))
        return True
