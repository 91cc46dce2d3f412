"""The impi backend: Intel MPI's mpiexec."""

from __future__ import annotations

from madrun.backends.tools.hydra import hydra
from madrun.backends.tools.tool_backend import backend_of

TOOL = hydra(
    "impi",
    "Intel MPI's bin folder has to be on the PATH (source setvars.sh), or use --backend ssh",
    "I_MPI_HYDRA_BOOTSTRAP_EXEC_EXTRA_ARGS",
    # Under a scheduler it would follow the scheduler's places instead of -ppn 1.
    {"I_MPI_JOB_RESPECT_PROCESS_PLACEMENT": "off", "I_MPI_PIN": "off"},
)
BACKEND = backend_of(TOOL)
