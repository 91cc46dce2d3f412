"""The ways onto the nodes, as the table of scenarios runs over them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.cluster import BIN, REPOSITORY, Cluster
from support.jobs import Running
from support.plugins import PLUGINS, python_with
from testbed.kernel import SYSTEM_PATH
from testbed.processes import Process


@dataclass(frozen=True)
class Way:
    """One backend: its name, and the process that is killed where the tool itself is.

    ``tool`` is the base name of a program on the head; empty where each host has its own session.
    ``logs_in``: it takes the options of ssh. ``plugin`` is the project that brings it, ``stand_in``
    a folder with a test double of its tool.
    """

    name: str
    tool: str = ""
    logs_in: bool = True
    plugin: Path | None = None
    stand_in: Path | None = None

    def words(self, *args: str | os.PathLike[str], path: str = "") -> list[str]:
        """A command line by this way; ``path`` is where the tool is looked for."""
        program = [str(BIN / "madrun")]
        if self.plugin is not None:
            program = [str(python_with(self.plugin)), "-m", "madrun.runner"]
        if self.stand_in is not None:
            path = path or f"{self.stand_in}:{SYSTEM_PATH}"
        program = ["/usr/bin/env", f"PATH={path or SYSTEM_PATH}", *program]
        return [*program, "--backend", self.name, *map(str, args)]

    def run(self, cluster: Cluster, *args: str | os.PathLike[str], **kwargs: Any) -> Any:
        """Run a job to its end; keywords as for Cluster.run."""
        return cluster.run("head", self.words(*args), **kwargs)

    def start(self, cluster: Cluster, *args: str | os.PathLike[str]) -> Running:
        """Start a job on all four hosts, two workers on each."""
        hostfile = cluster.hostfile(slots=2)
        program, *words = self.words("--hostfile", hostfile, *args)
        return Running(cluster, words, program)

    def tools(self, cluster: Cluster) -> Sequence[Process]:
        """The tool's own processes on the head."""
        found = cluster.processes("head")
        return [each for each in found if self.tool in program_names(each)]

    def __str__(self) -> str:
        return self.name


def program_names(process: Process) -> list[str]:
    """What a process runs; of a script also its interpreter."""
    return [os.path.basename(word) for word in (process.argv or ())[:2]]


# A backend of your own gets one row here, wherever it comes from.
WAYS = (
    Way("ssh"),
    Way("pdsh", "pdsh"),
    Way("openmpi", "mpirun"),
    Way("mpich", "mpiexec.hydra"),
    Way("flux", "flux", logs_in=False, plugin=PLUGINS, stand_in=REPOSITORY / "tests" / "standins"),
)
