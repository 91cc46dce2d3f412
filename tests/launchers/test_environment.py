"""What a worker sees: ranks, masks, threads."""

from __future__ import annotations

import pytest

from madrun.hosts.devices import AMD, NVIDIA, NodeFacts
from madrun.hosts.world import Node, World
from madrun.launchers.environment import (
    device_environment,
    device_tokens,
    node_environment,
    rank_environment,
    thread_environment,
)
from madrun.launchers.launcher import NodeContext
from madrun.system.errors import InputError
from madrun.wire.jobspec import JobSpec

UNEQUAL = World((Node("a", (0, 1, 2)), Node("b", (0,)), Node("c", (4, 5))))
SPEC = JobSpec("j", UNEQUAL, ("x",))
MIG = ("MIG-3f1c0e5e-0b1f-5f1e-8ae6-000000000000", "MIG-GPU-8932f937/1/0")
UUIDS = ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "GPU-1")


def test_ranks_on_unequal_nodes() -> None:
    names = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "CROSS_RANK", "CROSS_SIZE")
    found = []
    for node_rank, node in enumerate(UNEQUAL.nodes):
        for local_rank in range(node.local_world_size):
            env = rank_environment(SPEC, node_rank, local_rank)
            assert env["WORLD_SIZE"] == "6"
            assert env["LOCAL_SIZE"] == env["LOCAL_WORLD_SIZE"]
            found.append(tuple(int(env[name]) for name in names))
    assert found == [
        (0, 0, 3, 0, 3),
        (1, 1, 3, 0, 2),
        (2, 2, 3, 0, 1),
        (3, 0, 1, 1, 3),
        (4, 0, 2, 2, 3),
        (5, 1, 2, 1, 2),
    ]


def test_every_worker_has_a_cross_place_of_its_own() -> None:
    places = set()
    for node_rank, node in enumerate(UNEQUAL.nodes):
        for local_rank in range(node.local_world_size):
            env = rank_environment(SPEC, node_rank, local_rank)
            places.add((local_rank, env["CROSS_RANK"]))
            assert int(env["CROSS_RANK"]) < int(env["CROSS_SIZE"])
    assert len(places) == UNEQUAL.world_size


def test_node_environment() -> None:
    spec = SPEC._replace(restart_count=2)
    assert node_environment(NodeContext(spec, 2, "10.0.0.1", 29500)) == {
        "NODE_RANK": "2",
        "GROUP_RANK": "2",
        "NNODES": "3",
        "NPROC_PER_NODE": "2",
        "GPUS_PER_NODE": "2",
        "MASTER_ADDR": "10.0.0.1",
        "MASTER_PORT": "29500",
        "MADRUN_JOB_ID": "j",
        "MADRUN_RESTART_COUNT": "2",
    }


def test_what_is_not_chosen_yet_is_not_there() -> None:
    env = node_environment(NodeContext(SPEC))
    assert "MASTER_ADDR" not in env
    assert "MASTER_PORT" not in env
    assert env["NODE_RANK"] == "0"


@pytest.mark.parametrize(
    ("slots", "facts", "tokens"),
    [
        ((0, 1), NodeFacts(), ("0", "1")),
        ((3, 1), NodeFacts(NVIDIA, 4), ("3", "1")),
        ((0, 1, 2), NodeFacts(NVIDIA, 3, ("3", "0", "1")), ("3", "0", "1")),
        ((1,), NodeFacts(NVIDIA, 3, ("3", "0", "1")), ("0",)),
        ((1, 0), NodeFacts(NVIDIA, 2, UUIDS), (UUIDS[1], UUIDS[0])),
        ((0, 1), NodeFacts(NVIDIA, 2, MIG), MIG),
        ((0, 1), NodeFacts(AMD, 2, ("6", "7")), ("6", "7")),
        ((0, 1), NodeFacts(AMD, 2, rocr="6,7"), ("0", "1")),
        ((1,), NodeFacts(AMD, 2, rocr="GPU-a,GPU-b"), ("1",)),
        ((0, 1), NodeFacts(NVIDIA, 0, ()), ("", "")),
    ],
)
def test_device_tokens(slots: tuple[int, ...], facts: NodeFacts, tokens: tuple[str, ...]) -> None:
    assert device_tokens(slots, facts) == tokens


@pytest.mark.parametrize(
    "facts",
    [NodeFacts(NVIDIA, 2, ("4", "5")), NodeFacts(AMD, 2, ("4", "5"))],
)
def test_a_slot_that_the_mask_has_not(facts: NodeFacts) -> None:
    with pytest.raises(InputError, match=r"slot 2 is not there: the visible devices are 4,5"):
        device_tokens((0, 2), facts)


@pytest.mark.parametrize(
    ("slots", "binding", "local_rank", "facts", "env"),
    [
        ((0, 1), "node", 1, NodeFacts(NVIDIA, 2), {"CUDA_VISIBLE_DEVICES": "0,1"}),
        ((0, 1), "worker", 1, NodeFacts(NVIDIA, 2), {"CUDA_VISIBLE_DEVICES": "1"}),
        ((1, 0), "node", 0, NodeFacts(NVIDIA, 2, UUIDS),
         {"CUDA_VISIBLE_DEVICES": f"{UUIDS[1]},{UUIDS[0]}"}),
        ((1, 0), "worker", 0, NodeFacts(NVIDIA, 2, MIG), {"CUDA_VISIBLE_DEVICES": MIG[1]}),
        ((0, 1), "node", 0, NodeFacts(AMD, 2), {"HIP_VISIBLE_DEVICES": "0,1"}),
        ((0, 1), "worker", 1, NodeFacts(AMD, 2, ("6", "7")), {"HIP_VISIBLE_DEVICES": "7"}),
        ((0, 1), "node", 1, NodeFacts(), {"CUDA_VISIBLE_DEVICES": "0,1"}),
        ((0, 1), "node", 1, NodeFacts(NVIDIA, 0, ()), {"CUDA_VISIBLE_DEVICES": ""}),
        ((0, 1), "worker", 1, NodeFacts(NVIDIA, 0, ()), {"CUDA_VISIBLE_DEVICES": ""}),
        ((0,), "node", 0, NodeFacts(AMD, 0, ()), {"HIP_VISIBLE_DEVICES": ""}),
    ],
)  # fmt: skip
def test_device_environment(
    slots: tuple[int, ...], binding: str, local_rank: int, facts: NodeFacts, env: dict[str, str]
) -> None:
    assert device_environment(slots, local_rank, binding, facts) == env


@pytest.mark.parametrize(
    ("exported", "local_size", "facts", "env"),
    [
        ({}, 4, NodeFacts(cores=64), {"OMP_NUM_THREADS": "16"}),
        ({}, 3, NodeFacts(cores=64), {"OMP_NUM_THREADS": "21"}),
        ({}, 8, NodeFacts(cores=2), {"OMP_NUM_THREADS": "1"}),
        ({}, 8, NodeFacts(), {}),
        ({"OMP_NUM_THREADS": "3"}, 4, NodeFacts(cores=64), {}),
        ({}, 4, NodeFacts(cores=64, has_threads=True), {}),
    ],
)
def test_thread_environment(
    exported: dict[str, str], local_size: int, facts: NodeFacts, env: dict[str, str]
) -> None:
    spec = SPEC._replace(env=exported)
    assert thread_environment(spec, local_size, facts) == env
