"""The ways onto the nodes, as the table of scenarios runs over them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from support.cluster import BIN, Cluster
from support.jobs import Running
from testbed.processes import Process


@dataclass(frozen=True)
class Way:
    """One backend: its name, and the process that is killed where the tool itself is.

    ``tool`` is the base name of a program on the head; empty where each host has its own session.
    """

    name: str
    tool: str = ""

    def words(self, *args: str | os.PathLike[str]) -> list[str]:
        """A command line by this way."""
        return [str(BIN / "madrun"), "--backend", self.name, *map(str, args)]

    def run(self, cluster: Cluster, *args: str | os.PathLike[str], **kwargs: Any) -> Any:
        """Run a job to its end; keywords as for Cluster.run."""
        return cluster.run("head", self.words(*args), **kwargs)

    def start(self, cluster: Cluster, *args: str | os.PathLike[str]) -> Running:
        """Start a job on all four hosts, two workers on each."""
        hostfile = cluster.hostfile(slots=2)
        return Running(cluster, self.words("--hostfile", hostfile, *args)[1:])

    def tools(self, cluster: Cluster) -> Sequence[Process]:
        """The tool's own processes on the head."""
        found = cluster.processes("head")
        return [each for each in found if os.path.basename((each.argv or ("",))[0]) == self.tool]

    def __str__(self) -> str:
        return self.name


WAYS = (
    Way("ssh"),
    Way("pdsh", "pdsh"),
    Way("openmpi", "mpirun"),
    Way("mpich", "mpiexec.hydra"),
)
