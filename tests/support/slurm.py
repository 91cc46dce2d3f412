"""The two ways of a job in Slurm: madrun in an allocation, and srun with madagent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from support.cluster import BIN, Cluster
from support.jobs import Running

MADRUN, MADAGENT = str(BIN / "madrun"), str(BIN / "madagent")
GPUS = "--gpus-per-node=2"


@dataclass(frozen=True)
class Form:
    """What a user types, after the options for the allocation."""

    name: str
    before: tuple[str, ...]
    after: tuple[str, ...]

    def words(self, *args: object, slurm: Sequence[str] = ("-N4", GPUS)) -> list[str]:
        """A whole command line, to be run on the head."""
        return [*self.before, *slurm, *self.after, *map(str, args)]

    def start(self, cluster: Cluster, *args: object) -> Running:
        """Start a job on all four nodes, two workers on each."""
        first, *rest = self.words(*args)
        return Running(cluster, rest, first)

    def step(self, *args: object) -> str:
        """A line of a batch script."""
        start = "srun " if self.name == "madagent" else ""
        return start + " ".join([*self.after, *map(str, args)])

    def __str__(self) -> str:
        return self.name


# --quiet: salloc says what it grants, and its own exit status is that of its command.
BACKEND = Form("madrun", ("salloc", "--quiet"), (MADRUN,))
AGENTS = Form("madagent", ("srun",), (MADAGENT,))
FORMS = (BACKEND, AGENTS)


def own_job(cluster: Cluster) -> str:
    """The number of the job that runs; a test has one at a time."""
    found = cluster.run("head", ["squeue", "-h", "-o", "%i"]).stdout.split()
    assert len(found) == 1, found
    return found[0]
