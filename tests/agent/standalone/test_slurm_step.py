"""A step's World, from what each of its nodes brings; the steps themselves are in tests/slurm."""

from __future__ import annotations

import re

import pytest

from madrun.agent.standalone.capacity import NodeCapacity
from madrun.agent.standalone.slurm_step import node_capacity, place_of, warnings, world_of
from madrun.hosts.devices import NVIDIA, NodeFacts
from madrun.hosts.slurm import Place
from madrun.hosts.world import Node
from madrun.options.request import Request, changed
from madrun.system.errors import InputError

HOSTS = ("a", "b")
NOTHING = Request()
STEP = {
    "SLURM_JOB_ID": "1", "SLURM_JOB_NODELIST": "a,b", "SLURM_STEP_ID": "0", "SLURM_NODEID": "1",
    "SLURMD_NODENAME": "b", "SLURM_PROCID": "1",
}  # fmt: skip


def nodes(*strengths: NodeCapacity, **chosen: object) -> tuple[Node, ...]:
    asked = changed(NOTHING, chosen).selection
    return world_of(Place("1", "0", HOSTS, 0, None), strengths, asked).nodes


@pytest.mark.parametrize(
    ("facts", "gpus", "want", "brings"),
    [
        (NodeFacts(NVIDIA, 2, mask=("0", "1")), 2, None, NodeCapacity(2, 2)),
        (NodeFacts(NVIDIA, 8), 2, None, NodeCapacity(2, 2)),
        (
            NodeFacts(NVIDIA, 7),
            8,
            None,
            NodeCapacity(8, 8),
        ),  # one has failed: the agent will say so
        (NodeFacts(NVIDIA, 8), None, None, NodeCapacity(8, 8)),
        (NodeFacts(NVIDIA, 8), 8, 2, NodeCapacity(8, 8)),
        (NodeFacts(), None, None, NodeCapacity(0, 1)),
        (NodeFacts(), None, 3, NodeCapacity(0, 3)),
        (NodeFacts(NVIDIA, 0, mask=()), None, 3, NodeCapacity(0, 3)),
        (NodeFacts(NVIDIA, 0, mask=(), cores=6), None, "cpu", NodeCapacity(0, 6)),
        (NodeFacts(cores=6), None, "auto", NodeCapacity(0, 6)),
        (NodeFacts(NVIDIA, 8, cores=6), 2, "gpu", NodeCapacity(2, 2)),
    ],
)
def test_what_a_node_brings(
    facts: NodeFacts, gpus: int | None, want: int | str | None, brings: NodeCapacity
) -> None:
    assert node_capacity(Place("1", "0", HOSTS, 0, gpus), facts, want) == brings


def test_unequal_nodes() -> None:
    assert nodes(NodeCapacity(3, 3), NodeCapacity(1, 1)) == (Node("a", (0, 1, 2)), Node("b", (0,)))


def test_slots_are_chosen() -> None:
    found = nodes(NodeCapacity(3, 3), NodeCapacity(2, 2), exclude="a:0", nproc_per_node=2)
    assert found == (Node("a", (1, 2)), Node("b", (0, 1)))


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"nproc_per_node": 2}, "--nproc-per-node 2: Slurm gave the task on b 1 GPU "),
        ({"nproc_per_node": "cpu"}, "--nproc-per-node cpu: a has 3 GPUs, one for each worker"),
        ({"include": "a"}, "srun has started madagent on b too"),
        ({"exclude": "c"}, "c"),
    ],
)
def test_what_cannot_be(chosen: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        nodes(NodeCapacity(3, 3), NodeCapacity(1, 1), **chosen)


def test_a_node_without_a_gpu_is_named_where_each_worker_is_to_have_one() -> None:
    with pytest.raises(InputError, match="--nproc-per-node gpu: b has no GPU"):
        nodes(NodeCapacity(3, 3), NodeCapacity(0, 6), nproc_per_node="gpu")


@pytest.mark.parametrize(
    ("own", "grace", "cores", "left", "said"),
    [
        (NodeCapacity(8, 8), 15, 64, None, []),
        (
            NodeCapacity(8, 8),
            15,
            1,
            1e6,
            ["one CPU core of .* for 8 workers: srun --cpus-per-task"],
        ),
        (NodeCapacity(1, 1), 15, 8, 301, ["shows this task 1 of the step's 8 GPUs on a: without"]),
        (
            NodeCapacity(8, 8),
            60,
            8,
            42,
            ["--grace 60: at a scancel", "Slurm ends this job in 42 s"],
        ),
    ],
)
def test_what_will_hurt_is_said(
    monkeypatch: pytest.MonkeyPatch,
    own: NodeCapacity, grace: float, cores: int, left: float | None, said: list[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    found = warnings(Place("1", "0", HOSTS, 0, 8), own, grace, cores, left)
    assert len(found) == len(said)
    assert all(re.search(text, line) for text, line in zip(said, found, strict=True))


def test_only_the_first_task_complains(capsys: pytest.CaptureFixture[str]) -> None:
    broken = {**STEP, "SLURM_NODEID": "0"}
    with pytest.raises(InputError, match="contradict"):
        place_of(NOTHING, {**broken, "SLURM_PROCID": "0"})
    with pytest.raises(SystemExit) as stop:
        place_of(NOTHING, broken)
    assert (stop.value.code, capsys.readouterr()) == (2, ("", ""))


@pytest.mark.parametrize("name", ["hostfile", "hosts", "world_info", "node_rank"])
def test_who_names_the_hosts_does_not_mean_slurms(name: str) -> None:
    assert place_of(NOTHING, STEP) is not None
    assert place_of(changed(NOTHING, {name: 0 if name == "node_rank" else "x"}), STEP) is None
    assert place_of(NOTHING, {**STEP, "MADRUN_HOSTFILE": "hosts"}) is None
