"""What Slurm says in environment variables: a step's place, a job's nodes and counts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from madrun.hosts import slurm
from madrun.system.errors import InputError

STEP = {
    "SLURM_JOB_ID": "17",
    "SLURM_JOB_NODELIST": "node[01-04]",
    "SLURM_JOB_CPUS_PER_NODE": "64(x3),32",
    "SLURM_STEP_ID": "2",
    "SLURM_STEP_NODELIST": "node[02,04]",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
    "SLURM_NODEID": "1",
    "SLURMD_NODENAME": "node04",
    "SLURM_GPUS_ON_NODE": "8",
}


def test_the_place_of_a_task() -> None:
    found = slurm.place(STEP, "anything")
    assert found == slurm.Place("17", "2", ("node02", "node04"), 1, 8)


def test_outside_of_slurm_there_is_none() -> None:
    assert slurm.place({}, "node01") is None
    assert slurm.place({"SLURM_CONF": "/etc/slurm/slurm.conf"}, "node01") is None


def test_the_batch_script_of_a_job_on_one_node_is_by_hand() -> None:
    batch = {"SLURM_JOB_ID": "1", "SLURM_JOB_NODELIST": "n1", "SLURM_NODEID": "0"}
    assert slurm.place(batch, "n1") is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"SLURM_STEP_TASKS_PER_NODE": "2(x2)"}, "srun starts 2 tasks on a node.* --ntasks=2 "),
        ({"SLURM_NODEID": "0"}, "SLURM_NODEID is 0, this is node04"),
        ({"SLURM_NODEID": "7"}, "SLURM_NODEID is 7, this is node04"),
        ({"SLURM_NODEID": "x"}, "SLURM_NODEID is 'x'"),
        ({"SLURM_STEP_ID": None}, "not started by srun"),
        ({"SLURM_STEP_NODELIST": "node[02"}, "host list 'node.02': the brackets do not match"),
        ({"SLURM_STEP_TASKS_PER_NODE": "many"}, "counts 'many' are not understood"),
    ],
)
def test_what_cannot_be(changes: dict[str, str | None], said: str) -> None:
    environ = {name: value for name, value in {**STEP, **changes}.items() if value is not None}
    with pytest.raises(InputError, match=said):
        slurm.place(environ, "node04")


def test_an_allocation() -> None:
    found = slurm.allocation(STEP)
    assert found is not None
    assert (found.hosts, found.cpus) == (("node01", "node02", "node03", "node04"), (64, 64, 64, 32))


@pytest.mark.parametrize(
    ("gres", "count"),
    [("gpu:8(IDX:0-7)", 8), ("gpu:a100:2(IDX:0,3)", 2), ("gpu:a:1(IDX:0),gpu:b:3(IDX:1-3)", 4),
     ("shard:4(0/8,4/8),gpu:1(IDX:2)", 1), ("", 0), ("license:3", 0)],
)  # fmt: skip
def test_gpus_by_node(gres: str, count: int) -> None:
    text = f"JobId=1 Nodes=a[1-2] CPU_IDs=0-3 Mem=9 GRES={gres} Nodes=b CPU_IDs=0 Mem=0 GRES= X=1"
    assert slurm.gpus_of(text) == {"a1": count, "a2": count, "b": 0}


def test_ports_differ_between_steps_and_stay_below_the_ephemeral_ones() -> None:
    ports = [slurm.ports_of_step(job, step) for job in ("17", "18") for step in ("0", "1")]
    assert len({port for some in ports for port in some}) == sum(len(some) for some in ports)
    for job in ("1", "99999999", "4294967295"):
        assert all(20000 <= port < 32768 for port in slurm.ports_of_step(job, "4294967290"))


@given(st.text(alphabet="n0123456789[]-,()x:", max_size=30))
def test_no_text_makes_a_traceback(text: str) -> None:
    for read in (slurm.nodes_of, slurm.counts_of):
        with contextlib.suppress(InputError):
            read(text)


@pytest.mark.parametrize(
    "read",
    [
        lambda: slurm.nodes_of(",".join(["n[0-60000]"] * 20_000)),
        lambda: slurm.gpus_of("Nodes=n[0-60000] CPU_IDs=0 Mem=0 GRES=gpu:1 " * 4000),
    ],
    ids=["nodes", "gpus"],
)
def test_a_text_that_stands_for_too_many_hosts_is_refused_early(read: Callable[[], object]) -> None:
    with pytest.raises(InputError, match="more than 65536"):
        read()
