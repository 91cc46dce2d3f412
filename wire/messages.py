"""What runner and agents say to each other, one named tuple per message.

Named tuples, because every start of madrun pays for them: a frozen dataclass takes seven times as
long to make (0.8 ms each). Other than tuples, they equal only messages of their own type.

Up (agent to runner): Hello, CheckIn, MasterTried, Started, StartedLater, Serving, Exited,
Concluded, Drained, Output, Dropped, InputCredit, Interrupted, Finished.
Down (runner to agent): Begin, TryMaster, Go, End, Signal, Input, OutputCredit, Bye, JobOver.
On the channel's own thread: UdpHeartbeats (down), Beat (both ways).
Times named ``at`` or ``sent`` are monotonic seconds of the node that sends. The names of the types
below are those of value ranges, which ``codec`` checks.
"""

from __future__ import annotations

import enum
import signal
from typing import Any, NamedTuple, get_args

from madrun.wire.jobspec import JobSpec

STDOUT, STDERR = 1, 2
LAST = 99  # no process has a higher stop order
OUTPUT_WINDOW = 256 * 1024  # bytes of a node's output that may be under way: see OutputCredit

Count = int  # how many, a rank, a process id: 0 and more
NodeRank = int  # -1: not known to who speaks
ReturnCode = int  # as Popen.returncode has it
ExitStatus = int  # 0-255
SignalNumber = int
Port = int
StreamNumber = int
StopOrder = int


class Hello(NamedTuple):
    """The first word of an agent over the channel, with its process ids.

    ``age`` is how long its process had lived when it printed its key, in seconds; 0: not known.
    """

    node_rank: NodeRank
    hostname: str
    pid: Count
    guard_pid: Count = 0
    age: float = 0.0


class CheckIn(NamedTuple):
    """Able to run, or why not: ``problem`` is empty or a sentence, ``status`` its exit status.

    ``port`` is the master port that node 0 holds (0 elsewhere); ``devices`` counts what is
    visible on the node, of ``vendor`` ("nvidia", "amd" or ""). ``log_trouble`` says why there
    are no log files on this node, where they were not asked for. ``ports`` are those that the node
    holds for the launcher, in the order of its wishes. ``cores`` counts the CPU cores that it may
    use.
    """

    problem: str = ""
    status: ExitStatus = 0
    vendor: str = ""
    devices: Count = 0
    port: Port = 0
    log_trouble: str = ""
    ports: tuple[int, ...] = ()
    cores: Count = 0


class MasterTried(NamedTuple):
    """The first of the tried master addresses that could be reached; empty: none, and why."""

    address: str
    problem: str = ""


class Started(NamedTuple):
    """The workers run; their process ids, by local rank. 0: this one has to wait for others."""

    pids: tuple[int, ...]


class StartedLater(NamedTuple):
    """A process that had to wait for others runs now."""

    rank: Count
    pid: Count


class Serving(NamedTuple):
    """What this node serves answers at this address."""

    url: str


class Concluded(NamedTuple):
    """The client has succeeded at ``at``: the job is done, and its servers may go."""

    rank: Count
    at: float


class Drained(NamedTuple):
    """Of those that ``End`` named nobody is left, or they take too long; ``next`` comes first of
    those that are left (see ``End.upto``)."""

    next: StopOrder


class ExitKind(enum.Enum):
    """How a process ended."""

    BY_STATUS = "by status"  # its status says it: it exited, or died of a signal
    NOT_STARTED = "not started"
    NOT_READY = "not ready"  # it was given up: it had not been ready within its time
    SERVER_ENDED = "server ended"  # with status 0, though servers run until they are told to end
    ORPHANED_WORKERS = "orphaned workers"  # a launcher exited with 0, and workers of it still ran


class Exited(NamedTuple):
    """A worker's end: ``status`` as Popen.returncode has it (-9 = died of signal 9).

    Where ``kind`` is not BY_STATUS, ``status`` is what a failure of that kind counts as, and
    ``words`` say to the user how the process ended.
    ``ended`` is true where the agent had told the worker to stop before it went.
    ``tail`` is the end of what it wrote, ``log`` the file that has all of it (may be empty),
    ``log_trouble`` why that file is missing or not complete, ``cause`` what the node knows of the
    reason, in a line.
    """

    rank: Count
    pid: Count
    status: ReturnCode
    at: float
    ended: bool
    device: str = ""
    tail: bytes = b""
    log: str = ""
    log_trouble: str = ""
    cause: str = ""
    kind: ExitKind = ExitKind.BY_STATUS
    words: str = ""


class Output(NamedTuple):
    """Bytes that a worker wrote to stream 1 (stdout) or 2 (stderr).

    ``pause`` is true where they end in the middle of a line and nothing has followed for a
    while: a prompt, perhaps.
    """

    rank: Count
    stream: StreamNumber
    data: bytes
    pause: bool = False


class Dropped(NamedTuple):
    """What the console could not take of one rank: how many lines were left out."""

    rank: Count
    lines: Count


class Interrupted(NamedTuple):
    """The agent was told by a signal to stop: the job is to end everywhere.

    SIGKILL: it was its guard that was told. ``at_once`` is true for a second signal, ``by_parent``
    where the process that started the agent has sent it: the tool, where there is one.
    """

    number: SignalNumber
    at_once: bool = False
    by_parent: bool = False


class Finished(NamedTuple):
    """Nothing of the job runs on the node any more, but for the processes named in ``left``.

    ``outputs`` counts what was sent on the connection of the output, which may be slower: a
    channel adds it, and the other end hands this on behind them.
    """

    left: tuple[str, ...] = ()
    outputs: int = 0


class Begin(NamedTuple):
    """The job spec: check whether this node can run it."""

    spec: JobSpec


class TryMaster(NamedTuple):
    """Try to reach the master at these addresses, in this order."""

    addresses: tuple[str, ...]
    port: Port


class Go(NamedTuple):
    """Everybody is able: start the workers.

    ``addresses`` and ``ports`` are those of every node, in rank order, where the launcher has to
    know them; else they are empty.
    """

    master_addr: str
    master_port: Port
    addresses: tuple[str, ...] = ()
    ports: tuple[tuple[int, ...], ...] = ()


class End(NamedTuple):
    """End the workers: TERM, ``grace`` seconds in all, KILL. A shorter grace may follow.

    At first only those with a stop order of at most ``upto``, where there are others. ``first``
    is SIGINT where the user has typed Ctrl-C: that comes before the TERM then.
    """

    grace: float
    reason: str
    upto: StopOrder = LAST
    first: SignalNumber = signal.SIGTERM


class Signal(NamedTuple):
    """Send this signal to every worker; nothing ends because of it."""

    number: SignalNumber


class Input(NamedTuple):
    """What a worker is to read from its stdin; no bytes mean the end of it."""

    rank: Count
    data: bytes


class InputCredit(NamedTuple):
    """A worker's stdin took this many bytes: as many more may be sent. 0: it takes no more."""

    rank: Count
    size: Count


class OutputCredit(NamedTuple):
    """The console took this many bytes: as many more may be sent."""

    size: Count


class Bye(NamedTuple):
    """The coordinator has heard ``Finished``: the agent may go."""


class JobOver(NamedTuple):
    """All nodes have finished. Agents without a runner leave now, and exit with this status."""

    status: ExitStatus


class Heartbeat(NamedTuple):
    """A sign of life; ``echo`` is the ``sent`` of the last beat heard from the other side."""

    sent: float
    echo: float


class UdpHeartbeats(NamedTuple):
    """Where UDP heartbeats go (see ``udp_heartbeat``): the runner's port, and this agent's key."""

    node_rank: NodeRank
    port: Port
    key: bytes


Message = (
    Hello | CheckIn | MasterTried | Started | StartedLater | Serving | Exited | Concluded | Drained
    | Output | Dropped | InputCredit | Interrupted | Finished | Begin | TryMaster | Go | End
    | Signal | Input | OutputCredit | Bye | JobOver | Heartbeat | UdpHeartbeats
)  # fmt: skip


def _equal(self: Any, other: Any) -> bool:
    return type(self) is type(other) and tuple.__eq__(self, other)


def _differ(self: Any, other: object) -> bool:
    return not _equal(self, other)


def _hash(self: Any) -> int:
    return hash((type(self), tuple(self)))


for _kind in get_args(Message):
    _kind.__eq__, _kind.__ne__, _kind.__hash__ = _equal, _differ, _hash
