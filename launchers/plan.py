"""A node plan: the processes one node runs, as pure data."""

from __future__ import annotations

from typing import NamedTuple

NVIDIA, AMD, NONE = "nvidia", "amd", ""


class NodeFacts(NamedTuple):
    """What a launcher has to know of the node itself; the defaults serve a dry run.

    ``devices`` is how many devices the node shows us, ``mask`` the tokens of a visible-devices
    variable that was already there (None: no mask), in its order. ``rocr`` is the mask of AMD's
    lower layer, which stays in force: what it leaves is called 0..k-1, and HIP's mask counts that.
    ``cores`` is how many CPU cores the node may use (0: not known).
    """

    vendor: str = NONE
    devices: int = 0
    mask: tuple[str, ...] | None = None
    rocr: str | None = None
    cores: int = 0


class Probe(NamedTuple):
    """Something that answers once a process is ready.

    ``url`` is ``http://host:port/path``, answered with status 200, or ``tcp://host:port``, which
    takes a connection. ``expect`` is a text that the answer's body has to hold (empty: any).
    """

    url: str
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
    succeeded. Where there is a ``ready`` probe, it is ready when that answers. ``stop_order``
    says who is told to end first when all went well: 0 at once, n when those of n - 1 are gone.
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
    ready: Probe | None = None
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
