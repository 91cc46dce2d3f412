"""A node plan: the processes one node runs, as pure data."""

from __future__ import annotations

from typing import NamedTuple


class Peer(NamedTuple):
    """A node as the others reach it: its address, and the ports that it holds for this job.

    The ports are in the order of the launcher's wishes (see PortRequest).
    """

    address: str
    ports: tuple[int, ...] = ()


class PortRequest(NamedTuple):
    """A port that a launcher needs on a node: what for, and its number.

    One that was ``given`` has to be free there. Any other is only the usual one, and where it is
    taken the agent finds another.
    """

    name: str
    number: int
    given: bool = False


class Probe(NamedTuple):
    """Something that answers once a process is ready.

    ``url`` is ``http://host:port/path``, answered with status 200, or ``tcp://host:port``, which
    takes a connection. ``body`` is JSON to post (empty: a GET), ``expect`` a text that the answer
    has to hold (empty: any).
    """

    url: str
    body: str = ""
    expect: str = ""


# What the end of a process means. A worker's success counts towards the job's; a server has to
# run until it is told to end, so its end by itself is a failure whatever its status; a gate has
# to succeed before what stands after it in the plan is started; a client's success ends the job.
WORKER, SERVER, GATE, CLIENT = "worker", "server", "gate", "client"


class ProcessPlan(NamedTuple):
    """One process: what madrun adds to the node's environment, what it runs, and where.

    ``role`` is its name in messages ("worker", "torchrun", "router"), ``kind`` what its end means.
    ``rank`` is its number in the job: the global rank where there is one process per slot, else
    the place among all processes of all nodes (see ``launchers.registry.members``). ``local_rank``
    counts the processes of the node; ``device`` is the token of its own device, for messages.

    It is started once every probe of ``after`` answers and every gate before it in the plan has
    succeeded, a client once all others of its node are ready. It is ready when its ``ready``
    probes have answered, one after the other. When all went well or the user stops the job, who
    has the lowest ``stop_order`` of all nodes is told to end first, and the next ones when those
    are gone.
    """

    role: str
    rank: int
    local_rank: int
    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    device: str = ""
    kind: str = WORKER
    after: tuple[Probe, ...] = ()
    ready: tuple[Probe, ...] = ()
    stop_order: int = 0


class PlannedFile(NamedTuple):
    """A file that has to be there before the processes start; others may not read it.

    ``FILES`` in an argument or in a value of the environment stands for the private folder that
    the agent makes for these files.
    """

    name: str
    text: str


FILES = "{madrun-files}"


class NodePlan(NamedTuple):
    """The processes of one node, in the order in which they are started.

    ``announce`` is the address that is printed as READY once every process here is ready.
    """

    host: str
    node_rank: int
    processes: tuple[ProcessPlan, ...]
    files: tuple[PlannedFile, ...] = ()
    announce: str = ""
