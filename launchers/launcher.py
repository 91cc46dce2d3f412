"""What a launcher is: one ``LAUNCHER`` in one file, found by its name (see ``registry``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from madrun.hosts.devices import NodeFacts
from madrun.hosts.world import Node
from madrun.launchers.plan import NodePlan, Peer, PortRequest
from madrun.wire.jobspec import PYTHON, JobSpec

if TYPE_CHECKING:
    from madrun.options.option_types import Kind


class NodeContext(NamedTuple):
    """What the plan of a node follows from; the defaults are for a node that was not asked yet.

    ``master_addr`` is empty and ``master_port`` 0 until they are chosen. ``peers`` are all nodes
    of the job, in rank order, once they are known: only a launcher that serves needs them.
    """

    spec: JobSpec
    node_rank: int = 0
    master_addr: str = ""
    master_port: int = 0
    facts: NodeFacts = NodeFacts()
    peers: tuple[Peer, ...] = ()

    @property
    def node(self) -> Node:
        """This node's place in the World."""
        return self.spec.world.nodes[self.node_rank]


class LauncherKind(Enum):
    """What a launcher starts: a worker for each slot, one process on each node that starts the
    workers there, or servers, whose nodes have to know each other's addresses and ports."""

    PER_WORKER = "per-worker"
    PER_NODE = "per-node"
    SERVING = "serving"


class Program(NamedTuple):
    """What runs where the user named no program; ``option`` is the option that was used up."""

    argv: tuple[str, ...]
    mode: str = PYTHON
    option: str = ""


def no_ports(spec: JobSpec, node_rank: int) -> tuple[PortRequest, ...]:
    """For a launcher that needs no port besides the master port."""
    return ()


def no_program(options: Mapping[str, str]) -> Program | None:
    """For a launcher that runs what the user names, and nothing else."""
    return None


class Launcher(NamedTuple):
    """A launcher: what it is called, and what it does, as pure functions.

    ``plan`` computes one node's plan and raises InputError for a job that the launcher cannot
    carry out. It must give every node of a PER_NODE launcher the same role, whatever the context.
    ``options`` are the launcher's own, each with the function that checks its value; they come
    from ``--launcher-opt`` and from the config's section ``distributed.NAME``. ``ports`` says
    which ports a node holds for the job. ``default_program`` is asked, with the options, where
    the user named no program. ``beside_program`` are options that take the name of a file, where
    it lies in the program's folder and the option is not given. ``passes_local_rank``: its workers
    get ``--local_rank=N``. One that is not ``listed`` is found by name, and never suggested.
    """

    name: str
    plan: Callable[[NodeContext], NodePlan]
    kind: LauncherKind = LauncherKind.PER_NODE
    options: Mapping[str, Kind] = MappingProxyType({})
    aliases: tuple[str, ...] = ()
    ports: Callable[[JobSpec, int], tuple[PortRequest, ...]] = no_ports
    default_program: Callable[[Mapping[str, str]], Program | None] = no_program
    beside_program: Mapping[str, str] = MappingProxyType({})
    passes_local_rank: bool = False
    listed: bool = True

    @property
    def serves(self) -> bool:
        """Whether it starts servers."""
        return self.kind is LauncherKind.SERVING
