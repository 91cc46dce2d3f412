"""The srun backend, as the registry finds it; loaded at each start, and so without its tool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from madrun.backends.base import Allocation
from madrun.backends.tools.tool_backend import backend_with

if TYPE_CHECKING:
    from madrun.backends.tools.tool import Tool


def tool() -> Tool:
    """srun."""
    from madrun.backends.srun.tool import TOOL

    return TOOL


def allocation(environ: Mapping[str, str], nproc_per_node: int | None) -> Allocation | None:
    """The Slurm job that we are in; raises InputError and ClusterError."""
    if not environ.get("SLURM_JOB_ID"):
        return None
    from madrun.backends.tools.slurm_job import own_job

    return own_job(environ, nproc_per_node)


BACKEND = backend_with("srun", tool)._replace(aliases=("slurm",), allocation=allocation)
