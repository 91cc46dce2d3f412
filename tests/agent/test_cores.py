from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from madrun.agent.cores import cores_of_numa, numa_of_pci, plan, share
from madrun.hosts.core_list import parse_core_list
from madrun.system.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TWO_NODES = {0: range(8), 1: range(8, 16)}


@pytest.mark.parametrize(
    ("text", "cores"),
    [("3", (3,)), ("0,2-4,6", (0, 2, 3, 4, 6)), ("3-3", (3,)), ("0 , 2-3", (0, 2, 3))],
)
def test_core_list(text: str, cores: tuple[int, ...]) -> None:
    assert parse_core_list(text) == cores


@pytest.mark.parametrize(
    "text",
    [
        *("", ",", "a", "1-", "-1", "0-2-4", "8,2-6", "1,6-2", "1,1", "0-3,3", "0,,1", "0x1", "٣"),
        *("65536", "0-999999", "0-99999", "9" * 5000, "1," * 400_000),
    ],
)
def test_core_list_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"^core list: ") as caught:
        parse_core_list(text)
    assert len(str(caught.value)) < 200


@given(st.text(alphabet="0123,- a", max_size=30))
def test_a_core_list_ascends_or_is_refused(text: str) -> None:
    try:
        cores = parse_core_list(text)
    except InputError:
        return
    assert list(cores) == sorted(set(cores))


@given(st.lists(st.integers(0, 999), unique=True), st.integers(1, 20))
def test_shares_are_even_in_order_and_leave_nothing_out(cores: list[int], local_size: int) -> None:
    if len(cores) < local_size:
        with pytest.raises(InputError, match=f"share {len(cores)} cores"):
            share(cores, local_size, 0)
        return
    shares = [share(cores, local_size, rank) for rank in range(local_size)]
    assert [core for part in shares for core in part] == cores
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("local_rank", [-1, 2])
def test_a_share_is_for_a_rank_that_is_there(local_rank: int) -> None:
    with pytest.raises(InputError, match="local rank"):
        share(range(8), 2, local_rank)


@pytest.mark.parametrize(
    ("allowed", "numa", "expected"),
    [
        # near, and the workers of one NUMA node share it evenly
        (range(16), [1, 0], [range(8, 16), range(8)]),
        (range(16), [0, 0, 1], [range(4), range(4, 8), range(8, 16)]),
        (range(4, 12), [0, 1], [range(4, 8), range(8, 12)]),
        # one is not known, or has too few cores, or its node is not known: plain shares
        (range(16), [0, None], [range(8), range(8, 16)]),
        (range(8), [0, 1], [range(4), range(4, 8)]),
        (range(16), [0, 7], [range(8), range(8, 16)]),
        ([0, 8, 9, 10], [0, 0], [[0, 8], [9, 10]]),
    ],
)
def test_plan(
    allowed: Sequence[int], numa: list[int | None], expected: list[Sequence[int]]
) -> None:
    cores = plan(allowed, len(numa), numa, TWO_NODES, None)
    assert cores == tuple(map(tuple, expected))


@pytest.mark.parametrize("numa", [[], [0], [0, 0, 0]])
def test_numa_nodes_of_another_number_of_workers_are_not_used(numa: list[int | None]) -> None:
    assert plan(range(4), 2, numa, TWO_NODES, None) == ((0, 1), (2, 3))


def test_plan_shares_a_core_list_as_it_is() -> None:
    assert plan(range(16), 2, [1, 0], TWO_NODES, [2, 3, 4]) == ((2, 3), (4,))


def test_plan_refuses_cores_that_may_not_be_used() -> None:
    with pytest.raises(InputError, match=r"core 9 may not be used here; 4 cores may, from 0 to 3"):
        plan(range(4), 1, [None], {}, [0, 9, 10])
    with pytest.raises(InputError, match="3 workers cannot share 2 cores"):
        plan(range(2), 3, [None] * 3, {}, None)
    with pytest.raises(InputError, match="2 workers cannot share 1 cores"):
        plan(range(4), 2, [None] * 2, {}, [1])


@given(
    st.sets(st.integers(0, 15), min_size=4),
    st.lists(st.sampled_from([0, 1, None]), min_size=1, max_size=4),
)
def test_workers_never_share_a_core_nor_leave_the_allowed_ones(
    allowed: set[int], numa: list[int | None]
) -> None:
    cores = [core for part in plan(allowed, len(numa), numa, TWO_NODES, None) for core in part]
    assert len(set(cores)) == len(cores)
    assert set(cores) <= allowed


@pytest.mark.parametrize(
    "bus_id", ["0000:3b:00.0", "00000000:3B:00.0", "3b:00.0", " 0000:3B:00.0\n"]
)
def test_numa_of_pci(tmp_path: Path, bus_id: str) -> None:
    folder = tmp_path / "sys/bus/pci/devices/0000:3b:00.0"
    folder.mkdir(parents=True)
    (folder / "numa_node").write_text("1\n")
    assert numa_of_pci(bus_id, str(tmp_path)) == 1
    (folder / "numa_node").write_text("-1\n")
    assert numa_of_pci(bus_id, str(tmp_path)) is None


@pytest.mark.parametrize("bus_id", ["0000:3b:00.1", "", "../../etc", "GPU-1", "0000:3b:00.9"])
def test_numa_of_a_device_that_is_not_there(tmp_path: Path, bus_id: str) -> None:
    assert numa_of_pci(bus_id, str(tmp_path)) is None


def test_cores_of_numa(tmp_path: Path) -> None:
    assert cores_of_numa(str(tmp_path)) == {}
    root = tmp_path / "sys/devices/system/node"
    lists = {
        "node10": "8-9\n",
        "node0": "0-3,16-19\n",
        "node1": "\n",
        "node2": "junk",
        "has_cpu": "",
    }
    for name, text in lists.items():
        (root / name).mkdir(parents=True)
        (root / name / "cpulist").write_text(text)
    (root / "online").write_text("0-1\n")
    found = cores_of_numa(str(tmp_path))
    assert list(found.items())[0::2] == [(0, (0, 1, 2, 3, 16, 17, 18, 19)), (10, (8, 9))]
    assert found[2] == ()


def test_this_machine_is_read_without_error() -> None:
    for cores in cores_of_numa().values():
        assert all(core >= 0 for core in cores)
