"""The mpich backend: MPICH's mpiexec."""

from __future__ import annotations

from madrun.backends.tools.hydra import hydra
from madrun.backends.tools.tool_backend import backend_of

TOOL = hydra(
    "mpich", "install the package mpich, or use --backend ssh", "HYDRA_LAUNCHER_EXTRA_ARGS"
)
BACKEND = backend_of(TOOL)
