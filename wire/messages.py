"""What runner and agents say to each other, one frozen dataclass per message.

Up (agent to runner): Hello, CheckIn, MasterTried, Started, Exited, Output, Dropped, Interrupted,
Finished.
Down (runner to agent): Begin, TryMaster, Go, End, Signal, OutputTaken, Bye.
Both ways, on the channel's own thread: Beat.
Times named ``at`` or ``sent`` are monotonic seconds of the node that sends.
"""

from __future__ import annotations

from dataclasses import dataclass

from madrun.wire.jobspec import JobSpec

STDOUT, STDERR = 1, 2


@dataclass(frozen=True, slots=True)
class Hello:
    """The first word of an agent over the channel."""

    node_rank: int
    hostname: str
    pid: int


@dataclass(frozen=True, slots=True)
class CheckIn:
    """Able to run, or why not: ``problem`` is empty or a sentence, ``status`` its exit status.

    ``port`` is the master port that node 0 holds (0 elsewhere); ``devices`` counts what is
    visible on the node, of ``vendor`` ("nvidia", "amd" or "").
    """

    problem: str = ""
    status: int = 0
    vendor: str = ""
    devices: int = 0
    port: int = 0


@dataclass(frozen=True, slots=True)
class MasterTried:
    """The first of the tried master addresses that could be reached; empty: none, and why."""

    address: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Started:
    """The workers run; their process ids, by local rank."""

    pids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Exited:
    """A worker's end: ``status`` as Popen.returncode has it (-9 = died of signal 9).

    ``ended`` is true where the agent had told the worker to stop before it went.
    ``tail`` is the end of what it wrote, ``log`` the file that has all of it (may be empty).
    """

    rank: int
    pid: int
    status: int
    at: float
    ended: bool
    device: str = ""
    tail: bytes = b""
    log: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes that a worker wrote to stream 1 (stdout) or 2 (stderr)."""

    rank: int
    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Dropped:
    """What the console could not take of one rank: how many lines were left out."""

    rank: int
    lines: int


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The agent was told by a signal to stop: the job is to end everywhere."""

    number: int


@dataclass(frozen=True, slots=True)
class Finished:
    """Nothing of the job runs on the node any more, but for the processes named in ``left``."""

    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Begin:
    """The job spec: check whether this node can run it."""

    spec: JobSpec


@dataclass(frozen=True, slots=True)
class TryMaster:
    """Try to reach the master at these addresses, in this order."""

    addresses: tuple[str, ...]
    port: int


@dataclass(frozen=True, slots=True)
class Go:
    """Everybody is able: start the workers."""

    master_addr: str
    master_port: int


@dataclass(frozen=True, slots=True)
class End:
    """End the workers: TERM, ``grace`` seconds in all, KILL. A shorter grace may follow."""

    grace: float
    reason: str


@dataclass(frozen=True, slots=True)
class Signal:
    """Send this signal to every worker; nothing ends because of it."""

    number: int


@dataclass(frozen=True, slots=True)
class OutputTaken:
    """The console took this many bytes: as many more may be sent."""

    size: int


@dataclass(frozen=True, slots=True)
class Bye:
    """The runner has heard ``Finished``: the agent may go."""


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life; ``echo`` is the ``sent`` of the last beat heard from the other side."""

    sent: float
    echo: float


Message = (
    Hello | CheckIn | MasterTried | Started | Exited | Output | Dropped | Interrupted | Finished
    | Begin | TryMaster | Go | End | Signal | OutputTaken | Bye | Beat
)  # fmt: skip
