"""Who takes part in a job: its processes, numbered over all nodes."""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

from madrun.launchers.launcher import Launcher, LauncherKind, NodeContext
from madrun.launchers.per_node import is_shell_script
from madrun.launchers.plan import WORKER
from madrun.launchers.registry import find
from madrun.system.errors import InputError
from madrun.wire.jobspec import JobSpec


class ProcessTable(NamedTuple):
    """The processes of a job by their numbers: node rank, role and kind of each, column by column.

    Where there are no roles there is one worker per slot, and its number is its rank; no kinds
    mean that all are workers.

    >>> pair = ProcessTable((0, 1), ("torchrun", "torchrun"))
    >>> pair.size, pair.name(1), ProcessTable((0, 0, 1)).name(1), ProcessTable((0, 0, 1)).first(1)
    (2, 'torchrun', 'rank 1', 2)
    """

    node_ranks: tuple[int, ...]
    roles: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.node_ranks)

    @property
    def noun(self) -> str:
        """What their numbers are called, several of them."""
        return "processes" if self.roles else "ranks"

    @property
    def workers(self) -> frozenset[int]:
        """The numbers of those whose success the job's needs."""
        if not self.kinds:
            return frozenset(range(self.size))
        return frozenset(number for number, kind in enumerate(self.kinds) if kind == WORKER)

    def role(self, number: int) -> str:
        """What one is called beside its host; empty for a worker with a rank."""
        return self.roles[number] if 0 <= number < len(self.roles) else ""

    def name(self, number: int) -> str:
        """What one is called in messages."""
        return self.role(number) or f"rank {number}"

    def first(self, node_rank: int) -> int:
        """The number of a node's first process."""
        return bisect_left(self.node_ranks, node_rank)


def process_table(spec: JobSpec) -> ProcessTable:
    """The processes of a job. Raises InputError where its launcher cannot carry it out."""
    nodes = range(len(spec.world.nodes))
    launcher = find(spec.launcher)
    if launcher.kind is LauncherKind.PER_WORKER and not is_shell_script(spec):
        per_slot = zip(nodes, spec.world.nodes, strict=True)
        return ProcessTable(tuple(rank for rank, node in per_slot for _ in node.devices))
    _check(spec, launcher)
    if not launcher.serves:  # all alike: a thousand nodes need not be planned
        process = launcher.plan(NodeContext(spec)).processes[0]
        return ProcessTable(tuple(nodes), (process.role,) * len(nodes))
    plans = [launcher.plan(NodeContext(spec, node_rank)) for node_rank in nodes]
    found = [(each.node_rank, process) for each in plans for process in each.processes]
    return ProcessTable(
        tuple(node_rank for node_rank, _ in found),
        tuple(process.role for _, process in found),
        tuple(process.kind for _, process in found),
    )


def _check(spec: JobSpec, launcher: Launcher) -> None:
    """What madrun does to each worker it cannot do to those that somebody else starts."""
    asked = {
        "--bind-cores-to-rank": spec.workers.binds_cores,
        "--device-binding worker": spec.workers.device_binding == "worker",
        "--local-rank-arg": spec.workers.local_rank_arg and not launcher.passes_local_rank,
    }
    for option in (name for name, given in asked.items() if given):
        per_worker = launcher.kind is LauncherKind.PER_WORKER
        who = spec.argv[0] if per_worker else launcher.name
        raise InputError(f"{option}: {who} starts the workers itself; madrun cannot do it for them")
