"""What the workers keep of the agent's own environment."""

from __future__ import annotations

from collections.abc import Mapping

from madrun.hosts.devices import MASKS

# Variables that describe the agent's own task: frameworks would read them as their own place.
_TASK_PREFIXES = (
    "OMPI_", "PMIX_", "PMI_", "PRTE_", "HYDRA_", "HYDI_", "MPIR_", "MPIEXEC_", "MV2_COMM_WORLD_",
    "MPI_LOCAL", "SLURM_STEP", "SLURM_CPU_BIND", "SLURM_SRUN_COMM_",
)  # fmt: skip
_TASK_NAMES = frozenset({
    "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS", "SLURM_NPROCS",
    "SLURM_NTASKS_PER_NODE", "SLURM_TASKS_PER_NODE", "SLURM_TASK_PID", "SLURM_GTIDS",
    "SLURM_DISTRIBUTION", "SLURM_LAUNCH_NODE_IPADDR", "SLURM_NNODES", "SLURM_CPUS_PER_TASK",
    "SLURM_GPUS_PER_TASK", "SLURM_GPU_BIND", "SLURM_PRIO_PROCESS", "SLURM_UMASK",
})  # fmt: skip
# What mpirun and hydra set for all that they start.
_TOOL_NAMES = frozenset({
    "HFI_NO_BACKTRACE", "IPATH_NO_BACKTRACE", "GFORTRAN_UNBUFFERED_PRECONNECTED", "MPI_ARGV0",
})  # fmt: skip
# Set for the agent by whoever started it; see the SSH backend.
_AGENT_ONLY = "PYTHONSAFEPATH"


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """The node's environment without device masks, without what a scheduler said of our task."""
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith(_TASK_PREFIXES)
        and name not in _TASK_NAMES
        and name not in _TOOL_NAMES
        and name not in MASKS
        and name != _AGENT_ONLY
    }
