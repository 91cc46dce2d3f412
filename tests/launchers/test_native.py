"""The native launcher: golden plans."""

from __future__ import annotations

import pytest

from madrun.hosts.devices import NodeFacts
from madrun.hosts.world import Node, World
from madrun.launchers import native
from madrun.launchers.launcher import NodeContext
from madrun.launchers.native import command
from madrun.launchers.plan import NodePlan
from madrun.options.spec_groups import Workers
from madrun.system.errors import InputError
from madrun.wire.jobspec import EXEC, MODULE, PYTHON, JobSpec

SPEC = JobSpec(
    job_id="j1",
    world=World((Node("a", (0, 1)), Node("b", (3, 1)))),
    argv=("train.py", "--lr", "1e-3", "two words"),
    python="/venv/bin/python",
    workdir="/work dir",
    env={"NCCL_DEBUG": "INFO"},
)
FACTS = NodeFacts("nvidia", 4, cores=9)


def plan(spec: JobSpec, node_rank: int, address: str, port: int, facts: NodeFacts) -> NodePlan:
    return native.LAUNCHER.plan(NodeContext(spec, node_rank, address, port, facts))


def test_one_process_per_slot() -> None:
    made = plan(SPEC, 1, "10.0.0.1", 29501, FACTS)
    assert (made.host, made.node_rank) == ("b", 1)
    assert [(p.rank, p.local_rank, p.device) for p in made.processes] == [(2, 0, "3"), (3, 1, "1")]
    second = made.processes[1]
    assert second.role == "worker"
    assert second.cwd == "/work dir"
    assert second.argv == ("/venv/bin/python", "-u", "train.py", "--lr", "1e-3", "two words")
    assert second.env == {
        "NCCL_DEBUG": "INFO",
        "RANK": "3",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
        "LOCAL_SIZE": "2",
        "CROSS_RANK": "1",
        "CROSS_SIZE": "2",
        "NODE_RANK": "1",
        "GROUP_RANK": "1",
        "NNODES": "2",
        "NPROC_PER_NODE": "2",
        "GPUS_PER_NODE": "2",
        "MASTER_ADDR": "10.0.0.1",
        "MASTER_PORT": "29501",
        "MADRUN_JOB_ID": "j1",
        "MADRUN_RESTART_COUNT": "0",
        "GROUP_WORLD_SIZE": "2",
        "ROLE_NAME": "default",
        "ROLE_RANK": "3",
        "ROLE_WORLD_SIZE": "4",
        "TORCHELASTIC_MAX_RESTARTS": "0",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_RUN_ID": "j1",
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
        "JAX_COORDINATOR_ADDRESS": "10.0.0.1:29501",
        "CUDA_VISIBLE_DEVICES": "3,1",
        "OMP_NUM_THREADS": "4",
    }


@pytest.mark.parametrize(
    ("mode", "local_rank_arg", "argv"),
    [
        (PYTHON, False, ["py", "-u", "prog", "-x", ""]),
        (PYTHON, True, ["py", "-u", "prog", "--local_rank=3", "-x", ""]),
        (MODULE, False, ["py", "-u", "-m", "prog", "-x", ""]),
        (MODULE, True, ["py", "-u", "-m", "prog", "--local_rank=3", "-x", ""]),
        (EXEC, False, ["prog", "-x", ""]),
        (EXEC, True, ["prog", "--local_rank=3", "-x", ""]),
    ],
)
def test_command(mode: str, local_rank_arg: bool, argv: list[str]) -> None:
    spec = SPEC._replace(
        mode=mode,
        workers=Workers(local_rank_arg=local_rank_arg),
        python="py",
        argv=("prog", "-x", ""),
    )
    assert list(command(spec, 3)) == argv


def test_hostile_arguments_stay_what_they_are() -> None:
    hostile = ("a b", "'", '"', "$HOME", "`x`", "a\nb", ";", "*", "\udcff", "--")
    spec = SPEC._replace(argv=("p", *hostile))
    assert command(spec, 0)[-len(hostile) :] == hostile


def test_what_madrun_sets_wins_over_what_was_exported() -> None:
    spec = SPEC._replace(env={"RANK": "77", "MASTER_PORT": "1", "X": "y"})
    env = plan(spec, 0, "m", 2, FACTS).processes[0].env
    assert (env["RANK"], env["MASTER_PORT"], env["X"]) == ("0", "2", "y")


def test_a_slot_beyond_the_mask_is_an_error() -> None:
    with pytest.raises(InputError, match="slot 3 is not there"):
        plan(SPEC, 1, "m", 1, NodeFacts("nvidia", 2, ("4", "5")))


def test_the_same_input_gives_the_same_plan() -> None:
    assert plan(SPEC, 0, "m", 1, FACTS) == plan(SPEC, 0, "m", 1, FACTS)
