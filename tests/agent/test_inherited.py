"""What workers keep of the agent's environment, and which devices they really get."""

from __future__ import annotations

import pytest

from madrun.agent.inherited import inherited
from madrun.agent.readiness import worker_environment
from madrun.hosts.devices import AMD, NVIDIA, Inventory, node_facts
from madrun.launchers.environment import device_environment

TASK = [
    "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_SIZE", "PRTE_LAUNCHED", "HYDRA_X",
    "MV2_COMM_WORLD_RANK",
    "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS", "SLURM_STEP_ID",
    "SLURM_STEPID", "SLURM_TASK_PID", "SLURM_CPU_BIND_LIST", "PYTHONSAFEPATH",
    "SLURM_NNODES", "SLURM_CPUS_PER_TASK",
    "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK",
]  # fmt: skip
USERS = [
    "PATH", "HOME", "LD_LIBRARY_PATH", "SLURM_JOB_ID", "SLURM_JOB_NODELIST", "SLURM_GPUS_ON_NODE",
    "OMP_NUM_THREADS", "NCCL_DEBUG", "PYTHONPATH", "PMIXED", "RANKS", "OMPI",
]  # fmt: skip


@pytest.mark.parametrize("name", TASK)
def test_what_describes_the_agents_own_task_goes(name: str) -> None:
    assert inherited({name: "0", "X": "y"}) == {"X": "y"}


@pytest.mark.parametrize("name", USERS)
def test_the_rest_is_the_users(name: str) -> None:
    assert inherited({name: "v"}) == {name: "v"}


def physical(environ: dict[str, str], cards: int) -> list[str]:
    """The cards that HIP would use in an environment: its mask counts what ROCR's leaves."""
    left = [str(number) for number in range(cards)]
    for name in ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
        if name in environ:
            left = [left[int(token)] for token in environ[name].split(",")]
    return left


@pytest.mark.parametrize(
    ("mask", "slots", "cards"),
    [
        ({}, (0, 1), ["0", "1"]),
        ({"HIP_VISIBLE_DEVICES": "2,3"}, (0, 1), ["2", "3"]),
        ({"HIP_VISIBLE_DEVICES": "3,2"}, (0,), ["3"]),
        ({"ROCR_VISIBLE_DEVICES": "2,3"}, (0, 1), ["2", "3"]),
        ({"ROCR_VISIBLE_DEVICES": "2,3"}, (1,), ["3"]),
        ({"ROCR_VISIBLE_DEVICES": "1,2,3", "HIP_VISIBLE_DEVICES": "2,0"}, (0, 1), ["3", "1"]),
    ],
)
def test_a_worker_gets_the_cards_that_the_mask_left_it(
    mask: dict[str, str], slots: tuple[int, ...], cards: list[str]
) -> None:
    assert [physical(mask, 4)[slot] for slot in slots] == cards, "so says the mask itself"
    facts = node_facts(Inventory(AMD, ("a", "b", "c", "d")), mask, 8)
    planned = device_environment(slots, 0, "node", facts)
    env = worker_environment(inherited(mask), planned)
    assert physical(env, 4) == cards


def test_exactly_one_vendors_variable_is_set() -> None:
    masks = {"CUDA_VISIBLE_DEVICES": "1", "ROCR_VISIBLE_DEVICES": "0", "ZE_AFFINITY_MASK": "0"}
    facts = node_facts(Inventory(NVIDIA, ("a", "b")), masks, 8)
    planned = device_environment((0,), 0, "node", facts)
    env = worker_environment(inherited(masks), planned)
    assert env == {"CUDA_VISIBLE_DEVICES": "1"}
