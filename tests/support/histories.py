"""A job's life as a history of events, for the tests of Life and of the verdict."""

from __future__ import annotations

from collections.abc import Sequence

from madrun.hosts.world import Node, World
from madrun.job.state_machine import StateMachine
from madrun.job.states import Action, JobState, Tell
from madrun.options.spec_groups import Limits, Master
from madrun.wire.jobspec import JobSpec
from madrun.wire.key_line import KeyLine
from madrun.wire.messages import (
    CheckIn,
    Exited,
    Finished,
    Hello,
    MasterTried,
    Message,
    Started,
)

KEY = "ab" * 32
VERSION = "1.0"
GRACE = 15.0


class History:
    """Events for one Life; ``now`` is the runner's clock, which each event moves on."""

    def __init__(
        self,
        nodes: int = 3,
        master_addr: str = "",
        agents_leave: bool = False,
        launcher: str = "native",
    ) -> None:
        world = World(tuple(Node(f"node{n}", (0, 1)) for n in range(nodes)))
        spec = JobSpec(
            "j", world, ("x",), launcher=launcher, limits=Limits(GRACE), master=Master(master_addr)
        )
        self.machine = StateMachine(spec, VERSION)
        self.machine.agents_leave = agents_leave
        self.now = 100.0
        self.everybody = range(nodes)

    def state(self) -> JobState:
        """Where the job stands."""
        return self.machine.state

    def hears(self, node: int, message: Message, at: float = 0.0) -> list[Action]:
        """A message of an agent."""
        self.now += 1.0
        return self.machine.heard(node, message, at or self.now, self.now)

    def key(self, node: int, version: str = VERSION) -> list[Action]:
        """A key line that the backend brought."""
        self.now += 1.0
        line = KeyLine(node, version, KEY)
        return self.machine.agent_key(node, line, (f"10.0.0.{node}", f"fd00::{node}"), self.now)

    def greeted(self, *nodes: int) -> list[Action]:
        """Key line and Hello of these nodes, of all where none is named."""
        actions = []
        for node in nodes or self.everybody:
            actions += self.key(node)
            actions += self.hears(node, Hello(node, f"node{node}", 1))
        return actions

    def able(self, *nodes: int, devices: int = 2) -> list[Action]:
        """Check-ins without a problem."""
        actions = []
        for node in nodes or self.everybody:
            port = 29500 if node == 0 else 0
            actions += self.hears(node, CheckIn(vendor="nvidia", devices=devices, port=port))
        return actions

    def tried(self, *nodes: int, address: str = "10.0.0.0") -> list[Action]:
        """The master was reached from these nodes, from all but its own where none is named."""
        actions = []
        for node in nodes or self.everybody[1:]:
            actions += self.hears(node, MasterTried(address))
        return actions

    def running(self) -> History:
        """Everything up to the start went well."""
        self.greeted()
        self.able()
        self.tried()
        for node in self.everybody:
            self.hears(node, Started((1, 2)))
        return self

    def exited(self, rank: int, status: int, at: float = 0.0, ended: bool = False) -> list[Action]:
        """The end of a worker."""
        when = at or self.now + 1.0
        return self.hears(rank // 2, Exited(rank, 1000 + rank, status, when, ended), when)

    def finished(self, *nodes: int) -> list[Action]:
        """Nothing is left on these nodes."""
        return [each for node in nodes for each in self.hears(node, Finished())]


def told(actions: Sequence[Action]) -> list[tuple[int, Message]]:
    """Who is told what."""
    return [(each.node_rank, each.message) for each in actions if isinstance(each, Tell)]


def told_kinds(actions: Sequence[Action]) -> list[tuple[int, str]]:
    """Who is told what, by the message's name."""
    return [(node, type(message).__name__) for node, message in told(actions)]
